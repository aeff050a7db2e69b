"""Maps per second of OpenFWI's forward modelling, beside deepwave, a plain roll-based loop and the bandwidth floor.

One map is five shots of 1000 samples on 310 x 310 cells. ``rolls`` is the loop that public notebooks run: ``torch.roll`` for
every neighbour. ``deepwave`` solves nearly the same problem (accuracy 4, its own absorbing layer): with its usual layer of 20 cells it
steps 110 x 110 cells, an eighth of ours, with one of 120 as many as we do. The floor is the
time to read two wavefields and write one, every step and shot, at the rate at which this machine does just that with
fields of that size (from cache where they fit). CPU seconds are given beside wall-clock ones, because other programs may share
the cores.

    python benchmarks/gwi_forward.py --maps 2 --threads 2
    python benchmarks/gwi_forward.py --maps 32 --device cuda --backends inductor triton torch --gradient
    python benchmarks/gwi_forward.py --predict    # what GPUs should reach, from code
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from benchmarks.gwi_predicted import show_predictions
from datamodules.gwi.acquisition import OPENFWI
from datamodules.gwi.propagation import has_numba
from datamodules.gwi.simulator import Simulator

SIDE = 70


def main() -> None:
    args = parse_arguments()
    if args.predict:
        show_predictions()
        return
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{args.threads} CPU threads"
    print(f"{name}, torch {torch.__version__}, {args.maps} maps of 5 shots, best of {args.repeats}")
    velocity = layered_maps(args.maps).to(device)
    reference = Simulator()(velocity[:1].double().cpu())[0].float()
    print(f"{'implementation':<32}{'s/map':>9}{'maps/s':>9}{'CPU s/map':>11}{'max error':>11}")
    runs: dict[str, Callable[[Tensor], Tensor]] = {b: Simulator(backend=b) for b in args.backends}
    if not args.no_rolls:
        runs["rolls"] = by_rolls
    if find_spec("deepwave"):
        runs |= {f"deepwave, layer {w}": functools.partial(by_deepwave, layer=w) for w in (20, OPENFWI.sponge)}
    for label, run in runs.items():
        show(label, functools.partial(run, velocity), args, device, reference)
        if args.gradient and label != "rolls":
            show(f"{label} + gradient", functools.partial(with_gradient, run, velocity), args, device)
    seconds = bandwidth_floor(device) * args.maps
    print(f"{'bandwidth floor':<32}{seconds / args.maps:>9.3f}{args.maps / seconds:>9.2f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--backends",
        nargs="+",
        default=None,
        choices=["numba", "torch", "inductor", "triton"],
        help="all that fit by default",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gradient", action="store_true", help="also time forward and gradient together")
    parser.add_argument("--no_rolls", action="store_true")
    parser.add_argument(
        "--predict", action="store_true", help="measure nothing, print what an H100 and an H200 should reach"
    )
    args = parser.parse_args()
    if args.backends is None:
        args.backends = (["numba"] if has_numba() and args.device == "cpu" else []) + ["torch", "inductor"]
        args.backends += ["triton"] if args.device == "cuda" else []
    return args


def layered_maps(n: int) -> Tensor:
    """Maps of three to seven flat layers, 1500 to 4500 m/s."""
    generator = torch.Generator().manual_seed(0)
    maps = []
    for i in range(n):
        layers = 3 + i % 5
        speeds = 1500 + 3000 * torch.rand(layers, generator=generator).sort().values
        maps.append(speeds[torch.arange(SIDE) * layers // SIDE][:, None].expand(SIDE, SIDE))
    return torch.stack(maps).contiguous()


def show(
    label: str,
    run: Callable[[], Tensor],
    args: argparse.Namespace,
    device: torch.device,
    reference: Tensor | None = None,
) -> None:
    out = run()  # compiles
    wall, cpu = [], []
    for _ in range(args.repeats):
        started, used = time.perf_counter(), time.process_time()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    error = "" if reference is None else f"{float((out[0].cpu() - reference).abs().max()):>11.1e}"
    seconds = min(wall) / args.maps
    print(f"{label:<32}{seconds:>9.3f}{1 / seconds:>9.2f}{min(cpu) / args.maps:>11.3f}{error}", flush=True)


def with_gradient(run: Callable[[Tensor], Tensor], velocity: Tensor) -> Tensor:
    velocity = velocity.clone().requires_grad_()
    run(velocity).square().sum().backward()
    assert velocity.grad is not None
    return velocity.grad


@torch.no_grad()
def by_rolls(velocity: Tensor) -> Tensor:
    """All shots of one map after another, a roll for every neighbour, as the public notebooks write it."""
    a = OPENFWI
    simulator = Simulator(a)
    padded = F.pad(velocity[:, None], [a.sponge] * 4, mode="replicate")
    alpha = (padded * (a.interval / a.spacing)).square()
    kappa = simulator.sponge_of(velocity, velocity.flatten(1).amin(1))[:, None]
    of_newer, of_older = 2 - 5 * alpha - kappa, 1 - kappa
    sources = torch.tensor(a.source_columns, device=velocity.device) + a.sponge
    row, shots = a.sponge + a.row, torch.arange(len(sources), device=velocity.device)
    older = torch.zeros(len(velocity), len(sources), *padded.shape[2:], device=velocity.device)
    newer, out = older.clone(), []
    amplitude = (velocity[:, a.row, sources - a.sponge] * a.interval).square()
    for value in a.wavelet().tolist():
        near = newer.roll(1, 2) + newer.roll(-1, 2) + newer.roll(1, 3) + newer.roll(-1, 3)
        far = newer.roll(2, 2) + newer.roll(-2, 2) + newer.roll(2, 3) + newer.roll(-2, 3)
        older = of_newer * newer - of_older * older + alpha * (4 / 3 * near - far / 12)
        older[:, shots, row, sources] += amplitude * value
        out.append(older[:, :, row, a.sponge : -a.sponge])
        older, newer = newer, older
    return torch.stack(out, 2)


def by_deepwave(velocity: Tensor, layer: int) -> Tensor:
    """Deepwave with the sign, delay and order of accuracy that come closest; its own absorbing layer."""
    import deepwave

    a, n = OPENFWI, len(OPENFWI.source_columns)
    receivers = torch.stack([torch.full((SIDE,), a.row), torch.arange(SIDE)], 1).repeat(n, 1, 1).to(velocity.device)
    sources = torch.tensor([[[a.row, column]] for column in a.source_columns], device=velocity.device)
    amplitudes = -torch.from_numpy(a.wavelet()).to(velocity).repeat(n, 1, 1)
    gathers = []
    for one in velocity:  # one model a call
        *_, traces = deepwave.scalar(
            one, a.spacing, a.interval, source_amplitudes=amplitudes, source_locations=sources,
            receiver_locations=receivers, accuracy=4, pml_width=layer, pml_freq=a.frequency,
        )  # fmt: skip
        gathers.append(F.pad(traces.transpose(1, 2)[:, 1:], (0, 0, 0, 1)))
    return torch.stack(gathers)


def bandwidth_floor(device: torch.device) -> float:
    """Seconds a map: two fields read and one written, every step and shot, at the measured rate."""
    side = SIDE + 2 * OPENFWI.sponge
    shots = 5 if device.type == "cpu" else 160  # enough shots to fill the device
    older, newer = torch.ones(2, shots, side, side, device=device)
    passes = 50
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        for _ in range(passes):
            torch.add(older, newer, alpha=0.5, out=older)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best / passes / shots * len(OPENFWI.source_columns) * OPENFWI.samples


if __name__ == "__main__":
    main()
