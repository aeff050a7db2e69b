"""Whether what the project wrote is still what it wrote: banks, stores and shards, found below any folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import read_json
from datamodules.gwi.shards import verify_shard
from datamodules.stores.store import MANIFEST, Store


def verify_all(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Read every folder with checksums at or below some paths, and compare.

    Args:
        paths: Folders, at any height: a bank, a run, a tree of runs, a cache of stores, a data set of shards.

    Yields:
        Each folder with what is wrong with it, an empty text where nothing is.

    Raises:
        DataError: A path does not exist, or there is nothing to verify.
    """
    found = 0
    for path in paths:
        if not Path(path).is_dir():
            raise DataError(f"{path} is no folder; give a bank, a store, a shard, or a folder of them")
        for folder, names, files in os.walk(path, followlinks=True):
            names[:] = sorted(name for name in names if not name.startswith(".") and not name.endswith(".partial"))
            if MANIFEST in files:
                found += 1
                try:
                    verify_folder(Path(folder))
                except DataError as error:
                    yield Path(folder), str(error)
                else:
                    yield Path(folder), ""
    if not found:
        raise DataError(f"there is no bank, store or shard below {', '.join(map(str, paths))}")


def verify_folder(path: Path) -> None:
    """Read one whole folder and compare its checksums; what it is, its manifest tells.

    Raises:
        DataError: A file is missing or not what was written, or the manifest is damaged; names the file.
    """
    content = read_json(path / MANIFEST)
    entries = content if isinstance(content, dict) else {}
    if "format_version" in entries:
        PredictionBank(path).verify()
    elif "family" in entries:
        verify_shard(path)
    else:
        Store.open(path).verify()


def report(paths: Sequence[Path]) -> int:
    """Verify, print a line for each folder, and return how many are damaged.

    Raises:
        DataError: As :func:`verify_all`.
    """
    damaged = 0
    for folder, problem in verify_all(paths):
        damaged += bool(problem)
        print(f"damaged  {problem}" if problem else f"whole    {folder}")
    return damaged


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 where something is damaged."""
    parser = argparse.ArgumentParser(prog="python -m datamodules.verify", description=__doc__, allow_abbrev=False)
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="bank, store, shard, or a folder of them")
    try:
        return 1 if report(parser.parse_args(arguments).paths) else 0
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
