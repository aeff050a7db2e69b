from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from blend.metrics.ranks import rank_table


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_ranks_are_scipys_and_one_model_is_itself(seed, rows):
    P = np.random.default_rng(seed).integers(0, 5, (2, rows, 3)).astype(np.float32)
    table = rank_table(P)
    np.testing.assert_array_equal(table.ranks, rankdata(P, axis=1) - 1)
    np.testing.assert_allclose(table.blend(np.array([1.0, 0.0])), P[0])
    np.testing.assert_allclose(rank_table(P[[0, 0]]).blend(np.array([0.3, 0.7])), P[0], rtol=1e-6)


def test_only_order_and_the_mean_distribution_count():
    """A model and its cube order rows alike: their rank mean keeps that order and averages the sorted values."""
    p = np.array([0.9, 0.1, 0.5], np.float32)
    P = np.stack([p, p**3])[:, :, None]
    blended = rank_table(P).blend(np.array([0.5, 0.5]))[:, 0]
    np.testing.assert_allclose(blended, (p + p**3) / 2, rtol=1e-6)
