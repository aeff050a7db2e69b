"""Predict LEAP inputs: a table or raw files, streamed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datamodules.banks.bank import PredictionBank
from datamodules.banks.roles import table_stem
from datamodules.errors import DataError
from datamodules.leap.convert import KaggleSource, join_more, open_source, raw_row_names
from datamodules.leap.grid import grid_coordinates
from datamodules.leap.schema import SCALARS
from datamodules.leap.settings import LeapData
from datamodules.leap.submission import SubmissionForm
from experiments.domains.leap.netcdf import write_netcdf
from experiments.engine.inference import Trained
from experiments.engine.prediction import PredictionInput, Text, predict_input
from experiments.engine.request import Request
from experiments.engine.run_directory import provenance

_FIELDS = ("profiles", "scalars", "more_profiles", "more_scalars", "step", "column", "row_id", "bad")


def predict(request: Request, trained: Trained) -> None:
    """Predict every row of ``request.input``.

    Raises:
        DataError: Rows that are not finite, ids that are not the template's, or wrong columns.
    """
    trained.reading(request.data)  # refuses what would be ignored
    predict_input(request, trained, Rows(request.input, request.template, trained.data_settings))


class Rows(PredictionInput):
    """Rows of a Kaggle table or of raw files.

    Args:
        path: A table, or raw files before the physics: a folder, a file, or a pattern; of any grid, with or without
            the files after the physics.
        template: The judge's sample submission, which gives ids and column weights.
        settings: The data settings of training; the grid is theirs.
    """

    def __init__(self, path: Path, template: Path | None, settings: LeapData) -> None:
        SubmissionForm(template)  # a wrong template is refused before hours of predicting
        self.path, self.settings = path, settings
        self.source = open_source(
            path, columns=0, targets=False, variables=settings.variables, grid_file=settings.grid_file
        )
        self.surface_pressure: list[npt.NDArray[np.float64]] = []
        super().__init__(_name_of(path), sum(unit.stop - unit.start for unit in self.source.units()))

    def batches(self, size: int) -> Iterator[tuple[Text, dict[str, torch.Tensor]]]:
        """Ids and float64 batches."""
        held: list[dict[str, npt.NDArray[Any]]] = []
        count = 0
        for unit in self.source.units():
            for block in self.source.read(unit):
                held.append({name: np.array(block[name]) for name in _FIELDS if name in block})
                count += len(block["row_id"])
                if count >= size:
                    yield self._batch(held)
                    held, count = [], 0
        if held:
            yield self._batch(held)

    def _batch(self, held: list[dict[str, npt.NDArray[Any]]]) -> tuple[Text, dict[str, torch.Tensor]]:
        rows = join_more({name: np.concatenate([block[name] for block in held]) for name in held[0]})
        if isinstance(self.source, KaggleSource):
            ids = np.strings.add(self.source.table.id_prefix, rows["row_id"].astype(str))
        else:
            ids = raw_row_names(rows["row_id"])
        if rows["bad"].any():
            raise DataError(
                f"row {str(ids[np.argmax(rows['bad'])])!r} of the input holds NaN or infinite values "
                f"({int(rows['bad'].sum())} such rows in this batch); mend the file"
            )
        self.surface_pressure.append(rows["scalars"][:, SCALARS.index("state_ps")].astype(np.float64))
        return ids, {name: torch.from_numpy(rows[name]) for name in ("profiles", "scalars", "row_id")}

    def check_output(self, path: Path) -> None:
        """Refuse what is not NetCDF of raw files."""
        if path.suffix != ".nc":
            raise DataError(f"--output {path} must end in .nc: predictions are written as NetCDF")
        if isinstance(self.source, KaggleSource):
            raise DataError(
                f"--output {path} needs the times and places of the rows, which a Kaggle table does not hold"
            )

    def write_output(self, bank: PredictionBank, path: Path, trained: Trained) -> None:
        """Write CF NetCDF with the checkpoint's provenance."""
        assert not isinstance(self.source, KaggleSource)  # check_output refused it
        made = provenance()
        about = {
            "source": f"{trained.experiment.name}, {trained.checkpoint.name}, sha256 {trained.identity.checkpoint}",
            "history": f"{made['started']} experiments/predict.py, podium {made['versions']['podium']}, commit {made['commit']}",
            "seed": str(trained.identity.seed),
            "fold": str(trained.identity.fold),
        }
        places = grid_coordinates(self.path, self.source.columns)
        write_netcdf(bank, path, np.concatenate(self.surface_pressure), places, about)


def _name_of(path: Path) -> str:
    """What predictions of an input are called: its name without what stands for other names in a pattern."""
    return re.sub(r"[*?\[\]]+", "", table_stem(path)).strip("._-") or path.parent.name or "files"
