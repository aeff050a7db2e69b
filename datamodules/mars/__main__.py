"""Commands on GC-MS data: ``python -m datamodules.mars <command> --help``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from datamodules.commands import run_commands
from datamodules.errors import UsageError


def convert(source: Path, dest: Path = Path("gcms"), processes: int | None = None) -> None:
    """Turn other layouts and formats into metadata.csv, labels and tables of time, mass and intensity.

    Reads runs of the first competition (time,temp,m/z,abundance), ANDI/netCDF (.cdf) and mzML files (pip install "podium[ms]").
    Samples and splits come from SOURCE/metadata.csv where it is there; otherwise every file is a sample, of the split whose
    label table names it, else of test.

    Args:
        source: Folder of runs, or one file.
        dest: Data folder to make.
        processes: Files that are read side by side; by default one per core.
    """
    from datamodules.mars.convert import convert as work

    if processes is not None and processes < 1:
        raise UsageError(f"--processes must be at least 1, got {processes}")
    work(source, dest, processes)


def demo(
    dest: Path, seed: int = 0, train: int = 240, val: int = 60, test: int = 40, processes: int | None = None
) -> None:
    """Generate synthetic GC-MS runs in the competition's layout.

    A data set that is there already is not made again.

    Args:
        dest: Folder of demo data sets; a sub-folder is named after the options.
        seed: Seed of everything random.
        train: Training samples.
        val: Samples of the official validation set, with labels.
        test: Samples without labels.
        processes: Worker processes; by default one per core.
    """
    from datamodules.mars.demo import DemoSpec, generate

    print(f"{generate(dest, DemoSpec(train, val, test, seed), processes)}: {train + val + test} runs, synthetic")


COMMANDS: dict[str, Callable[..., None]] = {"convert": convert, "demo": demo}


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; what it refuses is one sentence."""
    run_commands("python -m datamodules.mars", __doc__, COMMANDS, args)


if __name__ == "__main__":
    main()
