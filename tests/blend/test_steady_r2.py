"""R2 where few rows carry the spread of a target: such targets neither find weights nor decide between methods."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from blend.commands.session import steady_r2
from blend.metrics.scores import R2, ClippedR2, TruthSums


def source(effective: list[float] | None) -> Any:
    extra = {} if effective is None else {"effective_rows": effective, "fewest_effective_rows": 25.0}
    return SimpleNamespace(banks=[SimpleNamespace(manifest=SimpleNamespace(extra=extra))])


def test_only_banks_with_targets_of_few_effective_rows_change_the_metric() -> None:
    metric = R2()
    assert steady_r2(metric, [source(None)]) is metric
    assert steady_r2(metric, [source([25.0, 900.0])]) is metric
    steady = steady_r2(metric, [source([900.0, 900.0]), source([3.0, 900.0]), source(None)])
    assert steady.name == "r2_clipped"
    np.testing.assert_array_equal(cast(ClippedR2, steady).counted, [False, True])


def test_one_far_column_cannot_rule_the_clipped_mean() -> None:
    truth = TruthSums(np.array([100.0]), np.zeros((1, 2)), np.full((1, 2), 100.0))
    errors = np.array([[50.0, 1e7]])
    assert R2().per_target(errors, truth).mean() < -1e4
    np.testing.assert_allclose(ClippedR2().per_target(errors, truth), [[0.5, -1.0]])
