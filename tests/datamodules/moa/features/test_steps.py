"""Every step, applied from its arrays in torch, against the library or the definition that it stands for."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.decomposition import FactorAnalysis as SklearnFactors
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from datamodules.errors import DataError
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.features.image_map import bin_pixels, rotate_to_smallest_rectangle
from datamodules.moa.features.neighbours import place
from datamodules.moa.features.screening import t_test_p_values
from datamodules.moa.tables import Signatures, TrainingTables, read_training
from tests.datamodules.moa.tiny import write_files


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> TrainingTables:
    return read_training(write_files(tmp_path_factory.mktemp("moa") / "demo"))


@pytest.fixture(scope="module")
def rows(tables: TrainingTables) -> Signatures:
    return tables.signatures


def halves(rows: Signatures) -> tuple[Signatures, Signatures]:
    half = len(rows.ids) // 2
    return rows.take(np.arange(half)), rows.take(np.arange(half, len(rows.ids)))


def features(pipeline: FeaturePipeline, rows: Signatures) -> dict[str, np.ndarray]:
    out = pipeline(**pipeline.encode(rows)).numpy()
    assert out.dtype == np.float32
    assert out.shape == (len(rows.ids), pipeline.width)
    return {name: out[:, where] for name, where in pipeline.blocks.items()}


def genes(rows: Signatures) -> np.ndarray:
    return rows.values[:, : len(rows.genes)].astype(np.float64)


def cells(rows: Signatures) -> np.ndarray:
    return rows.values[:, len(rows.genes) :].astype(np.float64)


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_rank_gauss_is_sklearns_quantile_transformer(rows: Signatures) -> None:
    fit, new = halves(rows)
    new.values[0, 0], new.values[1, 0] = -20, 20  # beyond what was seen
    fit.values[:40, 3] = -10  # saturated: many equal quantiles
    new.values[:5, 3] = -10
    fit.values[:, 4] = 1.5  # constant
    fit.values[10:90, 5] = np.round(fit.values[10:90, 5])  # ties inside
    reference = QuantileTransformer(n_quantiles=100, output_distribution="normal", subsample=10**6).fit(
        fit.values.astype(np.float64)
    )
    for part in (fit, new):
        ours = FeaturePipeline.fit(["rank_gauss"], fit)(**FeaturePipeline.fit([], fit).encode(part)).numpy()
        close(ours, reference.transform(part.values.astype(np.float64)))
    assert np.abs(ours).max() == pytest.approx(5.2, abs=0.01)


def test_rank_gauss_of_all_blocks_reaches_the_factors(rows: Signatures) -> None:
    some = features(FeaturePipeline.fit(["factor_analysis:genes=3,cells=2", "rank_gauss"], rows), rows)
    everything = features(FeaturePipeline.fit(["factor_analysis:genes=3,cells=2", "rank_gauss:all=1"], rows), rows)
    close(some["genes"], everything["genes"])
    raw = some["factor_analysis_genes"].astype(np.float64)
    reference = QuantileTransformer(n_quantiles=100, output_distribution="normal", subsample=10**6).fit_transform(raw)
    np.testing.assert_allclose(everything["factor_analysis_genes"], reference, atol=2e-3)


@pytest.mark.parametrize("step", ["factor_analysis", "pca"])
def test_projections_are_sklearns(step: str, rows: Signatures) -> None:
    fit, new = halves(rows)
    pipeline = FeaturePipeline.fit([f"{step}:genes=5,cells=3"], fit, seed=7)
    ours = features(pipeline, new)
    for name, part, count in (("genes", genes, 5), ("cells", cells, 3)):
        model = (SklearnFactors if step == "factor_analysis" else PCA)(count, random_state=7).fit(part(fit))
        close(ours[f"{step}_{name}"], model.transform(part(new)), 1e-5)
    close(ours["genes"], genes(new))


def test_kmeans_is_about_as_good_as_ten_restarts(rows: Signatures) -> None:
    fit, new = halves(rows)
    pipeline = FeaturePipeline.fit(["kmeans:genes=6,cells=3"], fit, seed=1)
    ours = features(pipeline, new)
    assert (ours["kmeans_genes"].sum(axis=1) == 1).all()
    assert ours["kmeans_cells"].shape[1] == 3
    centres = pipeline.step_state("kmeans")["genes_centres"].numpy()
    distance = np.square(genes(new)[:, None] - centres).sum(axis=2)
    assert (ours["kmeans_genes"].argmax(axis=1) == distance.argmin(axis=1)).all()
    best = KMeans(6, n_init=10, random_state=1).fit(genes(fit)).inertia_
    assert np.square(genes(fit)[:, None] - centres).sum(axis=2).min(axis=1).sum() < 1.03 * best


def test_standard_is_sklearns_and_leaves_a_constant_column_finite(rows: Signatures) -> None:
    fit, new = halves(rows)
    fit.values[:, 2] = 0.5
    pipeline = FeaturePipeline.fit(["one_hot", "row_means", "standard"], fit)
    ours = np.concatenate(list(features(pipeline, new).values()), axis=1)
    plain = FeaturePipeline.fit(["one_hot", "row_means"], fit)
    before = [plain(**plain.encode(part)).double().numpy() for part in (fit, new)]
    close(ours, StandardScaler().fit(before[0]).transform(before[1]), 1e-5)


def test_variance_threshold_keeps_what_varies_more(rows: Signatures) -> None:
    fit, _ = halves(rows)
    variance = fit.values.astype(np.float64).var(axis=0)
    limit = float(np.median(variance))
    pipeline = FeaturePipeline.fit([f"variance_threshold:above={limit}"], fit)
    ours = np.concatenate(list(features(pipeline, fit).values()), axis=1)
    np.testing.assert_array_equal(ours, fit.values[:, variance > limit])
    with pytest.raises(DataError, match="no column has a variance above 1000"):
        FeaturePipeline.fit(["variance_threshold:above=1000"], fit)


@pytest.mark.parametrize("with_sum", [True, False])
def test_row_statistics_are_pandas(with_sum: bool, rows: Signatures) -> None:
    few = rows.take(np.arange(20))
    few.values[3, : len(few.genes)] = 0.25  # a constant row has no shape
    step = "row_statistics:sum=1" if with_sum else "row_statistics"
    ours = features(FeaturePipeline.fit([step], rows), few)["row_statistics"]
    kinds = (["sum"] if with_sum else []) + ["mean", "std", "kurt", "skew"]
    parts = [pd.DataFrame(p) for p in (genes(few), cells(few), few.values.astype(np.float64))]
    reference = np.stack([getattr(part, kind)(axis=1) for part in parts for kind in kinds], axis=1)
    close(ours, np.nan_to_num(reference), 1e-5)  # pandas 3 has no shape for a constant row, pandas 2 says 0


def test_row_normalise_by_hand(rows: Signatures) -> None:
    few = rows.take(np.arange(5))
    ours = features(FeaturePipeline.fit(["row_normalise"], rows), few)
    g, c = genes(few), cells(few)
    close(ours["genes"], g - (np.quantile(g, 0.25, axis=1) + np.quantile(g, 0.75, axis=1))[:, None] / 2)
    c = c - (np.quantile(c, 0.25, axis=1) + np.quantile(c, 0.72, axis=1))[:, None] / 2
    close(ours["cells"], c / (4 + np.quantile(np.abs(c), 0.75, axis=1)[:, None]))


def test_conditions_in_their_orders(rows: Signatures) -> None:
    pipeline = FeaturePipeline.fit(["one_hot", "codes", "levels"], rows)
    assert pipeline.times == ("24", "48", "72")
    assert pipeline.doses == ("D1", "D2")
    ours = features(pipeline, rows)
    frame = pd.DataFrame({"t": rows.time, "d": rows.dose})
    reference = [frame.t == "24", frame.t == "48", frame.t == "72", frame.d == "D1", frame.d == "D2"]
    np.testing.assert_array_equal(ours["one_hot"], np.stack(reference, axis=1))
    np.testing.assert_array_equal(
        ours["codes"], np.stack([frame.t.map({"24": 0, "48": 1, "72": 2}), frame.d.eq("D2")], axis=1)
    )
    levels = [~rows.control, frame.d.eq("D2"), frame.t.map({"24": 0, "48": 0.5, "72": 1})]
    np.testing.assert_array_equal(ours["levels"], np.stack(levels, axis=1).astype(np.float32))


def test_log_scaler_by_its_formula(rows: Signatures) -> None:
    fit, new = halves(rows)
    new.values[0, 0] = -50.0
    low = fit.values.astype(np.float64).min(axis=0)
    top = np.log(fit.values + np.abs(low) + 1).max()
    ours = np.concatenate(list(features(FeaturePipeline.fit(["log_scaler"], fit), new).values()), axis=1)
    z = np.log(np.maximum(new.values, low) + np.abs(low) + 1)
    close(ours, np.clip(z / top, 0, 1))
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_t_tests_are_scipys() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.standard_normal((60, 7)), (rng.random((60, 3)) < 0.3).astype(np.uint8)
    values[:, 2] += labels[:, 1]
    ours = t_test_p_values(values, labels)
    for target in range(3):
        has = labels[:, target] == 1
        close(ours[target], stats.ttest_ind(values[has], values[~has]).pvalue)


def test_screen_copies_related_columns(tables: TrainingTables) -> None:
    rows = tables.signatures
    rng = np.random.default_rng(0)
    values = rng.standard_normal(rows.values.shape).astype(np.float32)
    values[:, [4, 9]] += 3 * tables.scored.values[:, :1] + tables.scored.values.sum(axis=1, keepdims=True)
    made = Signatures(rows.ids, rows.control, rows.time, rows.dose, values, rows.genes, rows.cells)
    pipeline = FeaturePipeline.fit(["screen:keep=2", "standard"], made, labels=tables.scored.values)
    assert pipeline.step_state("screen")["columns"].tolist() == [4, 9]
    ours = features(pipeline, made)
    close(ours["screened"], ours["genes"][:, [4, 9]])
    with pytest.raises(DataError, match="chooses columns by the labels"):
        FeaturePipeline.fit(["screen"], made)
    with pytest.raises(DataError, match="the published list of 'screen' is lish-moa's"):
        FeaturePipeline.fit(["screen:published=1"], made, labels=tables.scored.values)


def test_the_published_list_has_447_columns() -> None:
    rng = np.random.default_rng(0)
    n = 8
    text = np.array(["24"] * n)
    wide = Signatures(
        text, np.zeros(n, dtype=bool), text, text, rng.standard_normal((n, 872)).astype(np.float32),
        tuple(f"g-{i}" for i in range(772)), tuple(f"c-{i}" for i in range(100)),
    )  # fmt: skip
    blocks = FeaturePipeline.fit(["screen:published=1"], wide).blocks
    assert blocks["screened"].stop - blocks["screened"].start == 447


def test_umap_says_what_to_install_when_it_is_missing(rows: Signatures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(DataError, match=r'needs umap-learn: pip install "podium\[umap\]", or leave the step out'):
        FeaturePipeline.fit(["umap:genes=2"], rows)


def test_umap_places_rows_among_their_neighbours(rows: Signatures, monkeypatch: pytest.MonkeyPatch) -> None:
    class Line:
        """Stands in for UMAP with an embedding that is known: the first two columns."""

        def __init__(self, n_components: int, **options: object) -> None:
            assert options["random_state"] == 3
            self.n_components = n_components

        def fit(self, values: np.ndarray) -> Line:
            self.embedding_ = values[:, : self.n_components]
            return self

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Line))  # type: ignore[arg-type]
    ours = features(FeaturePipeline.fit(["umap:genes=2,cells=1"], rows, seed=3), rows)
    assert ours["umap_genes"].shape[1] == 2
    assert np.corrcoef(ours["umap_cells"][:, 0], cells(rows)[:, 0])[0, 1] > 0.8
    known = torch.tensor([[0.0], [1.0], [100.0]])
    far = place(torch.tensor([[0.5]]), known, torch.tensor([[0.0], [1.0], [100.0]]).double())
    assert 0.4 < float(far) < 20


def test_the_smallest_rectangle_is_found() -> None:
    rng = np.random.default_rng(2)
    box = rng.random((300, 2)) * [4.0, 1.0]
    angle = 0.7
    turned = box @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    sides = np.sort(np.ptp(rotate_to_smallest_rectangle(turned), axis=0))
    assert sides[0] * sides[1] <= np.prod(np.ptp(box, axis=0)) + 1e-9
    close(sides, [1.0, 4.0], 0.03)


def test_pixels_span_the_image() -> None:
    points = np.array([[0.0, 5.0], [1.0, 6.0], [0.5, 5.49], [0.26, 7.0]])
    pixels = bin_pixels(points, 5)
    np.testing.assert_array_equal(pixels, [[0, 0], [4, 2], [2, 0], [1, 4]])


def test_related_features_are_neighbours_on_the_map() -> None:
    rng = np.random.default_rng(0)
    n, text = 60, np.array(["24"] * 60)
    latent = rng.standard_normal((n, 2))
    values = np.concatenate(
        [latent[:, [0]] + 0.05 * rng.standard_normal((n, 12)), latent[:, [1]] + 0.05 * rng.standard_normal((n, 12))],
        axis=1,
    )
    made = Signatures(
        text, np.zeros(n, dtype=bool), text, text, values.astype(np.float32), tuple(f"g-{i}" for i in range(24)), ()
    )
    pipeline = FeaturePipeline.fit(["image_map:size=16,steps=300"], made, seed=1)
    points = pipeline.step_state("image_map")["points"].numpy()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.where(np.eye(24) > 0, np.inf, 0)
    same_group = (distance.argmin(axis=1) < 12) == (np.arange(24) < 12)
    assert same_group.mean() > 0.8
    pixels = pipeline.step_state("image_map")["pixels"]
    assert pixels.min() == 0
    assert pixels.max() == 15


def test_data_without_cells_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = np.array(["24"] * 30)
    made = Signatures(
        text,
        np.zeros(30, dtype=bool),
        text,
        text,
        rng.standard_normal((30, 8)).astype(np.float32),
        tuple(f"g-{i}" for i in range(8)),
        (),
    )
    recipe = [
        "rank_gauss",
        "factor_analysis:genes=2,cells=2",
        "pca:genes=2,cells=2",
        "kmeans:genes=2,cells=2",
        "row_statistics",
        "row_means",
    ]
    out = features(FeaturePipeline.fit(recipe, made), made)
    assert {name: block.shape[1] for name, block in out.items() if block.shape[1]} == {
        "genes": 8, "factor_analysis_genes": 2, "pca_genes": 2, "kmeans_genes": 2, "row_statistics": 4, "row_means": 1,
    }  # fmt: skip
