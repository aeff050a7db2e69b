"""Can made maps be told from real ones? Two judges: a random forest on interpretable statistics, and a small convolutional net.

Half of the real and half of the made maps are shown to a judge, the others are judged. An area under the curve of 0.5 is a coin; 1 tells
every map. (Classifier two-sample tests: Lopez-Paz and Oquab 2017, arXiv:1610.06545.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from datamodules.figures import SEQUENTIAL, empty
from datamodules.gwi.generate.families import Maps
from datamodules.gwi.schema import VMAX, VMIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
_STEP = 30.0  # m/s; smaller changes are blur
_TREES, _BOOTSTRAPS = 300, 500
_EPOCHS, _BATCH, _LR = 12, 32, 2e-3


@dataclass(frozen=True)
class Judgement:
    """How well one judge tells made maps from real ones.

    Attributes:
        judge: Name of the judge.
        auc: Area under the curve on the judged half.
        low, high: 95 % interval of it, over the maps that were judged.
        gives_away: Statistics that differ most, each with the area under the curve that it has by itself (below 0.5 where made maps have
            less of it); empty for the net.
    """

    judge: str
    auc: float
    low: float
    high: float
    gives_away: tuple[tuple[str, float], ...] = ()


def compare(real: Maps, made: Maps, seed: int = 0) -> tuple[Judgement, Judgement]:
    """Both judges on as many real as made maps.

    Args:
        real: Real maps ``(maps, 70, 70)`` in m/s.
        made: Made maps, the same shape.
        seed: Seed of the halves and of the judges.
    """
    many = min(len(real), len(made))
    maps = np.concatenate([real[:many], made[:many]]).astype(np.float32)
    is_made = np.repeat([0, 1], many)
    halves = np.random.default_rng(seed).permutation(many)
    shown, judged = (np.r_[half, half + many] for half in (halves[: many // 2], halves[many // 2 :]))
    return _forest(maps, is_made, shown, judged, seed), _net(maps, is_made, shown, judged, seed)


def statistics_of(maps: Maps) -> dict[str, Array]:
    """Interpretable statistics of each map, ``(maps,)`` each.

    * ``mean``, ``std``, ``slowest``, ``fastest``: of a map's cells, m/s
    * ``row r``: mean of a row, m/s
    * ``values``: different velocities to the nearest m/s; ``common values``: those of 35 cells or more
    * ``largest share``: of the cells with the commonest velocity
    * ``fractions``: share of cells that are no whole m/s
    * ``across changed``, ``across steps``, ``down changed``, ``down steps``: share of neighbours, sideways and downwards, that differ at all
      and by more than 30 m/s
    * ``median across``, ``median down``: of the differences that there are, m/s
    * ``slower below``: share of steps downwards to a slower velocity
    * ``across third k``: share of the sideways steps that lie in a third of the line
    * ``bent columns``: share of neighbouring columns that differ by a step anywhere
    * ``isolated``: share of cells that lie between two equal ones and differ from them, sideways or downwards
    """
    v = np.asarray(maps, dtype=np.float64)
    across, down = np.diff(v, axis=2), np.diff(v, axis=1)
    moved, fell = np.abs(across), np.abs(down)
    steps = moved > _STEP
    counts = [np.unique(np.round(one), return_counts=True)[1] for one in v]
    thirds = np.array_split(np.arange(steps.shape[2]), 3)
    all_steps = np.maximum(steps.sum((1, 2)), 1)
    between = np.concatenate(
        [
            ((v[:, 1:-1] != v[:, :-2]) & (v[:, :-2] == v[:, 2:])).reshape(len(v), -1),
            ((v[:, :, 1:-1] != v[:, :, :-2]) & (v[:, :, :-2] == v[:, :, 2:])).reshape(len(v), -1),
        ],
        axis=1,
    )
    return {
        "mean": v.mean((1, 2)),
        "std": v.std((1, 2)),
        "slowest": v.min((1, 2)),
        "fastest": v.max((1, 2)),
        **{f"row {row}": v[:, row].mean(1) for row in range(0, v.shape[1], 10)},
        "values": np.array([len(c) for c in counts], dtype=np.float64),
        "common values": np.array([(c >= 35).sum() for c in counts], dtype=np.float64),
        "largest share": np.array([c.max() for c in counts]) / v[0].size,
        "fractions": (v != np.round(v)).mean((1, 2)),
        "across changed": (moved > 0).mean((1, 2)),
        "across steps": steps.mean((1, 2)),
        "down changed": (fell > 0).mean((1, 2)),
        "down steps": (fell > _STEP).mean((1, 2)),
        "median across": _median_of_changes(moved),
        "median down": _median_of_changes(fell),
        "slower below": (down < -_STEP).sum((1, 2)) / np.maximum((fell > _STEP).sum((1, 2)), 1),
        **{f"across third {k + 1}": steps[:, :, third].sum((1, 2)) / all_steps for k, third in enumerate(thirds)},
        "bent columns": steps.any(1).mean(1),
        "isolated": between.mean(1),
    }


def _median_of_changes(changes: Array) -> Array:
    return np.array([np.median(c[c > 0]) if (c > 0).any() else 0.0 for c in changes])


def _forest(maps: Maps, is_made: Array, shown: Array, judged: Array, seed: int) -> Judgement:
    from sklearn.ensemble import RandomForestClassifier

    statistics = statistics_of(maps)
    table = np.stack(list(statistics.values()), axis=1)
    forest = RandomForestClassifier(_TREES, min_samples_leaf=2, random_state=seed, n_jobs=1)
    forest.fit(table[shown], is_made[shown])
    # each alone: statistics that say the same share what a forest takes from them
    alone = {name: _area(is_made[judged], values[judged]) for name, values in statistics.items()}
    first = sorted(alone.items(), key=lambda item: -abs(item[1] - 0.5))[:5]
    scores = forest.predict_proba(table[judged])[:, 1]
    return _judgement("random forest", is_made[judged], scores, seed, tuple(first))


def _net(maps: Maps, is_made: Array, shown: Array, judged: Array, seed: int) -> Judgement:
    x, y = _channels(torch.from_numpy(maps)), torch.from_numpy(is_made).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _make_net()
        steps = _EPOCHS * -(-len(shown) // _BATCH)
        optimiser = torch.optim.AdamW(net.parameters(), lr=_LR, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LR, total_steps=steps)
        rows = torch.from_numpy(shown)
        for _ in range(_EPOCHS):
            for batch in rows[torch.randperm(len(rows), generator=generator)].split(_BATCH):
                loss = F.binary_cross_entropy_with_logits(net(x[batch])[:, 0], y[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    net.eval()
    with torch.no_grad():
        scores = torch.cat([net(x[batch])[:, 0] for batch in torch.from_numpy(judged).split(256)]).numpy()
    return _judgement("convolutional net", is_made[judged], scores, seed)


def _channels(maps: Tensor) -> Tensor:
    """Velocities and the logarithms of their differences, sideways and downwards, ``(maps, 3, 70, 70)``: traces of blur count too."""
    across, down = F.pad(maps.diff(dim=2), (0, 1)), F.pad(maps.diff(dim=1), (0, 0, 0, 1))
    logarithms = [d.sign() * d.abs().log1p() / 4 for d in (across, down)]
    return torch.stack([(maps - (VMIN + VMAX) / 2) / (VMAX - VMIN), *logarithms], dim=1)


def _make_net() -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 48)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.Conv2d(48, 48, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(192, 1)
    )


def _judgement(
    name: str, truth: Array, scores: Array, seed: int, gives_away: tuple[tuple[str, float], ...] = ()
) -> Judgement:
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(truth == kind) for kind in (0, 1)]
    drawn = (np.concatenate([rng.choice(rows, len(rows)) for rows in classes]) for _ in range(_BOOTSTRAPS))
    low, high = np.quantile([_area(truth[rows], scores[rows]) for rows in drawn], [0.025, 0.975])
    return Judgement(name, _area(truth, scores), float(low), float(high), gives_away)


def _area(truth: Array, scores: Array) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores))


def contact_sheet(rows: dict[str, Maps], columns: int = 15) -> Figure:
    """Maps in rows of thumbnails under their names.

    Args:
        rows: Maps ``(maps, 70, 70)`` by what they are, such as ``real`` and ``made``.
        columns: Maps side by side.
    """
    heights = [-(-len(maps) // columns) for maps in rows.values()]
    figure = empty((columns * 0.8, sum(heights) * 0.82 + 0.25 * len(rows)))
    for part, (name, maps), height in zip(
        figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False).ravel(),
        rows.items(),
        heights,
        strict=True,
    ):
        part.suptitle(name, fontsize=8, x=0.01, ha="left")
        axes = part.subplots(height, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, velocity in zip(axes.flat, maps, strict=False):
            axis.imshow(velocity, cmap=SEQUENTIAL, vmin=VMIN, vmax=VMAX, interpolation="nearest")
    return figure
