"""Cells that the compiled kernels leave out: what is left out cannot be heard, and it is half of the work."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.gwi.acquisition import OPENFWI, Acquisition
from datamodules.gwi.propagation import has_numba
from datamodules.gwi.simulator import Simulator, mirror

pytestmark = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


def hard_maps(size: int = 70) -> Tensor:
    """Noise; a fast floor under slow ground, along which the first arrival runs; thin fast sheets that dip."""
    rng = np.random.default_rng(3)
    row, column = np.mgrid[:size, :size]
    floor = np.where(row < size // 5, 1500.0, 4500.0)
    sheets = np.where((row + column // 3) % 9 == 0, 4500.0, 1600.0)
    return torch.from_numpy(np.stack([rng.uniform(1500, 4500, (size, size)), floor, sheets]))


def test_the_same_traces_and_gradients_to_rounding() -> None:
    """The plain backend leaves nothing out; residuals are noise, which has every frequency."""
    survey = dataclasses.replace(OPENFWI, samples=500, sponge=60)
    gathers, gradients = [], []
    for backend in ("numba", "torch"):
        velocity = hard_maps().requires_grad_()
        gathers.append(Simulator(survey, backend)(velocity, shots=[1]))  # type: ignore[arg-type]
        noise = torch.randn(gathers[-1].shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        (gathers[-1] * noise).sum().backward()
        gradients.append(velocity.grad)
    for ours, plain in (gathers, gradients):
        assert ours is not None
        assert plain is not None
        error = (ours - plain).detach().abs().flatten(1).amax(1) / plain.detach().abs().flatten(1).amax(1)
        assert (error < 1e-11).all(), error


def test_mirrored_maps_give_mirrored_gathers_to_the_last_bit_at_full_geometry() -> None:
    """Where windows are cut, and rounding would tell where."""
    simulator, velocity = Simulator(OPENFWI, "numba"), hard_maps().float()
    gathers, of_mirrored = mirror(simulator(velocity)), simulator(velocity.flip(-1))
    outer = [0, 1, 3, 4]  # the central source stands aside of the middle
    assert torch.equal(gathers[:, outer], of_mirrored[:, outer])


@pytest.mark.parametrize(("dtype", "least", "most"), [(np.float32, 0.45, 0.6), (np.float64, 0.5, 0.7)])
def test_half_of_the_rows_are_left_out(dtype: type, least: float, most: float) -> None:
    from datamodules.gwi.reach import falls, windows

    layers = np.repeat([1800.0, 2500.0, 3200.0, 4000.0], [138, 17, 17, 138]) * OPENFWI.interval / OPENFWI.spacing
    found = windows(np.square(layers).astype(dtype), falls(), 121, np.array([121]), 1000)
    share = float(np.diff(found, axis=1).mean()) / 310
    assert least < share < most
    assert (found[:, 0] <= 121).all()
    assert (found[:, 1] > 121).all()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_survey_over_any_ground(data: st.DataObject) -> None:
    """Maps of any shape, sources and receivers anywhere, waves that go round the periodic edge: the same as the plain backend."""
    depth, columns = (data.draw(st.integers(4, 40), label=name) for name in ("depth", "columns"))
    cells = st.tuples(st.integers(0, depth - 1), st.integers(0, columns - 1))
    sources, receivers = (
        data.draw(st.lists(cells, min_size=1, max_size=3), label=name) for name in ("sources", "receivers")
    )
    survey = dataclasses.replace(
        Acquisition(frequency=40.0),
        samples=data.draw(st.integers(5, 200), label="samples"),
        sponge=data.draw(st.integers(2, 30), label="sponge"),
        source_rows=tuple(row for row, _ in sources),
        source_columns=tuple(column for _, column in sources),
        receiver_rows=tuple(row for row, _ in receivers),
        receiver_columns=tuple(column for _, column in receivers),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    velocity = torch.from_numpy(np.exp(rng.uniform(np.log(300), np.log(6000), (1, depth, columns))))
    ours, plain = (Simulator(survey, backend)(velocity) for backend in ("numba", "torch"))
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10 * float(plain.abs().max()))
