"""What is done to recorded gathers before anything learns from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

COMPACT_SAMPLES = 288


def alive_traces(gathers: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which traces of ``(shots, samples, receivers)`` were recorded, ``(shots, receivers)``: the others are zero throughout, or NaN somewhere."""
    return np.asarray(np.isfinite(gathers).all(1) & (gathers != 0).any(1))


def zero_last_sample(gathers: Tensor) -> Tensor:
    """A copy of ``(..., 1000, receivers)`` whose last sample is zero: in some families OpenFWI's is not the wave's."""
    gathers = gathers.clone()
    gathers[..., -1, :] = 0
    return gathers


def resize_time(gathers: Tensor, samples: int = COMPACT_SAMPLES) -> Tensor:
    """Fewer time samples of ``(maps, shots, samples, receivers)``, antialiased, float32.

    A 15 Hz Ricker wavelet has nothing above 45 Hz; 288 samples a second reach up to 144 Hz.
    """
    gathers = gathers.float()
    if gathers.shape[2] == samples:
        return gathers
    return F.interpolate(gathers, (samples, gathers.shape[3]), mode="bilinear", antialias=True)


def compact(gathers: Tensor) -> npt.NDArray[np.float16]:
    """Half-precision gathers of 288 samples, ``(maps, shots, 288, receivers)``, a seventh of the full size."""
    small: npt.NDArray[np.float16] = resize_time(zero_last_sample(gathers)).to(torch.float16).cpu().numpy()
    return small
