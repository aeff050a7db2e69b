"""Names inside checkpoints: text as an array of bytes, so that a state holds tensors only and nothing is pickled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor


def encode_names(names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """UTF-8 bytes of names, one a line."""
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8).copy()


def decode_names(encoded: Tensor | npt.ArrayLike) -> tuple[str, ...]:
    """What :func:`encode_names` was given; no bytes are no names."""
    text = np.asarray(encoded.cpu() if isinstance(encoded, Tensor) else encoded, dtype=np.uint8).tobytes().decode()
    return tuple(text.split("\n")) if text else ()
