"""Typed settings of the GC-MS data (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.mars.features import NEGATIVE_TOLERANCE
from datamodules.settings import Checked, setting


@dataclass
class MarsData(Checked):
    """How GC-MS runs are rendered, split and fed.

    Args:
        m_bins: Rows of an image; masses (m/z) from 0 to m_bins - 1 are kept.
        t_bins: Columns of an image; every run is stretched over all of them.
        min_mass: Smallest mass that is kept.
        drop_helium: Leave out the carrier gas at m/z 4.
        trim_masses: The net does not look at masses above the largest one of the middle labelled run (in steps of 32 rows), so
            that runs of few masses, such as evolved gas, take a part of the time; a few wider runs do not undo that.
        val_in_train: Add the labelled samples of the official validation set to the training rows of every fold (the
            2nd place's "train_val"); they are never validated on.
        n_folds: multilabel-stratified folds of the training samples.
        fold_seed: Seed of the folds.
        folds_csv: Ready folds instead, a table of ``sample_id,fold`` over all training samples.
        check_md5: Compare every file with the md5 that metadata.csv gives.
        on_nan: What to do with an absent or NaN intensity; ``zero`` is the 2nd place's rule.
        negative_tolerance: Negative intensities down to this multiple of a file's largest are baseline noise; pixels that come
            out below zero are drawn as 0.
        threads: read-ahead threads; 0 reads in the training thread.
        processes: Processes of the rendering; default: all cores.
        cache_dir: Where rendered images are kept; default: ``cache`` in the output folder.
    """

    group: ClassVar[str] = "data"

    m_bins: int = setting(256, low=2, reads_rows=True)
    t_bins: int = setting(192, low=2, reads_rows=True)
    min_mass: int = setting(0, low=0, reads_rows=True)
    drop_helium: bool = setting(True, reads_rows=True)
    trim_masses: bool = setting(False, reads_rows=True)
    val_in_train: bool = True
    n_folds: int = setting(5, low=2)
    fold_seed: int = setting(42, low=0)
    folds_csv: Path | None = None
    check_md5: bool = setting(True, at_prediction=True)
    on_nan: Literal["error", "zero"] = setting("error", at_prediction=True)
    negative_tolerance: float = setting(NEGATIVE_TOLERANCE, low=0, at_prediction=True)
    threads: int = setting(2, low=0, names_run=False)
    processes: int | None = setting(None, low=1, names_run=False, at_prediction=True)
    cache_dir: Path | None = setting(None, names_run=False, at_prediction=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_mass >= self.m_bins:
            raise ValueError(f"--data.min_mass must be below --data.m_bins ({self.m_bins}), got {self.min_mass}")
