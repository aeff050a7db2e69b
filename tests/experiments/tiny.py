"""A tiny synthetic data set, and the flags of a run that takes seconds on it."""

from __future__ import annotations

from pathlib import Path

from datamodules.leap.demo import DemoSpec, generate

COLUMNS = 8


def write_raw(folder: Path, seed: int = 0) -> Path:
    """Sixteen pairs of eight columns: 64 rows to train on, 64 to validate on."""
    spec = DemoSpec(seed=seed, first_month="0008-05", months=4, steps_per_month=4, columns=COLUMNS)
    return generate(folder, spec, progress=False)


def flags(
    data_dir: Path, out: Path, *more: str, net: tuple[str, ...] = ("--model.hidden", "4", "--model.layers", "2")
) -> list[str]:
    """Arguments of a tiny run; ``net`` makes its net small."""
    return [
        "--data_dir", str(data_dir), "--out", str(out), "--data.cache_dir", str(data_dir.parent / "cache"),
        "--data.columns", str(COLUMNS), "--data.processes", "1", *net,
        "--epochs", "3", "--batch_size", "16", "--wandb", "disabled", "--train.progress", "false", "--train.log_every", "2",
        "--train.figures", "false",
        "--accelerator", "cpu", *more,
    ]  # fmt: skip
