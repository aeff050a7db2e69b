"""Style maps: OpenFWI painted photographs in the style of geology over ground that gets faster with depth.

Scenes of overlapping shapes with outlines, warped, stand for the photographs. Two maps that were inverted from real gathers are all there is
to compare with: their rows rise by 60 to 70 % of the range from top to bottom, and their edges are outlines as often as steps.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, map_coordinates

from datamodules.gwi.generate.layers import Array, Rng
from datamodules.gwi.schema import SIDE, VMAX, VMIN

_MARGIN = 24
_GRAIN = (
    8.0 / 3000.0
)  # pixel noise in shares of the range; jcottaar (2nd place) fitted 58, his inverted map shows next to none


def style_b(rng: Rng) -> Array:
    """A map with edges, texture and grain, ``(70, 70)``."""
    scene = _posterised(rng) + rng.uniform(0.3, 1.0) * _scene(rng)
    outlines = gaussian_gradient_magnitude(scene, 0.6)
    rims = rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 3.5) * outlines
    image = scene + rims + rng.uniform(0.05, 0.2) * _texture(rng, rng.uniform(1.5, 3.0))
    image = _to_unit(image)
    background = np.linspace(0.0, 1.0, SIDE)[:, None]
    weight = rng.uniform(
        0.35, 0.65
    )  # of the background; the paper says 0.7 to 0.9, the two inverted maps look like this
    blended = (1.0 - weight) * image + weight * background + rng.normal(0.0, _GRAIN, image.shape)
    return VMIN + (VMAX - VMIN) * _to_unit(blended)


def style_a(rng: Rng) -> Array:
    """The Style_B map of the same random numbers, blurred."""
    sharp = style_b(rng)
    return np.asarray(gaussian_filter(sharp, rng.uniform(1.0, 1.8), mode="nearest"))


def _texture(rng: Rng, length: float) -> Array:
    side = SIDE + 2 * _MARGIN
    noise = gaussian_filter(rng.normal(size=(side, side)), length)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return np.asarray(noise / noise.std())


def _posterised(rng: Rng) -> Array:
    """Smooth noise in a few flat steps, its outlines bent by more noise: the edges of a photograph."""
    smooth = _texture(rng, rng.uniform(2.5, 7.0))
    bend = rng.uniform(1.0, 5.0)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    where = [y + bend * _texture(rng, 4.0), x + bend * _texture(rng, 4.0)]
    bent = map_coordinates(smooth, where, order=1, mode="reflect")
    steps = rng.uniform(1.0, 3.0)
    sharpness = rng.uniform(0.4, 0.9)
    return np.asarray((1.0 - sharpness) * bent + sharpness * np.round(bent * steps) / steps)


def _scene(rng: Rng) -> Array:
    """Some overlapping ellipses of their own brightness, the later ones in front."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    image = np.zeros((SIDE, SIDE))
    for _ in range(int(rng.integers(5, 16))):
        (row, column), (tall, wide) = rng.uniform(0, SIDE, 2), rng.uniform(3.0, 14.0, 2)
        angle = rng.uniform(0.0, np.pi)
        along, across = (
            (x - column) * np.cos(angle + turn) + (y - row) * np.sin(angle + turn) for turn in (0.0, np.pi / 2)
        )
        image[(along / wide) ** 2 + (across / tall) ** 2 < 1.0] = rng.normal()
    return image


def _to_unit(image: Array) -> Array:
    low, high = image.min(), image.max()
    return np.asarray((image - low) / (high - low))
