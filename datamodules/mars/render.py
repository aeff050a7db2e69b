"""A GC-MS run as an image: masses down, time across, ion counts summed (the 2nd place's rendering, cached)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.mars.features import Run, read_run
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import Samples
from datamodules.stores.build import build_store
from datamodules.stores.store import ArraySpec, Store, Unit, key_hash
from datamodules.text_tables import say_form, table_form
from datamodules.workers import worker_pool

RENDERER_VERSION = 2
HELIUM = 4
Image = npt.NDArray[np.float32]


def render(run: Run, rendering: Rendering, name: str = "the run") -> Image:
    """Sum the ion counts of every (mass, time) pixel and divide by the largest sum; what is below zero becomes 0.

    Masses and columns are rounded half to even, as numpy does; time is stretched over the columns after the masses were
    filtered, so the first and the last column are half as wide as the others.

    Args:
        run: The table.
        rendering: Size and filter.
        name: What an error calls the run.

    Returns:
        float32 ``(m_bins, t_bins)`` from 0 to 1.

    Raises:
        DataError: fewer than two scans, or nothing above zero, is left of the kept masses.
    """
    masses = np.rint(run.mass)
    kept = (masses >= rendering.min_mass) & (masses < rendering.m_bins)
    if rendering.drop_helium:
        kept &= masses != HELIUM
    time = run.time[kept]
    if len(time) == 0 or time[0] == time[-1]:
        raise DataError(
            f"{name} has fewer than two scans with masses from {rendering.min_mass} to {rendering.m_bins - 1}; nothing can be rendered"
        )
    time -= time[0]
    time /= time[-1]
    time *= rendering.t_bins - 1
    pixels = masses[kept].astype(np.int32) * rendering.t_bins + np.rint(time, out=time).astype(np.int32)
    sums = np.bincount(pixels, weights=run.intensity[kept], minlength=rendering.m_bins * rendering.t_bins)
    largest = sums.max()
    if largest <= 0:
        raise DataError(
            f"{name} has no intensity above zero at masses from {rendering.min_mass} to {rendering.m_bins - 1}"
        )
    image: Image = (np.maximum(sums, 0) / largest).astype(np.float32)
    return image.reshape(rendering.m_bins, rendering.t_bins)


def image_of(path: Path, rendering: Rendering, md5: str = "") -> Image:
    """The image of a feature file: see :func:`datamodules.mars.features.read_run` and :func:`render`.

    Raises:
        DataError: a file that cannot be used, named.
    """
    run = read_run(path, md5, rendering.on_nan, rendering.negative_tolerance)
    return render(run, rendering, str(path))


class ImageSource:
    """Feature files as rows of a :class:`datamodules.stores.store.Store` with one array, ``image``.

    Args:
        samples: Whose files to render, in this order.
        rendering: How.
        check_md5: Compare every file with metadata's md5.
    """

    def __init__(self, samples: Samples, rendering: Rendering, check_md5: bool = True) -> None:
        self.samples = samples
        self.rendering = rendering
        self.check_md5 = check_md5

    def key(self) -> dict[str, Any]:
        """All rendering options, and a hash of every file's id, path, md5, size and time of change."""
        listing, missing = hashlib.sha256(), []
        for sample, relative, md5 in zip(self.samples.ids, self.samples.paths, self.samples.md5, strict=True):
            path = self.samples.data_dir / relative
            try:
                status = os.stat(path)  # noqa: PTH116 - thousands of files at every start
            except FileNotFoundError:
                missing.append(f"{path} does not exist, but metadata.csv names it for sample {str(sample)!r}")
                continue
            listing.update(f"{sample}\0{relative}\0{md5}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        if missing:
            more = (
                f" ({len(missing)} such files, the last {missing[-1].partition(' does not')[0]})" if missing[1:] else ""
            )
            raise DataError(f"{missing[0]}{more}; restore the files or take their samples out of the tables")
        return {
            "reader": "gcms-image",
            "version": RENDERER_VERSION,
            "rendering": asdict(self.rendering),
            "check_md5": self.check_md5,
            "files": len(self.samples),
            "listing": listing.hexdigest(),
        }

    def arrays(self) -> dict[str, ArraySpec]:
        """One image a sample."""
        return {"image": ArraySpec((self.rendering.m_bins, self.rendering.t_bins), "float32")}

    def units(self) -> list[Unit]:
        """One file each."""
        return [Unit(str(path), i, i + 1) for i, path in enumerate(self.samples.paths)]

    def read(self, unit: Unit) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Render one file."""
        md5 = str(self.samples.md5[unit.start]) if self.check_md5 else ""
        yield {"image": image_of(self.samples.data_dir / unit.name, self.rendering, md5)[None]}

    def manifest(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """The sample ids."""
        return {"ids": [str(sample) for sample in self.samples.ids]}


def rendered(
    samples: Samples,
    rendering: Rendering,
    cache_dir: Path,
    check_md5: bool = True,
    processes: int | None = None,
    progress: bool = True,
) -> Store:
    """Images of all samples, from the cache or rendered into it by parallel processes.

    Raises:
        DataError: files that cannot be used; all of them are named, and nothing is left of the cache.
    """
    source = ImageSource(samples, rendering, check_md5)
    folder = Path(cache_dir) / f"mars-{key_hash(source.key())[:16]}"
    if not folder.exists() and len(samples):
        say_form(table_form(samples.data_dir / samples.paths[0]))  # the workers are silent
    try:
        return build_store(source, folder, processes, progress=progress and len(samples) > 100)
    except DataError as first:
        sentences = unusable_files(source, processes)
        shutil.rmtree(f"{folder}.partial", ignore_errors=True)
        if len(sentences) < 2:
            raise
        shown = "\n".join(f"  {sentence}" for sentence in sentences)
        raise DataError(f"{len(sentences)} of {len(samples):,} feature files cannot be used:\n{shown}") from first


def unusable_files(source: ImageSource, processes: int | None = None) -> list[str]:
    """One sentence for each file that cannot be rendered; all files are read again, so that nobody meets them one by one."""
    with worker_pool(processes) as pool:
        work = map if processes == 1 else partial(pool.map, chunksize=8)
        return [sentence for sentence in work(partial(_complaint, source), source.units()) if sentence]


def _complaint(source: ImageSource, unit: Unit) -> str:
    try:
        next(source.read(unit))
    except DataError as error:
        return str(error)
    return ""
