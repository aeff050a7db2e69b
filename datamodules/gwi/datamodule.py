"""OpenFWI maps and gathers for training: compact batches of samples that were shot, delivered or made exactly by mirroring."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.batches import Rows
from datamodules.errors import DataError
from datamodules.folds import TRAIN
from datamodules.gwi.files import MapFile
from datamodules.gwi.gathers import COMPACT_SAMPLES, resize_time, zero_last_sample
from datamodules.gwi.maps import MapDataModule
from datamodules.gwi.schema import N_SAMPLES
from datamodules.gwi.settings import GwiData
from datamodules.gwi.simulated import check_gathers, mirrored_central_shots, simulated_gathers
from datamodules.gwi.simulator import CENTRAL_SHOT, mirror

_MEDIAN_ROWS = 2000


class GwiDataModule(MapDataModule):
    """Batches of ``gathers`` (B, 5, 288 or 1000, 70), ``velocity`` (B, 70, 70) in m/s and ``family`` (B,), the number of the family.

    The last time sample of full gathers is zero before they are resized to 288; compact shards hold them so already.

    With ``exact_mirror`` row ``n + i`` of n is the mirror image of row i, true to the last sample; only training uses these.
    """

    settings: GwiData

    def read_data(self) -> None:
        """Find and check the files, assign folds, shoot what is not shot."""
        super().read_data()
        pairs = list(zip(self.files, self.digests, strict=True))
        self._gathers = [self._recorded(file, digest) for file, digest in pairs]
        self._central = []
        if self.settings.exact_mirror:
            self._central = [mirrored_central_shots(file, digest, self.cache_dir, self._full) for file, digest in pairs]

    @property
    def thoroughness(self) -> int:
        """Above that of the maps alone where their gathers are looked at too."""
        return super().thoroughness + 2 * self.settings.check_gathers

    def check(self, file: MapFile) -> None:
        """All values of a file, and whether its gathers are those of its maps."""
        super().check(file)
        if self.settings.check_gathers:
            check_gathers(file)

    @property
    def _full(self) -> bool:
        return self.settings.samples == N_SAMPLES

    def _recorded(self, file: MapFile, digest: str) -> npt.NDArray[Any]:
        if file.gathers is not None:
            gathers = file.recorded()
            if self._full and gathers.shape[2] != N_SAMPLES:
                raise DataError(
                    f"{file.gathers} holds compact gathers, of which {N_SAMPLES} samples cannot be had; pass --data.samples {COMPACT_SAMPLES} or generate full ones"
                )
            return gathers
        if not self.settings.simulate:
            raise DataError(f"{file.velocity} has no gathers beside it; shoot it with --data.simulate true")
        return simulated_gathers(file, digest, self.cache_dir, self._full)

    def rows(self, role: str) -> Rows:
        """Row positions with a role; mirror images follow their originals' role in training."""
        rows = super().rows(role)
        return np.concatenate([rows, rows + self.n_maps]) if role == TRAIN and self._central else rows

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """One batch."""
        shot = [self._one(int(row), int(file)) for row, file in zip(rows, self._file(rows), strict=True)]
        return super().read(rows) | {"gathers": torch.stack(shot)}

    def _one(self, row: int, file: int) -> Tensor:
        local = row % self.n_maps - int(self._starts[file])
        gathers = torch.from_numpy(np.array(self._gathers[file][local]))
        if gathers.shape[1] == N_SAMPLES:
            gathers = zero_last_sample(gathers)
        gathers = resize_time(gathers[None], self.settings.samples)[0]
        if row >= self.n_maps:
            gathers = mirror(gathers)
            gathers[CENTRAL_SHOT] = torch.from_numpy(np.array(self._central[file][local, 0])).float()
        return gathers

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """``median_map`` (70, 70) of the training maps (of 2,000 of them at most), the predictor that knows no gather."""
        rows = self.rows(TRAIN)
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MEDIAN_ROWS)).astype(np.int64)]
        return {"median_map": np.median(self.truth(some), axis=0)}
