from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.gwi import propagation
from datamodules.gwi.acquisition import OPENFWI, Acquisition
from datamodules.gwi.propagation import Backend, has_numba
from datamodules.gwi.simulator import Simulator, exact_mirror, mirror

SMALL = Acquisition(samples=60, sponge=6, source_columns=(0, 3, 5, 8, 11), frequency=40.0)
needs_numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")
BACKENDS = [pytest.param("torch"), pytest.param("numba", marks=needs_numba)]


def maps(n: int = 2, size: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (1500 + 3000 * torch.rand(n, size, size, generator=generator, dtype=torch.float64)).to(dtype)


def by_rolls(velocity: np.ndarray, a: Acquisition) -> np.ndarray:
    """One map, the scheme written out with np.roll from its description, in float64."""
    nbc, (nz, nx) = a.sponge, velocity.shape
    v = np.pad(velocity, nbc, mode="edge")
    width = (nbc - 1) * a.spacing
    rate = 3 * velocity.min() * np.log(1e7) / (2 * width)
    ramp = rate * (np.arange(nbc) * a.spacing / width) ** 2
    sponge = np.zeros_like(v)
    sponge[:nbc], sponge[nz + nbc :] = ramp[::-1, None], ramp[:, None]
    sponge[:, :nbc], sponge[:, nx + nbc :] = ramp[::-1], ramp
    alpha, kappa = (v * a.interval / a.spacing) ** 2, sponge * a.interval
    row, out = nbc + a.row, []
    for column in a.source_columns:
        p0, p1 = np.zeros_like(v), np.zeros_like(v)
        gather = []
        for w in a.wavelet():
            near = sum(np.roll(p1, s, axis) for s in (-1, 1) for axis in (0, 1))
            far = sum(np.roll(p1, s, axis) for s in (-2, 2) for axis in (0, 1))
            p = (2 - 5 * alpha - kappa) * p1 - (1 - kappa) * p0 + alpha * (4 / 3 * near - far / 12)
            p[row, nbc + column] += (v[row, nbc + column] * a.interval) ** 2 * w
            gather.append(p[row, nbc : nbc + nx])
            p0, p1 = p1, p
        out.append(gather)
    return np.array(out)


def test_the_wavelet_has_the_published_values() -> None:
    wavelet = OPENFWI.wavelet()
    assert wavelet.shape == (1000,)
    assert wavelet[73] == 1
    assert wavelet[0] == pytest.approx(-1.6444e-4, rel=1e-4)
    assert wavelet[146] == wavelet[0]
    assert not wavelet[147:].any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [12, 13, 14])  # compiled kernels take three rows at once
def test_equals_the_scheme_written_out_with_rolls(backend: Backend, size: int) -> None:
    velocity = maps(size=size)
    ours = Simulator(SMALL, backend)(velocity)
    assert ours.shape == (2, 5, 60, size)
    for gathers, velocities in zip(ours, velocity, strict=True):
        expected = by_rolls(velocities.numpy(), SMALL)
        np.testing.assert_allclose(gathers.numpy(), expected, atol=1e-13 * abs(expected).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_computes_in_the_maps_precision(backend: Backend) -> None:
    single = Simulator(SMALL, backend)(maps(dtype=torch.float32))
    assert single.dtype == torch.float32
    double = Simulator(SMALL, backend)(maps())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5 * float(double.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_list_of_shots(backend: Backend) -> None:
    simulator = Simulator(SMALL, backend)
    everything = simulator(maps())
    assert torch.equal(simulator(maps(), shots=[4, 1]), everything[:, [4, 1]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_mirrored_maps_give_mirrored_gathers_to_the_last_bit(backend: Backend) -> None:
    """Source columns 0, 3, 8, 11 of 12 are symmetric; 5 is not, like OpenFWI's 34 of 70."""
    simulator = Simulator(SMALL, backend)
    velocity = maps(dtype=torch.float32)
    gathers, of_mirrored = simulator(velocity), simulator(velocity.flip(-1))
    naive = mirror(gathers)
    outer = [0, 1, 3, 4]
    assert torch.equal(naive[:, outer], of_mirrored[:, outer])
    assert not torch.allclose(naive[:, 2], of_mirrored[:, 2], atol=1e-2)
    mirrored, exact = exact_mirror(simulator, velocity, gathers)
    assert torch.equal(mirrored, velocity.flip(-1))
    assert torch.equal(exact, of_mirrored)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("segment", [7, 100])
def test_the_gradient_is_that_of_finite_differences(backend: Backend, segment: int) -> None:
    """Every velocity, and the minimum that drives the sponge; segments that do and do not divide the samples."""
    a = Acquisition(samples=40, sponge=4, source_columns=(0, 3), frequency=40.0)
    simulator = Simulator(a, backend, segment)
    velocity = maps(2, 5).requires_grad_()
    weights = torch.randn(2, 2, 40, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (simulator(velocity) * weights).sum().backward()
    # every velocity of both maps up and down, shot in one batch
    cells = torch.eye(25, dtype=torch.float64).view(1, 25, 5, 5) * 1e-2
    moved = torch.stack([velocity.detach()[:, None] + sign * cells for sign in (1, -1)])
    with torch.no_grad():
        shot = simulator(moved.view(-1, 5, 5)).view(2, 2, 25, 2, 40, 5)
    losses = (shot * weights[None, :, None]).sum((3, 4, 5))
    numeric = ((losses[0] - losses[1]) / 2e-2).view_as(velocity)
    assert velocity.grad is not None
    torch.testing.assert_close(velocity.grad, numeric, rtol=1e-5, atol=1e-7 * float(numeric.abs().max()))


@needs_numba
def test_both_backends_have_the_same_gradient_at_full_geometry_in_float32() -> None:
    gradients = []
    for backend in ("torch", "numba"):
        velocity = maps(1, dtype=torch.float32).requires_grad_()
        Simulator(SMALL, backend)(velocity).square().sum().backward()
        assert velocity.grad is not None
        gradients.append(velocity.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5 * float(gradients[0].abs().max()))


def test_a_fixed_slowest_velocity_holds_the_sponge() -> None:
    simulator = Simulator(SMALL, "torch")
    velocity = maps()
    own = velocity.flatten(1).amin(1)
    assert torch.equal(simulator(velocity, slowest=own), simulator(velocity))
    assert not torch.equal(simulator(velocity, slowest=own + 500), simulator(velocity))


@needs_numba
def test_the_gradients_memory_grows_with_the_root_of_the_samples() -> None:
    def peak(samples: int) -> int:
        simulator = Simulator(Acquisition(samples=samples, sponge=20, source_columns=(5,)), "numba")
        velocity = maps(1, 30, torch.float32).requires_grad_()
        loss = simulator(velocity).sum()
        tracemalloc.start()
        loss.backward()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)
    assert peak(1600) < 5 * peak(100)


@pytest.mark.parametrize(
    ("velocity", "says"),
    [
        (maps()[0], r"shape \(maps, depth, columns\)"),
        (maps().half(), "float32 or float64"),
        (maps() * float("nan"), "finite"),
        (maps() - 5000, "above 0"),
        (maps() + 3000, "unstable"),
        (maps(size=8), "row 1, column 8 of maps that have 8 rows and 8 columns"),
    ],
)
def test_what_cannot_be_shot_is_refused_in_a_sentence(velocity: Tensor, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Simulator(SMALL)(velocity)


def by_deepwave(velocity: Tensor, a: Acquisition) -> Tensor:
    """The same shots by an independent solver, which records one sample late and absorbs at the edge in another way."""
    deepwave = pytest.importorskip("deepwave")
    columns = velocity.shape[1]
    n_shots = len(a.source_columns)
    receivers = torch.stack([torch.full((columns,), a.row), torch.arange(columns)], 1).repeat(n_shots, 1, 1)
    sources = torch.tensor([[[a.row, column]] for column in a.source_columns])
    amplitudes = -torch.from_numpy(a.wavelet()).to(velocity).repeat(n_shots, 1, 1)
    *_, traces = deepwave.scalar(
        velocity, a.spacing, a.interval, source_amplitudes=amplitudes, source_locations=sources,
        receiver_locations=receivers, accuracy=4, pml_width=40, pml_freq=a.frequency,
    )  # fmt: skip
    return traces.transpose(1, 2)[:, 1:]


def test_agrees_with_deepwave() -> None:
    a = Acquisition(samples=200, source_columns=(3, 20))
    velocity = torch.full((32, 32), 3000.0)
    velocity[16:] = 3500.0
    ours, theirs = Simulator(a)(velocity[None])[0, :, :-1], by_deepwave(velocity, a)
    error = (ours - theirs).abs()
    assert error.mean() < 5e-3
    assert error.max() < 0.06
    assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.99999


@pytest.mark.real_data
def test_equals_the_oracle(real_data: Path) -> None:
    oracle = np.load(real_data / "gwi" / "forward_oracle.npz")
    names = [name.removeprefix("vel_") for name in oracle.files if name.startswith("vel_")]
    velocity = torch.from_numpy(np.stack([oracle[f"vel_{name}"] for name in names]))
    recorded = np.stack([oracle[f"seis_{name}"] for name in names])
    # plain torch takes seconds a shot: there each map gives one, another one each, and the compiled backend gives all
    cases = [(slice(None), [0, 1, 2, 3, 4])] if has_numba() else [(slice(m, m + 1), [m % 5]) for m in range(len(names))]
    for held, which in cases:
        error = Simulator()(velocity[held], shots=which).numpy() - recorded[held][:, which]
        assert abs(error).max() < 1e-3
        assert np.sqrt(np.square(error, dtype=np.float64).mean(axis=(1, 2, 3))).max() < 1e-4


@pytest.mark.real_data
def test_agrees_with_deepwave_on_real_maps(real_data: Path) -> None:
    """Up to 750 ms; after that, what the weak sponge lets around the periodic edge belongs to the data, not to deepwave's."""
    oracle = np.load(real_data / "gwi" / "forward_oracle.npz")
    for name in ("homog3000", "CurveVel_A_0", "FlatFault_A_0"):
        theirs = by_deepwave(torch.from_numpy(oracle[f"vel_{name}"]), OPENFWI)[:, :750]
        error = abs(oracle[f"seis_{name}"][:, :750] - theirs.numpy())
        assert error.mean() < 4.5e-3
        assert error.max() < 0.05


@needs_numba
def test_a_held_sponge_gives_the_same_gradient_of_the_map() -> None:
    """Where nobody asks for the sponge's gradient it is not computed; the map's is the same but for the minimum."""
    simulator = Simulator(SMALL, "numba")
    velocity = maps().requires_grad_()
    slowest = velocity.detach().flatten(1).amin(1).requires_grad_()
    simulator(velocity, slowest=slowest).square().sum().backward()
    both = velocity.grad
    velocity.grad = None
    simulator(velocity, slowest=slowest.detach()).square().sum().backward()
    assert both is not None
    assert velocity.grad is not None
    torch.testing.assert_close(velocity.grad, both)
    assert slowest.grad is not None
    assert (slowest.grad != 0).all()


def test_receivers_and_sources_at_any_cells_are_those_of_a_survey_with_more_of_them() -> None:
    """A source at depth, receivers in a borehole: reciprocity, and the same traces whichever backend and whoever else listens."""
    velocity = maps(1)
    borehole = dataclasses.replace(
        SMALL, source_columns=(2, 9), source_rows=(8, 3), receiver_columns=(9, 4, 4), receiver_rows=(3, 1, 7)
    )
    shots = [Simulator(borehole, backend)(velocity) for backend in (("torch", "numba") if has_numba() else ("torch",))]
    torch.testing.assert_close(shots[0], shots[-1])
    turned = dataclasses.replace(
        SMALL, source_columns=(9,), source_rows=(3,), receiver_columns=(2,), receiver_rows=(8,)
    )
    there, back = shots[0][0, 0, :, 0], Simulator(turned)(velocity)[0, 0, :, 0]
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_a_survey_at_any_cells(backend: Backend) -> None:
    survey = dataclasses.replace(
        SMALL, samples=30, source_columns=(2,), source_rows=(8,), receiver_columns=(9, 4, 4), receiver_rows=(3, 1, 7)
    )
    simulator = Simulator(survey, backend, segment=7)
    slowest = torch.tensor([1500.0], dtype=torch.float64)
    velocity = maps(1, 10).requires_grad_()
    simulator(velocity, slowest=slowest).square().sum().backward()
    assert velocity.grad is not None
    for cell in ((8, 2), (3, 9), (5, 5)):
        step = torch.zeros_like(velocity)
        step[0, cell[0], cell[1]] = 0.5
        up, down = (simulator(velocity.detach() + sign * step, slowest=slowest).square().sum() for sign in (1, -1))
        assert float(velocity.grad[0, cell[0], cell[1]]) == pytest.approx(float(up - down), rel=1e-4, abs=1e-12)


def test_a_free_surface_sends_waves_back_with_the_opposite_sign() -> None:
    """A shot below the surface of even ground is that of endless ground less that of its mirror image above."""
    endless = Acquisition(
        samples=120,
        sponge=60,
        source_columns=(30,),
        receiver_columns=(45,),
        receiver_rows=(40,),
        source_rows=(20,),
        frequency=25.0,
    )
    ground = torch.full((1, 90, 61), 2000.0, dtype=torch.float64)
    direct = Simulator(endless)(ground)
    # the same source as far above the row of zero pressure, which is the one above the first
    ghost = Simulator(dataclasses.replace(endless, source_rows=(0,), receiver_rows=(62,)))(ground)
    free = Simulator(dataclasses.replace(endless, free_surface=True))(ground)
    torch.testing.assert_close(free, direct - ghost, rtol=0, atol=0.02 * float(direct.abs().max()))
    velocity = ground.clone().requires_grad_()
    Simulator(dataclasses.replace(endless, free_surface=True, samples=40))(velocity).square().sum().backward()
    assert velocity.grad is not None
    assert torch.isfinite(velocity.grad).all()


def test_a_wavelet_of_ones_own_and_surveys_that_are_wrong() -> None:
    given = Acquisition(samples=5, source_samples=(1.0, -2.0, 0.5))
    np.testing.assert_array_equal(given.wavelet(), [1, -2, 0.5, 0, 0])
    with pytest.raises(ValueError, match="5 source_columns but 1 source_rows"):
        Acquisition(source_rows=(1,))
    with pytest.raises(ValueError, match="2 receiver_rows but 0 receiver_columns"):
        Acquisition(receiver_rows=(1, 2))


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing compiled before and nothing left after."""

    def forget() -> None:
        propagation._fused_step.cache_clear()
        torch._dynamo.reset()

    forget()
    yield
    forget()


@pytest.mark.usefixtures("fresh_compiler")
def test_fused_steps_are_compiled_once_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and gradient of 1 to 64 maps, of any number of shots on any grid: each precision is compiled once."""
    compiled, called = [], []

    def count(graph: torch.fx.GraphModule, inputs: list[object]) -> Callable[..., object]:
        compiled.append(graph)

        def run(*arguments: object) -> object:
            called.append(1)
            return graph(*arguments)

        return run

    monkeypatch.setattr(propagation, "COMPILER", count)
    small = Acquisition(sponge=3, samples=4, source_columns=(0, 3, 6, 1, 2))
    fused, plain = Simulator(small, backend="inductor", segment=2), Simulator(small, backend="torch", segment=2)
    batches = [(maps, 3, 8, 8) for maps in range(1, 65)]  # of maps, shots, rows, columns
    batches += [(maps, shots, 8, 7 + shots % 2) for maps in (1, 2, 3, 5) for shots in (1, 2, 5)]
    for dtype in (torch.float32, torch.float64):
        propagation._fused_step(dtype, torch.device("cpu"))
        for maps, shots, rows, columns in batches if dtype == torch.float32 else batches[-3:]:
            velocity = torch.linspace(1500, 4500, maps * rows * columns, dtype=dtype).view(maps, rows, columns)
            velocity.requires_grad_()
            before = len(called)
            shot = fused(velocity, shots=range(shots))
            shot.square().sum().backward()
            # forward, kept again, between, and the adjoint
            assert len(called) - before == 4 + 4 + 4 + 4
            np.testing.assert_allclose(
                shot.detach(), plain(velocity.detach(), shots=range(shots)), rtol=1e-4, atol=1e-9
            )
        assert len(compiled) == (1 if dtype == torch.float32 else 2)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_step_that_would_be_compiled_too_often_is_an_error_and_never_runs_uncompiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(propagation, "COMPILER", "eager")
    with torch._dynamo.config.patch(recompile_limit=1):
        Simulator(SMALL, "inductor")(maps(dtype=torch.float32))
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            Simulator(SMALL, "inductor")(maps())


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_the_fused_backend_equals_the_plain_one() -> None:
    """By torch's own compiler, whose graphs are counted: one for all."""
    torch._dynamo.utils.counters.clear()
    fused, plain = Simulator(SMALL, "inductor"), Simulator(SMALL, "torch")
    for number, size, shots in ((2, 12, 5), (1, 12, 5), (5, 12, 1), (1, 13, 1), (9, 14, 3)):
        seismograms, gradients = [], []
        for simulator in (fused, plain):
            velocity = maps(number, size).requires_grad_()
            seismograms.append(simulator(velocity, shots=range(shots)))
            seismograms[-1].square().sum().backward()
            gradients.append(velocity.grad)
        torch.testing.assert_close(*seismograms)
        torch.testing.assert_close(*gradients)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
