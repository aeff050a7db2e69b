"""The total-water form of a column: one cloud water, divided between liquid and ice by temperature alone.

E3SM-MMF's own cloud scheme divides cloud water so: all liquid above 273.16 K, all ice below 253.16 K, linear between. A net
that sees relative humidity, cloud water and its liquid share, and answers with one tendency of cloud water, cannot break
that rule, which made coupled runs stable (Hu et al. 2025; "Crowdsourcing the Frontier", arXiv:2511.20963).

Targets in this form are 308: t, q0001, cloud water, u and v on 60 levels, then the eight fluxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.leap.humidity import level_pressure, liquid_share, relative_humidity
from datamodules.leap.schema import (
    FLUXES,
    LEVELS,
    PROFILES,
    SCALARS,
    STEP_SECONDS,
    TARGET_GROUPS,
    ZERO_WEIGHT_TARGETS,
    VariableSet,
)

CLOUDY = 1e-7
"""Cloud water in kg/kg above which a cell counts as cloudy, where the scale of cloud water is measured."""

N_MIXED_TARGETS = 5 * LEVELS + len(FLUXES)  # 308
MIXED_GROUPS: dict[str, slice] = {
    **{name: slice(i * LEVELS, (i + 1) * LEVELS) for i, name in enumerate(("t", "q0001", "qn", "u", "v"))},
    "surface": slice(5 * LEVELS, N_MIXED_TARGETS),
}
"""Where the variables stand among the 308 targets."""

_T, _Q, _LIQUID, _ICE = (PROFILES.index(f"state_{name}") for name in ("t", "q0001", "q0002", "q0003"))
_PS = SCALARS.index("state_ps")
_MERGED, _GONE = "state_q0002_prvphy", "state_q0003_prvphy"


def mixed_names(variables: VariableSet) -> tuple[str, ...]:
    """Names of what :func:`mix_profiles` gives, in its order."""
    new = {"state_q0001": "state_rh", "state_q0002": "state_qn", "state_q0003": "liq_partition"}
    names = [new.get(name, name) for name in variables.all_profiles if not name.endswith(_GONE)]
    return tuple(name.replace("q0002_prvphy", "qn_prvphy") for name in names)


def mix_profiles(profiles: Tensor, scalars: Tensor, variables: VariableSet) -> Tensor:
    """Relative humidity, cloud water and its liquid share in place of vapour, liquid and ice; earlier tendencies likewise.

    Args:
        profiles: (batch, P, 60) float64 in the order of ``variables.all_profiles``, SI units.
        scalars: (batch, S) float64.
        variables: What they hold.

    Returns:
        (batch, M, 60), as :func:`mixed_names` says: relative humidity as a fraction, cloud water in kg/kg.
    """
    names = variables.all_profiles
    temperature = profiles[:, _T]
    new = {
        _Q: relative_humidity(temperature, profiles[:, _Q], level_pressure(scalars[:, _PS])),
        _LIQUID: profiles[:, _LIQUID] + profiles[:, _ICE],
        _ICE: liquid_share(temperature),
    }
    channels = []
    for i, name in enumerate(names):
        if name.endswith(_MERGED):
            channels.append(profiles[:, i] + profiles[:, names.index(name.replace(_MERGED, _GONE))])
        elif not name.endswith(_GONE):
            channels.append(new.get(i, profiles[:, i]))
    return torch.stack(channels, dim=1)


def mix_targets(targets: Tensor) -> Tensor:
    """Physical targets (batch, 368) to the 308 of this form."""
    groups = TARGET_GROUPS
    cloud = targets[:, groups["q0002"]] + targets[:, groups["q0003"]]
    parts = [targets[:, groups["t"]], targets[:, groups["q0001"]], cloud]
    return torch.cat([*parts, targets[:, groups["u"].start :]], dim=1)


def split_water(mixed: Tensor, profiles: Tensor) -> Tensor:
    """Physical targets (batch, 308) to 368: cloud water after the step is divided by the temperature after the step.

    Args:
        mixed: (batch, 308) float64.
        profiles: (batch, P, 60) float64, the state before the step; it starts with the competition's profiles.
    """
    heating, cloud = mixed[:, MIXED_GROUPS["t"]], mixed[:, MIXED_GROUPS["qn"]]
    liquid, ice = profiles[:, _LIQUID], profiles[:, _ICE]
    after = liquid + ice + STEP_SECONDS * cloud
    share = liquid_share(profiles[:, _T] + STEP_SECONDS * heating)
    tendencies = [(share * after - liquid) / STEP_SECONDS, ((1.0 - share) * after - ice) / STEP_SECONDS]
    where = MIXED_GROUPS["qn"]
    return torch.cat([mixed[:, : where.start], *tendencies, mixed[:, where.stop :]], dim=1)


def spread_to_targets(mixed: Tensor) -> Tensor:
    """Something known of each of the 308 targets, (batch, 308), to the 368: liquid and ice both take that of cloud water."""
    where = MIXED_GROUPS["qn"]
    cloud = mixed[:, where]
    return torch.cat([mixed[:, : where.start], cloud, cloud, mixed[:, where.stop :]], dim=1)


def mix_mask(mask: Tensor) -> Tensor:
    """A mask of the 368 targets as one of the 308: cloud water is in where liquid or ice is."""
    groups = TARGET_GROUPS
    cloud = mask[groups["q0002"]] | mask[groups["q0003"]]
    return torch.cat([mask[: groups["q0002"].start], cloud, mask[groups["u"].start :]])


def mixed_zero_mask() -> Tensor:
    """Boolean (308,): targets that the judge weighs 0."""
    mask = torch.zeros(TARGET_GROUPS["surface"].stop, dtype=torch.bool)
    for where in ZERO_WEIGHT_TARGETS:
        mask[where] = True
    return mix_mask(mask)
