"""Flipped bits and cut files over every kind that a run writes: refused in a sentence that names the file, or of no effect."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import read_json
from datamodules.folds import FoldTable
from datamodules.stores.store import Store
from experiments.engine.identity import RunIdentity
from experiments.engine.loggers import MetricsCsv
from experiments.engine.run_directory import RunDirectory
from lit_modules.base import IDENTITY_KEY, read_checkpoint

KINDS = [
    "bank/predictions.npy", "bank/index.parquet", "bank/manifest.json", "bank/scale.npy", "checkpoints/best.ckpt",
    "checkpoints/last.ckpt", "run.json", "folds.csv", "metrics.csv", "store arrays", "store manifest", "truth predictions",
]  # fmt: skip
CHECKED = [kind for kind in KINDS if kind not in ("metrics.csv", "folds.csv")]
"""Kinds whose every bit is vouched for; of the others a reader can only say that they are well formed."""
FLIPS = 200


@pytest.fixture
def run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the run with its truth, to be broken."""
    out = finished.path.parents[3]
    shutil.copytree(out, tmp_path / "runs")
    return RunDirectory(tmp_path / "runs" / finished.path.relative_to(out))


@pytest.fixture
def store(raw: Path, finished: RunDirectory, tmp_path: Path) -> Path:
    """A copy of the store that the run read."""
    (folder,) = [path.parent for path in (raw.parent / "cache").glob("*/profiles.npy")]
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def file_of(kind: str, run: RunDirectory, store: Path) -> Path:
    """Where a file of a kind lies."""
    if kind == "store arrays":
        return store / "profiles.npy"
    if kind == "store manifest":
        return next(path for path in store.glob("*.json"))
    if kind == "truth predictions":
        return next((run.path.parents[3] / "truth").glob("*/predictions.npy"))
    return run.path / kind


def read(kind: str, run: RunDirectory, store: Path) -> Any:
    """What a reader of a kind makes of it, as something that can be compared."""
    if kind.startswith("store"):
        opened = Store.open(store)
        opened.verify()
        return {name: np.array(values) for name, values in opened.arrays.items()}
    if kind.startswith(("bank", "truth")):
        bank = PredictionBank(run.bank)
        bank.verify()
        truth = bank.truth()
        truth.verify()
        values = {f"{i}": b.in_judge_units(slice(None)) for i, b in enumerate((bank, truth))}
        return values | {"ids": bank.index["row_id"].to_numpy(dtype=str), "manifest": np.array(str(bank.manifest))}
    if kind.startswith("checkpoints"):
        checkpoint = read_checkpoint(run.path / kind)
        RunIdentity.read(checkpoint[IDENTITY_KEY])
        return {name: value.numpy() for name, value in checkpoint["state_dict"].items()}
    readers: dict[str, Callable[[], Any]] = {
        "run.json": lambda: RunIdentity.read(run.record()),
        "folds.csv": lambda: FoldTable.read(run.path / "folds.csv").hash,
        "metrics.csv": lambda: MetricsCsv(run.path / "metrics.csv").rows(),
    }
    return {kind: np.array(str(readers[kind]()))}


def outcome(kind: str, run: RunDirectory, store: Path, whole: dict[str, Any]) -> str:
    """``refused``, ``same`` or ``silent``."""
    try:
        found = read(kind, run, store)
    except DataError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    same = found.keys() == whole.keys() and all(np.array_equal(found[name], whole[name]) for name in whole)
    return "same" if same else "silent"


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits(kind: str, run: RunDirectory, store: Path) -> None:
    path, draw = file_of(kind, run, store), random.Random(kind)
    whole, content = read(kind, run, store), path.read_bytes()
    counts = {"refused": 0, "same": 0, "silent": 0}
    for _ in range(FLIPS // len(KINDS) + 1):
        broken = bytearray(content)
        broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        counts[outcome(kind, run, store, whole)] += 1
    path.write_bytes(content)
    assert outcome(kind, run, store, whole) == "same"
    if kind in CHECKED:
        assert counts["silent"] == 0, counts
        assert counts["refused"] > 0, counts


@pytest.mark.parametrize("kind", KINDS)
def test_cut_files(kind: str, run: RunDirectory, store: Path) -> None:
    path, draw = file_of(kind, run, store), random.Random(kind)
    whole, content = read(kind, run, store), path.read_bytes()
    end = {"refused", "same"} if path.suffix == ".json" else {"refused"}  # its last byte is a line's end
    for length in (0, 1, len(content) // 2, *(draw.randrange(len(content)) for _ in range(3)), len(content) - 1):
        path.write_bytes(content[:length])
        found = outcome(kind, run, store, whole)
        if kind in CHECKED:
            assert found in (end if length == len(content) - 1 else {"refused"}), (
                f"{kind} cut to {length} of {len(content)} bytes: {found}"
            )


def test_names_of_damaged_files_are_said(run: RunDirectory) -> None:
    for name in ("predictions.npy", "index.parquet", "manifest.json", "scale.npy"):
        copy = Path(shutil.copytree(run.bank, run.path / f"bank-{name}"))
        manifest = read_json(copy / "manifest.json")
        assert manifest
        (copy / name).write_bytes((copy / name).read_bytes()[:-9])
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            PredictionBank(copy).verify()
