"""Synthetic ``lish-moa`` files in the competition's exact form, from a seed.

Labels are a function of the drug. A drug moves latent programs of the cell by the signatures of its mechanisms and by a
vector of its own (what a net can learn about a drug that is in training already, so that row folds look easier than drug
folds); genes are sparse mixtures of the programs, cells die of toxicity.

Half of the non-scored targets have signatures that resemble scored ones, and the drugs of a non-scored target are those that move
the programs most along its signature. So a first stage on these targets learns to read programs that the few drugs of a scored
target are too few to teach, and its predictions help the second stage. In the competition only 21 % of the drugs have
a non-scored label; the 450 drugs here would have less than one drug for a target that way, and nothing to transfer. Scores
on these files say nothing about the competition's.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, write_json
from datamodules.moa.tables import CONTROL, DOSE, DRUG, ID, TIME, TREATED, TYPE

GENERATOR_VERSION = 2
CONTROL_DRUG = "cacb2b860"
TIMES = (24, 48, 72)
DOSES = ("D1", "D2")
HIDDEN = "hidden"

_TIME_FACTOR = np.array([0.8, 1.0, 1.1])
_DOSE_FACTOR = np.array([0.85, 1.25])
_SETS = np.array([0.342, 0.571, 0.070, 0.014, 0.003])  # share of the drugs with 0, 1, 2, 3, 4 scored labels
_CONTROL_SHARE = 0.0784
# share of the drugs that have a non-scored target: at least, at most, and the exponent of the Pareto law between
_NONSCORED_LEAST, _NONSCORED_MOST, _NONSCORED_EXPONENT = 0.05, 0.25, 1.5
_SCORED_NAMES = ("atp-sensitive_potassium_channel_antagonist", "nfkb_inhibitor", "proteasome_inhibitor")
# two names of the competition hold a comma; whoever splits lines by hand fails on them here
_NONSCORED_NAMES = ("fungal_1,3-beta-d-glucan_synthase_inhibitor", "indoleamine_2,3-dioxygenase_inhibitor")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DemoSpec:
    """Size and difficulty of the files.

    Args:
        seed: Seed of everything.
        drugs: Drugs of the training files, besides the control.
        test_drugs: Drugs that only the test file has.
        genes, cells: Feature columns.
        scored, nonscored: Target columns.
        empty: non-scored targets without a positive; all others have one in training.
        reference_drugs: Drugs with 20 to 60 rows, for the double stratification.
        programs: Latent dimensions.
        moa: Strength of what the mechanisms share.
        idiosyncratic: Strength of what a drug has for itself.
        noise: Noise of a gene.
        toxicity: Toxicity of the toxic mechanisms.
    """

    seed: int = 0
    drugs: int = 450
    test_drugs: int = 50
    genes: int = 772
    cells: int = 100
    scored: int = 206
    nonscored: int = 402
    empty: int = 71
    reference_drugs: int = 3
    programs: int = 48
    moa: float = 0.6
    idiosyncratic: float = 0.45
    noise: float = 0.9
    toxicity: float = 0.5

    def __post_init__(self) -> None:
        if self.nonscored - self.empty < 1 or self.scored < 1:
            raise ValueError("the demo data need at least one scored and one non-empty non-scored target")


@dataclass
class _World:
    """Drugs, and what they do to a cell."""

    scored: npt.NDArray[np.uint8]  # (drugs, scored)
    nonscored: npt.NDArray[np.uint8]
    shared: Array  # (drugs, programs): summed signatures
    own: Array  # (drugs, programs)
    toxicity: Array  # (drugs,)
    potency: Array
    gene_weights: Array  # (programs, genes)
    gene_noise: Array
    cell_weights: Array
    sensitivity: Array


@dataclass
class _Rows:
    """Replicates of drugs; drug -1 is the control."""

    drug: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    dose: npt.NDArray[np.int64]


def generate(folder: Path, spec: DemoSpec | None = None) -> Path:
    """Write the six files, and ``hidden/test_targets_scored.csv`` to score a submission with, or find them written.

    Args:
        folder: To make.
        spec: Size and seed.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds other files.
    """
    spec = spec or DemoSpec()
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = {"generator_version": GENERATOR_VERSION, "spec": asdict(spec)}
    with FileLock(str(folder) + ".lock"):
        if (folder / "demo.json").is_file():
            if read_json(folder / "demo.json") == wanted:
                return folder
        elif folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder} holds files that are no demo data; give another folder")
        with atomic_path(folder) as work:
            work.mkdir()
            _write_all(work, spec)
            write_json(work / "demo.json", wanted)
    return folder


def _write_all(folder: Path, spec: DemoSpec) -> None:
    rng = np.random.default_rng(spec.seed)
    world = _world(rng, spec)
    train = _train_rows(rng, spec)
    test = _test_rows(rng, spec)
    n = len(train.drug) + len(test.drug)
    codes = rng.choice(16**9, size=n, replace=False)
    names = (_names("mechanism", spec.scored, _SCORED_NAMES), _names("tool", spec.nonscored, _NONSCORED_NAMES))
    _write_split(folder, "train", rng, spec, world, train, codes[: len(train.drug)], names)
    _write_split(folder, "test", rng, spec, world, test, codes[len(train.drug) :], names)


def _world(rng: np.random.Generator, spec: DemoSpec) -> _World:
    drugs, K = spec.drugs + spec.test_drugs, spec.programs
    scored_signature = _signatures(rng, spec.scored, K)
    scored = _scored_labels(rng, drugs, spec.scored)
    shared = scored @ scored_signature
    own = rng.standard_normal((drugs, K)) * (rng.random((drugs, K)) < 0.15)
    nonscored = _nonscored_labels(rng, spec, scored_signature, spec.moa * shared + spec.idiosyncratic * own)
    target_toxicity = rng.gamma(1.0, 0.4, size=spec.scored) + (rng.random(spec.scored) < 0.25) * rng.gamma(
        4.0, 0.5, size=spec.scored
    )
    return _World(
        scored=scored,
        nonscored=nonscored,
        shared=shared,
        own=own,
        toxicity=spec.toxicity * (scored @ target_toxicity + rng.gamma(0.5, 0.3, size=drugs)),
        potency=rng.lognormal(0.0, 0.35, size=drugs),
        gene_weights=rng.standard_t(4, size=(K, spec.genes)) * (rng.random((K, spec.genes)) < 0.25),
        gene_noise=spec.noise * rng.uniform(0.7, 1.2, size=spec.genes),
        cell_weights=rng.standard_normal((K, spec.cells)) * (rng.random((K, spec.cells)) < 0.25),
        sensitivity=rng.uniform(0.6, 1.4, size=spec.cells),
    )


def _signatures(rng: np.random.Generator, targets: int, programs: int) -> Array:
    """What each mechanism does to the programs; nearly half of them cannot be seen in expression."""
    signature = np.zeros((targets, programs))
    for row in signature:
        row[rng.choice(programs, size=min(4, programs), replace=False)] = rng.standard_normal(min(4, programs))
    visible = np.where(rng.random(targets) < 0.45, 0.15, 1.0)
    return signature * rng.gamma(2.0, 0.5, size=(targets, 1)) * visible[:, None]


def _scored_labels(rng: np.random.Generator, drugs: int, targets: int) -> npt.NDArray[np.uint8]:
    """Label sets: popular targets have many drugs, and every target has one as long as there are labels enough."""
    sizes = rng.choice(len(_SETS), size=drugs, p=_SETS)
    popularity = rng.pareto(1.1, size=targets) + 0.05
    slots = int(sizes.sum())
    draws = np.concatenate([rng.permutation(targets), rng.choice(targets, size=slots, p=popularity / popularity.sum())])
    draws = rng.permutation(draws[:slots])
    labels = np.zeros((drugs, targets), dtype=np.uint8)
    labels[np.repeat(np.arange(drugs), sizes), draws] = 1
    return labels


def _nonscored_labels(
    rng: np.random.Generator, spec: DemoSpec, scored_signature: Array, effect: Array
) -> npt.NDArray[np.uint8]:
    """Labels ``(drugs, nonscored)``: of each target the drugs whose ``effect`` (drugs, programs) lies most along its signature."""
    usable = spec.nonscored - spec.empty
    signature = _signatures(rng, usable, spec.programs)
    related = rng.random(usable) < 0.5
    near = scored_signature[rng.integers(spec.scored, size=usable)]
    signature[related] = 0.7 * near[related] + 0.5 * signature[related]
    share = (_NONSCORED_LEAST * (1 + rng.pareto(_NONSCORED_EXPONENT, size=usable))).clip(max=_NONSCORED_MOST)
    count = (share * spec.drugs).round().astype(np.int64).clip(min=1)
    along = effect @ signature.T
    # the drugs of the training files alone set the bar, so that none of these targets is empty there
    bar = -np.sort(-along[: spec.drugs], axis=0)[count - 1, np.arange(usable)]
    labels = np.zeros((len(effect), spec.nonscored), dtype=np.uint8)
    labels[:, np.sort(rng.permutation(spec.nonscored)[:usable])] = along >= bar
    return labels


def _train_rows(rng: np.random.Generator, spec: DemoSpec) -> _Rows:
    counts = np.full(spec.drugs, 6)
    draw = rng.random(spec.drugs)
    counts[draw < 0.12] = 7
    counts[draw < 0.06] = 12
    reference = rng.choice(spec.drugs, size=min(spec.reference_drugs, spec.drugs), replace=False)
    counts[reference] = rng.integers(20, 61, size=len(reference))
    controls = round(counts.sum() * _CONTROL_SHARE / (1 - _CONTROL_SHARE))
    return _replicates(np.concatenate([np.repeat(np.arange(spec.drugs), counts), np.full(controls, -1)]))


def _test_rows(rng: np.random.Generator, spec: DemoSpec) -> _Rows:
    """Six rows of every drug that training does not know, one of some that it does, controls."""
    unseen = np.repeat(np.arange(spec.drugs, spec.drugs + spec.test_drugs), 6)
    seen = rng.integers(spec.drugs, size=max(1, spec.drugs // 3))
    controls = round((len(unseen) + len(seen)) * _CONTROL_SHARE / (1 - _CONTROL_SHARE))
    return _replicates(np.concatenate([unseen, np.sort(seen), np.full(controls, -1)]))


def _replicates(drug: npt.NDArray[np.int64]) -> _Rows:
    """Each drug goes through all times and doses in turn."""
    _, first, drug_of = np.unique(drug, return_index=True, return_inverse=True)
    number = np.arange(len(drug)) - first[drug_of]
    return _Rows(drug, number // len(DOSES) % len(TIMES), number % len(DOSES))


def _measure(rng: np.random.Generator, spec: DemoSpec, world: _World, rows: _Rows) -> Array:
    """Genes and cells of some rows, clipped and rounded as the judge's files are."""
    treated = rows.drug >= 0
    drug = np.where(treated, rows.drug, 0)
    amplitude = world.potency[drug] * _DOSE_FACTOR[rows.dose] * _TIME_FACTOR[rows.time] * treated
    z = amplitude[:, None] * (spec.moa * world.shared[drug] + spec.idiosyncratic * world.own[drug])
    bounded = np.tanh(z / 3)
    genes = 3 * 0.35 * bounded @ world.gene_weights
    genes += rng.standard_t(6, size=genes.shape) * world.gene_noise
    cells = -(world.toxicity[drug] * amplitude)[:, None] * world.sensitivity + 0.3 * bounded @ world.cell_weights
    cells += rng.normal(0.0, 0.45, size=cells.shape)
    result: Array = np.clip(np.concatenate([genes, cells], axis=1), -10, 10).round(4)
    return result


def _write_split(
    folder: Path,
    name: str,
    rng: np.random.Generator,
    spec: DemoSpec,
    world: _World,
    rows: _Rows,
    codes: npt.NDArray[np.int64],
    names: tuple[list[str], list[str]],
) -> None:
    ids = np.array([f"id_{code:09x}" for code in codes])
    order = np.argsort(ids)
    ids = ids[order]
    rows = _Rows(rows.drug[order], rows.time[order], rows.dose[order])
    treated = rows.drug >= 0
    conditions = {
        ID: ids,
        TYPE: np.where(treated, TREATED, CONTROL),
        TIME: np.array(TIMES)[rows.time],
        DOSE: np.array(DOSES)[rows.dose],
    }
    values = _measure(rng, spec, world, rows)
    measured = [f"g-{i}" for i in range(spec.genes)] + [f"c-{i}" for i in range(spec.cells)]
    write_table(folder / f"{name}_features.csv", conditions | dict(zip(measured, values.T, strict=True)))
    scored = world.scored[rows.drug] * treated[:, None]
    labels = {ID: ids} | dict(zip(names[0], scored.T, strict=True))
    if name == "test":
        write_table(folder / HIDDEN / "test_targets_scored.csv", labels)
        write_table(folder / "sample_submission.csv", {ID: ids} | dict.fromkeys(names[0], np.full(len(ids), 0.5)))
        return
    nonscored = world.nonscored[rows.drug] * treated[:, None]
    write_table(folder / "train_targets_scored.csv", labels)
    write_table(folder / "train_targets_nonscored.csv", {ID: ids} | dict(zip(names[1], nonscored.T, strict=True)))
    multiplier = 0x9E3779B1  # odd, so that different drugs get different codes
    drugs = np.array([f"{(drug + 1) * multiplier % 16**9:09x}" for drug in rows.drug])
    write_table(folder / "train_drug.csv", {ID: ids, DRUG: np.where(treated, drugs, CONTROL_DRUG)})


def _names(kind: str, count: int, first: Sequence[str]) -> list[str]:
    made = [f"{kind}_{number:03d}_{('inhibitor', 'agonist', 'antagonist')[number % 3]}" for number in range(count)]
    return sorted([*first[:count], *made[len(first[:count]) :]])


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns as CSV, quoting only names that need it."""
    import pyarrow as pa
    import pyarrow.csv

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table([pa.array(np.ascontiguousarray(values)) for values in columns.values()], names=list(columns))
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(columns)
    with path.open("ab") as file:
        pyarrow.csv.write_csv(table, file, write_options=options)
