"""Input widths and parameter counts of the declared experiments on a table as wide as the competition's."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.moa.demo import DemoSpec, generate
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.tables import TrainingTables, read_training
from experiments.engine.declare import load_experiment


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TrainingTables:
    return read_training(generate(tmp_path_factory.mktemp("wide") / "moa", DemoSpec(drugs=40, test_drugs=2)))


@pytest.mark.parametrize(
    ("name", "preset", "width"),
    [
        ("moa_simple_nn", None, 1032),
        ("moa_simple_nn", "row_folds", 1092),  # the source's 1,091 and the gene that its slice lost
        ("moa_two_heads_resnet", None, 979 + 447),
        ("moa_two_heads_resnet", "v1", 976 + 447),
        ("moa_tabnet", None, 1397 - 331),  # without the predictions of the first stage
        ("moa_soft_ordering_cnn", None, 872 + 65),
        ("moa_logistic", None, 877),
    ],
)
def test_inputs_are_as_wide_as_the_sources(name: str, preset: str | None, width: int, wide: TrainingTables) -> None:
    experiment = load_experiment(name)
    recipe = experiment.data.features
    if preset:
        folder = Path(__file__).parents[2] / "experiments" / "presets" / name
        recipe = yaml.safe_load((folder / f"{preset}.yaml").read_text())["data"]["features"]
    rows = wide.signatures
    pipeline = FeaturePipeline.fit(recipe, rows, labels=wide.scored.values)
    assert pipeline.width == width
    assert np.isfinite(pipeline(**pipeline.encode(rows)).numpy()).all()


class Embedding:
    """Stands in for UMAP, which takes minutes on these tables: as many columns."""

    def __init__(self, n_components: int, **options: object) -> None:
        self.n_components = n_components

    def fit(self, values: np.ndarray) -> Embedding:
        self.embedding_ = np.random.default_rng(0).standard_normal((len(values), self.n_components))
        return self


@pytest.mark.parametrize(
    ("name", "width", "predictions"),
    [
        ("moa_nonscored_nn", 1087, 0),
        ("moa_meta_nn", 1418, 331),
        ("moa_three_stage_nn", 206, 206),
        ("moa_nonscored_nn_pca", 962, 0),  # the variance threshold leaves 954 of them on the competition's files
        ("moa_two_stage_nn_tabnet", 1397, 331),
    ],
)
def test_inputs_of_the_stages_are_as_wide_as_the_sources(
    name: str, width: int, predictions: int, wide: TrainingTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Embedding))  # type: ignore[arg-type]
    rows = wide.signatures
    names = tuple(f"prediction_{i}" for i in range(predictions))
    meta = np.random.default_rng(0).random((len(rows.ids), predictions), dtype=np.float32) if names else None
    recipe = [text for text in load_experiment(name).data.features if not text.startswith("variance_threshold")]
    pipeline = FeaturePipeline.fit(recipe, rows, labels=wide.scored.values, meta=meta, meta_names=names)
    assert pipeline.width == width
    inputs = pipeline.encode(rows) | ({} if meta is None else {"meta": torch.from_numpy(meta)})
    assert np.isfinite(pipeline(**inputs).numpy()).all()


def test_the_variance_threshold_counts_all_957_columns_before_the_conditions(
    wide: TrainingTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Embedding))  # type: ignore[arg-type]
    recipe = load_experiment("moa_nonscored_nn_pca").data.features
    before = FeaturePipeline.fit(recipe[:3], wide.signatures)
    columns = before(**before.encode(wide.signatures)).double().numpy()
    assert columns.shape[1] == 957
    kept = int((columns.var(axis=0) > 0.5).sum())
    assert 900 < kept < 957
    assert FeaturePipeline.fit(recipe, wide.signatures).width == kept + 5


def test_deep_insight_sees_875_features(wide: TrainingTables) -> None:
    recipe = load_experiment("moa_deepinsight_resnest").data.features[:2]
    assert FeaturePipeline.fit(recipe, wide.signatures).width == 875
