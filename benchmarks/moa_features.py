"""MoA features at the competition's size: fitted, and one training step with features made once against made for every batch.

    python benchmarks/moa_features.py                 # 23,814 synthetic rows of 772 genes and 100 cells
    python benchmarks/moa_features.py --rows 3000     # a look

The rival of the k-means step is scikit-learn's ``KMeans`` with ten restarts, which the source used; ``inertia`` compares the
clusters (1 = as good). A step is forward, backward and Adam of the declared net. ``per batch`` runs the pipeline on the batch's
measurements, as training with augmentation must; ``once`` is what fixed rows get. UMAP itself is not timed (it takes minutes on
one core and its result is kept): random coordinates stand in, which cost the same to look up. Seconds are of the processor.
``checkpoint`` is the net and all fitted state in megabytes (without the optimiser's), then what of it lies once beside a run's
checkpoints instead of in each.
"""

# ruff: noqa: E402  (the path must be set before the project is imported)

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # this file is not the package of its name

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.moa.features import FeaturePipeline
from datamodules.moa.features.neighbours import cluster_centres
from datamodules.moa.tables import Signatures
from experiments import moa_logistic, moa_nonscored_nn, moa_tabnet
from lit_modules.frozen import PATTERN, FrozenIO
from lit_modules.moa.nets import build_net
from lit_modules.moa.task import MoaTask

TARGETS = 206


def synthetic(rows: int, seed: int = 0) -> Signatures:
    """Rows of the competition's width: 60 latent programs, noise, saturation at 10, four decimals."""
    random = np.random.default_rng(seed)
    programs = random.standard_normal((60, 872)) * random.gamma(1.0, 0.5, (60, 1))
    values = random.standard_normal((rows, 60)) @ programs * 0.3 + random.standard_normal((rows, 872))
    values = np.round(values.clip(-10, 10), 4).astype(np.float32)
    text = [
        np.array(options)[random.integers(len(options), size=rows)] for options in (("24", "48", "72"), ("D1", "D2"))
    ]
    ids = np.array([f"id_{i:09x}" for i in range(rows)])
    genes, cells = (tuple(f"{letter}-{i}" for i in range(n)) for letter, n in (("g", 772), ("c", 100)))
    return Signatures(ids, random.random(rows) < 0.078, text[0], text[1], values, genes, cells)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


class RandomCoordinates:
    """Stands in for ``umap.UMAP``."""

    def __init__(self, n_components: int, **_: Any) -> None:
        self.n_components = n_components

    def fit(self, values: np.ndarray) -> RandomCoordinates:
        """Coordinates for every row."""
        self.embedding_ = np.random.default_rng(0).standard_normal((len(values), self.n_components))
        return self


def step_seconds(experiment: Any, pipeline: FeaturePipeline, batch: dict[str, torch.Tensor], once: bool) -> float:
    """Of one optimiser step, the best of three."""
    torch.manual_seed(0)
    net = build_net(experiment.model, pipeline, torch.full((TARGETS,), 0.003))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    labels = (torch.rand(experiment.batch_size, TARGETS) < 0.0035).float()
    features = pipeline.of_batch(batch)

    def step() -> None:
        x = features if once else pipeline.of_batch(batch)
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(net(x), labels).backward()
        optimizer.step()

    step()
    return min(seconds(step) for _ in range(3))


def megabytes(experiment: Any, pipeline: FeaturePipeline) -> tuple[str, str]:
    """Of a checkpoint that holds the fitted state, and of the part of it that a run keeps once."""
    net = build_net(experiment.model, pipeline, torch.full((TARGETS,), 0.003))
    state = {f"features.{name}": value for name, value in pipeline.state_dict().items()} | net.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        FrozenIO(MoaTask.frozen).save_checkpoint({"state_dict": state}, Path(folder) / "a.ckpt")
        once, all_of_it = (sum(f.stat().st_size for f in Path(folder).glob(names)) / 1e6 for names in (PATTERN, "*"))
    return f"{all_of_it:.1f}", f"{once:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=23_814)
    rows = synthetic(parser.parse_args().rows)
    torch.set_num_threads(1)
    console = Console(width=110)

    from sklearn.cluster import KMeans

    genes = rows.values[:, :772].astype(np.float64)
    found: dict[str, np.ndarray] = {}

    def restarts() -> None:
        found["ten restarts"] = KMeans(35, n_init=10, random_state=42).fit(genes).cluster_centers_

    def own() -> None:
        found["this project"] = cluster_centres(genes, 35, seed=42)

    cost = {"ten restarts": seconds(restarts), "this project": seconds(own)}
    inertia = {name: _inertia(genes, centres) for name, centres in found.items()}
    table = Table(title="35 clusters of the genes")
    for name in ("", "seconds", "times", "inertia"):
        table.add_column(name, justify="right" if name else "left")
    for name in cost:
        ratio = cost["ten restarts"] / cost[name]
        table.add_row(name, f"{cost[name]:.1f}", f"{ratio:.1f}", f"{inertia[name] / inertia['ten restarts']:.4f}")
    console.print(table)

    sys.modules["umap"] = SimpleNamespace(UMAP=RandomCoordinates)  # type: ignore[assignment]
    table = Table(title="features")
    for name in (
        "experiment",
        "fit s",
        "step, per batch s",
        "step, once s",
        "times",
        "all rows once s",
        "checkpoint",
        "once",
    ):
        table.add_column(name, justify="right" if name != "experiment" else "left")
    for module in (moa_tabnet, moa_nonscored_nn, moa_logistic):
        experiment = module.EXPERIMENT
        fitted: list[FeaturePipeline] = []
        fit = seconds(lambda e=experiment, f=fitted: f.append(FeaturePipeline.fit(e.data.features, rows, 0)))  # type: ignore[misc]
        pipeline = fitted[0].eval()
        chosen = np.random.default_rng(1).integers(len(rows.ids), size=experiment.batch_size)
        batch = pipeline.encode(rows.take(chosen))
        each, once = (step_seconds(experiment, pipeline, batch, once) for once in (False, True))
        part = pipeline.encode(rows.take(np.arange(min(2048, len(rows.ids)))))
        whole = seconds(lambda p=pipeline, b=part: p.of_batch(b)) * len(rows.ids) / len(part["time"])  # type: ignore[misc]
        cells = (
            f"{fit:.1f}",
            f"{each:.3f}",
            f"{once:.3f}",
            f"{each / once:.1f}",
            f"{whole:.1f}",
            *megabytes(experiment, pipeline),
        )
        table.add_row(experiment.name, *cells)
    console.print(table)


def _inertia(values: np.ndarray, centres: np.ndarray) -> float:
    distances = torch.cdist(torch.from_numpy(values), torch.as_tensor(centres, dtype=torch.float64))
    return float(distances.amin(dim=1).square().sum())


if __name__ == "__main__":
    main()
