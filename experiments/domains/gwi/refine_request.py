"""What a refinement is asked for: the flags of ``python experiments/gwi_refine.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodules.parts import parse_part


@dataclass
class Request:
    """What to refine.

    Args:
        gathers: One survey's gathers (shots, samples, receivers) as .npy, or a .sgy or .segy file, instead of a bank.
        start: Where the inversion of --gathers begins: gradient:1600:4200 or constant:2500 in m/s, FILE.npy, or smooth:5:FILE.npy, blurred by so many cells.
        acquisition: YAML file of the survey (spacing, interval, sources, receivers, wavelet; see docs/gwi.md); default: OpenFWI's.
        shape: Depth and columns of the map in cells, where --start does not tell; 70,70 by default.
        truth: True map as .npy, to say how far off the result is.
        family: Family of OpenFWI whose prior holds for --gathers; default: layers with few edges.
        frequencies: Highest frequency in Hz of each stage before the last, such as 5,8,12, which has all; empty: one stage.
        misfit: l2 compares traces; envelope begins with their envelopes, which forgive skipped cycles.
        lowest: Frequency in Hz below which nothing was recorded and nothing is compared; default: all of them count.
        method: gauss_newton solves for all cells at once, first for a profile, low frequencies and early arrivals, then under the prior (at most 12,000 cells, CPU), and quasi_newton descends from there, or alone; auto: gauss_newton for --gathers where it fits and no noise is in them, quasi_newton for --bank.
        wavelet: given by the acquisition, or estimate it over the start.
        ensemble: Starts, smoothly disturbed, whose results give mean and standard deviation.
        spread: Standard deviation of these disturbances in m/s.
        slowest: Lower bound of velocities in m/s.
        fastest: Upper bound of velocities in m/s.
        bank: Bank folder of the net's maps, or a fold directory that holds one.
        data_dir: Folder of the data that were predicted, for --bank; real maps without gathers are shot exactly.
        out: Bank folder to write, by default beside the bank with the ending _refined; for --gathers a folder, by default inversion.
        groups: CSV with the columns row_id and group (the family), for banks of test files, such as the classifier's labels.
        max_iterations: For each map, if it does not stop before; one costs about four simulations.
        tolerance: Stop when ten iterations lower the residual by less than this share, once the prior has let go.
        prior_weight: Prior weight of the family's prior against the misfit that is left while the gathers speak first; default: the prior's own.
        late_prior_weight: The same when it then sharpens edges, halved every ten iterations; default: the prior's own.
        most_per_family: Refine only the first maps of each family.
        part: K/N = only every N-th map, beginning with the K-th.
        at_once: Maps that are refined side by side, their simulations in one batch; 0 = one a thread, 64 on a GPU.
        threads: Threads of the simulator; 0 = all cores.
        device: auto takes a CUDA GPU where there is one.
    """

    bank: Path | None = None
    data_dir: Path | None = None
    gathers: Path | None = None
    start: str = "gradient:1600:4200"
    acquisition: Path | None = None
    shape: str = "70,70"
    truth: Path | None = None
    family: str | None = None
    frequencies: str = ""
    misfit: Literal["l2", "envelope"] = "l2"
    lowest: float | None = None
    method: Literal["auto", "gauss_newton", "quasi_newton"] = "auto"
    wavelet: Literal["given", "estimate"] = "given"
    ensemble: int = 1
    spread: float = 100.0
    slowest: float = 1500.0
    fastest: float = 4500.0
    out: Path | None = None
    groups: Path | None = None
    max_iterations: int = 60
    tolerance: float = 0.05
    prior_weight: float | None = None
    late_prior_weight: float | None = None
    most_per_family: int | None = None
    part: str = "1/1"
    at_once: int = 0
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if (self.bank is None) == (self.gathers is None):
            raise ValueError("give either --bank, whose maps are refined, or --gathers of one survey")
        if self.bank is not None and self.data_dir is None:
            raise ValueError("--bank needs --data_dir, where its gathers are")
        if self.ensemble < 1:
            raise ValueError(f"--ensemble must be at least 1, got {self.ensemble}")
        if not 0 < self.slowest < self.fastest:
            raise ValueError(f"--slowest and --fastest are bounds above 0, got {self.slowest} and {self.fastest}")
        if self.lowest is not None and not self.lowest > 0:
            raise ValueError(f"--lowest is a frequency above 0 Hz, got {self.lowest}")
        if (rising := numbers(self.frequencies, "--frequencies")) != tuple(sorted(set(rising))):
            raise ValueError(f"--frequencies rise from descent to descent, such as 5,8,12, got {self.frequencies!r}")
        if len(numbers(self.shape, "--shape")) != 2:
            raise ValueError(f"--shape is written as depth,columns, such as 150,460, got {self.shape!r}")
        if self.max_iterations < 1:
            raise ValueError(f"--max_iterations must be at least 1, got {self.max_iterations}")
        if self.at_once < 0:
            raise ValueError(f"--at_once must not be negative, got {self.at_once}")
        if self.most_per_family is not None and self.most_per_family < 1:
            raise ValueError(f"--most_per_family must be at least 1, got {self.most_per_family}")
        parse_part(self.part)


def numbers(text: str, flag: str) -> tuple[float, ...]:
    """``5,8,12`` as numbers above 0, ascending or not.

    Raises:
        ValueError: it is not written so.
    """
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = (-1.0,)
    if any(number <= 0 for number in found):
        raise ValueError(f"{flag} takes numbers above 0 such as 5,8,12, got {text!r}")
    return found
