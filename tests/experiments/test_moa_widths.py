"""Input widths and parameter counts of the declared experiments on a table as wide as the competition's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.moa.demo import DemoSpec, generate
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.tables import TrainingTables, read_training
from experiments.declare import load_experiment


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


def test_deep_insight_sees_875_features(wide: TrainingTables) -> None:
    recipe = load_experiment("moa_deepinsight_resnest").data.features[:2]
    assert FeaturePipeline.fit(recipe, wide.signatures).width == 875
