"""The data of a run, or the demo's where no folder is given."""

from __future__ import annotations

from datamodules.base import BaseDataModule
from datamodules.folds import TRAIN, VALID
from experiments.engine.cli import Settings
from experiments.engine.declare import load
from experiments.engine.steps import automatic_batch_size


def prepare_data(settings: Settings) -> BaseDataModule:
    """The data module of the settings, its data read; the demo data set is made where no folder is given."""
    daily = settings.daily
    domain = settings.experiment.domain
    cache = getattr(settings.data, "cache_dir", None) or daily.out / "cache"
    data_dir = daily.data_dir if daily.data_dir is not None else domain.part("demo")(cache)
    fold: int | str = daily.fold
    size = settings.experiment.batch_size if daily.batch_size == "auto" else daily.batch_size
    data: BaseDataModule = load(domain.datamodule)(
        settings.data, data_dir, cache, size, fold, daily.seed, settings.train.accumulate
    )
    data.progress = settings.train.progress
    data.prepare()
    if daily.batch_size == "auto":
        data.micro_batch = automatic_batch_size(settings, len(data.rows(TRAIN))) // settings.train.accumulate
    if data.has_validation:
        data.folds.where(data.role_fold, VALID)
    return data
