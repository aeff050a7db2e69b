"""Surveys of one's own: an acquisition from a YAML file or from SEG-Y headers, gathers from .npy or SEG-Y."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError, nearest_name
from datamodules.files import as_record, read_yaml, refuse_lfs_pointer
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.files import open_array
from datamodules.gwi.gathers import alive_traces

Gathers = npt.NDArray[np.float32]
_SEGY = (".sgy", ".segy")
_MOVED = 0.05  # cells that a source may be moved by without a word


def read_acquisition(path: Path) -> Acquisition:
    """An acquisition from a YAML file whose keys are :class:`Acquisition`'s; those that are left out are OpenFWI's.

    ``source_samples`` may name an .npy file of the wavelet, relative to the YAML file.

    Raises:
        DataError: no such file, an unknown key, or values that make no survey.
    """
    content = read_yaml(path)
    known = {field.name for field in fields(Acquisition)}
    if strange := sorted(set(content) - known, key=str):
        near = nearest_name(str(strange[0]), known)
        raise DataError(
            f"{path}: {strange[0]!r} is no setting of a survey"
            + (f"; did you mean {near}?" if near else f"; settings are {', '.join(sorted(known))}")
        )
    if isinstance(named := content.get("source_samples"), str):
        content["source_samples"] = open_array(Path(path).parent / named).ravel().tolist()
    return as_record(content, Acquisition, path, "see docs/gwi.md for the settings of a survey")


def read_survey(path: Path, acquisition: Acquisition) -> tuple[Gathers, Acquisition]:
    """Gathers ``(shots, samples, receivers)`` of one line, and how they were shot.

    Traces that are NaN or zero throughout are missing ones. SEG-Y files say themselves where sources and receivers stood and how often was
    sampled; grid spacing, wavelet and sponge are those of ``acquisition``.

    Args:
        path: ``.npy`` array, ``.sgy`` or ``.segy`` file.
        acquisition: What the file does not say.

    Raises:
        DataError: another shape than the acquisition's, or a file that cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() in _SEGY:
        gathers, acquisition = _read_segy(path, acquisition)
    else:
        gathers = np.array(open_array(path), dtype=np.float32)
    shots = len(acquisition.source_columns)
    if gathers.ndim != 3 or len(gathers) != shots:
        raise DataError(
            f"{path} has the shape {gathers.shape}; a survey of {shots} sources has gathers ({shots}, samples, receivers): name the sources in --acquisition"
        )
    if not alive_traces(gathers).any():
        raise DataError(f"{path} holds no trace: all of them are zero, or NaN somewhere")
    return gathers, replace(acquisition, samples=gathers.shape[1])


def _read_segy(path: Path, acquisition: Acquisition) -> tuple[Gathers, Acquisition]:
    """All shots of a file whose receivers stand still."""
    try:
        import segyio
    except ImportError:
        raise DataError(f'{path}: SEG-Y files need segyio; pip install "podium[segy]"') from None
    refuse_lfs_pointer(path)
    try:
        with segyio.open(str(path), ignore_geometry=True) as file:
            traces = file.trace.raw[:]
            interval = segyio.tools.dt(file, fallback_dt=0) / 1e6
            header = {
                name: np.array(file.attributes(getattr(segyio.TraceField, name))[:], dtype=np.float64)
                for name in _HEADERS
            }
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is no whole SEG-Y file ({error})") from None
    if not interval > 0:
        raise DataError(f"{path}: its headers name no sampling interval (bytes 3217 and 117); write it there")
    places = {name: _scaled(header[name], header[scalar]) for name, scalar in _HEADERS.items() if scalar}
    shots, of_shot = np.unique(header["FieldRecord"], return_inverse=True)
    counts = np.bincount(of_shot)
    if len(set(counts.tolist())) > 1:
        raise DataError(
            f"{path}: its {len(shots)} shots have {counts.min()} to {counts.max()} traces; receivers must stand still"
        )
    order = np.argsort(of_shot, kind="stable").reshape(len(shots), -1)
    if np.ptp(places["GroupX"][order], axis=0).max() > acquisition.spacing / 2:
        raise DataError(f"{path}: its receivers move from shot to shot; split the file by spread")
    if order.shape[1] > 1 and np.ptp(places["GroupX"][order[0]]) == 0:
        raise DataError(
            f"{path}: its headers place all receivers of a shot at X = {places['GroupX'][0]:g} m; write GroupX (bytes 81)"
        )

    def cells(values: npt.NDArray[np.float64], origin: float = 0.0) -> tuple[int, ...]:
        exact = (values - origin) / acquisition.spacing
        whole = np.rint(exact)
        if (far := np.abs(exact - whole).max()) > _MOVED:
            warnings.warn(
                f"{path}: sources or receivers are moved by up to {far * acquisition.spacing:.1f} m, onto cells of {acquisition.spacing:g} m",
                stacklevel=2,
            )
        return tuple(whole.astype(int).tolist())

    return traces[order].transpose(0, 2, 1).astype(np.float32), replace(
        acquisition,
        interval=interval,
        source_columns=cells(places["SourceX"][order[:, 0]], acquisition.origin),
        source_rows=cells(places["SourceDepth"][order[:, 0]]),
        receiver_columns=cells(places["GroupX"][order[0]], acquisition.origin),
        receiver_rows=cells(np.abs(places["ReceiverGroupElevation"][order[0]])),
    )


_HEADERS = {
    "FieldRecord": None,
    "SourceGroupScalar": None,
    "ElevationScalar": None,
    "SourceX": "SourceGroupScalar",
    "GroupX": "SourceGroupScalar",
    "SourceDepth": "ElevationScalar",
    "ReceiverGroupElevation": "ElevationScalar",
}


def _scaled(values: npt.NDArray[np.float64], scalar: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Coordinates with SEG-Y's scalar: a factor above 0, a divisor below, 0 means 1."""
    return np.asarray(values * np.where(scalar > 0, scalar, 1.0) / np.where(scalar < 0, -scalar, 1.0))
