"""Export a LEAP net: raw atmospheric columns in, raw tendencies and surface fluxes out, float64 on both sides."""

from __future__ import annotations

from typing import Any, Literal

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
    level_names,
    zero_weight_mask,
)
from experiments.engine.export import Deployable
from lit_modules.leap.humidity import level_pressure, relative_humidity, specific_humidity
from lit_modules.leap.hybrid_levels import HYAM, HYBM, REFERENCE_PRESSURE
from lit_modules.leap.representations import ColumnStatistics
from lit_modules.leap.task import LeapTask

_EXAMPLE_ROWS = 8
_IGNORED = "cam_in_SNOWHICE"  # E3SM-MMF hands it over, the competition left it out
_FLAT_SCALARS = (*SCALARS[:-1], _IGNORED, SCALARS[-1])
FLAT_NAMES = (*level_names(PROFILES), *_FLAT_SCALARS)
"""Order of the 557 values of a flat column: E3SM-MMF's emulator interface (climsim-kaggle-edition, variable set v2)."""

Layout = Literal["columns", "flat", "e3sm"]
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


class FlatColumns(nn.Module):
    """:class:`PhysicalColumns` with one tensor in and one out, in the order of E3SM-MMF's emulator interface.

    Args:
        task: Trained, in eval mode.
        dtype: Of both tensors. The arithmetic is the task's: float64 around a float32 net.
        relative_humidity: Whether the second profile is relative humidity, a fraction, in place of specific humidity.
    """

    places: Tensor

    def __init__(self, task: LeapTask, dtype: torch.dtype, relative_humidity: bool) -> None:
        super().__init__()
        self.columns = PhysicalColumns(task)
        self.dtype = dtype
        self.relative_humidity = relative_humidity
        self.register_buffer("places", torch.tensor([FLAT_NAMES.index(name) for name in SCALARS]), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """State at the beginning of a step to what the step does.

        Args:
            state: (batch, 557), see :data:`FLAT_NAMES`.

        Returns:
            (batch, 368), as :class:`PhysicalColumns`.
        """
        out: Tensor = self.columns(**self.physical_state(state))
        return out.to(self.dtype)

    def physical_state(self, state: Tensor) -> dict[str, Tensor]:
        """``profiles`` (batch, 9, 60) and ``scalars`` (batch, 16) of a flat state, float64."""
        state = state.double()
        profiles = state[:, : len(PROFILES) * LEVELS].unflatten(1, (len(PROFILES), LEVELS))
        scalars = state.index_select(1, self.places)
        if self.relative_humidity:
            pressure = level_pressure(scalars[:, SCALARS.index("state_ps")])
            vapour = specific_humidity(profiles[:, 0], profiles[:, 1], pressure)
            profiles = torch.cat([profiles[:, :1], vapour.unsqueeze(1), profiles[:, 2:]], dim=1)
        return {"profiles": profiles, "scalars": scalars}


def flatten(profiles: Tensor, scalars: Tensor, relative_humidity_in: bool = False) -> Tensor:
    """Columns as :class:`FlatColumns` takes them, (batch, 557) float64.

    Args:
        profiles: (batch, 9, 60) float64, SI units.
        scalars: (batch, 16) float64, SI units.
        relative_humidity_in: Put relative humidity where specific humidity is.
    """
    if relative_humidity_in:
        pressure = level_pressure(scalars[:, SCALARS.index("state_ps")])
        profiles = profiles.clone()
        profiles[:, 1] = relative_humidity(profiles[:, 0], profiles[:, 1], pressure)
    state = torch.zeros(len(profiles), len(FLAT_NAMES), dtype=torch.float64)
    state[:, : len(PROFILES) * LEVELS] = profiles.flatten(1)
    state[:, [FLAT_NAMES.index(name) for name in SCALARS]] = scalars
    return state


def export(task: LeapTask, layout: Layout = "columns") -> Deployable:
    """Wrap a task for writing, with plausible example columns around its training mean.

    Args:
        task: Trained, in eval mode, on the CPU.
        layout: ``columns``, ``flat`` or ``e3sm`` as in ``experiments/export.py``.
    """
    module: nn.Module = PhysicalColumns(task)
    examples = example_columns(task)
    inputs, dtype = examples, torch.float64
    if layout != "columns":
        dtype, humid = (torch.float64, False) if layout == "flat" else (torch.float32, True)
        module = FlatColumns(task, dtype, humid).eval().requires_grad_(False)
        inputs = {"state": flatten(**examples, relative_humidity_in=humid).to(dtype)}
        # what prediction makes of the numbers that are left in float32
        examples = module.physical_state(inputs["state"])
    with torch.no_grad():
        predicted = task.predict_step({**examples, "row_id": torch.arange(_EXAMPLE_ROWS)})["predictions"]
    expected = predicted.double() * task.bank_scale
    scale = task.bank_scale * predicted.abs().double().amax(0).clamp(min=1.0)
    return Deployable(
        module=module,
        inputs=inputs,
        # tendencies of 1e-58 do not exist in float32
        expected=expected.to(dtype).double(),
        scale=scale.clamp(min=torch.finfo(dtype).tiny),
        metadata=describe(task, layout),
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


def describe(task: LeapTask, layout: Layout = "columns") -> dict[str, Any]:
    """Names, units, order and post-processing, for whoever couples the file to a climate model."""
    dtype = "float32" if layout == "e3sm" else "float64"
    outputs = [{"name": name, "unit": UNITS[name], "levels": LEVELS} for name in TENDENCIES]
    outputs += [{"name": name, "unit": UNITS[name], "levels": 1} for name in FLUXES]
    return {
        "task": "one step of the column physics of E3SM-MMF as in ClimSim: state before the step to tendencies and surface fluxes",
        "step_seconds": STEP_SECONDS,
        "layout": layout,
        "inputs": _describe_inputs(layout, dtype),
        "output": {
            "shape": ["batch", N_TARGETS],
            "dtype": dtype,
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


def _describe_inputs(layout: Layout, dtype: str) -> list[dict[str, Any]]:
    if layout == "columns":
        profiles = {"name": "profiles", "shape": ["batch", len(PROFILES), LEVELS], "dtype": dtype}
        scalars = {"name": "scalars", "shape": ["batch", len(SCALARS)], "dtype": dtype}
        return [
            {**profiles, "variables": [{"name": name, "unit": UNITS[name]} for name in PROFILES]},
            {**scalars, "variables": [{"name": name, "unit": UNITS[name]} for name in SCALARS]},
        ]
    variables: list[dict[str, Any]] = [{"name": name, "unit": UNITS[name], "levels": LEVELS} for name in PROFILES]
    if layout == "e3sm":
        variables[1] = {"name": "relative_humidity", "unit": "1", "levels": LEVELS}
    variables += [{"name": name, "unit": UNITS.get(name, "m"), "levels": 1} for name in _FLAT_SCALARS]
    for variable in variables:
        if variable["name"] == _IGNORED:
            variable["note"] = "not read: any value"
    return [{"name": "state", "shape": ["batch", len(FLAT_NAMES)], "dtype": dtype, "variables": variables}]
