"""Predictions in the files of ten people: search and apply as written, to the same submission."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from blend.__main__ import main
from tests.files.oof_tables import MODELS, STYLES, make_case

METRICS = {"values": "rmse", "binary": "auc", "classes": "multiclass_log_loss"}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("style", STYLES)
def test_a_strangers_files_become_a_submission(style, kind, tmp_path, capsys):
    case = make_case(kind)
    folder = tmp_path / "files"
    folder.mkdir()
    words = STYLES[style](case, folder)
    out = tmp_path / "blend"
    flags = ["--metric", METRICS[kind], "--method", "equal", "--figures", "false", "--out", str(out)]
    assert main(["search", *words, *flags]) == 0, capsys.readouterr().err
    content = json.loads((out / "weights.json").read_text())
    assert sorted(content["weights"]["models"]) == sorted(MODELS)
    mean = case.oof.mean(axis=0)
    expected = {
        "values": lambda: sk.root_mean_squared_error(case.labels, mean),
        "binary": lambda: sk.roc_auc_score(case.labels, mean),
        "classes": lambda: sk.log_loss(case.labels, mean),
    }[kind]()
    assert content["scores"]["in_sample"] == pytest.approx(expected, rel=1e-5)
    test_ids = ["--ids", str(folder / "test.csv")] if style == "numpy_arrays" else []
    template = folder / "sample_submission.csv"
    given = ["--template", str(template)] if template.is_file() else []
    assert main(["apply", str(out), *test_ids, *given, "--submission", str(tmp_path / "s.csv")]) == 0, (
        capsys.readouterr().err
    )
    submission = pd.read_csv(tmp_path / "s.csv", dtype={0: str}).set_index(pd.read_csv(tmp_path / "s.csv").columns[0])
    submission.index = submission.index.astype(str)
    np.testing.assert_allclose(submission.loc[case.ids(test=True)], case.test.mean(axis=0), rtol=1e-5)
    if given:
        assert list(pd.read_csv(template)["id"]) == list(submission.index.astype(int))


def blend(tmp_path, words, metric, template="", method="equal"):
    out, written = tmp_path / "blend", tmp_path / "s.csv"
    assert (
        main(["search", *words, "--metric", metric, "--method", method, "--figures", "false", "--out", str(out)]) == 0
    )
    if template:
        (tmp_path / "template.csv").write_text(template)
    given = ["--template", str(tmp_path / "template.csv")] if template else []
    assert main(["apply", str(out), *given, "--submission", str(written)]) == 0
    return written.read_bytes().decode()


def words_of(case, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return STYLES["labels_in_every_file"](case, folder)


def test_a_metric_of_decisions_gets_labels(tmp_path):
    case = make_case("classes")
    lines = blend(tmp_path, words_of(case, tmp_path), "accuracy").splitlines()
    assert lines[0] == "row_id,y_true"
    decided = np.array(case.classes)[case.test.mean(axis=0).argmax(axis=1)]
    assert [line.split(",")[1] for line in lines[1:]] == list(decided)


def test_decisions_use_the_fitted_threshold(tmp_path):
    case = make_case("binary")
    case.labels = np.array(["no", "yes"])[case.labels]
    lines = blend(tmp_path, words_of(case, tmp_path), "f1").splitlines()
    threshold = json.loads((tmp_path / "blend/weights.json").read_text())["weights"]["thresholds"][0]
    assert threshold != 0.5
    assert [line.split(",")[1] == "yes" for line in lines[1:]] == list(case.test.mean(axis=0)[:, 0] >= threshold)


def test_ratings_are_whole_numbers_within_those_that_occur(tmp_path):
    case = make_case("values")
    case.labels = np.clip(np.rint(case.labels), 1, 6).astype(int)
    lines = blend(tmp_path, words_of(case, tmp_path), "quadratic_kappa").splitlines()
    assert [int(line.split(",")[1]) for line in lines[1:]] == list(np.clip(np.rint(case.test.mean(axis=0)[:, 0]), 1, 6))


@pytest.mark.parametrize(
    "template",
    [
        '"Id";"Status_virginica";"Status_setosa";"Status_versi color"\n"{0}";0;0;0\n"{1}";0;0;0\n',
        "Id,virginica,setosa,versi color\n{0}.0,0,0,0\n{1}.0,0,0,0\n",
    ],
)
def test_the_templates_form_is_kept(tmp_path, template):
    case = make_case("classes")
    ids, mean = case.ids(test=True), case.test.mean(axis=0)
    template = template.format(ids[5], ids[2])
    text = blend(tmp_path, words_of(case, tmp_path), "multiclass_log_loss", template)
    assert text.splitlines()[0] == template.splitlines()[0]
    mark = ";" if ";" in template else ","
    rows = [line.split(mark) for line in text.splitlines()[1:]]
    assert [row[0] for row in rows] == [line.split(mark)[0] for line in template.splitlines()[1:]]
    values = np.array([[float(value) for value in row[1:]] for row in rows])
    np.testing.assert_allclose(values, mean[[5, 2]][:, [2, 0, 1]], rtol=1e-5)


def test_ids_of_any_text_survive(tmp_path):
    case = make_case("binary", rows=40)
    odd = ["NA", "a, b", 'say "x"', "007", "1e5", "null"]
    words = words_of(case, tmp_path)
    for path in (tmp_path / "files").glob("*"):
        text = pd.read_csv(path, dtype=str, sep=None, engine="python")
        text["row_id"] = odd + list(text["row_id"][6:]) if text["row_id"].is_monotonic_increasing else text["row_id"]
        text.to_csv(path, index=False)
    blend(tmp_path, words, "auc")
    written = pd.read_csv(tmp_path / "s.csv", dtype={"row_id": str}, keep_default_na=False)
    assert list(written["row_id"][:6]) == odd
    np.testing.assert_allclose(written["y_true"], case.test.mean(axis=0)[:, 0], rtol=1e-5)


def test_two_columns_of_a_template_for_one_probability(tmp_path):
    case = make_case("binary")
    case.labels = np.array(["no", "yes"])[case.labels]
    ids = case.ids(test=True)
    text = blend(tmp_path, words_of(case, tmp_path), "auc", f"row_id,yes,no\n{ids[1]},0,0\n")
    one = case.test.mean(axis=0)[1, 0]
    assert [float(x) for x in text.splitlines()[1].split(",")[1:]] == pytest.approx([one, 1 - one], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="lgb_setosa"), "row|columns"),
        (lambda f: f.rename(columns={"lgb_setosa": "lgb_tulip"}), "not one for each"),
        (lambda f: f.assign(lgb_setosa=""), "row 2: column 'lgb_setosa' is empty"),
        (lambda f: f.assign(lgb_setosa="x"), r"row 2: not a number: 'x'|no column of predictions|columns"),
        (lambda f: pd.concat([f, f.iloc[[3]]]), "row 92: row_id '1021' stands 2 times"),
        (lambda f: f.assign(kfold=""), "has no fold"),
        (lambda f: f.iloc[2:], "has no prediction for row|is not among"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, change, message, capsys):
    words = words_of(make_case("classes"), tmp_path)
    path = tmp_path / "files" / "oof_lgb.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    flags = ["--metric", "multiclass_log_loss", "--figures", "false", "--out", str(tmp_path / "o")]
    assert main(["search", *words, *flags]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error.split("note:")[-1]), error
    assert error.startswith(("error: ", "note: "))
    assert not (tmp_path / "o").exists()


def test_true_and_false_stay_what_they_are(tmp_path):
    case = make_case("binary")
    case.labels = case.labels.astype(bool)
    lines = blend(tmp_path, words_of(case, tmp_path), "accuracy").splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [str(p >= 0.5) for p in case.test.mean(axis=0)[:, 0]]


def test_several_targets_in_any_order_of_columns(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 3)).astype(np.float32)
    for k, order in enumerate(([0, 1, 2], [2, 0, 1])):
        values = pd.DataFrame(truth + k + 1, columns=["u", "v", "y"])
        values.iloc[:, order].assign(id=range(40)).to_csv(tmp_path / f"{MODELS[k]}_oof.csv", index=False)
        values.iloc[:5, order].assign(id=range(5)).to_csv(tmp_path / f"{MODELS[k]}_test.csv", index=False)
    pd.DataFrame(truth, columns=["u", "v", "y"]).assign(id=range(40), age=3).to_csv(tmp_path / "train.csv", index=False)
    text = blend(tmp_path, [str(tmp_path)], "mae")
    assert text.splitlines()[0] == "id,u,v,y"
    assert json.loads((tmp_path / "blend/weights.json").read_text())["scores"]["in_sample"] == pytest.approx(
        1.5, rel=1e-5
    )
    np.testing.assert_allclose(pd.read_csv(tmp_path / "s.csv")[["u", "v", "y"]], truth[:5] + 1.5, rtol=1e-5)


def test_a_wide_file_of_models_that_end_in_numbers(tmp_path):
    """``model_0`` and ``model_1`` are no classes, since their rows do not sum to one."""
    case = make_case("binary")
    for test, name in ((False, "oof"), (True, "test")):
        values = (case.test if test else case.oof)[:2, :, 0]
        frame = pd.DataFrame({"id": case.ids(test), "model_0": values[0], "model_1": values[1]})
        (frame if test else frame.assign(target=case.labels)).to_csv(tmp_path / f"{name}.csv", index=False)
    blend(tmp_path, [str(tmp_path / "oof.csv")], "auc")
    assert json.loads((tmp_path / "blend/weights.json").read_text())["weights"]["models"] == ["model_0", "model_1"]


def test_rows_that_do_not_meet_name_the_way_out(tmp_path, capsys):
    words = words_of(make_case("binary"), tmp_path)
    path = tmp_path / "files" / "oof_lgb.csv"
    pd.read_csv(path)[3:].to_csv(path, index=False)
    flags = ["--metric", "auc", "--method", "equal", "--figures", "false", "--out", str(tmp_path / "o")]
    assert main(["search", *words, *flags]) == 1
    assert "--rows intersect blends the rows that all tables have" in capsys.readouterr().err
    assert main(["search", *words, *flags, "--rows", "intersect"]) == 0
    assert "87 rows are in all models; lost: 3 of nn, xgb" in capsys.readouterr().out
    assert json.loads((tmp_path / "o/weights.json").read_text())["rows"] == 87


@pytest.mark.real_data
@pytest.mark.skipif("PODIUM_REAL_DATA" not in os.environ, reason="PODIUM_REAL_DATA is not set")
def test_an_archive_of_36_real_models(tmp_path, capsys):
    """Models, labels, ids and test predictions in one file of someone else's form."""
    path = Path(os.environ["PODIUM_REAL_DATA"]) / "oof/mars_ega_val_blend.npz"
    flags = ["--metric", "column_log_loss", "--figures", "false", "--out", str(tmp_path / "o")]
    assert main(["search", str(path), *flags]) == 1
    assert re.search(
        r"mars_ega_val_blend.npz \(\w+\): row 'S\d+' has -0\.\d+, outside \[0, 1\]", capsys.readouterr().err
    )
    assert main(["search", str(path), *flags, "--clip_predictions", "true"]) == 0
    assert json.loads((tmp_path / "o/weights.json").read_text())["scores"]["in_sample"] == pytest.approx(
        0.09958, abs=2e-5
    )
    assert main(["apply", str(tmp_path / "o"), "--submission", str(tmp_path / "s.csv")]) == 0
    submission = pd.read_csv(tmp_path / "s.csv")
    with np.load(path, allow_pickle=False) as file:
        assert list(submission["sample_id"]) == list(file["test_id"])
        assert list(submission.columns[1:]) == list(file["label_names"])


@pytest.mark.parametrize("kind", METRICS)
def test_features_beside_predictions_are_no_models(tmp_path, kind, capsys):
    """The whole of train.csv with predictions appended, as many notebooks save it."""
    case = make_case(kind)
    rng = np.random.default_rng(3)
    for test in (False, True):
        rows = len(case.ids(test))
        features = pd.DataFrame({"id": case.ids(test), "age": rng.integers(1, 90, rows), "height": rng.random(rows)})
        if not test:
            features["outcome"] = case.labels
            features.to_csv(tmp_path / "train.csv", index=False)
        for name, values in zip(MODELS, case.test if test else case.oof, strict=True):
            columns = [f"prob_{label}" for label in case.classes] or [f"{name}_pred"]
            whole = features.assign(**{column: values[:, j] for j, column in enumerate(columns)})
            whole.to_csv(tmp_path / f"{name}_{'test' if test else 'oof'}.csv", index=False)
    text = blend(tmp_path, [str(tmp_path)], METRICS[kind])
    assert json.loads((tmp_path / "blend/weights.json").read_text())["weights"]["models"] == sorted(MODELS)
    header = text.splitlines()[0].split(",")
    assert header == ["id", *([f"prob_{label}" for label in case.classes] or ["outcome"])]


def test_columns_of_no_class_are_left_out_and_named(tmp_path, capsys):
    case = make_case("classes")
    words = words_of(case, tmp_path)
    for path in (tmp_path / "files").glob("*lgb.csv"):
        pd.read_csv(path).assign(seconds=0.5).to_csv(path, index=False)
    blend(tmp_path, words, "multiclass_log_loss")
    assert "oof_lgb.csv: the columns seconds are of no class and left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("values", "numbers take rmse"),
        ("binary", "two values take auc"),
        ("classes", "3 classes take multiclass_log_loss"),
    ],
)
def test_a_metric_is_never_guessed_but_proposed(tmp_path, kind, hint, capsys):
    words = words_of(make_case(kind), tmp_path)
    assert main(["search", *words, "--out", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: tables name no metric; give --metric: r2, ")
    assert hint in error
