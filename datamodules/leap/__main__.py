"""Commands on LEAP / ClimSim data: ``python -m datamodules.leap <command> --help``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datamodules.errors import DataError
from datamodules.leap.demo.command import demo_main
from datamodules.leap.download import download

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def convert(
    source: Path,
    dest: Path = Path("stores"),
    columns: int = 384,
    months: str | None = None,
    stride: int = 1,
    drop_last_file: bool = False,
    store_dtype: Literal["float64", "float32"] = "float64",
    time_stride: int = 7,
    processes: int | None = None,
    verify: bool = False,
) -> None:
    """Convert raw ClimSim files, train.csv, test.csv or parquet into a memory-mapped store.

    Killed and started again, it goes on where it stood.

    Args:
        source: Folder of raw files (at any depth), or a table.
        dest: Folder of stores.
        columns: Grid columns of every raw file.
        months: Months of raw files, such as 0001-02:0008-06 or 0008-07,0008-09; all by default.
        stride: Take every n-th raw file.
        drop_last_file: Leave out the last raw file before the stride, as ClimSim's own tools do.
        store_dtype: float32 halves the disk space; cloud columns below 1e-45 become zero.
        time_stride: Time steps between consecutive steps of a train table.
        processes: Worker processes; by default one per core.
        verify: Read the finished store again and compare its checksums.
    """
    from datamodules.leap import convert as conversion

    store = conversion.convert(
        source, dest, columns, months, stride, drop_last_file, store_dtype, time_stride, processes
    )
    if verify:
        store.verify()
    print(conversion.describe(store))


COMMANDS: dict[str, Callable[..., None]] = {"convert": convert, "demo": demo_main, "download": download}
"""Every command is a typed function: its signature is the command line, its docstring the help."""


def main(args: list[str] | None = None) -> None:
    """Run a command; data errors end it with one sentence."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="python -m datamodules.leap", description=__doc__, allow_abbrev=False)
    commands = parser.add_subcommands(dest="command")
    for name, function in COMMANDS.items():
        commands.add_subcommand(name, _command_parser(function), help=_summary(function))
    chosen = parser.parse_args(args)
    try:
        COMMANDS[chosen.command](**chosen[chosen.command].as_dict())
    except DataError as error:
        sys.exit(f"error: {error}")


def _command_parser(function: Callable[..., None]) -> ArgumentParser:
    """Options of a command from its signature; what is true or false is a switch."""
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    switches: set[str | int] = {name for name, kind in function.__annotations__.items() if kind in (bool, "bool")}
    parser = ArgumentParser(description=_summary(function), allow_abbrev=False)
    parser.add_function_arguments(function, as_positional=True, skip=switches)
    for parameter in parse(function.__doc__ or "").params:
        if parameter.arg_name in switches:
            parser.add_argument(f"--{parameter.arg_name}", action="store_true", help=parameter.description)
    return parser


def _summary(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    main()
