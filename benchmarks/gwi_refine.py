"""How much refinement lowers the error of maps that look like a net's predictions, on simulated shots of real maps.

The start is the true map, blurred by two cells and with smooth errors that grow with depth, scaled to a mean absolute error of 60
to 100 m/s, or to ``--off``. One map costs about a minute of one core; a run that was broken off goes on.

With ``--start`` maps are inverted from there instead, without a net; ``--start imitated`` is the one of above. An ensemble's
standard deviation is compared with its errors, over all cells of all maps. With ``--model`` one model of any size is inverted from a smoothed start beside
deepwave with L-BFGS, as its documentation's example does it: each over gathers that it simulated itself, the same stages of frequency and as many
CPU seconds.

    python -m datamodules.gwi unpack ARCHIVES maps --pattern "*model11-12.zip"
    python benchmarks/gwi_refine.py --maps maps --per_family 2 --out refined
    python benchmarks/gwi_refine.py --maps maps --per_family 2 --start gradient:1600:4200
    python benchmarks/gwi_refine.py --maps maps --per_family 2 --start gradient:1600:4200 --noise 10 --missing 0.2 --lowest 4
    python benchmarks/gwi_refine.py --maps maps --per_family 2 --start imitated --ensemble 4 --figure calibration.png
    python benchmarks/gwi_refine.py --model marmousi_20m.npy --spacing 20 --interval 0.002 --samples 1500 --frequency 7 --frequencies 3,5 --start smooth:12
"""

# ruff: noqa: E402  (the path must be set before the project is imported)

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # blend.py beside this file is not the package

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from datamodules.banks.bank import Manifest, write_bank
from datamodules.figures import save, subplots
from datamodules.gwi.acquisition import OPENFWI, Acquisition
from datamodules.gwi.files import find_files
from datamodules.gwi.refinement.descent import Descent
from datamodules.gwi.refinement.inversion import Plan, estimate_wavelet, invert, parse_start
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.refinement.priors import Edges, prior_of
from datamodules.gwi.schema import SIDE, VMAX, VMIN
from datamodules.gwi.simulator import Simulator
from experiments.domains.gwi.refine_request import Request, numbers
from experiments.domains.gwi.survey import calibration, draw_calibration
from experiments.gwi_refine import refine

Map = npt.NDArray[np.float32]
_HALVINGS = 30


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads or torch.get_num_threads())
    if args.model is not None:
        side_by_side(args)
        return
    if args.start is not None:
        from_start(args)
        return
    bank = args.out / f"imitated-{args.off.replace(':', '-')}"
    if not (bank / "manifest.json").is_file():
        write_imitations(args, bank)
    refine(Request(bank, args.maps, method=args.method, max_iterations=args.max_iterations, threads=args.threads))


def from_start(args: argparse.Namespace) -> None:
    """Invert the first maps of each family's last file from one start, families in turn, and say what a family's maps have in common."""
    print(f"{'map':<28}{'MAE before':>12}{'after':>8}{'residual before':>17}{'after':>10}{'CPU s':>8}")
    files = {file.family: file for file in find_files(args.maps)}
    errors: dict[str, list[tuple[float, float, float]]] = {family: [] for family in files}
    plan = Plan(
        Descent(max_iterations=args.max_iterations),
        numbers(args.frequencies, "--frequencies"),
        args.envelope,
        args.lowest,
        args.method,
        args.ensemble,
    )
    doubt: list[npt.NDArray[np.float64]] = []
    for index in range(args.skip, args.skip + args.per_family):
        for family, file in files.items():
            velocity = np.array(file.maps()[index], dtype=np.float64)
            recorded, survey = spoilt(shoot(velocity, OPENFWI), args, index)
            start, began = start_of(args, velocity, index), time.process_time()
            if args.estimate:
                survey = estimate_wavelet(recorded, start, survey)
            found = invert(recorded, start, survey, prior_of(family), plan)
            seconds = time.process_time() - began
            before, after = (float(np.abs(guess - velocity).mean()) for guess in (start, found.velocity))
            errors[family].append((before, after, seconds))
            if found.deviation is not None:
                doubt.append(np.stack([found.deviation, np.abs(found.velocity - velocity)]))
            name = f"{family}/{file.name}/{index}"
            print(
                f"{name:<28}{before:>12.1f}{after:>8.1f}{found.before:>17.4f}{found.after:>10.4f}{seconds:>8.1f}",
                flush=True,
            )
    for family, of_family in errors.items():
        before, after, seconds = np.mean(of_family, axis=0)
        print(f"{family:<28}{before:>12.1f}{after:>8.1f}{'mean of ' + str(len(of_family)):>27}{seconds:>8.1f}")
    if doubt:
        say_calibration(*np.stack(doubt, axis=1), args.figure)


def start_of(args: argparse.Namespace, velocity: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """A start as ``--start`` writes it: like a net's prediction, or as the project's command takes it."""
    if args.start == "imitated":
        return imitate_prediction(velocity, seed + 1, args.off).astype(np.float64)
    return parse_start(args.start, velocity.shape)


def say_calibration(deviation: npt.NDArray[np.float64], error: npt.NDArray[np.float64], path: Path | None) -> None:
    """How far an ensemble's standard deviation tells its errors, in words and as a figure."""
    print(
        "true velocity within 1, 2, 3 standard deviations: "
        + ", ".join(f"{(error <= k * deviation).mean():.0%}" for k in (1, 2, 3))
    )
    print(f"rank correlation of standard deviation and error: {spearmanr(deviation, error, axis=None).statistic:.2f}")
    print(f"{'standard deviation [m/s]':<26}{'mean absolute error [m/s]':>26}, a tenth of the cells each")
    for spread, off in calibration(deviation, error):
        print(f"{spread:<26.1f}{off:>26.1f}")
    if path is not None:
        figure, axes = subplots(1, 1, (4.8, 4.0), squeeze=False)
        draw_calibration(axes[0, 0], deviation, error)
        save(figure, path)


def spoilt(
    recorded: npt.NDArray[np.float32], args: argparse.Namespace, seed: int
) -> tuple[npt.NDArray[np.float32], Acquisition]:
    """Gathers as they are in the field, and the acquisition that is believed: noise, missing traces, no lows, another wavelet."""
    rng = np.random.default_rng(seed)
    traces = recorded.astype(np.float64)
    if args.lowest is not None:
        hertz = np.fft.rfftfreq(traces.shape[1], OPENFWI.interval)
        traces = np.fft.irfft(np.fft.rfft(traces, axis=1) * (hertz >= args.lowest)[:, None], traces.shape[1], axis=1)
    if args.noise is not None:
        level = np.sqrt((traces**2).mean()) * 10 ** (-args.noise / 20)
        traces += level * rng.standard_normal(traces.shape)
    if args.missing:
        traces.transpose(0, 2, 1)[rng.random((traces.shape[0], traces.shape[2])) < args.missing] = np.nan
    return traces.astype(np.float32), replace(OPENFWI, frequency=args.believed or OPENFWI.frequency)


def side_by_side(args: argparse.Namespace) -> None:
    """One model of any size, ours and deepwave."""
    velocity = np.load(args.model).astype(np.float64)[:: args.every, :: args.every]
    columns = tuple(np.linspace(2, velocity.shape[1] - 3, args.shots).round().astype(int).tolist())
    survey = Acquisition(
        spacing=args.spacing * args.every, interval=args.interval, samples=args.samples, frequency=args.frequency, sponge=args.sponge,
        source_columns=columns,
    )  # fmt: skip
    kind, _, cells = (args.start or "smooth:12").partition(":")
    start = (
        gaussian_filter(velocity, float(cells), mode="nearest")
        if kind == "smooth"
        else parse_start(args.start, velocity.shape)
    )
    bounds = Descent(max_iterations=args.max_iterations, slowest=float(velocity.min()), fastest=float(velocity.max()))
    frequencies = numbers(args.frequencies, "--frequencies")
    print(
        f"{args.model}: {velocity.shape[0]} x {velocity.shape[1]} cells, {args.shots} shots, start {np.abs(start - velocity).mean():.1f} m/s off"
    )
    recorded, began = shoot(velocity, survey), time.process_time()
    found = invert(recorded, start, survey, Edges(), Plan(bounds, frequencies, method=args.method))
    seconds = time.process_time() - began
    print(f"{'ours':<20}{np.abs(found.velocity - velocity).mean():>8.1f} m/s {seconds:>8.1f} CPU s", flush=True)
    guess, used, steps = by_deepwave(velocity, start, survey, frequencies, bounds, seconds)
    print(f"{'deepwave, L-BFGS':<20}{np.abs(guess - velocity).mean():>8.1f} m/s {used:>8.1f} CPU s, {steps} gradients")


def shoot(velocity: npt.NDArray[np.floating], survey: Acquisition) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(Simulator(survey)(torch.from_numpy(velocity.astype(np.float32))[None])[0].numpy())


def by_deepwave(
    velocity: npt.NDArray[np.floating],
    start: npt.NDArray[np.floating],
    survey: Acquisition,
    frequencies: tuple[float, ...],
    bounds: Descent,
    seconds: float,
) -> tuple[npt.NDArray[np.float64], float, int]:
    """L-BFGS on the squared difference of low-passed gathers, velocities kept within bounds by a sigmoid; its map, CPU seconds and gradients."""
    import deepwave

    shots, (low, high) = len(survey.source_columns), (bounds.slowest - 1.0, bounds.fastest + 1.0)
    places = {
        "source_locations": torch.tensor(survey.sources())[:, None],
        "receiver_locations": torch.tensor(survey.receivers(velocity.shape[1])).expand(shots, -1, -1),
        "source_amplitudes": -torch.from_numpy(survey.wavelet()).float().expand(shots, 1, -1),
    }

    def traces(model: torch.Tensor) -> torch.Tensor:
        options = {"accuracy": 4, "pml_freq": survey.frequency, "max_vel": high}
        return deepwave.scalar(model, survey.spacing, survey.interval, **places, **options)[-1].transpose(1, 2)

    with torch.no_grad():
        recorded = traces(torch.from_numpy(velocity).float()).numpy()
    share = torch.from_numpy((np.clip(start, low + 1, high - 1) - low) / (high - low)).float()
    weights = torch.logit(share).requires_grad_()
    model = low + (high - low) * torch.sigmoid(weights)
    began, steps, stages = time.process_time(), 0, [*frequencies, None]
    for number, highest in enumerate(stages):
        misfit = Misfit(recorded, Simulator(survey), highest)
        optimiser = torch.optim.LBFGS([weights], max_iter=5, line_search_fn="strong_wolfe")

        def closure(optimiser: torch.optim.LBFGS = optimiser, misfit: Misfit = misfit) -> torch.Tensor:
            nonlocal steps
            steps += 1
            optimiser.zero_grad()
            loss = misfit.residual(traces(low + (high - low) * torch.sigmoid(weights))).square().sum() / misfit.norm
            loss.backward()
            return loss

        while time.process_time() - began < seconds * (number + 1) / len(stages):
            optimiser.step(closure)
    model = low + (high - low) * torch.sigmoid(weights.detach())
    return model.double().numpy(), time.process_time() - began, steps


def write_imitations(args: argparse.Namespace, out: Path) -> None:
    """Banks of the true maps and of their imitated predictions: the first maps of each family's last file, families in turn."""
    files = {file.family: file for file in find_files(args.maps)}
    rows, truth, start = [], [], []
    for index in range(args.per_family):
        for file in files.values():
            velocity = np.array(file.maps()[index])
            rows.append((f"{file.family}/{file.name}/{index}", 0, file.family))
            truth.append(velocity)
            start.append(imitate_prediction(velocity, len(rows), args.off))
    table = pd.DataFrame(rows, columns=["row_id", "fold", "group"])
    write_bank(args.out / "truth", np.stack(truth), table, Manifest(kind="truth", domain="gwi", metric="mae"))
    manifest = Manifest(
        kind="out_of_fold", domain="gwi", metric="mae", experiment="imitated", variant="default", seed=0, folds=[0],
        truth="../truth",
    )  # fmt: skip
    write_bank(out, np.stack(start), table, manifest)


def imitate_prediction(velocity: npt.NDArray[np.floating], seed: int, off: str) -> Map:
    """A map with interfaces blurred and smooth errors, as far off as a net's."""
    generator = np.random.default_rng(seed)
    target = generator.uniform(*(float(part) for part in off.split(":")))
    noise = gaussian_filter(generator.standard_normal((SIDE, SIDE)), 5.0, mode="nearest")
    noise *= (0.3 + np.arange(SIDE) / SIDE)[:, None] / noise.std()
    blurred = gaussian_filter(velocity, 2.0, mode="nearest")
    low, high = 0.0, 400.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shown = np.clip(blurred + middle * noise, VMIN, VMAX)
        low, high = (middle, high) if np.abs(shown - velocity).mean() < target else (low, middle)
    return shown.astype(np.float32)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, help="folder of real maps, a sub-folder for each family")
    parser.add_argument("--per_family", type=int, default=2, help="maps of each family (2)")
    parser.add_argument(
        "--skip", type=int, default=0, help="with --start: first maps of each family that are left out (0)"
    )
    parser.add_argument("--out", type=Path, default=Path("refined"), help="where banks and finished maps are kept")
    parser.add_argument("--max_iterations", type=int, default=60, help="for each map (60)")
    parser.add_argument("--threads", type=int, default=0, help="of the simulator; 0 = all cores")
    parser.add_argument(
        "--start",
        help="gradient:TOP:BOTTOM or constant:VELOCITY in m/s, or imitated, like a net's maps; with --model also smooth:CELLS",
    )
    parser.add_argument(
        "--frequencies", default="", help="highest frequency of each stage before the last in Hz, such as 5,9"
    )
    parser.add_argument("--envelope", action="store_true", help="compare envelopes first")
    parser.add_argument(
        "--method",
        default="auto",
        choices=["auto", "gauss_newton", "quasi_newton"],
        help="auto: as experiments/gwi_refine.py chooses",
    )
    parser.add_argument("--lowest", type=float, help="frequency in Hz below which --start's gathers hold nothing")
    parser.add_argument(
        "--noise", type=float, help="signal to noise ratio of --start's gathers in dB, over all samples"
    )
    parser.add_argument("--missing", type=float, default=0.0, help="share of --start's traces that are missing (0)")
    parser.add_argument("--believed", type=float, help="peak frequency in Hz of the wavelet that --start believes in")
    parser.add_argument("--off", default="60:100", help="mean absolute errors of imitated predictions in m/s (60:100)")
    parser.add_argument("--ensemble", type=int, default=1, help="of --start: disturbed starts of each map (1)")
    parser.add_argument("--figure", type=Path, help="where the calibration of --ensemble is drawn")
    parser.add_argument("--estimate", action="store_true", help="estimate the wavelet over the start")
    parser.add_argument("--model", type=Path, help=".npy of one velocity model in m/s, depth by columns")
    parser.add_argument("--every", type=int, default=1, help="take every so many cells of the model")
    parser.add_argument("--spacing", type=float, default=20.0, help="of the model's cells in m (20)")
    parser.add_argument("--interval", type=float, default=0.002, help="time step in s (0.002)")
    parser.add_argument("--samples", type=int, default=1500, help="of a trace (1500)")
    parser.add_argument("--frequency", type=float, default=7.0, help="peak of the Ricker wavelet in Hz (7)")
    parser.add_argument("--sponge", type=int, default=60, help="cells on each side (60)")
    parser.add_argument("--shots", type=int, default=8, help="evenly spread (8)")
    args = parser.parse_args()
    if args.maps is None and args.model is None:
        parser.error("give --maps or --model")
    return args


if __name__ == "__main__":
    main()
