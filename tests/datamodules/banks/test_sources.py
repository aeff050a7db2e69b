from __future__ import annotations

import shutil

import pytest

from datamodules.banks.bank import BankError
from datamodules.banks.sources import resolve
from tests.blend.banks import write_runs, write_test_predictions


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), models=2, rows=20)


def test_every_level_of_a_run_names_the_same_model(runs):
    experiment = runs.root / "model0"
    for path in (experiment, experiment / "default", experiment / "default" / "seed0"):
        (source,) = resolve([str(path)])
        assert source.name == "model0"
        assert len(source.banks) == 5
    for path in (experiment / "default/seed0/fold1", experiment / "default/seed0/fold1/bank"):
        (source,) = resolve([str(path)])
        assert len(source.banks) == 1


def test_a_glob_is_one_model_per_match(runs):
    assert [s.name for s in resolve([f"{runs.root}/model*"])] == ["model0", "model1"]


def test_a_model_can_be_named(runs):
    (source,) = resolve([f"resnet={runs.root}/model1"])
    assert source.name == "resnet"


def test_seeds_of_one_experiment_are_told_apart(runs, tmp_path):
    shutil.copytree(runs.root, tmp_path / "runs")
    variant = tmp_path / "runs/model0/default"
    shutil.copytree(variant / "seed0", variant / "seed1")
    for manifest in (variant / "seed1").rglob("manifest.json"):
        manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    assert [s.name for s in resolve([f"{variant}/seed*"])] == ["model0/seed0", "model0/seed1"]
    (both,) = resolve([str(variant)])
    assert len(both.seeds) == 2
    assert both.identity == ("model0", "default", (0, 1))


def test_what_is_not_there_is_named(runs, tmp_path):
    with pytest.raises(BankError, match=r"nowhere: there is no such run"):
        resolve([str(tmp_path / "nowhere")])
    with pytest.raises(BankError, match="holds no bank"):
        resolve([str(tmp_path)])
    with pytest.raises(BankError, match="give each model once"):
        resolve([f"a={runs.root}/model0", f"a={runs.root}/model0"])
    with pytest.raises(BankError, match="one name for 2 models"):
        resolve([f"a={runs.root}/model*"])
    with pytest.raises(BankError, match="true values, not predictions"):
        resolve([str(runs.root / "truth")])


def test_an_unfinished_fold_is_refused(runs, tmp_path):
    shutil.copytree(runs.root, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/model0/default/seed0/fold3/bank")
    with pytest.raises(BankError, match="fold3 has no bank: its run is not finished"):
        resolve([str(tmp_path / "runs/model0")])


def test_two_variants_need_a_choice(runs, tmp_path):
    shutil.copytree(runs.root, tmp_path / "runs")
    shutil.copytree(tmp_path / "runs/model0/default", tmp_path / "runs/model0/wide")
    with pytest.raises(BankError, match="holds the variants default, wide"):
        resolve([str(tmp_path / "runs/model0")])


def test_test_predictions_leave_out_the_fit_on_all_rows(tmp_path):
    runs = write_runs(tmp_path, models=1, rows=20)
    write_test_predictions(runs)
    seed = tmp_path / "model0/default/seed0"
    shutil.copytree(seed / "fold0", seed / "foldfull")
    (source,) = resolve([str(tmp_path / "model0")], "predictions/test")
    assert [bank.path.parts[-3] for bank in source.banks] == [f"fold{f}" for f in range(5)]


def test_a_wrong_suffix_is_no_bank(tmp_path):
    (tmp_path / "p.h5").write_bytes(b"\x89HDF")
    with pytest.raises(BankError, match="is not a bank"):
        resolve([str(tmp_path / "p.h5")])
