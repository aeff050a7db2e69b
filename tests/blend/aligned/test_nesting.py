from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from blend.__main__ import main
from blend.aligned.nesting import Nesting, class_codes, nested_folds
from datamodules.banks.bank import BankError


def frame_of(rows: int, **more) -> pd.DataFrame:
    return pd.DataFrame({"row_id": [f"r{i}" for i in range(rows)], **more})


def test_classes_are_spread_evenly_even_where_the_file_is_sorted_by_class():
    truth = np.repeat([0, 1], [180, 20])[:, None].astype(np.float32)
    parted, note = nested_folds(frame_of(200), truth=lambda: truth)
    assert parted.groupby("nested").size().tolist() == [40] * 5
    assert [int(truth[parted["nested"] == fold].sum()) for fold in range(5)] == [4] * 5
    assert "every class spread evenly" in note
    one_hot = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], [50, 30, 20])]
    parted, _ = nested_folds(frame_of(100), Nesting(folds=10), lambda: one_hot)
    assert {tuple(one_hot[parted["nested"] == fold].sum(axis=0)) for fold in range(10)} == {(5, 3, 2)}


def test_what_is_a_class():
    rng = np.random.default_rng(0)
    assert class_codes(rng.normal(size=(100, 1))) is None
    assert class_codes(rng.integers(0, 1000, (100, 1)).astype(float)) is None  # counts
    assert class_codes(rng.integers(0, 2, (100, 4)).astype(float)) is None  # several labels
    np.testing.assert_array_equal(class_codes(np.array([[3.0], [5.0]] * 10)), [0, 1] * 10)


def test_parts_and_seed_are_the_users():
    frame = frame_of(103, fold=np.arange(103) % 4)
    own, note = nested_folds(frame)
    assert own["nested"].tolist() == frame["fold"].tolist()
    assert "4 folds of the banks" in note
    given, note = nested_folds(frame, Nesting(folds=7))
    assert given["nested"].nunique() == 7
    assert "7 shuffled parts" in note
    again, other = (nested_folds(frame, Nesting(folds=7, seed=seed))[0]["nested"] for seed in (0, 1))
    assert again.equals(given["nested"])
    assert not other.equals(given["nested"])
    with pytest.raises(BankError, match="only 103 rows"):
        nested_folds(frame, Nesting(folds=104))


def test_groups_stay_together_whatever_they_are_called():
    rng = np.random.default_rng(0)
    groups = rng.choice(30, 300)
    parted, note = nested_folds(frame_of(300, group=[f"g{g}" for g in groups]), Nesting(grouped=True))
    assert (parted.groupby("group")["nested"].nunique() == 1).all()
    sizes = parted["nested"].value_counts()
    assert sizes.max() - sizes.min() < 20
    assert "whole groups" in note
    renamed, _ = nested_folds(frame_of(300, group=[f"{99 - g}" for g in groups]), Nesting(grouped=True))
    assert renamed["nested"].equals(parted["nested"])
    with pytest.raises(BankError, match="2 groups cannot be parted into 5"):
        nested_folds(frame_of(20, group=["a", "b"] * 10), Nesting(grouped=True))
    with pytest.raises(BankError, match="--group needs"):
        nested_folds(frame_of(20), Nesting(grouped=True))


@pytest.fixture
def tables(tmp_path):
    """Three models and their truth, whose ids can be called anything."""

    def write(ids):
        rng = np.random.default_rng(3)
        truth = rng.normal(size=120)
        folder = tmp_path / f"{ids[0]}"
        folder.mkdir()
        for k in range(3):
            values = truth + rng.normal(0, 0.5 + 0.2 * k, 120)
            pd.DataFrame({"row_id": ids, "y": values, "group": np.arange(120) // 4}).to_csv(
                folder / f"m{k}.csv", index=False
            )
        pd.DataFrame({"row_id": ids, "y": truth}).to_csv(folder / "truth.csv", index=False)
        return folder

    return write


def compared(folder, *flags, metric="r2"):
    arguments = ["compare", *sorted(str(p) for p in folder.glob("m*.csv")), "--truth", str(folder / "truth.csv")]
    assert main([*arguments, "--metric", metric, "--figures", "false", "--out", str(folder / "c"), *flags]) == 0
    return json.loads((folder / "c/compare.json").read_text())


def test_the_result_does_not_depend_on_how_ids_are_named(tables):
    found = [
        compared(tables(ids)) for ids in ([f"a{i}" for i in range(120)], [f"z{(7 * i) % 120:03d}" for i in range(120)])
    ]
    for name, method in found[0]["methods"].items():
        assert method["nested"] == pytest.approx(found[1]["methods"][name]["nested"], rel=1e-12)
    assert found[0]["recommended"] == found[1]["recommended"]


def test_flags_of_the_command_line(tables, capsys):
    folder = tables([f"t{i}" for i in range(120)])
    assert compared(folder, "--nested_folds", "8", "--nested_seed", "3")["methods"]
    assert "nested over 8 shuffled parts" in capsys.readouterr().out
    compared(folder, "--group", "group")
    assert "nested over 5 parts of whole groups" in capsys.readouterr().out
    compared(folder, "--nested", "time")
    assert "5 blocks of consecutive rows; weights come from earlier blocks alone" in capsys.readouterr().out
    assert main(["compare", str(folder / "m0.csv"), "--nested_folds", "1"]) == 2
    arguments = [
        str(folder / "m0.csv"),
        "--truth",
        str(folder / "truth.csv"),
        "--metric",
        "r2",
        "--group",
        "nowhere.csv",
    ]
    assert main(["compare", *arguments]) == 2
    assert "nowhere.csv" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["spearman", "mae", "rmse"])
def test_every_kind_of_metric_takes_blocks_of_time(tables, metric):
    """The first block is not judged, which a metric of whole columns must leave out of its scores by fold too."""
    folder = tables([f"t{i}" for i in range(120)])
    found = compared(folder, "--nested", "time", metric=metric)
    assert all(np.isfinite(method["nested"]) for method in found["methods"].values())
    report = (folder / "c/report.md").read_text()
    assert "| 4    | 24" in report
    assert "| 0    | 24" not in report


def test_later_rows_never_choose_the_weights_of_earlier_ones(tables):
    """Spoiling the last block's truth leaves all nested weights alone: no block comes after it."""
    from blend.aligned.align import align
    from blend.judging.nested import fit, judge_all
    from blend.metrics.registry import KNOWN
    from blend.problem import Problem
    from blend.solvers import make_solver
    from datamodules.banks.sources import resolve

    folder = tables([f"t{i}" for i in range(120)])
    sources = resolve(sorted(str(p) for p in folder.glob("m*.csv")))
    fits = []
    for spoiled in (False, True):
        table = pd.read_csv(folder / "truth.csv")
        table.loc[96:, "y"] += 5.0 * spoiled
        table.to_csv(folder / "truth.csv", index=False)
        problem = Problem(align(sources, folder / "truth.csv", nesting=Nesting(time=True)), KNOWN["r2"])
        fits.append(fit(make_solver("convex", {}), problem))
        judge_all(problem, fits[-1:])
    assert sorted(fits[0].nested) == [1, 2, 3, 4]  # nothing comes before block 0
    for fold, weights in fits[0].nested.items():
        np.testing.assert_allclose(weights.values, fits[1].nested[fold].values, atol=1e-12)
    assert np.abs(fits[0].weights.values - fits[1].weights.values).max() > 1e-3
