"""One synthetic GC-MS run: compounds and contaminants on a noisy, drifting background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from datamodules.mars.demo.fingerprints import (
    AIR,
    BLEED,
    COMPOUNDS,
    MINERAL,
    MINERAL_GASES,
    PHTHALATE,
    REAGENTS,
    SILOXANE,
    Compound,
)
from datamodules.mars.features import Run

_MAX_MASS = 535
Grid = npt.NDArray[np.float64]


def synthesise(labels: Sequence[int], derivatized: bool, random: np.random.Generator) -> Run:
    """A run that holds compounds of the given classes.

    Args:
        labels: 0 or 1 for each class of the competition.
        derivatized: Whether acids, amines and alcohols were silylated.
        random: Source of everything else.
    """
    scans = int(random.integers(180, 361))
    position = np.linspace(0.0, 1.0, scans)
    ramp = random.uniform(0.7, 1.4)
    counts = _background(position, random) + _bleed(position, random)
    wanted = {i for i, value in enumerate(labels) if value}
    present = [*choose_compounds(wanted - {MINERAL}, derivatized, random), *_contaminants(derivatized, random)]
    for compound in present:
        counts += _peak(compound, position, ramp, random)
    if MINERAL in wanted:
        counts += _gases(position, random)
    return _measure(counts, position, random)


def choose_compounds(classes: set[int], derivatized: bool, random: np.random.Generator) -> list[Compound]:
    """One to four compounds (more where needed) that have no other classes and cover all of these."""
    if not classes:
        return []
    allowed = [c for c in COMPOUNDS if c.classes <= classes and (derivatized or not c.derivatized)]
    chosen: list[Compound] = []
    covered: set[int] = set()
    while covered != classes:
        silylated = [c for c in allowed if c.derivatized and c.classes - covered]
        useful = [c for c in allowed if c.classes - covered]
        pool = silylated if silylated and random.random() < 0.8 else useful
        chosen.append(pool[random.integers(len(pool))])
        covered |= chosen[-1].classes
    more = int(random.integers(0, max(1, 5 - len(chosen))))
    return chosen + [allowed[random.integers(len(allowed))] for _ in range(more)]


def _grid(profile: Grid, ions: Mapping[int, float]) -> Grid:
    """Outer product of a time profile and a spectrum (relative to its base peak)."""
    spectrum = np.zeros(_MAX_MASS + 1)
    spectrum[list(ions)] = np.fromiter(ions.values(), dtype=float) / max(ions.values())
    return np.outer(profile, spectrum)


def _peak(compound: Compound, position: Grid, ramp: float, random: np.random.Generator) -> Grid:
    """A Gaussian with an exponential tail where the compound elutes."""
    index = compound.retention_index * random.uniform(0.97, 1.03)
    centre = float(np.clip((index - 400) / 2600, 0.0, 1.0) ** ramp + random.normal(0, 0.02))
    centre = min(max(centre, 0.01), 0.98)
    width = random.uniform(0.002, 0.008)
    profile = np.exp(-0.5 * ((position - centre) / width) ** 2)
    tail = np.where(position > centre, np.exp(-(position - centre) / (3 * width)), 0.0)
    profile = np.maximum(profile, 0.4 * tail)
    varied = {ion: value * random.uniform(0.8, 1.2) for ion, value in compound.ions.items()}
    return _grid(profile * 10 ** random.normal(5.6, 0.6), varied)


def _background(position: Grid, random: np.random.Generator) -> Grid:
    """Air, water and the helium carrier, drifting slowly; the strongest signal of a real run."""
    drift = 1 + 0.3 * np.sin(2 * np.pi * (random.uniform(0.5, 2) * position + random.random()))
    solvent = 1 + 5 * np.exp(-position / random.uniform(0.01, 0.05))
    level = 10 ** random.uniform(6.3, 7.7)
    air = {ion: value * random.lognormal(0, 0.4) for ion, value in AIR.items()}
    return _grid(drift * solvent * level, air) + _grid(drift * 3e7, {4: 100.0})


def _bleed(position: Grid, random: np.random.Generator) -> Grid:
    """Siloxanes of the column, rising late in the run."""
    rise = 1 / (1 + np.exp(-(position - random.uniform(0.7, 0.95)) / random.uniform(0.03, 0.1)))
    return _grid(rise * 10 ** random.uniform(3.5, 5.5), BLEED)


def _gases(position: Grid, random: np.random.Generator) -> Grid:
    """What a heated mineral gives off, early and broad."""
    total = np.zeros((len(position), _MAX_MASS + 1))
    released = random.random(len(MINERAL_GASES)) < 0.7
    released[random.integers(len(MINERAL_GASES))] = True
    for gas in np.flatnonzero(released):
        centre, width = random.uniform(0.02, 0.3), random.uniform(0.02, 0.08)
        profile = np.exp(-0.5 * ((position - centre) / width) ** 2)
        total += _grid(profile * 10 ** random.normal(6.5, 0.5), MINERAL_GASES[gas])
    return total


def _contaminants(derivatized: bool, random: np.random.Generator) -> list[Compound]:
    found = [c for c, share in ((PHTHALATE, 0.25), (SILOXANE, 0.4)) if random.random() < share]
    return found + (list(REAGENTS) if derivatized else [])


def _measure(counts: Grid, position: Grid, random: np.random.Generator) -> Run:
    """Noise, threshold, mass window and calibration: a dense grid becomes ragged scans of centroids."""
    counts = counts + random.gamma(0.5, 160.0, counts.shape)
    counts = random.poisson(counts) * random.normal(1.0, 0.01, counts.shape)
    low, high = random.choice([3, 10, 12, 15, 33, 45]), random.choice([300, 350, 450, _MAX_MASS])
    seen = counts > random.uniform(150, 400)
    seen[:, :low] = False
    seen[:, high + 1 :] = False
    scan, mass = np.nonzero(seen)
    start = random.choice([0.042183, 0.5, 2.0, 3.0, 7.002083])
    length = random.uniform(7, 12) if random.random() < 0.1 else random.uniform(20, 38)
    jitter = random.normal(0, 0.03) + 2e-4 * (mass - 200) + random.normal(0, 0.07, len(mass))
    return Run(
        np.round(start + position[scan] * length, 6),
        np.round(mass + jitter, 6),
        np.floor(counts[scan, mass]),
    )
