"""The second source of training rows: ClimSim's high-resolution files, 21,600 columns on the same 60 levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.leap.convert import convert, usable_rows
from datamodules.leap.demo import DemoSpec, generate, read_info
from datamodules.leap.grid import grid_coordinates
from datamodules.leap.settings import LeapData


class HighResRows:
    """A store of high-resolution rows.

    Args:
        settings: Where the files are, and their grid. Without a folder, beside a demo data set, another demo data set
            of half as many columns stands in for them.
        data_dir: Folder of the first source.
        cache_dir: Folder of stores.

    Attributes:
        store: The converted rows.
        usable: Boolean, rows that are finite.
        step: Time step of every row.

    Raises:
        DataError: no folder is given, or the files cannot be used.
    """

    def __init__(self, settings: LeapData, data_dir: Path, cache_dir: Path) -> None:
        self.grid_file = settings.high_res_grid_file
        if settings.high_res_dir is not None:
            self.folder, self.columns = Path(settings.high_res_dir), settings.high_res_columns
        else:
            self.folder, self.columns = _demo(data_dir, settings)
        self.store = convert(
            self.folder,
            cache_dir,
            self.columns,
            dtype=settings.store_dtype,
            processes=settings.processes,
            variables=settings.variables,
            grid_file=settings.high_res_grid_file,
        )
        self.columns = int(self.store.info["grid_columns"])
        self.usable = usable_rows(self.store, self.folder, settings.on_bad_row)
        self.step: npt.NDArray[np.int64] = np.asarray(self.store.arrays["step"])

    def grid(self) -> npt.NDArray[np.float64] | None:
        """Latitude and longitude of the columns, ``(columns, 2)``; None where the grid is not known."""
        return grid_coordinates(self.folder, self.columns, self.grid_file)


def _demo(data_dir: Path, settings: LeapData) -> tuple[Path, int]:
    info = read_info(data_dir)
    if info is None:
        raise DataError(
            f"--data.mix_ratio {settings.mix_ratio} mixes in high-resolution rows: give their folder with --data.high_res_dir"
        )
    own = DemoSpec(**info["spec"])
    spec = replace(own, seed=own.seed + 1, columns=max(1, own.columns // 2))
    return generate(data_dir.parent, spec), spec.columns
