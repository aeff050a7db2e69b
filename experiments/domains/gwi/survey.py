"""One survey inverted: files in, a map with its doubt, a report and a figure out."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.figures import DENSITY, SEQUENTIAL, colorbar, save, subplots
from datamodules.files import atomic_path, read_json, write_json
from datamodules.gwi.acquisition import OPENFWI, Acquisition
from datamodules.gwi.files import in_kilometres, open_array
from datamodules.gwi.gathers import alive_traces
from datamodules.gwi.refinement.descent import Descent
from datamodules.gwi.refinement.inversion import Inverted, Plan, estimate_wavelet, invert, parse_start
from datamodules.gwi.refinement.priors import Edges, prior_of
from datamodules.gwi.schema import family_name
from datamodules.gwi.survey import read_acquisition, read_survey
from experiments.domains.gwi.refine_request import Request, numbers

Array = npt.NDArray[np.float64]
_STATE = "state.npz"


def invert_survey(request: Request, settings: Descent, device: str, at_once: int) -> None:
    """Invert the gathers of a request; writes ``velocity.npy``, ``deviation.npy`` of an ensemble, ``report.json`` and ``inversion.png``.

    Raises:
        DataError: files that are not of one survey.
    """
    assert request.gathers is not None
    acquisition = read_acquisition(request.acquisition) if request.acquisition else OPENFWI
    recorded, acquisition = read_survey(request.gathers, acquisition)
    truth = None if request.truth is None else np.array(open_array(request.truth), dtype=np.float64).squeeze()
    depth, columns = (int(n) for n in numbers(request.shape, "--shape")) if truth is None else truth.shape
    start = parse_start(request.start, (depth, columns))
    _check_bounds("--start", start, settings)
    if truth is not None:
        _check_bounds("--truth", truth, settings)
    if recorded.shape[2] != (receivers := len(acquisition.receivers(columns))):
        raise DataError(
            f"{request.gathers} holds {recorded.shape[2]} traces a shot, a map of {columns} columns has {receivers} receivers; "
            "name receiver_columns in --acquisition, or give the map's --shape"
        )
    if request.wavelet == "estimate":
        acquisition = estimate_wavelet(recorded, start, acquisition)
    family = None if request.family is None else family_name(request.family)
    if family is not None and family.startswith("Style") and start.shape != (70, 70):
        raise DataError(f"the prior of {family} is one of maps of 70 x 70 cells, this one has {depth} x {columns}")
    missing = int((~alive_traces(recorded)).sum())
    print(
        f"{request.gathers}: {recorded.shape[0]} shots, {recorded.shape[1]} samples, {recorded.shape[2]} receivers"
        + (f", {missing:,} traces missing" if missing else "")
        + f"; {depth} x {columns} cells"
    )
    plan = Plan(
        settings, numbers(request.frequencies, "--frequencies"), request.misfit == "envelope", request.lowest, request.method, request.ensemble,
        request.spread,
    )  # fmt: skip
    out = request.out or Path("inversion")
    parts = out.with_name(f".{out.name}.parts")
    _claim(parts, recorded, start, acquisition, family, plan)
    found = invert(
        recorded,
        start,
        acquisition,
        Edges() if family is None else prior_of(family),
        plan,
        device,
        at_once,
        parts / _STATE,
    )
    report = _report(found, start, truth)
    arrays = {"velocity": found.velocity, "deviation": found.deviation}
    for name, array in arrays.items():
        if array is not None:
            with atomic_path(out / f"{name}.npy") as path, path.open("wb") as file:
                np.save(file, array.astype(np.float32))
    write_json(out / "report.json", {"gathers": str(request.gathers), "start": request.start, **report})
    _draw(out / "inversion.png", found, start, truth)
    shutil.rmtree(parts, ignore_errors=True)
    print(f"{out}: residual {found.before:.4g} to {found.after:.4g}")
    if truth is not None:
        print(f"mean absolute error: {report['mae_before']:.1f} to {report['mae_after']:.1f} m/s")
    if "within" in report:
        print(
            "true velocity within 1, 2, 3 standard deviations: "
            + ", ".join(f"{share:.0%}" for share in report["within"])
        )


def _check_bounds(flag: str, velocity: Array, settings: Descent) -> None:
    if not (settings.slowest <= velocity.min() and velocity.max() <= settings.fastest):
        raise DataError(
            f"{flag} has velocities from {velocity.min():g} to {velocity.max():g} m/s, results have {settings.slowest:g} to {settings.fastest:g}: "
            + (in_kilometres(velocity) or "give other bounds by --slowest and --fastest")
        )


def _claim(
    parts: Path,
    recorded: npt.NDArray[np.float32],
    start: Array,
    acquisition: Acquisition,
    family: str | None,
    plan: Plan,
) -> None:
    """Steps that are done must be of the same inversion."""
    # a command that ended before its first step leaves nothing to protect
    begun = (parts / _STATE).is_file()
    told = hashlib.sha256(recorded.tobytes() + start.tobytes() + repr((acquisition, family, plan)).encode()).hexdigest()
    path = parts / "inversion.json"
    if not begun or not path.is_file():
        write_json(path, {"inversion": told})
    elif read_json(path) != {"inversion": told}:
        raise DataError(
            f"{parts} holds the steps of an inversion of other gathers or flags; remove it or give another --out"
        )


def _report(found: Inverted, start: Array, truth: Array | None) -> dict[str, Any]:
    report: dict[str, Any] = {
        "residual_before": found.before,
        "residual_after": found.after,
        "members": len(found.members),
    }
    if truth is None:
        return report
    error = np.abs(found.velocity - truth)
    report |= {"mae_before": float(np.abs(start - truth).mean()), "mae_after": float(error.mean())}
    if found.deviation is not None:
        report["within"] = [float((error <= times * found.deviation).mean()) for times in (1, 2, 3)]
        report["calibration"] = calibration(found.deviation, error)
    return report


def calibration(deviation: Array, error: Array, bins: int = 10) -> list[list[float]]:
    """Mean standard deviation and mean absolute error of cells, in groups of rising standard deviation."""
    order = np.argsort(deviation, axis=None)
    return [
        [float(deviation.ravel()[cells].mean()), float(error.ravel()[cells].mean())]
        for cells in np.array_split(order, bins)
    ]


def _draw(path: Path, found: Inverted, start: Array, truth: Array | None) -> None:
    shown = {"start": start, "result": found.velocity} | ({} if truth is None else {"truth": truth})
    deviation = found.deviation
    calibrated = deviation is not None and truth is not None
    panels = len(shown) + (deviation is not None) + calibrated + 1
    figure, axes = subplots(1, panels, (4.2 * panels, 3.6), squeeze=False)
    axes = list(axes[0])
    low, high = (float(bound(list(map(bound, shown.values())))) for bound in (np.min, np.max))
    for axis, (name, velocity) in zip(axes, shown.items(), strict=False):
        image = axis.imshow(velocity, cmap=SEQUENTIAL, vmin=low, vmax=high, aspect="auto")
        axis.set(title=name, xlabel="distance [cells]")
    axes[0].set_ylabel("depth [cells]")
    colorbar(image, axes[: len(shown)], "velocity [m/s]")
    left = axes[len(shown) :]
    if deviation is not None:
        axis = left.pop(0)
        image = axis.imshow(deviation, cmap=DENSITY, aspect="auto")
        axis.set(title="spread of the ensemble", xlabel="distance [cells]")
        colorbar(image, axis, "standard deviation [m/s]")
    if deviation is not None and truth is not None:
        draw_calibration(left.pop(0), deviation, np.abs(found.velocity - truth))
    axis = left.pop(0)
    for step in np.unique(found.history[:, 0]):
        of_step = found.history[:, 0] == step
        axis.plot(np.flatnonzero(of_step), found.history[of_step, 1], marker=".")
    axis.set(title="residual, a colour for each step", xlabel="iteration", ylabel="root mean square", yscale="log")
    save(figure, path)


def draw_calibration(axis: Any, deviation: Array, error: Array) -> None:
    """Groups of :func:`calibration` beside the line of normal errors."""
    groups = np.array(calibration(deviation, error))
    axis.plot(*groups.T, marker="o")
    axis.plot([0, groups.max()], [0, groups.max() * _MEAN_ERROR], linestyle="--", color="0.5")
    axis.set(
        title="calibration (dashed: normal errors)",
        xlabel="standard deviation [m/s]",
        ylabel="mean absolute error [m/s]",
    )


_MEAN_ERROR = float(np.sqrt(2 / np.pi))  # mean absolute value of a normal error of deviation 1
