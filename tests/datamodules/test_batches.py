from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.batches import OrderedBatches, ShuffledBatches
from datamodules.errors import DataError

ORDERS = st.fixed_dictionaries(
    {
        "n": st.integers(8, 400),
        "batch_size": st.sampled_from([4, 8]),
        "block": st.integers(1, 50),
        "mix": st.integers(0, 9),
        "epoch": st.integers(0, 3),
    }
)


def batches_of(case: dict[str, int], rank: int = 0, world: int = 1) -> list[np.ndarray]:
    rows = np.arange(case["n"]) * 3 + 5
    order = ShuffledBatches(
        rows, case["batch_size"], seed=1, rank=rank, world=world, block=case["block"], mix=case["mix"]
    )
    order.set_epoch(case["epoch"])
    return [order.batch(i) for i in range(len(order))]


@given(ORDERS)
@settings(deadline=None, max_examples=60)
def test_an_epoch_holds_no_row_twice_and_misses_less_than_a_batch(case: dict[str, int]) -> None:
    seen = np.concatenate(batches_of(case))
    assert len(np.unique(seen)) == len(seen)
    assert set(seen) <= set(np.arange(case["n"]) * 3 + 5)
    assert case["n"] - len(seen) < case["batch_size"]


@given(ORDERS, st.sampled_from([2, 4]))
@settings(deadline=None, max_examples=40)
def test_processes_share_the_same_global_batches(case: dict[str, int], world: int) -> None:
    whole = batches_of(case)
    shares = [batches_of(case, rank, world) for rank in range(world)]
    for i, batch in enumerate(whole):
        together = np.concatenate([share[i] for share in shares])
        assert sorted(together) == sorted(batch)
        assert {len(share[i]) for share in shares} == {len(batch) // world}


def test_any_batch_can_be_had_without_those_before() -> None:
    case = {"n": 300, "batch_size": 8, "block": 16, "mix": 3, "epoch": 2}
    order = ShuffledBatches(np.arange(300), 8, seed=1, block=16, mix=3)
    order.set_epoch(2)
    direct = order.batch(20)
    rows = np.arange(300)
    again = ShuffledBatches(rows, 8, seed=1, block=16, mix=3)
    again.set_epoch(2)
    assert (direct == [again.batch(i) for i in range(len(again))][20]).all()
    assert len(batches_of(case)) == 37


def test_epochs_and_seeds_differ() -> None:
    def first(seed: int, epoch: int) -> list[int]:
        order = ShuffledBatches(np.arange(1000), 10, seed=seed)
        order.set_epoch(epoch)
        return list(order.batch(0))

    assert first(0, 0) != first(0, 1)
    assert first(0, 0) != first(1, 0)
    assert first(0, 0) == first(0, 0)


def test_mixing_reaches_across_blocks() -> None:
    order = ShuffledBatches(np.arange(4096), 64, seed=0, block=64, mix=16)
    assert len(np.unique(order.batch(0) // 64)) > 10


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"--batch_size 10 .* divide by their number 4"):
        ShuffledBatches(np.arange(100), 10, world=4)
    with pytest.raises(DataError, match="more than the 5 training rows"):
        ShuffledBatches(np.arange(5), 10)
    with pytest.raises(DataError, match="2 rows to evaluate cannot be shared by 3 processes"):
        OrderedBatches(np.arange(2), 1, 0, 3)


@given(st.integers(3, 200), st.integers(1, 17), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_evaluation_covers_every_row_exactly_once(n: int, size: int, world: int) -> None:
    rows = np.arange(n) * 2
    orders = [OrderedBatches(rows, size, rank, world) for rank in range(world)]
    seen = np.concatenate([order.batch(i) for order in orders for i in range(len(order))])
    assert (np.sort(seen) == rows).all()
