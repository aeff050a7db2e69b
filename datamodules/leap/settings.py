"""Typed settings of the LEAP data (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.leap.schema import VariableSetName
from datamodules.settings import Checked, setting


@dataclass
class LeapData(Checked):
    """Which ClimSim rows are read, and how they are split and fed.

    Args:
        train_months: Months to train on, such as ``0001-02:0008-06`` (inclusive) or a comma list.
        val_months: Months to validate on.
        split: ``months`` = the two ranges above, ``blocks`` = contiguous time blocks as folds (fold 0 is the latest),
            ``auto`` = months where the data hold both ranges, else blocks.
        n_folds: Number of time blocks.
        gap_days: Days without training on either side of the validation time (24 h of weather are correlated).
        val_rows: Validation rows are sampled at random (seed 42) down to this number, the size of the judge's test set;
            0 keeps all.
        stride: Read every n-th time step (Kaggle's train.csv: 7).
        drop_last_file: Leave out the last file, as Kaggle's slice ``[0:-1:stride]`` does.
        columns: Grid columns of a file: 384 for the low-resolution grid, 21600 for the high one; 0 takes what the first
            file has.
        variables: Variables that are read, and that nets see: the competition's (``kaggle``), with snow on ice (``v2``), with
            mid-level pressure too (``v2_pmid``), with large-scale forcings and latitude (``v3``), and with tendencies of the two
            steps before (``v4``); ``v2_rh_mc`` and ``v6`` are v2 and v4 with relative humidity and cloud water in place of
            vapour, liquid and ice, and one tendency of cloud water (arXiv:2511.20963). v3, v4 and v6 need the expanded files.
        high_res_dir: Folder of high-resolution files that are mixed into the training batches (1st place). Validation and
            statistics stay with the rows of ``data_dir``.
        mix_ratio: Rows of ``data_dir`` to rows of ``high_res_dir`` in a batch; 2:1 where a folder is given.
        high_res_columns: Grid columns of a high-resolution file.
        grid_file: ClimSim grid-info file with latitude and longitude of the columns; the low-resolution grid is known.
        high_res_grid_file: The same for ``high_res_dir``.
        on_bad_row: What to do with rows that hold NaN or infinite values.
        store_dtype: ``float64`` keeps the cloud-liquid columns, which reach 1e-58; ``float32`` halves the disk.
        shuffle: ``full`` permutes all rows, ``block`` mixes blocks in a buffer (for stores larger than memory), ``auto``
            = full below five million rows.
        block_rows: Rows of a block.
        mix_blocks: Blocks that are mixed together; block_rows times mix_blocks rows are in memory.
        threads: read-ahead threads; 0 reads in the training thread.
        processes: Processes of the conversion to the memory-mapped store; default: all cores.
        cache_dir: Where the store is kept; default: ``cache`` in the output folder.
    """

    group: ClassVar[str] = "data"

    train_months: str = "0001-02:0008-06"
    val_months: str = "0008-07:0009-01"
    split: Literal["auto", "months", "blocks"] = "auto"
    n_folds: int = setting(5, low=2)
    gap_days: float = setting(1.0, low=0)
    val_rows: int = setting(625_000, low=0)
    stride: int = setting(1, low=1)
    drop_last_file: bool = False
    columns: int = setting(384, low=0)
    variables: VariableSetName = "kaggle"
    high_res_dir: Path | None = setting(None, names_run=False)
    mix_ratio: str | None = None
    high_res_columns: int = setting(21_600, low=0)
    grid_file: Path | None = setting(None, names_run=False)
    high_res_grid_file: Path | None = setting(None, names_run=False)
    on_bad_row: Literal["error", "drop"] = "error"
    store_dtype: Literal["float64", "float32"] = "float64"
    shuffle: Literal["auto", "full", "block"] = "auto"
    block_rows: int = setting(1024, low=1)
    mix_blocks: int = setting(256, low=1)
    threads: int = setting(2, low=0, names_run=False)
    processes: int | None = setting(None, low=1, names_run=False)
    cache_dir: Path | None = setting(None, names_run=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.high_res_dir is not None and self.mix_ratio is None:
            self.mix_ratio = "2:1"
        if self.mix_ratio is not None:
            from datamodules.mixed_batches import parse_ratio

            try:
                parse_ratio(self.mix_ratio)
            except ValueError as error:
                raise ValueError(f"data.mix_ratio: {error}") from None
