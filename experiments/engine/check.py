"""What can be refused before any data are read: paths, folds, batches, hardware, and the net itself on the meta device."""

from __future__ import annotations

from datamodules.errors import DataError
from experiments.engine.cli import Settings
from experiments.engine.declare import load
from experiments.engine.processes import check_launch, is_first_process
from experiments.engine.trainer import resolve_hardware
from lit_modules.base import without_memory


def check(settings: Settings) -> None:
    """Refuse settings that cannot work.

    Raises:
        DataError: One sentence that names the flag.
    """
    settings.check_words()
    daily = settings.daily
    kind, devices, _ = resolve_hardware(daily.accelerator, daily.devices, daily.precision)
    if kind == "cpu" and devices > 1 and daily.accelerator == "auto" and is_first_process():
        print(f"--devices {devices}: no GPU is visible, so {devices} CPU processes share the work")
    check_launch(devices, daily.num_nodes)
    load(settings.experiment.domain.datamodule).check_settings(settings.data)
    check_net(settings)


def check_net(settings: Settings) -> None:
    """Build the task without memory, so that what its layers refuse is refused now.

    Raises:
        DataError: A layer's own words, with the group of flags.
    """
    kind = load(settings.experiment.task)
    try:
        with without_memory():
            kind.net_of(settings.model, settings.data)
    except DataError:
        raise
    except Exception as error:
        words = str(error).strip().splitlines()
        raise DataError(
            f"--model.*: the net cannot be built with these settings: {words[0] if words else type(error).__name__}"
        ) from error
