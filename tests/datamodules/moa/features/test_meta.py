from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer

from datamodules.errors import DataError
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.tables import Signatures, read_training
from tests.datamodules.moa.tiny import write_files

NAMES = ("a", "b,c")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Signatures:
    return read_training(write_files(tmp_path_factory.mktemp("moa") / "demo")).signatures


@pytest.fixture(scope="module")
def meta(rows: Signatures) -> np.ndarray:
    values = np.random.default_rng(0).beta(0.1, 5, size=(len(rows.ids), len(NAMES))).astype(np.float32)
    values[rows.control] = 0
    return values


def fit(recipe: tuple[str, ...], rows: Signatures, meta: np.ndarray) -> FeaturePipeline:
    return FeaturePipeline.fit(recipe, rows, meta=meta, meta_names=NAMES)


def test_predictions_become_the_normal_scores_of_scikit_learn(rows: Signatures, meta: np.ndarray) -> None:
    pipeline = fit(("rank_gauss", "one_hot", "meta_rank_gauss"), rows, meta)
    treated = ~rows.control
    reference = QuantileTransformer(n_quantiles=100, output_distribution="normal").fit(meta[treated].astype(np.float64))
    out = pipeline(**pipeline.encode(rows), meta=torch.from_numpy(meta)).numpy()
    assert pipeline.blocks["meta"] == slice(pipeline.width - 2, pipeline.width)
    expected = reference.transform(meta[treated].astype(np.float64))
    np.testing.assert_allclose(out[treated, -2:], expected, rtol=1e-5, atol=1e-5)
    assert (out[rows.control, -2:] < -5).all(), "controls are predicted as 0, below every other row"
    plain = FeaturePipeline.fit(("rank_gauss", "one_hot"), rows)
    np.testing.assert_array_equal(out[:, :-2], plain(**plain.encode(rows)).numpy())


def test_only_leaves_nothing_else(rows: Signatures, meta: np.ndarray) -> None:
    both = fit(("rank_gauss", "meta_rank_gauss"), rows, meta)
    alone = fit(("meta_rank_gauss:only=1",), rows, meta)
    inputs = {**both.encode(rows), "meta": torch.from_numpy(meta)}
    assert alone.width == 2
    np.testing.assert_array_equal(alone(**inputs).numpy(), both(**inputs).numpy()[:, -2:])


def test_rows_without_a_prediction_are_not_fitted_on(rows: Signatures, meta: np.ndarray) -> None:
    half = len(rows.ids) // 2
    first, second = rows.take(np.arange(half)), rows.take(np.arange(half, len(rows.ids)))
    unknown = np.concatenate([meta[:half], np.full_like(meta[half:], np.nan)])
    apart = FeaturePipeline.fit(("meta_rank_gauss",), first, more=second, meta=unknown, meta_names=NAMES)
    reference = FeaturePipeline.fit(("meta_rank_gauss",), first, meta=meta[:half], meta_names=NAMES)
    np.testing.assert_array_equal(apart.state()["step0_quantiles"], reference.state()["step0_quantiles"])


def test_the_state_alone_makes_the_same_pipeline(rows: Signatures, meta: np.ndarray) -> None:
    pipeline = fit(("rank_gauss", "meta_rank_gauss"), rows, meta)
    again = FeaturePipeline(pipeline.state())
    assert again.meta == NAMES
    inputs = {**pipeline.encode(rows), "meta": torch.from_numpy(meta)}
    assert torch.equal(again(**inputs), pipeline(**inputs))


def test_missing_predictions_are_refused(rows: Signatures, meta: np.ndarray) -> None:
    with pytest.raises(DataError, match="needs the predictions of an earlier stage"):
        FeaturePipeline.fit(("meta_rank_gauss",), rows)
    pipeline = fit(("meta_rank_gauss",), rows, meta)
    with pytest.raises(DataError, match="reads 2 predictions of an earlier stage and was given none"):
        pipeline(**pipeline.encode(rows))
    with pytest.raises(DataError, match="was given 1"):
        pipeline(**pipeline.encode(rows), meta=torch.from_numpy(meta[:, :1]))
    nothing = np.full_like(meta, np.nan)
    with pytest.raises(DataError, match="was given no row that the earlier stage predicted"):
        fit(("meta_rank_gauss",), rows, nothing)
