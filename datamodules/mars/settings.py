"""Typed settings of the GC-MS data (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodules.mars.features import NEGATIVE_TOLERANCE


@dataclass
class MarsData:
    """How GC-MS runs are rendered, split and fed.

    Args:
        m_bins: Rows of an image; masses (m/z) from 0 to m_bins - 1 are kept.
        t_bins: Columns of an image; every run is stretched over all of them.
        min_mass: Smallest mass that is kept.
        drop_helium: Leave out the carrier gas at m/z 4.
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

    m_bins: int = 256
    t_bins: int = 192
    min_mass: int = 0
    drop_helium: bool = True
    val_in_train: bool = True
    n_folds: int = 5
    fold_seed: int = 42
    folds_csv: Path | None = None
    check_md5: bool = True
    on_nan: Literal["error", "zero"] = "error"
    negative_tolerance: float = NEGATIVE_TOLERANCE
    threads: int = 2
    processes: int | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        for name in ("m_bins", "t_bins", "n_folds"):
            if getattr(self, name) < 2:
                raise ValueError(f"data.{name} must be at least 2, got {getattr(self, name)}")
        if not 0 <= self.min_mass < self.m_bins:
            raise ValueError(f"data.min_mass must lie in [0, data.m_bins), got {self.min_mass}")
        if self.negative_tolerance < 0:
            raise ValueError(f"data.negative_tolerance must not be negative, got {self.negative_tolerance}")
