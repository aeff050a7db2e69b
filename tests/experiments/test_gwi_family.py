from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blend.aligned.align import align
from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.banks.sources import resolve
from datamodules.folds import VALID
from datamodules.gwi import demo as gwi_demo
from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.maps import FamilyDataModule
from datamodules.gwi.schema import FAMILIES
from datamodules.gwi.settings import FamilyMaps
from experiments import predict
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("families")
    families = ("FlatVel_A", "Style_B")
    produce(
        folder / "data", [key for f in families for key in shard_keys(f, 0, 24, 12, gathers="none")], progress=False
    )
    return train(parse(load_experiment("gwi_family"), [*flags_of(folder), "--out", str(folder / "runs")]))


def flags_of(folder: Path) -> list[str]:
    return [
        "--data_dir", str(folder / "data"), "--epochs", "6", "--batch_size", "8",
        "--wandb", "disabled", "--train.progress", "false", "--accelerator", "cpu", "--lr", "0.01",
        "--model.dim", "16", "--model.blocks", "1", "--model.head_dim", "8", "--model.norm_momentum", "0.3",
    ]  # fmt: skip


def test_a_run_leaves_a_bank_of_probabilities_and_a_confusion_matrix(finished: RunDirectory) -> None:
    record, bank = finished.record(), PredictionBank(finished.bank)
    assert bank.manifest.targets == list(FAMILIES)
    assert (bank.manifest.domain, bank.manifest.metric) == ("gwi", "column_log_loss")
    np.testing.assert_allclose(bank.predictions.sum(1), 1, rtol=1e-5)
    right = bank.predictions.argmax(1) == bank.truth().predictions.argmax(1)
    scores = record["scores"]["gwi_family"]
    assert scores["accuracy"] == pytest.approx(right.mean())
    assert scores["log_loss"] < record["scores"]["families' shares"]["log_loss"]
    assert scores["accuracy"] > 0.7
    assert np.sum(record["confusion"]) == len(right) == 24
    assert bank.index["row_id"].iloc[0] == "FlatVel_A/shard-s0-00000000/0"
    assert (finished.figures / "out_of_fold_confusion.png").stat().st_size > 10_000


def test_it_learns_from_maps_as_a_net_predicted_them(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions that differ from the true maps by what no imitation shows: the family is told from them all the same."""
    folder = finished.path.parents[4]
    data = FamilyDataModule(FamilyMaps(), folder / "data", tmp_path / "cache", 8)
    data.prepare()
    rows = np.arange(data.n_maps)
    net = tmp_path / "net" / "demo" / "seed0"
    for fold in range(2):
        held = rows[np.isin(data._file(rows), data.folds.where(fold, VALID))]
        index = data.index(held).assign(fold=np.int16(fold))
        manifest = Manifest(
            "out_of_fold", "gwi", "mae", "net", "demo", 0, folds=[fold], hashes={"folds": data.folds.hash}
        )
        write_bank(net / f"fold{fold}" / "bank", 6000 - data.maps(held), index, manifest)
    flags = ["--data.predicted", str(net.parent), "--out", str(tmp_path / "runs"), "--model.predicted_share", "1"]
    run = train(parse(load_experiment("gwi_family"), [*flags_of(folder), *flags]))
    assert "as a net predicted them" in capsys.readouterr().out
    assert run.path.parent.parent.name != finished.path.parent.parent.name, "another variant"
    predict.main(["--run", str(run.path), "--input", str(net / "fold0" / "bank")])
    told = float(re.search(r"([\d.]+)% are the families", capsys.readouterr().out)[1])  # type: ignore[index]
    predict.main(["--run", str(finished.path), "--input", str(net / "fold0" / "bank")])
    without = float(re.search(r"([\d.]+)% are the families", capsys.readouterr().out)[1])  # type: ignore[index]
    assert told > max(70, without)


def bank_of_maps(path: Path, maps: np.ndarray, **columns: object) -> Path:
    index = pd.DataFrame({"row_id": [f"{i:02x}" for i in range(len(maps))], "fold": np.int16(-1), **columns})
    write_bank(path, maps, index, Manifest("test", "gwi", "mae", "gwi_inversion", "demo", 0))
    return path


def test_predicted_maps_get_groups_that_a_blend_takes(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = np.concatenate([generate_maps(family, 1, range(4)) for family in ("FlatVel_A", "Style_B")])
    families = ["FlatVel_A"] * 4 + ["Style_B"] * 4
    path = bank_of_maps(tmp_path / "test", maps, group=families)
    predict.main(["--run", str(finished.path), "--input", str(path), "--accelerator", "cpu", "--batch_size", "3"])
    said = capsys.readouterr().out
    table = finished.path / "predictions" / "gwi_inversion-demo-seed0-test-groups.csv"
    groups = pd.read_csv(table, dtype=str)
    assert list(groups["row_id"]) == [f"{i:02x}" for i in range(8)]
    right = (groups["group"] == families).mean()
    assert right > 0.5
    assert f"{right:.1%} are the families that the bank names" in said
    probabilities = PredictionBank(finished.path / "predictions" / "gwi_inversion-demo-seed0-test")
    assert probabilities.manifest.targets == list(FAMILIES)
    assert [FAMILIES[i] for i in probabilities.predictions.argmax(1)] == list(groups["group"])
    stack = align(resolve([str(path)]), groups=table, row_groups=True, with_truth=False)
    assert sorted(stack.rows["group"]) == sorted(groups["group"])


@pytest.mark.parametrize(
    ("maps", "says"),
    [
        (np.zeros((2, 10), np.float32), r"predicts shape \(10,\) per row; families are told from velocity maps"),
        (np.full((2, 70, 70), 0.3, np.float32), "row '00': half of its values are no velocities in m/s"),
    ],
)
def test_what_is_no_bank_of_maps_is_refused(
    finished: RunDirectory, tmp_path: Path, maps: np.ndarray, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bank_of_maps(tmp_path / "test", maps)
    with pytest.raises(SystemExit):
        predict.main(["--run", str(finished.path), "--input", str(path), "--accelerator", "cpu"])
    assert re.search(says, capsys.readouterr().err)


def test_the_demo_is_of_all_families_and_not_shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(gwi_demo, "produce", lambda folder, keys, *rest: made.append((folder, keys)))
    assert gwi_demo.make_family_demo(tmp_path, rows=4).parent == tmp_path
    assert {key.family for key in made[0][1]} == set(FAMILIES)
    assert {key.gathers for key in made[0][1]} == {"none"}
