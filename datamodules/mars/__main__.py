"""Commands for GC-MS data: ``python -m datamodules.mars convert SOURCE --dest FOLDER``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from datamodules.commands import as_typed, refusals_as_sentences


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog=as_typed("python -m datamodules.mars"), description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    convert = commands.add_parser(
        "convert",
        help="other layouts and formats to metadata.csv, labels and time,mass,intensity tables",
        description=(
            "Turn runs of the first competition (time,temp,m/z,abundance), ANDI/netCDF (.cdf) and mzML files (pip install "
            '"podium[ms]") into the layout that experiments read. Samples and splits come from SOURCE/metadata.csv where it is '
            "there; otherwise every file is a sample, of the split whose label table names it, else of test."
        ),
    )
    convert.add_argument("source", type=Path, help="folder of runs, or one file")
    convert.add_argument("--dest", type=Path, required=True, help="data folder to make")
    convert.add_argument("--processes", type=int, help="files that are read side by side; default: all cores")
    arguments = parser.parse_args(argv)
    if arguments.processes is not None and arguments.processes < 1:
        parser.error(f"--processes must be at least 1, got {arguments.processes}")
    from datamodules.mars.convert import convert as work

    with refusals_as_sentences():
        work(arguments.source, arguments.dest, arguments.processes)


if __name__ == "__main__":
    main()
