from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from blend.commands import submission
from blend.commands.apply import apply
from blend.commands.search import search
from blend.settings import Inputs, Method, Output
from datamodules.banks.bank import BankError, PredictionBank
from tests.blend.banks import Runs, write_runs, write_test_predictions


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Runs, np.ndarray]:
    root = tmp_path_factory.mktemp("runs")
    runs = write_runs(root, models=3, rows=40)
    values = write_test_predictions(runs)
    search(runs.banks, "convex", None, Inputs(), Method(), Output(figures=False, out=root / "blend"))
    return runs, values


def weights_of(runs: Runs) -> np.ndarray:
    return np.array(json.loads((runs.root / "blend/weights.json").read_text())["weights"]["values"])


def expected(runs: Runs, values: np.ndarray, bank: PredictionBank) -> np.ndarray:
    where = [int(row[3:]) for row in bank.index["row_id"]]
    return np.tensordot(weights_of(runs), values.mean(axis=1), 1)[where]


def test_run_directories_are_found_again(fitted):
    runs, values = fitted
    bank = apply(runs.root / "blend", [])
    assert bank.manifest.kind == "test"
    np.testing.assert_allclose(bank.predictions, expected(runs, values, bank), rtol=1e-5)
    assert bank.path == runs.root / "blend/test"
    assert bank.manifest.extra["models"] == ["model0", "model1", "model2"]


def test_any_order_of_banks(fitted, tmp_path):
    runs, values = fitted
    bank = apply(
        runs.root / "blend/weights.json", runs.banks[::-1], out=tmp_path / "out", submission=tmp_path / "s.csv"
    )
    np.testing.assert_allclose(bank.predictions, expected(runs, values, bank), rtol=1e-5)
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == ["row_id", "t0", "t1", "t2", "t3"]
    assert list(table["row_id"]) == list(bank.index["row_id"])
    np.testing.assert_allclose(table.iloc[:, 1:].to_numpy(np.float32), bank.predictions, rtol=1e-7)


def test_a_weights_file_alone_names_no_code(fitted, tmp_path):
    runs, _ = fitted
    shutil.copytree(runs.root / "blend", tmp_path / "blend")
    path = tmp_path / "blend/weights.json"
    content = json.loads(path.read_text())
    content["post_processing"].append({"call": "evil_module:function"})
    path.write_text(json.dumps(content))
    with pytest.raises(
        BankError, match=r"a step that calls evil_module:function; give --allow_call \[evil_module:function\]"
    ):
        apply(tmp_path / "blend", runs.banks, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_of_fold_rows_can_be_blended_again(fitted, tmp_path):
    runs, _ = fitted
    bank = apply(runs.root / "blend", [], "oof", out=tmp_path / "oof")
    truth = bank.truth()
    rows = truth.index.reset_index().set_index("row_id").loc[bank.index["row_id"], "index"]
    score = r2_score(truth.predictions[rows], bank.predictions)
    stored = json.loads((runs.root / "blend/weights.json").read_text())["scores"]["in_sample"]
    assert score == pytest.approx(stored, abs=1e-6)


def test_other_models_are_refused(fitted, tmp_path):
    runs, _ = fitted
    with pytest.raises(BankError, match=r"were fitted for model2 .* which is not among these predictions"):
        apply(runs.root / "blend", runs.banks[:2], out=tmp_path / "o")
    other = tmp_path / "other"
    shutil.copytree(runs.root / "model2", other)
    for manifest in other.rglob("manifest.json"):
        manifest.write_text(manifest.read_text().replace('"experiment": "model2"', '"experiment": "model7"'))
    with pytest.raises(BankError, match="were fitted for model2"):
        apply(runs.root / "blend", [*runs.banks[:2], str(other)], out=tmp_path / "o")
    with pytest.raises(BankError, match=r"other .* is not one of the models"):
        apply(runs.root / "blend", [*runs.banks, str(other)], out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_another_checkpoint_is_refused(fitted, tmp_path):
    runs, _ = fitted
    shutil.copytree(runs.root / "model2", tmp_path / "model2")
    manifest = tmp_path / "model2/default/seed0/fold3/predictions/test/manifest.json"
    manifest.write_text(manifest.read_text().replace("checkpoint-2-3", "retrained"))
    with pytest.raises(BankError, match=r"seed0/fold3 was predicted by another checkpoint \(retrained\)"):
        apply(runs.root / "blend", [*runs.banks[:2], str(tmp_path / "model2")], out=tmp_path / "o")


def test_other_settings_are_refused(tmp_path):
    runs = write_runs(tmp_path, models=1, rows=20)
    write_test_predictions(runs)
    for manifest in tmp_path.rglob("bank/manifest.json"):
        manifest.write_text(manifest.read_text().replace('"checkpoint": ', '"config": "aaaa", "checkpoint": '))
    for manifest in tmp_path.rglob("test/manifest.json"):
        manifest.write_text(manifest.read_text().replace('"checkpoint": ', '"config": "bbbb", "checkpoint": '))
    search(runs.banks, "equal", None, Inputs(), Method(), Output(figures=False, out=tmp_path / "blend"))
    with pytest.raises(BankError, match=r"nets of other settings \(bbbb\)"):
        apply(tmp_path / "blend", [])


def test_some_of_the_folds_are_not_the_model(fitted, tmp_path):
    runs, _ = fitted
    one = str(runs.root / "model2/default/seed0/fold3")
    with pytest.raises(BankError, match=r"nets of folds \[3\], the weights were fitted on folds \[0, 1, 2, 3, 4\]"):
        apply(runs.root / "blend", [*runs.banks[:2], one], out=tmp_path / "o")


def test_missing_predictions_are_named(fitted, tmp_path):
    runs, _ = fitted
    with pytest.raises(BankError, match="fold0 has no predictions/private"):
        apply(runs.root / "blend", [], "private", out=tmp_path / "o")


@pytest.mark.parametrize("method", ["per_target", "per_group"])
def test_weights_per_target_and_per_family(tmp_path, method):
    families = ["flat", "style"]
    runs = write_runs(tmp_path, "mae", models=2, rows=30, shape=(2, 3), groups=families * 15)
    if method == "per_target":
        runs = write_runs(tmp_path / "flat", "r2", models=2, rows=30, shape=(4,), groups=families * 15)
    values = write_test_predictions(runs, groups=families * 6)
    search(runs.banks, method, None, Inputs(), Method(), Output(figures=False, out=tmp_path / "blend"))
    bank = apply(tmp_path / "blend", [])
    weights = np.array(json.loads((tmp_path / "blend/weights.json").read_text())["weights"]["values"])
    mean = values.mean(axis=1)[:, [int(row[3:]) for row in bank.index["row_id"]]]
    if method == "per_target":
        np.testing.assert_allclose(bank.predictions, np.einsum("tk,knt->nt", weights, mean), rtol=1e-5)
    else:
        of_row = weights[[families.index(group) for group in bank.index["group"]]]
        np.testing.assert_allclose(bank.predictions, np.einsum("nk,knij->nij", of_row, mean), rtol=1e-5)


def test_tables_in_and_out(tmp_path):
    """No run directories at all: predictions as npz and csv, the truth beside them, ranks as the mean."""
    rng = np.random.default_rng(0)
    ids, truth = [f"r{i}" for i in range(25)], rng.random((25, 2)).astype(np.float32)
    (tmp_path / "elsewhere").mkdir()
    np.savez(tmp_path / "elsewhere/truth.npz", row_id=ids, predictions=truth, targets=["x", "y"])
    for name in ("a", "b"):
        values = (truth + rng.normal(0, 0.1, truth.shape)).astype(np.float32)
        np.savez(
            tmp_path / f"{name}_oof.npz", row_id=ids, predictions=values, targets=["x", "y"], fold=np.arange(25) % 5
        )
        pd.DataFrame({"id": ids[:5], "x": values[:5, 0], "y": values[:5, 1]}).to_csv(
            tmp_path / f"{name}_test.csv", index=False
        )
    oof = [str(tmp_path / f"{name}_oof.npz") for name in "ab"]
    with pytest.raises(BankError, match="tables name no metric; give --metric"):
        search(
            oof,
            "equal",
            None,
            Inputs(truth=tmp_path / "elsewhere/truth.npz"),
            Method(),
            Output(figures=False, out=tmp_path / "out"),
        )
    with pytest.raises(BankError, match="give them with --truth FILE"):
        search(oof, "equal", None, Inputs(metric="mae"), Method(), Output(figures=False, out=tmp_path / "out"))
    search(
        oof,
        "equal",
        None,
        Inputs(truth=tmp_path / "elsewhere/truth.npz", metric="mae"),
        Method(kind="rank"),
        Output(figures=False, out=tmp_path / "out"),
    )
    test = [str(tmp_path / f"{name}_test.csv") for name in "ba"]
    bank = apply(tmp_path / "out", test, submission=tmp_path / "s.csv")
    assert bank.shape == (2,)
    assert list(pd.read_csv(tmp_path / "s.csv").columns) == ["row_id", "x", "y"]
    np.testing.assert_array_equal(apply(tmp_path / "out", []).predictions, bank.predictions)  # found beside the tables
    (tmp_path / "b_test.csv").unlink()
    with pytest.raises(BankError, match="give the new predictions as BANK arguments"):
        apply(tmp_path / "out", [])


def test_the_judges_file_gives_rows_and_columns(fitted, tmp_path):
    runs, values = fitted
    (tmp_path / "sample.csv").write_text("sample,t2,t0\nnew007,0,0\nnew001,0,0\n")
    apply(runs.root / "blend", [], out=tmp_path / "o", submission=tmp_path / "s.csv", template=tmp_path / "sample.csv")
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == ["sample", "t2", "t0"]
    expected = np.tensordot(weights_of(runs), values.mean(axis=1), 1)[[7, 1]][:, [2, 0]]
    np.testing.assert_allclose(table[["t2", "t0"]], expected, rtol=1e-5)
    for text, message in (("id,t9\nnew001,0\n", "the target 't9'"), ("id,t1\nnew099,0\n", "row 'new099'")):
        (tmp_path / "sample.csv").write_text(text)
        with pytest.raises(BankError, match=f"sample.csv asks for {message}"):
            apply(
                runs.root / "blend", [], out=tmp_path / "o", submission=tmp_path / "s", template=tmp_path / "sample.csv"
            )


def note_submission(bank, path, template):
    path.write_text(f"{len(bank.index)} rows of {bank.manifest.domain}")


def test_a_domain_may_have_its_own_writer(fitted, tmp_path, monkeypatch):
    runs, _ = fitted
    monkeypatch.setattr(submission, "_WRITERS", {})
    submission.register_writer("toy", f"{__name__}:note_submission")
    apply(runs.root / "blend", [], out=tmp_path / "o", submission=tmp_path / "s.txt")
    assert (tmp_path / "s.txt").read_text() == "12 rows of toy"
    submission.register_writer("toy", "nowhere:nothing")
    with pytest.raises(BankError, match="submission writer nowhere:nothing of toy cannot be imported"):
        apply(runs.root / "blend", [], out=tmp_path / "o", submission=tmp_path / "s.txt")


def test_scales_reach_the_submission(tmp_path):
    runs = write_runs(tmp_path, models=2, rows=20)
    values = write_test_predictions(runs)
    for manifest in tmp_path.rglob("manifest.json"):
        np.save(manifest.parent / "scale.npy", np.array([1.0, 1e-30, 1.0, 2.0]))
    search(runs.banks, "equal", None, Inputs(), Method(), Output(figures=False, out=tmp_path / "blend"))
    bank = apply(tmp_path / "blend", [], submission=tmp_path / "s.csv")
    where = [int(row[3:]) for row in bank.index["row_id"]]
    expected = values.mean(axis=(0, 1))[where] * np.array([1.0, 1e-30, 1.0, 2.0])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "s.csv").iloc[:, 1:], expected, rtol=1e-5)
