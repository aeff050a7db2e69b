"""The feature pipeline: a recipe of steps, fitted once, saved as arrays in the checkpoint, applied on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datamodules.errors import DataError, nearest_name
from datamodules.moa.features.conditions import ConditionCodes, ConditionLevels, OneHotConditions
from datamodules.moa.features.image_map import ImageMap
from datamodules.moa.features.meta import MetaRankGauss
from datamodules.moa.features.neighbours import KMeansClusters, UmapCoordinates
from datamodules.moa.features.projections import FactorAnalysis, PrincipalComponents
from datamodules.moa.features.rank_gauss import RankGauss
from datamodules.moa.features.rows import RowMeans, RowNormalise, RowStatistics
from datamodules.moa.features.scalers import LogScaler, Standard, VarianceThreshold
from datamodules.moa.features.screening import Screen
from datamodules.moa.features.table import CELLS, GENES, FeatureTable, FitContext, Step
from datamodules.moa.tables import Signatures, same_hours
from datamodules.names import decode_names, encode_names

STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        RankGauss, FactorAnalysis, PrincipalComponents, UmapCoordinates, KMeansClusters, VarianceThreshold, RowStatistics,
        RowMeans, RowNormalise, OneHotConditions, ConditionCodes, ConditionLevels, Standard, LogScaler, Screen, ImageMap,
        MetaRankGauss,
    )
}  # fmt: skip
_NAMES = ("recipe", "genes", "cells", "times", "doses")
_ROWS_AT_ONCE = 4096


def parse_recipe(recipe: Sequence[str]) -> list[Step]:
    """Steps of a recipe such as ``("rank_gauss", "pca:genes=50,cells=15", "one_hot")``.

    Raises:
        DataError: an unknown step or option, or an option that is not ``name=number``.
    """
    steps = []
    for text in recipe:
        name, _, rest = text.partition(":")
        if name not in STEPS:
            near = nearest_name(name, STEPS)
            raise DataError(
                f"data.features: there is no step {name!r}; {f'is it {near!r}?' if near else f'steps are {sorted(STEPS)}'}"
            )
        options = {}
        for part in filter(None, rest.split(",")):
            key, _, value = part.partition("=")
            try:
                options[key.strip()] = float(value)
            except ValueError:
                raise DataError(f"data.features: {part!r} of {text!r} is not name=number, such as genes=50") from None
        steps.append(STEPS[name](options))
    return steps


class FeaturePipeline(nn.Module):
    """Raw measurements to the features of a net, as a module whose buffers are the whole fitted state.

    Everything is computed in float64 and handed to the net in float32.

    Args:
        state: What :meth:`fit` or :meth:`state` gave.

    Attributes:
        recipe: The step texts.
        genes, cells: Columns that a feature file must have.
        times, doses: Known conditions, ascending.
        meta: Names of the earlier stage's predictions that rows must come with; empty without one.
        blocks: Where each block stands in the output.
        width: Columns of the output.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__()
        for name, value in state.items():
            self.register_buffer(name, torch.as_tensor(np.asarray(value)).clone())
        self.recipe, self.genes, self.cells, self.times, self.doses = (
            decode_names(self.get_buffer(f"{name}_utf8")) for name in _NAMES
        )
        self.meta = decode_names(self.get_buffer("meta_utf8")) if "meta_utf8" in state else ()
        self._steps = parse_recipe(self.recipe)
        with torch.no_grad():
            one = self._run(
                self._table(torch.zeros(1, len(self.genes) + len(self.cells)), meta=torch.zeros(1, len(self.meta)))
            )
        ends = np.cumsum([block.shape[1] for block in one.blocks.values()]).tolist()
        self.blocks = {
            name: slice(end - block.shape[1], end) for (name, block), end in zip(one.blocks.items(), ends, strict=True)
        }
        self.width = ends[-1]

    @classmethod
    def fit(
        cls,
        recipe: Sequence[str],
        rows: Signatures,
        seed: int = 0,
        labels: npt.NDArray[np.uint8] | None = None,
        more: Signatures | None = None,
        times: Sequence[str] | None = None,
        doses: Sequence[str] | None = None,
        meta: npt.NDArray[np.float32] | None = None,
        meta_names: Sequence[str] = (),
    ) -> FeaturePipeline:
        """Fit every step in turn on the output of those before it.

        Args:
            recipe: Step texts.
            rows: The training rows (and controls).
            seed: Seed of random algorithms.
            labels: Labels of ``rows``, for steps that choose columns by them.
            more: Further rows without labels to fit on (``transductive``).
            times: Treatment times of the experiment; default: those of the rows.
            doses: Doses of the experiment; default: those of the rows.
            meta: ``(rows, predictions)`` of an earlier stage for ``rows`` (and then ``more``), NaN where it has none.
            meta_names: What it predicts.

        Raises:
            DataError: the recipe asks for what the columns cannot give.
        """
        together = rows if more is None else rows.join(more)
        state: dict[str, npt.NDArray[Any]] = {
            "recipe_utf8": encode_names(recipe),
            "genes_utf8": encode_names(rows.genes),
            "cells_utf8": encode_names(rows.cells),
        }
        times, doses = times or conditions(together.time), doses or conditions(together.dose)
        state |= {"times_utf8": encode_names(times), "doses_utf8": encode_names(doses)}
        if meta is not None:
            state["meta_utf8"] = encode_names(meta_names)
        context = FitContext(seed, labels, len(rows.ids), {GENES: rows.genes, CELLS: rows.cells})
        table = _raw_table(
            torch.from_numpy(together.values), len(rows.genes), positions(together.time, times, "cp_time", together.ids),
            positions(together.dose, doses, "cp_dose", together.ids), torch.from_numpy(together.control), len(times), len(doses),
            None if meta is None else torch.from_numpy(meta),
        )  # fmt: skip
        for i, step in enumerate(parse_recipe(recipe)):
            fitted = step.fit(table, context)
            tensors = {name: torch.as_tensor(value) for name, value in fitted.items()}
            chunks = [table.rows(slice(s, s + _ROWS_AT_ONCE)) for s in range(0, len(table), _ROWS_AT_ONCE)]
            table = FeatureTable.stack([step.apply(chunk, tensors) for chunk in chunks])
            state |= {f"step{i}_{name}": np.asarray(value) for name, value in fitted.items()}
        return cls(state)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted arrays by name; ``FeaturePipeline(state)`` is the same pipeline."""
        return {name: buffer.detach().cpu().numpy() for name, buffer in self.named_buffers()}

    def forward(
        self,
        values: Tensor,
        time: Tensor | None = None,
        dose: Tensor | None = None,
        control: Tensor | None = None,
        meta: Tensor | None = None,
    ) -> Tensor:
        """Features, ``(rows, width)`` float32.

        Args:
            values: ``(rows, genes + cells)`` raw measurements.
            time: ``(rows,)`` positions in ``times``; default: the first.
            dose: ``(rows,)`` positions in ``doses``.
            control: ``(rows,)`` bool; default: no row is a control.
            meta: ``(rows, predictions)`` of the earlier stage, needed where there is one.

        Raises:
            DataError: no predictions of the earlier stage, or another number of them.
        """
        if self.meta and (meta is None or meta.shape[1] != len(self.meta)):
            given = "none" if meta is None else f"{meta.shape[1]}"
            raise DataError(
                f"this net reads {len(self.meta)} predictions of an earlier stage and was given {given}; predict it as a run "
                "directory beside the runs of the earlier stage"
            )
        return self._run(self._table(values, time, dose, control, meta)).matrix().float()

    @torch.no_grad()
    def of_batch(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Features of a batch of the data module or of :meth:`encode`, on the pipeline's device."""
        names = ("values", "time", "dose", "control", "meta")
        device = self.get_buffer("recipe_utf8").device
        features: Tensor = self(*(batch[name].to(device) if name in batch else None for name in names))
        return features

    def encode(self, rows: Signatures, path: object = "the feature file") -> dict[str, Tensor]:
        """Tensors of :meth:`forward` for rows of a file, whose columns may stand in another order.

        Raises:
            DataError: columns or conditions that the pipeline was not fitted to.
        """
        wanted, there = [*self.genes, *self.cells], [*rows.genes, *rows.cells]
        if set(wanted) != set(there):
            missing, extra = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
            what = f"misses {missing[0]!r}" if missing else f"has {extra[0]!r} too"
            raise DataError(
                f"{path} has {len(rows.genes)} gene and {len(rows.cells)} cell columns, the checkpoint was trained on "
                f"{len(self.genes)} and {len(self.cells)} (the file {what}); predict files of the same form"
            )
        at = {name: i for i, name in enumerate(there)}
        return {
            "values": torch.from_numpy(rows.values[:, [at[name] for name in wanted]]),
            "time": positions(rows.time, [same_hours(time) for time in self.times], "cp_time", rows.ids, path),
            "dose": positions(rows.dose, self.doses, "cp_dose", rows.ids, path),
            "control": torch.from_numpy(rows.control),
        }

    def step_state(self, name: str) -> dict[str, Tensor]:
        """Fitted arrays of the first step of a name.

        Raises:
            DataError: the recipe has no such step.
        """
        for i, step in enumerate(self._steps):
            if step.name == name:
                return self._state_of(i)
        raise DataError(f"data.features has no step {name!r}, which this net needs; its recipe is {list(self.recipe)}")

    def _state_of(self, i: int) -> dict[str, Tensor]:
        prefix = f"step{i}_"
        return {name.removeprefix(prefix): value for name, value in self.named_buffers() if name.startswith(prefix)}

    def _run(self, table: FeatureTable) -> FeatureTable:
        for i, step in enumerate(self._steps):
            table = step.apply(table, self._state_of(i))
        return table

    def _table(
        self,
        values: Tensor,
        time: Tensor | None = None,
        dose: Tensor | None = None,
        control: Tensor | None = None,
        meta: Tensor | None = None,
    ) -> FeatureTable:
        zeros = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        return _raw_table(
            values, len(self.genes), zeros if time is None else time, zeros if dose is None else dose,
            zeros.bool() if control is None else control, len(self.times), len(self.doses), meta if self.meta else None,
        )  # fmt: skip


def _raw_table(
    values: Tensor,
    n_genes: int,
    time: Tensor,
    dose: Tensor,
    control: Tensor,
    n_times: int,
    n_doses: int,
    meta: Tensor | None,
) -> FeatureTable:
    values = values.double()
    blocks = {GENES: values[:, :n_genes], CELLS: values[:, n_genes:]}
    return FeatureTable(blocks, time, dose, control, n_times, n_doses, None if meta is None else meta.double())


def conditions(texts: npt.NDArray[np.str_]) -> list[str]:
    """The different times or doses of a file, ascending by number where they are numbers."""
    return sorted({str(text) for text in texts}, key=_as_number)


def positions(
    texts: npt.NDArray[np.str_], known: Sequence[str], column: str, ids: npt.NDArray[np.str_], path: object = "the data"
) -> Tensor:
    """Position of each condition among the known ones.

    Raises:
        DataError: a condition that is not known; the row is named.
    """
    order = np.argsort(np.asarray(known))
    sorted_known = np.asarray(known)[order]
    at = np.searchsorted(sorted_known, texts).clip(max=len(known) - 1)
    wrong = sorted_known[at] != texts
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}: {column} of {ids[row]!s} is {str(texts[row])!r}, training knew {', '.join(known)}; leave such rows out"
        )
    return torch.from_numpy(order[at].astype(np.int64))


def _as_number(text: str) -> tuple[float, str]:
    """Sort conditions by their number where they are numbers."""
    try:
        return float(text), text
    except ValueError:
        return 0.0, text
