"""Buffers that stay float64 whatever the net is cast to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class KeepFloat64(nn.Module):
    """A module whose buffers follow it to another device but keep their dtype under ``half()`` and the like."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self
