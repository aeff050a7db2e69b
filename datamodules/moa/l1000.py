"""Real L1000 signatures in MoA form (649 rows, 978 genes, no cells) as a data folder that the reader takes.

``python -m datamodules.moa.l1000 --source DIR --folder DIR``
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datamodules.commands import refusals_as_sentences
from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.moa.demo import write_table
from datamodules.moa.tables import DOSE, DRUG, ID, TIME, TYPE
from datamodules.text_tables import read_table


def convert(source: Path, folder: Path) -> Path:
    """Write ``train_features``, ``train_targets_scored`` and ``train_drug``; columns of other kinds are left out.

    Args:
        source: Folder of ``derived_l1000_features.csv.gz`` and ``derived_l1000_targets.csv.gz``.
        folder: To make.

    Raises:
        DataError: a file or column is missing.
    """
    paths = [Path(source) / f"derived_l1000_{name}.csv.gz" for name in ("features", "targets")]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file; give the folder of the derived_l1000 files")
    conditions = (ID, TYPE, TIME, DOSE, DRUG)
    features = read_table(paths[0], conditions)
    kept = [*conditions[:-1], *(name for name in features.names if name.startswith("g-"))]
    with atomic_path(Path(folder)) as work:
        work.mkdir()
        write_table(work / "train_features.csv", {name: features.text(name) for name in kept})
        write_table(work / "train_drug.csv", {name: features.text(name) for name in (ID, DRUG)})
        targets = read_table(paths[1], (ID,))
        write_table(work / "train_targets_scored.csv", {name: targets.text(name) for name in targets.names})
    return Path(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m datamodules.moa.l1000", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of the derived_l1000 files")
    parser.add_argument("--folder", type=Path, required=True, help="data folder to make")
    arguments = parser.parse_args()
    with refusals_as_sentences():
        print(convert(arguments.source, arguments.folder))


if __name__ == "__main__":
    main()
