"""Out-of-fold predictions of other runs, as data: found, and made sure that they hold out what this run holds out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.errors import DataError
from datamodules.folds import FoldTable

if TYPE_CHECKING:
    from datamodules.banks.sources import Source


def out_of_fold_runs(folder: Path, folds: FoldTable, flag: str, same_folds: str) -> Source:
    """The out-of-fold banks of a model's runs.

    Args:
        folder: ``<out>/<experiment>/<variant>``, one of its seeds or folds.
        folds: Folds of the run that is to read the predictions.
        flag: That named the folder, for messages.
        same_folds: The flags that make folds, for messages.

    Raises:
        DataError: there is no such folder, or its runs were trained on another fold table.
    """
    # the bank's reader belongs to the blends, which a run without an earlier one does not need
    from datamodules.banks.sources import resolve

    if not Path(folder).is_dir():
        raise DataError(
            f"{flag}: there is no folder {folder}; give <out>/<experiment>/<variant> of the earlier stage's runs"
        )
    source = resolve([str(folder)])[0]
    for bank in source.banks:
        theirs = bank.manifest.hashes.get("folds", "")
        if theirs != folds.hash:
            raise DataError(
                f"{flag}: {bank.path.parent} was trained on another fold table ({theirs[:12]}) than this run "
                f"({folds.hash[:12]}), so its nets may have seen the rows that are held out here; train both stages with "
                f"the same {same_folds}"
            )
    return source
