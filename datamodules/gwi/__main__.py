"""Commands on GWI / OpenFWI data: ``python -m datamodules.gwi <command> --help``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from datamodules.errors import DataError


def statistics(real: Path | None = None, samples: int = 500, seed: int = 0, layers: int | None = None) -> None:
    """Print what generated maps look like in numbers, beside real ones where a folder of them is given.

    Args:
        real: Folder of real maps, a sub-folder for each family; only its families are shown.
        samples: Maps of each family and kind.
        seed: Seed of the generated maps.
        layers: Layers of the generated Fault maps, to compare with real files of one number (vel4_*.npy).
    """
    from rich.console import Console
    from rich.table import Table

    from datamodules.gwi.files import find_files
    from datamodules.gwi.generate.families import generate_maps
    from datamodules.gwi.generate.statistics import first_maps, map_statistics
    from datamodules.gwi.schema import FAMILIES

    shown = first_maps(find_files(real), samples) if real else dict.fromkeys(FAMILIES)
    columns = {}
    for family, maps in shown.items():
        if maps is not None:
            columns[f"{family} real"] = map_statistics(maps)
        chosen = layers if "Fault" in family else None
        columns[f"{family} made"] = map_statistics(generate_maps(family, seed, range(samples), chosen))
    table = Table("statistic", *columns, title=f"{samples} maps each; velocities in m/s, lengths in cells")
    for name in next(iter(columns.values())):
        values = (column[name] for column in columns.values())
        table.add_row(name, *(f"{value:.3f}" if value < 100 else f"{value:.0f}" for value in values))
    Console(width=30 + 14 * len(columns)).print(table)


def verify(folder: Path) -> None:
    """Compare the checksums of all generated shards below a folder.

    Args:
        folder: Folder of the data set.
    """
    from datamodules.gwi.files import find_files
    from datamodules.gwi.shards import verify_shard

    shards = [file for file in find_files(folder) if file.name.startswith("shard-")]
    for file in shards:
        verify_shard(file.velocity.parent)
    print(f"{folder}: {len(shards)} shards of {sum(file.rows for file in shards):,} maps are as they were written")


def unpack(source: Path, folder: Path, pattern: str = "*.zip") -> None:
    """Unpack OpenFWI's archives of maps into a folder for each family, which the archive's name tells.

    Args:
        source: Folder of the archives.
        folder: Where the families' folders are made.
        pattern: Which archives, such as "*model11-12.zip".
    """
    from datamodules.gwi.archives import unpack_archives

    files = unpack_archives(source, folder, pattern)
    print(f"{folder}: {len(files)} files of {', '.join(sorted({file.parent.name for file in files}))}")


COMMANDS: dict[str, Callable[..., None]] = {"statistics": statistics, "unpack": unpack, "verify": verify}


def main(args: list[str] | None = None) -> None:
    """Run a command; data errors end it with one sentence."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="python -m datamodules.gwi", description=__doc__, allow_abbrev=False)
    commands = parser.add_subcommands(dest="command")
    for name, function in COMMANDS.items():
        own = ArgumentParser(description=(function.__doc__ or "").partition("\n")[0], allow_abbrev=False)
        own.add_function_arguments(function, as_positional=True)
        commands.add_subcommand(name, own)
    chosen = parser.parse_args(args)
    try:
        COMMANDS[chosen.command](**chosen[chosen.command].as_dict())
    except DataError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
