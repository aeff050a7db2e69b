"""Steps of post-processing that only velocity maps have, as a blend's recipe lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.banks.groups import chosen_rows
from datamodules.errors import DataError
from datamodules.gwi.plateaus import WITHOUT_PLATEAUS, bucket

Array = npt.NDArray[np.float64]
Step = Callable[[Array, npt.NDArray[np.str_] | None], Array]
_BUCKET_KEYS = {"width", "fewest", "widths", "only_groups", "except_groups"}


def make_bucket(argument: Any) -> Step:
    """``bucket: {width: 10, fewest: 30, widths: {group: width}, only_groups | except_groups: [...]}``, see :func:`bucket`.

    Raises:
        DataError: an unknown key, a negative width, or a family without plateaus.
    """
    if not isinstance(argument, Mapping) or not set(argument) <= _BUCKET_KEYS:
        raise DataError(f"step bucket: {argument!r} is unknown; it takes {', '.join(sorted(_BUCKET_KEYS))}")
    width, fewest = float(argument.get("width", 10)), int(argument.get("fewest", 30))
    widths = {str(group): float(own) for group, own in dict(argument.get("widths", {})).items()}
    named = [group for group in (*argument.get("only_groups", ()), *widths) if group in WITHOUT_PLATEAUS]
    if named:
        raise DataError(f"step bucket: {named[0]} maps are images without plateaus, they are never bucketed")
    if min([width, *widths.values()]) < 0 or fewest < 1:
        raise DataError(f"step bucket: widths are not negative and fewest is at least 1, got {dict(argument)}")

    def step(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        chosen = chosen_rows(argument, groups)
        assert groups is not None
        chosen &= ~np.isin(groups, WITHOUT_PLATEAUS)
        out = values.astype(np.float64)
        for row in np.flatnonzero(chosen):
            out[row] = bucket(values[row], widths.get(str(groups[row]), width), fewest)
        return out

    return step


STEPS = {"bucket": make_bucket}
