"""Commands on LEAP / ClimSim data: ``python -m datamodules.leap <command> --help``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datamodules.commands import run_commands
from datamodules.leap.demo.command import demo_main
from datamodules.leap.download import download
from datamodules.leap.schema import VariableSetName
from datamodules.parts import parse_part

if TYPE_CHECKING:
    from datamodules.stores.store import Store


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
    variables: VariableSetName = "kaggle",
    part: str = "1/1",
    verify: bool = False,
) -> None:
    """Convert raw ClimSim files, train.csv, test.csv or parquet into a memory-mapped store.

    Killed and started again, it goes on where it stood. Several machines that see the same folders share the work with
    --part 1/3, 2/3 and 3/3; the last to end makes the store, which has the bytes that one machine would have given it.

    Args:
        source: Folder of raw files (at any depth), or a table.
        dest: Folder of stores.
        columns: Grid columns of every raw file; 0 takes what the first file has.
        months: Months of raw files, such as 0001-02:0008-06 or 0008-07,0008-09; all by default.
        stride: Take every n-th raw file.
        drop_last_file: Leave out the last raw file before the stride, as ClimSim's own tools do.
        store_dtype: float32 halves the disk space; cloud columns below 1e-45 become zero.
        time_stride: Time steps between consecutive steps of a train table.
        processes: Worker processes; by default one per core.
        variables: Set of variables to keep: the competition's (kaggle), with snow on ice (v2, v2_rh_mc), with mid-level
            pressure too (v2_pmid), or those of the expanded files (v3, v4, v6).
        part: K/N = only the K-th of N parts; the files are listed once for all of them.
        verify: Read the finished store again and compare its checksums.
    """
    from datamodules.leap import convert as conversion

    chosen = (columns, months, stride, drop_last_file, store_dtype, time_stride, processes)
    if part == "1/1":
        store: Store | None = conversion.convert(source, dest, *chosen, variables=variables)
    else:
        store = conversion.convert_part(source, dest, parse_part(part), *chosen, variables=variables)
    if store is None:
        print(f"part {part} is done; the store in {dest} is complete when the other parts are")
        return
    if verify:
        store.verify()
    print(conversion.describe(store))


def plan(
    source: Path,
    dest: Path = Path("stores"),
    columns: int = 384,
    months: str | None = None,
    stride: int = 1,
    drop_last_file: bool = False,
    store_dtype: Literal["float64", "float32"] = "float64",
    processes: int | None = None,
    parts: int = 1,
    sample: int = 24,
) -> None:
    """Say what a conversion of raw files reads and writes and how long it takes, from a sample that is converted.

    Args:
        source: Folder of raw files (at any depth).
        dest: Folder of stores.
        columns: Grid columns of every raw file; 0 takes what the first file has.
        months: Months of raw files, such as 0001-02:0008-06 or 0008-07,0008-09; all by default.
        stride: Take every n-th raw file.
        drop_last_file: Leave out the last raw file before the stride, as ClimSim's own tools do.
        store_dtype: float32 halves the disk space; cloud columns below 1e-45 become zero.
        processes: Worker processes of a part; by default one per core.
        parts: In how many parts, each on a machine of its own.
        sample: Time steps that are converted to measure the rate, spread over all.
    """
    from datamodules.leap.plan import make_plan

    print(make_plan(source, dest, columns, months, stride, drop_last_file, store_dtype, processes, parts, sample))


COMMANDS: dict[str, Callable[..., None]] = {"convert": convert, "plan": plan, "demo": demo_main, "download": download}
"""Every command is a typed function: its signature is the command line, its docstring the help."""


def main(args: list[str] | None = None) -> None:
    """Run a command; what it refuses is one sentence."""
    run_commands("python -m datamodules.leap", __doc__, COMMANDS, args)


if __name__ == "__main__":
    main()
