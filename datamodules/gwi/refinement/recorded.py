"""The recorded gathers of a bank's rows: maps of a data folder, or the files of a test folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from datamodules.errors import DataError
from datamodules.gwi.files import MapFile, find_files, open_test_gathers
from datamodules.gwi.simulator import Simulator


class Recorded:
    """Gathers by row id, ``family/file/index`` or the oid of a test file; real maps that nobody shot are simulated.

    Args:
        folder: Folder of the data.
        simulator: For maps without gathers.

    Raises:
        DataError: the folder holds neither maps nor test files.
    """

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self._folder, self._simulator = Path(folder), simulator
        self._files: dict[str, MapFile] | None = None

    def check(self, row_ids: list[str]) -> None:
        """Look for every row before any work begins.

        Raises:
            DataError: a row is of other data; it is named.
        """
        for row_id in row_ids:
            self._find(row_id)

    def gathers(self, row_id: str) -> npt.NDArray[np.floating]:
        """``(shots, samples, receivers)``, all samples or compact ones."""
        found = self._find(row_id)
        if isinstance(found, Path):
            return open_test_gathers(found)
        file, index = found
        if file.gathers is not None:
            return np.asarray(file.recorded()[index])
        with torch.no_grad():
            velocity = torch.from_numpy(np.array(file.maps()[index : index + 1]))
            result: npt.NDArray[np.floating] = (
                self._simulator(velocity.to(self._simulator.wavelet.device))[0].cpu().numpy()
            )
            return result

    def _find(self, row_id: str) -> Path | tuple[MapFile, int]:
        name, _, index = row_id.rpartition("/")
        if not name:
            path = self._folder / f"{row_id}.npy"
            if not path.is_file():
                raise DataError(f"row {row_id!r} has no file {path}; the bank is of another test folder")
            return path
        if self._files is None:
            self._files = {f"{file.family}/{file.name}": file for file in find_files(self._folder)}
        file = self._files.get(name)
        if file is None or not index.isdecimal() or int(index) >= file.rows:
            raise DataError(f"row {row_id!r} is not in {self._folder}; the bank is of other data")
        return file, int(index)
