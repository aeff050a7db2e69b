"""Blend weights: what a solver returns, what the weights file holds, and how they turn predictions into a blend."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from datamodules.banks.bank import BankError
from datamodules.files import read_json, write_json

Array = npt.NDArray[np.float64]
Kind = Literal["arithmetic", "logit", "softmax", "rank"]
Level = Literal["global", "targets", "rows"]
FORMAT_VERSION = 1
LOGIT_CLIP = 1e-4
_SCHEMA = {
    "weights": dict,
    "inputs": list,
    "metric": str,
    "domain": str,
    "convention": str,
    "targets": list,
    "shape": list,
    "post_processing": list,
    "clip_predictions": bool,
}
_MODEL = {"name", "experiment", "variant", "seeds", "path", "folds", "configs", "checkpoints"}


@dataclass
class Weights:
    """Weights of the models and the kind of mean they weigh.

    Attributes:
        method: Solver that found them.
        models: Names.
        values: ``(models,)``, or ``(segments, models)``.
        level: ``global``; ``targets``, a row of weights per range of targets; ``rows``, one per row group.
        segments: For ``targets`` the ranges ``[start, stop]``; for ``rows`` the group names.
        kind: Mean of predictions, of logits, of logarithms normalised over the classes (``softmax``), or of ranks (see
            :mod:`blend.metrics.ranks`).
        clip: Probabilities are clipped to ``[clip, 1 - clip]`` before they are averaged; 0 = not.
        intercept: Added to the mean (of logits, where these are averaged), one value or one per target; empty for none.
        thresholds: Of decisions, one per target; empty where the metric needs none.
        gap: Certificate, how far the in-sample loss is from the optimum at most; None where there is none.
        path: Steps of greedy methods: ``added`` or ``removed`` model, and the loss.
        notes: What the person should know, one sentence each.
    """

    method: str
    models: list[str]
    values: Array
    level: Level = "global"
    segments: list[Any] = field(default_factory=list)
    kind: Kind = "arithmetic"
    clip: float = 0.0
    intercept: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    gap: float | None = None
    path: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mean(self) -> Array:
        """``(models,)`` weights, averaged over segments (by their number of targets)."""
        if self.level == "global":
            return self.values
        if self.level == "targets":
            return np.average(self.values, axis=0, weights=[stop - start for start, stop in self.segments])
        result: Array = self.values.mean(axis=0)
        return result

    def by_target(self, width: int) -> Array:
        """``(targets, models)`` weights.

        Raises:
            BankError: the ranges do not cover the targets.
        """
        if self.level == "global":
            return np.broadcast_to(self.values, (width, len(self.models)))
        lengths = [stop - start for start, stop in self.segments]
        if sum(lengths) != width:
            raise BankError(f"these weights are for {sum(lengths)} targets, the predictions have {width}")
        return np.repeat(self.values, lengths, axis=0)

    def of_groups(self, groups: npt.NDArray[np.str_]) -> Array:
        """``(rows, models)`` weights of rows by their group.

        Raises:
            BankError: a group was not fitted.
        """
        present, inverse = np.unique(groups, return_inverse=True)
        unknown = [str(name) for name in present if name not in self.segments]
        if unknown:
            raise BankError(
                f"there are no weights for row group {unknown[0]!r}; they were fitted for {', '.join(self.segments)}"
            )
        return self.values[[self.segments.index(name) for name in present]][inverse]

    def with_values(self, values: Array) -> Weights:
        """The same blend with other weights; certificate and path do not carry over."""
        return replace(self, values=values, gap=None, path=[], notes=list(self.notes))

    def restore(self, models: list[str], keep: list[int]) -> Weights:
        """Weights over more models, of which these are the ones in ``keep``; the others weigh 0."""
        values = np.zeros((*self.values.shape[:-1], len(models)))
        values[..., keep] = self.values
        return replace(self, models=models, values=values)


def blend_rows(
    weights: Weights, predictions: npt.NDArray[np.float32], groups: npt.NDArray[np.str_] | None = None
) -> Array:
    """Blend some rows with arithmetic or logit means.

    Args:
        weights: Weights of the models.
        predictions: ``(models, rows, targets)``.
        groups: ``(rows,)`` group of each row, for weights per row group.

    Returns:
        ``(rows, targets)`` float64.
    """
    P: npt.NDArray[Any] = predictions
    logs = weights.kind in ("logit", "softmax")
    if weights.clip > 0:
        clip = weights.clip if logs else np.float32(weights.clip)
        P = np.clip(P, clip, 1 - clip, dtype=np.float64 if logs else np.float32)
    if logs:
        P = np.log(P / (1.0 - P)) if weights.kind == "logit" else np.log(P)
    mean = _weighted_mean(weights, P, groups)
    if weights.intercept:
        mean = mean + np.asarray(weights.intercept)
    if weights.kind == "logit":
        return np.asarray(1.0 / (1.0 + np.exp(-mean)))
    if weights.kind == "softmax":
        mean = np.exp(mean - mean.max(axis=1, keepdims=True))
        return np.asarray(mean / mean.sum(axis=1, keepdims=True))
    return mean


def _weighted_mean(weights: Weights, P: npt.NDArray[Any], groups: npt.NDArray[np.str_] | None) -> Array:
    models, rows, width = P.shape
    if weights.level == "global":
        result: Array = (weights.values @ P.reshape(models, -1)).reshape(rows, width)
        return result
    if weights.level == "targets":
        factors = weights.by_target(width).T[:, None, :]
    else:
        if groups is None:
            raise BankError("weights per row group need the group of every row; give --groups FILE")
        factors = weights.of_groups(groups).T[:, :, None]
    total = np.zeros((rows, width))
    for factor, values in zip(factors, P, strict=True):
        total += factor * values
    return total


def write_weights(path: Path, weights: Weights, extra: dict[str, Any]) -> None:
    """Write a weights file with everything ``apply`` and a reader need.

    Args:
        path: JSON file.
        weights: Weights of the models.
        extra: Metric, scores, inputs, steps and the like.
    """
    content = asdict(weights) | {"values": weights.values.tolist()}
    write_json(path, {"format_version": FORMAT_VERSION, "weights": content, **extra})


def read_weights(path: Path) -> tuple[Weights, dict[str, Any]]:
    """Read a weights file.

    Raises:
        BankError: it is none, or of another format.
    """
    path = path / "weights.json" if path.is_dir() else path
    if not path.is_file():
        raise BankError(f"{path} does not exist; `python -m blend search` writes weights files")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION or "weights" not in content:
        raise BankError(f"{path} is not a weights file of this program (format {FORMAT_VERSION}); search again")
    for name, kind in _SCHEMA.items():
        if not isinstance(content.get(name), kind):
            raise BankError(f"{path} is damaged: {name} is {content.get(name)!r}, not a {kind.__name__}; search again")
    fields = content.pop("weights")
    try:
        fields["values"] = np.asarray(fields["values"], dtype=np.float64)
        weights = Weights(**fields)
        rows = () if weights.level == "global" else (len(weights.segments),)
        fits = weights.values.shape == (*rows, len(weights.models)) and len(content["inputs"]) == len(weights.models)
        sound = fits and np.isfinite(weights.values).all() and 0 <= weights.clip < 0.5
        known = weights.kind in get_args(Kind) and weights.level in get_args(Level)
        named = all(set(model) >= _MODEL for model in content["inputs"])
        listed = all(isinstance(x, list) for x in (weights.intercept, weights.thresholds, weights.path, weights.notes))
    except (TypeError, KeyError, ValueError) as error:
        raise BankError(f"{path} is damaged ({error}); search again") from None
    if not (sound and known and named and listed):
        raise BankError(f"{path} is damaged: its weights do not fit its {len(weights.models)} models; search again")
    return weights, content
