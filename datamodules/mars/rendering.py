"""What decides the pixels of a run's image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datamodules.mars.features import NEGATIVE_TOLERANCE


@dataclass(frozen=True)
class Rendering:
    """Everything that changes the pixels.

    Args:
        m_bins: Image rows, masses 0 to m_bins - 1.
        t_bins: Image columns.
        min_mass: Smallest mass kept.
        drop_helium: Leave out m/z 4.
        on_nan: An absent intensity is an error, or 0.
        negative_tolerance: See :func:`datamodules.mars.features.read_run`.
    """

    m_bins: int = 256
    t_bins: int = 192
    min_mass: int = 0
    drop_helium: bool = True
    on_nan: Literal["error", "zero"] = "error"
    negative_tolerance: float = NEGATIVE_TOLERANCE
