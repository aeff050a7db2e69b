from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from datamodules.moa.features import FeaturePipeline, decode_names, encode_names
from datamodules.moa.features.pipeline import parse_recipe
from datamodules.moa.tables import Signatures, TrainingTables, read_training
from tests.datamodules.moa.tiny import write_files

RECIPE = (
    "factor_analysis:genes=4,cells=2", "rank_gauss", "pca:genes=3", "kmeans:genes=3,cells=2", "variance_threshold:above=0.01",
    "row_statistics:sum=1", "one_hot", "screen:keep=5",
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> TrainingTables:
    return read_training(write_files(tmp_path_factory.mktemp("moa") / "demo"))


@pytest.fixture(scope="module")
def pipeline(tables: TrainingTables) -> FeaturePipeline:
    return FeaturePipeline.fit(RECIPE, tables.signatures, labels=tables.scored.values)


def apply(pipeline: FeaturePipeline, rows: Signatures) -> torch.Tensor:
    return pipeline(**pipeline.encode(rows))


def test_the_state_is_plain_arrays_and_rebuilds_the_pipeline(
    pipeline: FeaturePipeline, tables: TrainingTables, tmp_path: Path
) -> None:
    np.savez(tmp_path / "state.npz", **pipeline.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        again = FeaturePipeline(dict(file))
    assert again.recipe == RECIPE
    assert again.blocks == pipeline.blocks
    assert torch.equal(apply(again, tables.signatures), apply(pipeline, tables.signatures))


def test_the_state_travels_in_a_checkpoint(pipeline: FeaturePipeline, tables: TrainingTables, tmp_path: Path) -> None:
    torch.save(pipeline.state_dict(), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    again = FeaturePipeline({name: value.numpy() for name, value in loaded.items()})
    assert torch.equal(apply(again, tables.signatures), apply(pipeline, tables.signatures))


def test_rows_do_not_depend_on_the_rows_beside_them(pipeline: FeaturePipeline, tables: TrainingTables) -> None:
    rows = tables.signatures
    whole = apply(pipeline, rows)
    order = np.random.default_rng(0).permutation(len(rows.ids))
    torch.testing.assert_close(apply(pipeline, rows.take(order)), whole[order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(apply(pipeline, rows.take(order[:3])), whole[order[:3]], rtol=1e-5, atol=1e-6)


def test_fitting_sees_the_given_rows_only(tables: TrainingTables) -> None:
    """Whatever the other rows hold, the state is the same."""
    train = np.arange(0, len(tables.signatures.ids), 2)
    part, labels = tables.signatures.take(train), tables.scored.values[train]
    first = FeaturePipeline.fit(RECIPE, part, labels=labels).state()
    poisoned = tables.signatures.take(np.arange(len(tables.signatures.ids)))
    poisoned.values[1::2] = 1e6
    second = FeaturePipeline.fit(RECIPE, poisoned.take(train), labels=labels).state()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_transductive_rows_are_fitted_on_too(tables: TrainingTables) -> None:
    half = np.arange(len(tables.signatures.ids) // 2)
    part, rest = tables.signatures.take(half), tables.signatures.take(half + len(half))
    alone = FeaturePipeline.fit(["rank_gauss"], part).state()
    together = FeaturePipeline.fit(["rank_gauss"], part, more=rest).state()
    assert not np.array_equal(alone["step0_quantiles"], together["step0_quantiles"])


def test_columns_are_matched_by_name(pipeline: FeaturePipeline, tables: TrainingTables) -> None:
    rows = tables.signatures
    n = len(rows.genes)
    order = np.concatenate(
        [np.random.default_rng(1).permutation(n), n + np.random.default_rng(2).permutation(len(rows.cells))]
    )
    names = [*rows.genes, *rows.cells]
    shuffled = Signatures(
        rows.ids, rows.control, rows.time, rows.dose, rows.values[:, order],
        tuple(names[i] for i in order[:n]), tuple(names[i] for i in order[n:]),
    )  # fmt: skip
    assert torch.equal(apply(pipeline, shuffled), apply(pipeline, rows))


def test_files_of_another_form_are_refused(pipeline: FeaturePipeline, tables: TrainingTables) -> None:
    rows = tables.signatures
    narrow = Signatures(rows.ids, rows.control, rows.time, rows.dose, rows.values[:, 1:], rows.genes[1:], rows.cells)
    with pytest.raises(
        DataError, match=r"t\.csv has 29 gene and 10 cell columns, the checkpoint .* 30 and 10 .*misses 'g-0'"
    ):
        pipeline.encode(narrow, "t.csv")
    wide = Signatures(
        rows.ids, rows.control, rows.time, rows.dose, rows.values[:, [*range(40), 3]], rows.genes, (*rows.cells, "c-99")
    )
    with pytest.raises(DataError, match="has 'c-99' too"):
        pipeline.encode(wide)
    late = Signatures(
        rows.ids,
        rows.control,
        np.where(np.arange(len(rows.ids)) == 2, "96", rows.time),
        rows.dose,
        rows.values,
        rows.genes,
        rows.cells,
    )
    with pytest.raises(DataError, match=r"cp_time of id_\w+ is '96', training knew 24, 48, 72"):
        pipeline.encode(late)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (["rank_gaus"], "there is no step 'rank_gaus'; is it 'rank_gauss'"),
        (["pca:gene=3"], "step 'pca' has no option 'gene'; it knows genes, cells"),
        (["pca:genes"], "'genes' of 'pca:genes' is not name=number"),
        (["pca:genes=31"], "pca:genes=31 asks for more than the 30 genes columns"),
        (["kmeans:genes=99999"], "more clusters than there are rows"),
    ],
)
def test_impossible_recipes_are_refused(recipe: list[str], sentence: str, tables: TrainingTables) -> None:
    with pytest.raises(DataError, match=sentence):
        FeaturePipeline.fit(recipe, tables.signatures)


def test_a_missing_step_is_named(pipeline: FeaturePipeline) -> None:
    with pytest.raises(DataError, match="has no step 'image_map', which this net needs"):
        pipeline.step_state("image_map")


def test_names_survive_as_bytes() -> None:
    names = ("a,b", "fungal_1,3-beta-d-glucan", "β")
    assert decode_names(encode_names(names)) == names
    assert decode_names(encode_names(())) == ()
    assert [step.name for step in parse_recipe(["one_hot", "codes"])] == ["one_hot", "codes"]
