"""Small runs in the formats of mass spectrometers: ANDI/netCDF and mzML.

``python -m tests.files.mass_spectra FOLDER`` writes one of each for a look.
"""

from __future__ import annotations

import base64
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

Scan = tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Seconds, m/z, intensities."""


def scans(seed: int = 0, n: int = 12) -> list[Scan]:
    """Scans of different lengths, from 65.5 s on, half a second apart."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(n):
        mass = np.round(np.sort(random.uniform(10, 60, random.integers(5, 9))), 4)
        made.append((65.5 + 0.5 * i, mass, np.round(random.gamma(2.0, 500.0, len(mass)), 2)))
    return made


def write_andi(path: Path, run: list[Scan]) -> Path:
    """A netCDF-3 file as the ASTM E1947 template names its variables."""
    from netCDF4 import Dataset

    with Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("scan_number", len(run))
        file.createDimension("point_number", sum(len(mass) for _, mass, _ in run))
        columns = {
            "scan_acquisition_time": ("f8", "scan_number", [seconds for seconds, _, _ in run]),
            "scan_index": ("i4", "scan_number", np.cumsum([0, *(len(mass) for _, mass, _ in run[:-1])])),
            "point_count": ("i4", "scan_number", [len(mass) for _, mass, _ in run]),
            "mass_values": ("f4", "point_number", np.concatenate([mass for _, mass, _ in run])),
            "intensity_values": ("f4", "point_number", np.concatenate([intensity for _, _, intensity in run])),
        }
        for name, (kind, dimension, values) in columns.items():
            file.createVariable(name, kind, (dimension,))[:] = values
    return path


def write_mzml(path: Path, run: list[Scan], minutes: bool = True) -> Path:
    """An mzML 1.1 file with 64-bit zlib arrays; after every second survey scan stands one of level 2."""

    def array(values: npt.NDArray[np.float64], accession: str, name: str) -> str:
        data = base64.b64encode(zlib.compress(values.astype("<f8").tobytes())).decode()
        return (
            f'<binaryDataArray encodedLength="{len(data)}"><cvParam cvRef="MS" accession="MS:1000523" name="64-bit float"/>'
            f'<cvParam cvRef="MS" accession="MS:1000574" name="zlib compression"/>'
            f'<cvParam cvRef="MS" accession="{accession}" name="{name}"/><binary>{data}</binary></binaryDataArray>'
        )

    spectra = []
    for i, (seconds, mass, intensity) in enumerate(run):
        for level in (1, 2) if i % 2 else (1,):
            start = seconds / 60 if minutes else seconds
            unit = ("UO:0000031", "minute") if minutes else ("UO:0000010", "second")
            spectra.append(
                f'<spectrum index="{len(spectra)}" id="scan={len(spectra)}" defaultArrayLength="{len(mass)}">'
                f'<cvParam cvRef="MS" accession="MS:1000511" name="ms level" value="{level}"/><scanList count="1"><scan>'
                f'<cvParam cvRef="MS" accession="MS:1000016" name="scan start time" value="{start!r}" unitCvRef="UO" '
                f'unitAccession="{unit[0]}" unitName="{unit[1]}"/></scan></scanList><binaryDataArrayList count="2">'
                f"{array(mass, 'MS:1000514', 'm/z array')}{array(intensity, 'MS:1000515', 'intensity array')}"
                "</binaryDataArrayList></spectrum>"
            )
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1.0"><run id="r">'
        f'<spectrumList count="{len(spectra)}">{"".join(spectra)}</spectrumList></run></mzML>\n'
    )
    return path


if __name__ == "__main__":
    write_andi(Path(sys.argv[1]) / "run.cdf", scans())
    write_mzml(Path(sys.argv[1]) / "run.mzML", scans())
