from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.mixed_batches import MixedBatches, parse_ratio

CASES = st.fixed_dictionaries(
    {
        "n": st.integers(24, 300),
        "walked": st.integers(1, 200),
        "ratio": st.sampled_from([(2, 1), (1, 1), (1, 3), (5, 2)]),
        "batch_size": st.sampled_from([4, 8, 20]),
        "block": st.integers(1, 30),
        "mix": st.integers(0, 5),
    }
)


def order_of(case: dict, epoch: int = 0, rank: int = 0, world: int = 1, seed: int = 1) -> MixedBatches:
    repeated, walked = np.arange(case["n"]) * 2, 1000 + np.arange(case["walked"]) * 3
    order = MixedBatches(
        repeated, walked, case["ratio"], case["batch_size"], seed, rank, world, case["block"], case["mix"]
    )
    order.set_epoch(epoch)
    return order


def batches(order: MixedBatches) -> list[np.ndarray]:
    return [order.batch(i) for i in range(len(order))]


def walked_in(order: MixedBatches) -> np.ndarray:
    return np.concatenate([batch[batch >= 1000] for batch in batches(order)])


@given(CASES, st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_an_epoch_repeats_the_first_source_once_at_the_ratio(case: dict, epoch: int) -> None:
    made = batches(order_of(case, epoch))
    assert {len(batch) for batch in made} == {case["batch_size"]}
    rows = np.concatenate(made)
    own = rows[rows < 1000]
    assert len(np.unique(own)) == len(own)
    first, second = case["ratio"]
    assert 0 <= case["n"] - len(own) < case["batch_size"]
    for i in range(1, len(made) + 1):  # at every batch, not at the end alone
        so_far = np.concatenate(made[:i])
        assert abs((so_far >= 1000).sum() - len(so_far) * second / (first + second)) < 1


@given(CASES)
@settings(deadline=None, max_examples=40)
def test_walked_rows_are_new_until_all_have_been_seen(case: dict) -> None:
    counts = np.zeros(case["walked"], dtype=int)
    for epoch in range(3):
        for batch in batches(order_of(case, epoch)):
            np.add.at(counts, (batch[batch >= 1000] - 1000) // 3, 1)
            assert counts.max() - counts.min() <= 1


@given(CASES, st.sampled_from([2, 4]), st.integers(0, 2))
@settings(deadline=None, max_examples=40)
def test_processes_share_the_same_global_batches(case: dict, world: int, epoch: int) -> None:
    whole = batches(order_of(case, epoch))
    shares = [batches(order_of(case, epoch, rank, world)) for rank in range(world)]
    for i, batch in enumerate(whole):
        together = np.concatenate([share[i] for share in shares])
        assert sorted(together) == sorted(batch)
        assert {len(share[i]) for share in shares} == {len(batch) // world}


@given(CASES, st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_any_batch_can_be_had_without_those_before(case: dict, epoch: int) -> None:
    last = len(order_of(case)) - 1
    assert (order_of(case, epoch).batch(last) == batches(order_of(case, epoch))[last]).all()


def test_epochs_and_seeds_differ() -> None:
    case = {"n": 200, "walked": 500, "ratio": (2, 1), "batch_size": 20, "block": 1, "mix": 0}
    firsts = [list(order_of(case, epoch, seed=seed).batch(0)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(first) for first in firsts}) == 3
    assert not set(walked_in(order_of(case, 0))) & set(walked_in(order_of(case, 1)))


def test_bad_sizes_and_ratios_are_refused() -> None:
    rows = np.arange(100)
    with pytest.raises(DataError, match=r"--batch_size 10 .* divide by their number 4"):
        MixedBatches(rows, rows + 100, (2, 1), 10, world=4)
    with pytest.raises(DataError, match="takes 134 rows of the repeated source, more than its 100 training rows"):
        MixedBatches(rows, rows + 100, (2, 1), 200)
    with pytest.raises(DataError, match="second source has no training row"):
        MixedBatches(rows, rows[:0], (2, 1), 10)
    assert parse_ratio("2:1") == (2, 1)
    for text in ("2", "2:0", "a:b", "2:1:1", "-1:2", "1.5:1"):
        with pytest.raises(ValueError, match="is not a ratio of two whole numbers above 0"):
            parse_ratio(text)
