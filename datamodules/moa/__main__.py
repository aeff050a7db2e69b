"""Commands on MoA data: ``python -m datamodules.moa <command> --help``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datamodules.commands import run_commands


def demo(dest: Path, seed: int = 0, drugs: int = 450, test_drugs: int = 50) -> None:
    """Generate synthetic tables in the competition's six files, and the test file's hidden labels.

    A data set that is there already is not made again.

    Args:
        dest: Folder of the data set.
        seed: Seed of everything random.
        drugs: Drugs of the training files, besides the control; about six rows each.
        test_drugs: Drugs that only the test file has.
    """
    from datamodules.moa.demo import DemoSpec, generate

    print(f"{generate(dest, DemoSpec(seed=seed, drugs=drugs, test_drugs=test_drugs))}: {drugs} drugs, synthetic")


COMMANDS: dict[str, Callable[..., None]] = {"demo": demo}


def main(args: list[str] | None = None) -> None:
    """Run a command; what it refuses is one sentence."""
    run_commands("python -m datamodules.moa", __doc__, COMMANDS, args)


if __name__ == "__main__":
    main()
