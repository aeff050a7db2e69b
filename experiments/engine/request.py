"""What ``experiments/predict.py`` is asked for, as domains read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datamodules.kaggle import Submit


@dataclass
class Request(Submit):
    """What to predict.

    Args:
        run: Run directory (``runs/<experiment>/<variant>/seed<S>/fold<F>``), a checkpoint file, or a shared model: its folder or
            ``hf://user/name[@revision][/member]``.
        input: What to predict, such as ``test.csv`` or a parquet file.
        submission: CSV file to write; submission.csv where it is sent and has no other name.
        output: File in a format of the field to write: NetCDF (.nc) from raw ClimSim files.
        template: The judge's sample submission, which gives ids, columns and their order (also --weights).
        checkpoint: best, last, or epoch<N> of a run with --train.keep_epochs; a run that is not finished has no best yet.
        experiment: File that declares the experiment, where it lies outside of this repository.
        bank: Keep the predictions as a bank in the run directory too, for blending.
        batch_size: Rows that are predicted at a time.
        accelerator: auto takes a CUDA GPU where there is one.
        data: Settings of the data that prediction may change, such as --data.check_md5 false; all others are training's.
    """

    run: Path
    input: Path
    submission: Path | None = None
    output: Path | None = None
    template: Path | None = None
    checkpoint: str = "best"
    experiment: Path | None = None
    bank: bool = True
    batch_size: int = 4096
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    data: dict[str, Any] = field(default_factory=dict)
