"""Export a LEAP net: raw atmospheric columns in, raw tendencies and surface fluxes out, float64 on both sides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from datamodules.leap.schema import (
    FLUXES,
    LEVELS,
    N_TARGETS,
    PROFILES,
    PTEND_TRICK_LEVELS,
    SCALARS,
    STEP_SECONDS,
    TARGET_NAMES,
    TENDENCIES,
    UNITS,
    zero_weight_mask,
)
from experiments.engine.export import Deployable
from lit_modules.leap.hybrid_levels import HYAM, HYBM, REFERENCE_PRESSURE
from lit_modules.leap.representations import ColumnStatistics
from lit_modules.leap.task import LeapTask

_EXAMPLE_ROWS = 8
_SIGNED = ("state_u", "state_v", "pbuf_LHFLX", "pbuf_SHFLX", "pbuf_TAUX", "pbuf_TAUY", "pbuf_COSZRS")


class PhysicalColumns(nn.Module):
    """A LEAP task as a plain module from physical state to physical tendencies and fluxes.

    Only what inference needs becomes part of it: the representation, the net and the target scaling, not the metrics.

    Args:
        task: Trained, in eval mode.
    """

    def __init__(self, task: LeapTask) -> None:
        super().__init__()
        for name, child in task.named_children():
            if not isinstance(child, Metric):
                self.add_module(name, child)
        # in a tuple, so that it is no child: tracers would walk over the whole LightningModule
        self._task = (task,)
        self.eval().requires_grad_(False)

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """State at the beginning of a step to what the step does.

        Args:
            profiles: (batch, 9, 60) float64, SI units, level 0 at the model top.
            scalars: (batch, 16) float64, SI units.

        Returns:
            (batch, 368) float64: tendencies per second and surface fluxes, post-processed.
        """
        task = self._task[0]
        return task.physical(task.forward(profiles, scalars), {"profiles": profiles})


def export(task: LeapTask) -> Deployable:
    """Wrap a task for writing, with plausible example columns around its training mean."""
    inputs = example_columns(task)
    with torch.no_grad():
        predicted = task.predict_step({**inputs, "row_id": torch.arange(_EXAMPLE_ROWS)})["predictions"]
    return Deployable(
        module=PhysicalColumns(task),
        inputs=inputs,
        expected=predicted.double() * task.bank_scale,
        scale=task.bank_scale * predicted.abs().double().amax(0).clamp(min=1.0),
        metadata=describe(task),
    )


def example_columns(task: LeapTask, rows: int = _EXAMPLE_ROWS) -> dict[str, Tensor]:
    """Columns near the training mean of the task's statistics; what cannot be negative is not.

    Returns:
        ``profiles`` (rows, 9, 60) and ``scalars`` (rows, 16), float64, SI units.
    """
    statistics = next(module for module in task.modules() if isinstance(module, ColumnStatistics))
    generator = torch.Generator().manual_seed(0)
    examples = {}
    for name, variables in (("profile", PROFILES), ("scalar", SCALARS)):
        mean, std = (statistics.get_buffer(f"{name}_{kind}") for kind in ("mean", "std"))
        value = mean + 0.3 * std * torch.randn(rows, *mean.shape, generator=generator, dtype=torch.float64)
        signed = torch.tensor([variable in _SIGNED for variable in variables])
        if name == "profile":
            signed = signed.unsqueeze(-1)
        examples[f"{name}s"] = torch.where(signed, value, value.clamp(min=0.0))
    return examples


def describe(task: LeapTask) -> dict[str, Any]:
    """Names, units, order and post-processing, for whoever couples the file to a climate model."""
    profiles = {"name": "profiles", "shape": ["batch", len(PROFILES), LEVELS], "dtype": "float64"}
    scalars = {"name": "scalars", "shape": ["batch", len(SCALARS)], "dtype": "float64"}
    outputs = [{"name": name, "unit": UNITS[name], "levels": LEVELS} for name in TENDENCIES]
    outputs += [{"name": name, "unit": UNITS[name], "levels": 1} for name in FLUXES]
    return {
        "task": "one step of the column physics of E3SM-MMF as in ClimSim: state before the step to tendencies and surface fluxes",
        "step_seconds": STEP_SECONDS,
        "inputs": [
            {**profiles, "variables": [{"name": name, "unit": UNITS[name]} for name in PROFILES]},
            {**scalars, "variables": [{"name": name, "unit": UNITS[name]} for name in SCALARS]},
        ],
        "output": {
            "shape": ["batch", N_TARGETS],
            "dtype": "float64",
            "variables": outputs,
            "names": list(TARGET_NAMES),
        },
        "levels": {
            "order": "0 is the model top, 59 the level next to the surface",
            "pressure": "hyam * reference_pressure + hybm * state_ps, in Pa",
            "reference_pressure": REFERENCE_PRESSURE,
            "hyam": list(HYAM),
            "hybm": list(HYBM),
        },
        "post_processing": {
            "always_zero": [name for name, zero in zip(TARGET_NAMES, zero_weight_mask(), strict=True) if zero],
            "minus_q0002_per_step": [f"ptend_q0002_{level}" for level in PTEND_TRICK_LEVELS],
            "no_negative_water": task.model_settings.clamp_water,
        },
    }
