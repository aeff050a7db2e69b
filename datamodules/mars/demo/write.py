"""A demo data set on disk, in the competition's layout."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock

from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, usable_cores, write_json
from datamodules.mars.demo.fingerprints import CLASSES
from datamodules.mars.demo.sample import synthesise
from datamodules.mars.features import write_run
from datamodules.mars.tables import METADATA_COLUMNS
from datamodules.workers import worker_pool

GENERATOR_VERSION = 1
INFO = "demo.json"

# label combinations of the competition's training set and how often they occur there
COMBINATIONS = {
    "000000000": 303, "010000000": 241, "000000001": 81, "001100000": 27, "001000000": 24, "101100000": 17,
    "000100000": 15, "100000001": 13, "111111110": 11, "100000000": 10, "110001000": 9, "000000010": 7,
    "001101100": 7, "101100001": 6, "101000001": 5, "001100001": 5, "101000000": 5, "000000100": 4, "001000001": 3,
    "000010001": 3, "101101100": 3, "000110000": 3, "010000010": 2,
}  # fmt: skip
# share of derivatized samples among the competition's with a class, in the order of the classes
_DERIVATIZED = np.array([0.63, 0.06, 0.84, 0.95, 0.89, 0.74, 0.88, 0.72, 0.31])
_DERIVATIZED_BLANK = 0.25


@dataclass(frozen=True)
class DemoSpec:
    """Size of a demo data set.

    Args:
        train: Training samples.
        val: Samples of the official validation set, with labels.
        test: Samples without labels.
        seed: Seed of everything random.
    """

    train: int = 240
    val: int = 60
    test: int = 40
    seed: int = 0

    @property
    def name(self) -> str:
        """Folder name."""
        return f"gcms-demo-{self.train}-{self.val}-{self.test}-seed{self.seed}-v{GENERATOR_VERSION}"


def generate(root: Path, spec: DemoSpec | None = None, processes: int | None = None) -> Path:
    """Make a synthetic data set below ``root``, or find it there.

    Label combinations and the share of derivatized samples follow the competition's training set; the runs are invented,
    so scores on them are not comparable with any leaderboard. Files depend on the specification alone.

    Args:
        root: Folder of generated data sets.
        spec: Sizes and seed; the defaults if absent.
        processes: Worker processes; by default one per core this process may use, 1 works in this process.

    Returns:
        The folder of the data set.

    Raises:
        DataError: a folder that is no demo data set has its name.
    """
    spec = spec or DemoSpec()
    folder = Path(root) / spec.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                _write(temporary, spec, processes)
        elif not (folder / INFO).is_file() or read_json(folder / INFO)["spec"] != asdict(spec):
            raise DataError(f"{folder} has the name of a demo data set but is none: move it away or delete it")
    return folder


def _write(folder: Path, spec: DemoSpec, processes: int | None) -> None:
    random = np.random.default_rng((spec.seed, GENERATOR_VERSION))
    splits = np.repeat(["train", "val", "test"], [spec.train, spec.val, spec.test])
    labels, derivatized = _draw_labels(len(splits), random)
    ids = [f"S{i:04d}" for i in range(len(splits))]
    paths = [f"{split}_features/{name}.csv" for split, name in zip(splits, ids, strict=True)]
    for split in np.unique(splits):
        (folder / f"{split}_features").mkdir()
    md5 = _write_runs(folder, paths, labels, derivatized, spec.seed, processes)
    metadata = pd.DataFrame(
        dict(zip(METADATA_COLUMNS, (ids, splits, np.where(derivatized, "1", ""), paths, md5), strict=True))
    )
    metadata.to_csv(folder / "metadata.csv", index=False)
    table = pd.DataFrame(labels, columns=list(CLASSES))
    table.insert(0, "sample_id", ids)
    for split in ("train", "val"):
        table[splits == split].to_csv(folder / f"{split}_labels.csv", index=False)
    table[splits == "test"].to_csv(folder / "solution.csv", index=False)
    asked = table[splits != "train"].astype(dict.fromkeys(CLASSES, float))
    asked[list(CLASSES)] = 0.5
    asked.to_csv(folder / "submission_format.csv", index=False)
    write_json(folder / INFO, {"generator_version": GENERATOR_VERSION, "spec": asdict(spec)})


def _draw_labels(n: int, random: np.random.Generator) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Label rows and whether each sample is derivatized."""
    known = np.array([[int(digit) for digit in combination] for combination in COMBINATIONS], dtype=np.int8)
    share = np.array(list(COMBINATIONS.values()), dtype=float)
    labels = known[random.choice(len(known), n, p=share / share.sum())]
    likely = np.where(labels.any(axis=1), (labels * _DERIVATIZED).max(axis=1), _DERIVATIZED_BLANK)
    return labels, random.random(n) < likely


def _write_runs(
    folder: Path,
    paths: list[str],
    labels: npt.NDArray[np.int8],
    derivatized: npt.NDArray[np.bool_],
    seed: int,
    processes: int | None,
) -> list[str]:
    """Write all feature files; their md5."""
    workers = processes or usable_cores()
    write = partial(_write_run, folder, seed)
    if workers == 1:
        return list(map(write, range(len(paths)), paths, labels, derivatized))
    with worker_pool(workers) as pool:
        return list(pool.map(write, range(len(paths)), paths, labels, derivatized, chunksize=8))


def _write_run(
    folder: Path, seed: int, number: int, path: str, labels: npt.NDArray[np.int8], derivatized: np.bool_
) -> str:
    random = np.random.default_rng((seed, GENERATOR_VERSION, number))
    run = synthesise(labels.tolist(), bool(derivatized), random)
    return write_run(folder / path, replace(run, intensity=run.intensity.astype(np.int64)))
