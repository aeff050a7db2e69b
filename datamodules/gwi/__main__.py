"""Commands on GWI / OpenFWI data: ``python -m datamodules.gwi <command> --help``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from datamodules.commands import run_commands
from datamodules.errors import DataError
from datamodules.figures import save


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


def compare(
    real: Path,
    family: str,
    samples: int = 1000,
    names: str = "*",
    seed: int = 0,
    layers: int | None = None,
    figure: Path | None = None,
) -> None:
    """Let two judges try to tell made maps of a family from real ones, and say by what.

    Half of the maps train a random forest on interpretable statistics and a small convolutional net on the maps; the others are judged.

    Args:
        real: Folder of real maps, a sub-folder for each family; also as --real FOLDER, together with --family NAME.
        family: Family, such as curvevel_a.
        samples: Real maps, and made ones, at most; drawn from all files.
        names: Which files of real maps, as a pattern of their names such as "vmodel[6-9]", so that settings are not judged on what they were fitted to.
        seed: Seed of the made maps and of the judges.
        layers: Layers of the made Fault maps, where the real files are of one number (vel4_*.npy).
        figure: PNG file of real and made maps side by side.
    """
    from fnmatch import fnmatch

    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from datamodules.gwi.files import find_files
    from datamodules.gwi.generate import compare as judges
    from datamodules.gwi.generate.families import generate_maps
    from datamodules.gwi.schema import family_name

    family = family_name(family)
    files = [file for file in find_files(real) if file.family == family and fnmatch(file.name, names)]
    there = sum(file.rows for file in files)
    if min(there, samples) < 20:
        raise DataError(
            f"{real} has {there} maps of {family} in files named {names}; two judges need at least 20 of them"
        )
    rows = np.linspace(0, there - 1, min(samples, there)).astype(int)
    maps = np.concatenate([np.asarray(file.maps()) for file in files])[rows]
    made = generate_maps(family, seed, range(len(maps)), layers)
    of_real, of_made = judges.statistics_of(maps), judges.statistics_of(made)
    table = Table(
        "judge",
        "area under the curve",
        "95 % interval",
        "statistics that differ (real, made)",
        title=f"{family}: {len(maps)} real, {len(made)} made maps, half of them judged",
    )
    for found in judges.compare(maps, made, seed):
        by = (
            f"{name} ({of_real[name].mean():.4g}, {of_made[name].mean():.4g})"
            for name, lost in found.gives_away
            if lost > 0.002
        )
        table.add_row(found.judge, f"{found.auc:.3f}", f"{found.low:.3f} to {found.high:.3f}", "\n".join(by))
    Console(width=110).print(table)
    if figure is not None:
        save(judges.contact_sheet({f"{family}, real": maps[:30], f"{family}, made": made[:30]}), figure)
        print(f"figure: {figure}")


def sheet(figure: Path, maps: int = 30, seed: int = 0) -> None:
    """Draw a contact sheet of made maps of every family.

    Args:
        figure: PNG file.
        maps: Maps of each family.
        seed: Seed of the maps.
    """
    from datamodules.gwi.generate.compare import contact_sheet
    from datamodules.gwi.generate.families import generate_maps
    from datamodules.gwi.schema import FAMILIES

    save(contact_sheet({family: generate_maps(family, seed, range(maps)) for family in FAMILIES}), figure)
    print(f"figure: {figure}")


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


def demo(dest: Path, seed: int = 0, rows: int = 32) -> None:
    """Generate and shoot maps of three families, as an experiment without --data_dir does (minutes).

    Other families, sizes and gathers: python -m experiments.gwi_generate. What is there already is not made again.

    Args:
        dest: Folder of demo data sets; a sub-folder is named after the options.
        seed: Seed of the maps.
        rows: Maps of one of a family's five shards.
    """
    from datamodules.gwi.demo import SHARDS, SHOT, make_demo

    print(f"{make_demo(dest, rows, seed)}: {rows * SHARDS} maps of each of {', '.join(SHOT)}, synthetic")


COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare,
    "demo": demo,
    "sheet": sheet,
    "statistics": statistics,
    "unpack": unpack,
    "verify": verify,
}


def main(args: list[str] | None = None) -> None:
    """Run a command; what it refuses is one sentence."""
    given = sys.argv[1:] if args is None else args
    run_commands("python -m datamodules.gwi", __doc__, COMMANDS, _unnamed(given))


def _unnamed(args: list[str]) -> list[str]:
    """``compare --real FOLDER --family NAME`` as ``compare FOLDER NAME``."""
    if args[:1] != ["compare"]:
        return args
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--real")
    parser.add_argument("--family")
    named, rest = parser.parse_known_args(args)
    return args if named.real is None or named.family is None else [*rest, named.real, named.family]


if __name__ == "__main__":
    main()
