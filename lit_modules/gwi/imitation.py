"""True maps made to look like a net's predictions: interfaces blurred, the deep ones more, and errors that vary smoothly.

The 4th place's classifier was trained on true maps and applied to predicted ones, and its author suspected that gap.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_REACH = 9  # cells on either side of a blurred one
_ROUGH = 8  # cells of the grid that smooth errors are drawn on


def draw_errors(
    rows: int, side: int, strength: float = 1.0, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """What is done to each of some maps, on the CPU.

    Args:
        rows: Number of maps.
        side: Cells along an edge of a map.
        strength: Factor of all errors.
        generator: Generator of random numbers; torch's own by default.

    Returns:
        ``blur`` (rows,), standard deviations in cells at the bottom; ``smooth`` (rows, side, side) and ``fine`` (rows, side,
        side), errors in m/s. A fifth of the maps stay as they are.
    """
    uniform = torch.rand(3, rows, generator=generator)
    changed = strength * (torch.rand(rows, generator=generator) > 0.2)
    coarse = torch.randn(rows, 1, _ROUGH, _ROUGH, generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)[:, 0]
    fine = torch.randn(rows, side, side, generator=generator)
    return {
        "blur": 2.5 * uniform[0] * changed,
        "smooth": smooth * (80.0 * uniform[1] * changed)[:, None, None],
        "fine": fine * (8.0 * uniform[2] * changed)[:, None, None],
    }


def imitate(velocity: Tensor, errors: dict[str, Tensor]) -> Tensor:
    """Maps as a net would predict them.

    Args:
        velocity: True maps in m/s, ``(rows, side, side)``.
        errors: As :func:`draw_errors` gives them.
    """
    side = velocity.shape[1]
    depth = torch.linspace(0.0, 1.0, side, device=velocity.device)[:, None]
    blurred = _blur(velocity, errors["blur"])
    # a net is sure of the surface and unsure of the bottom
    shown = velocity + (blurred - velocity) * (0.3 + 0.7 * depth)
    return shown + errors["smooth"] * (0.2 + 0.8 * depth) + errors["fine"]


def _blur(velocity: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian means with a standard deviation for each map; the edges are repeated."""
    offsets = torch.arange(-_REACH, _REACH + 1, device=velocity.device)
    kernels = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]).square())
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(velocity.dtype)
    maps = F.pad(velocity[None], (_REACH,) * 4, mode="replicate")
    maps = F.conv2d(maps, kernels[:, None, :, None], groups=len(velocity))
    return F.conv2d(maps, kernels[:, None, None, :], groups=len(velocity))[0]
