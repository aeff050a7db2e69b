"""Raw columns and statistics small enough to check by hand."""

import torch
from torch import Tensor

from datamodules.leap.schema import LEVELS, N_PROFILES, N_SCALARS, PROFILES, SCALARS

T, Q, LIQUID, U, V, CH4 = (
    PROFILES.index(name) for name in ("state_t", "state_q0001", "state_q0002", "state_u", "state_v", "pbuf_CH4")
)
PS = SCALARS.index("state_ps")


def raw_columns(rows: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Columns of the magnitudes that occur: 250 K, 1e-34 kg/kg cloud water aloft, constant methane below level 27."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, N_PROFILES, LEVELS, dtype=torch.float64, generator=generator)
    size = torch.ones(N_PROFILES, LEVELS, dtype=torch.float64)
    size[T], size[Q], size[U], size[V], size[CH4] = 250.0, 1e-3, 10.0, 10.0, 1e-6
    size[LIQUID] = torch.logspace(-34, -5, LEVELS, dtype=torch.float64)
    profiles = size * (1.0 + 0.1 * noise)
    profiles[:, CH4, 27:] = 1.79e-6
    scalars = torch.randn(rows, N_SCALARS, dtype=torch.float64, generator=generator)
    scalars[:, PS] = 1e5 + 1e3 * scalars[:, PS]
    return profiles, scalars


def statistics_of(profiles: Tensor, scalars: Tensor) -> dict[str, Tensor]:
    """The statistics mapping of these rows."""
    std, scalar_std = profiles.std(0, correction=0), scalars.std(0, correction=0)
    per_variable = profiles.transpose(0, 1).flatten(1)
    return {
        "profile_mean": profiles.mean(0),
        "profile_std": std,
        "profile_min": profiles.amin(0),
        "profile_max": profiles.amax(0),
        "profile_total_mean": per_variable.mean(1),
        "profile_total_std": per_variable.std(1, correction=0),
        "profile_constant": std <= 1e-10 * profiles.mean(0).abs(),
        "scalar_mean": scalars.mean(0),
        "scalar_std": scalar_std,
        "scalar_constant": scalar_std == 0,
    }
