"""Export a LEAP net: raw atmospheric columns in, raw tendencies and surface fluxes out, float64 on both sides."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from datamodules.leap.humidity import level_pressure, relative_humidity, specific_humidity
from datamodules.leap.hybrid_levels import HYAM, HYBM, REFERENCE_PRESSURE
from datamodules.leap.schema import (
    FLUXES,
    GAS_PROFILES,
    LEVELS,
    MORE_UNITS,
    N_TARGETS,
    PTEND_TRICK_LEVELS,
    SCALARS,
    SNOW_ON_ICE,
    STATE_PROFILES,
    STEP_SECONDS,
    TARGET_NAMES,
    TENDENCIES,
    UNITS,
    VariableSet,
    level_names,
    zero_weight_mask,
)
from experiments.engine.export import Deployable
from lit_modules.leap.representations import ColumnStatistics
from lit_modules.leap.task import LeapTask

_EXAMPLE_ROWS = 8
Layout = Literal["columns", "flat", "e3sm"]
_SIGNED = ("state_u", "state_v", "pbuf_LHFLX", "pbuf_SHFLX", "pbuf_TAUX", "pbuf_TAUY", "pbuf_COSZRS", "slat")
_NO_ICE = 1e29  # E3SM puts 1e30 for the snow on ice where there is none


def flat_profiles(variables: VariableSet) -> tuple[str, ...]:
    """Order of the profiles of a flat column: E3SM-MMF's emulator interface (climsim-kaggle-edition, sets v2 and v6)."""
    return STATE_PROFILES + variables.profiles + GAS_PROFILES


def flat_scalars(variables: VariableSet) -> tuple[str, ...]:
    """Order of the scalars of a flat column; E3SM-MMF hands snow on ice over, which the competition left out."""
    return (*SCALARS[:-1], SNOW_ON_ICE, SCALARS[-1], *(name for name in variables.scalars if name != SNOW_ON_ICE))


def flat_names(variables: VariableSet = VariableSet()) -> tuple[str, ...]:  # noqa: B008
    """Order of the 557 values of a flat column, or of as many as a larger set of variables has (1,519 for ``v6``)."""
    return (*level_names(flat_profiles(variables)), *flat_scalars(variables))


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
    profile_places: Tensor

    def __init__(self, task: LeapTask, dtype: torch.dtype, relative_humidity: bool) -> None:
        super().__init__()
        self.columns = PhysicalColumns(task)
        self.dtype = dtype
        self.relative_humidity = relative_humidity
        v = self.variables = task.variables
        names, profiles = flat_names(v), flat_profiles(v)
        self.n_profiles = len(profiles)
        self.register_buffer("places", torch.tensor([names.index(name) for name in v.all_scalars]), persistent=False)
        order = [profiles.index(name) for name in v.all_profiles]
        self.register_buffer("profile_places", torch.tensor(order), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """State at the beginning of a step to what the step does.

        Args:
            state: (batch, 557), see :func:`flat_names`.

        Returns:
            (batch, 368), as :class:`PhysicalColumns`.
        """
        out: Tensor = self.columns(**self.physical_state(state))
        return out.to(self.dtype)

    def physical_state(self, state: Tensor) -> dict[str, Tensor]:
        """``profiles`` (batch, 9, 60) and ``scalars`` (batch, 16) of a flat state, float64."""
        state = state.double()
        profiles = state[:, : self.n_profiles * LEVELS].unflatten(1, (self.n_profiles, LEVELS))
        if self.variables.profiles:
            profiles = profiles.index_select(1, self.profile_places)
        scalars = state.index_select(1, self.places)
        if SNOW_ON_ICE in self.variables.scalars:
            scalars = torch.where(scalars < _NO_ICE, scalars, 0.0)
        if self.relative_humidity:
            pressure = level_pressure(scalars[:, SCALARS.index("state_ps")])
            vapour = specific_humidity(profiles[:, 0], profiles[:, 1], pressure)
            profiles = torch.cat([profiles[:, :1], vapour.unsqueeze(1), profiles[:, 2:]], dim=1)
        return {"profiles": profiles, "scalars": scalars}


def flatten(
    profiles: Tensor,
    scalars: Tensor,
    relative_humidity_in: bool = False,
    variables: VariableSet = VariableSet(),  # noqa: B008
) -> Tensor:
    """Columns as :class:`FlatColumns` takes them, (batch, 557) float64.

    Args:
        profiles: (batch, 9, 60) float64, SI units; more with more variables.
        scalars: (batch, 16) float64, SI units; more with more variables.
        relative_humidity_in: Put relative humidity where specific humidity is.
        variables: What the columns hold.
    """
    if relative_humidity_in:
        pressure = level_pressure(scalars[:, SCALARS.index("state_ps")])
        profiles = profiles.clone()
        profiles[:, 1] = relative_humidity(profiles[:, 0], profiles[:, 1], pressure)
    names, order = flat_names(variables), flat_profiles(variables)
    state = torch.zeros(len(profiles), len(names), dtype=torch.float64)
    state[:, : len(order) * LEVELS] = profiles[:, [variables.all_profiles.index(name) for name in order]].flatten(1)
    state[:, [names.index(name) for name in variables.all_scalars]] = scalars
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
        inputs = {"state": flatten(**examples, relative_humidity_in=humid, variables=task.variables).to(dtype)}
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
        ``profiles`` (rows, 9, 60) and ``scalars`` (rows, 16), float64, SI units; more with more variables.
    """
    statistics = next(module for module in task.modules() if isinstance(module, ColumnStatistics))
    generator = torch.Generator().manual_seed(0)
    examples = {}
    for name, variables in (("profile", task.variables.all_profiles), ("scalar", task.variables.all_scalars)):
        mean, std = (statistics.get_buffer(f"{name}_{kind}") for kind in ("mean", "std"))
        value = mean + 0.3 * std * torch.randn(rows, *mean.shape, generator=generator, dtype=torch.float64)
        signed = torch.tensor([variable in _SIGNED or variable.endswith(("_dyn", "_prvphy")) for variable in variables])
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
        "inputs": _describe_inputs(layout, dtype, task.variables),
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


def _describe_inputs(layout: Layout, dtype: str, variables: VariableSet) -> list[dict[str, Any]]:
    units = UNITS | MORE_UNITS
    if layout == "columns":
        names = {"profiles": variables.all_profiles, "scalars": variables.all_scalars}
        shapes = {name: ["batch", len(of)] for name, of in names.items()}
        shapes["profiles"].append(LEVELS)
        return [
            {
                "name": name,
                "shape": shapes[name],
                "dtype": dtype,
                "variables": [{"name": variable, "unit": units[variable]} for variable in of],
            }
            for name, of in names.items()
        ]
    described: list[dict[str, Any]] = [
        {"name": name, "unit": units[name], "levels": levels}
        for of, levels in ((flat_profiles(variables), LEVELS), (flat_scalars(variables), 1))
        for name in of
    ]
    if layout == "e3sm":
        described[1] = {"name": "relative_humidity", "unit": "1", "levels": LEVELS}
    for variable in described:
        if variable["name"] not in (*variables.all_profiles, *variables.all_scalars, "relative_humidity"):
            variable["note"] = "not read: any value"
    return [{"name": "state", "shape": ["batch", len(flat_names(variables))], "dtype": dtype, "variables": described}]
