from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.simulator import Simulator
from experiments.domains.gwi import refined_bank
from experiments.gwi_refine import main

FAMILIES = ["FlatVel_A", "Style_B"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two unshot maps of two families, a bank that is 50 m/s off, and a simulator of 60 samples."""
    small = functools.partial(Simulator, Acquisition(samples=60, sponge=4))
    monkeypatch.setattr(refined_bank, "Simulator", small)
    rng = np.random.default_rng(0)
    ids, maps = [], []
    for family in FAMILIES:
        velocity = np.repeat(np.sort(rng.integers(1500, 4400, 5)), 14)[:, None] * np.ones((2, 1, 1, 70))
        (tmp_path / "data" / family / "model").mkdir(parents=True)
        np.save(tmp_path / "data" / family / "model" / "model1.npy", velocity.reshape(2, 1, 70, 70).astype(np.float32))
        ids += [f"{family}/model1/{i}" for i in range(2)]
        maps.append(velocity[:, 0])
    table = pd.DataFrame({"row_id": ids, "fold": 0, "group": np.repeat(FAMILIES, 2)})
    truth = np.concatenate(maps)
    write_bank(tmp_path / "truth", truth, table, Manifest(kind="truth", domain="gwi", metric="mae"))
    manifest = Manifest(
        kind="out_of_fold", domain="gwi", metric="mae", experiment="net", variant="default", seed=0, truth="../truth"
    )
    write_bank(tmp_path / "bank", (truth + 50) / 3000, table, manifest, scale=np.array(3000.0))
    return tmp_path


def arguments(world: Path, *more: str) -> list[str]:
    return ["--bank", str(world / "bank"), "--data_dir", str(world / "data"), "--max_iterations", "2", *more]


def test_refines_into_a_bank_that_names_its_parent(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(world))
    bank, parent = PredictionBank(world / "bank_refined"), PredictionBank(world / "bank")
    assert list(bank.index["row_id"]) == list(parent.index["row_id"])
    assert bank.manifest.variant == "default+refined"
    assert (bank.path / bank.manifest.extra["parent"]["path"]).resolve() == parent.path
    assert (bank.extra("misfit_after") <= bank.extra("misfit_before")).all()
    truth = bank.truth().predictions
    assert abs(bank.predictions - truth)[:, :3].mean() < 40  # what 60 ms of a record reach
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("FlatVel_A"))
    assert line.split()[5] == "50.00"  # mean absolute error before
    assert not list(world.glob(".*.parts"))
    main(arguments(world))
    assert "is finished" in capsys.readouterr().out


def test_parts_of_several_machines_join_and_finished_maps_are_skipped(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refined = []
    keep = refined_bank._keep
    monkeypatch.setattr(refined_bank, "_keep", lambda *a: refined.append(1) or keep(*a))
    main(arguments(world, "--part", "1/2"))
    assert "2 maps are left to the other parts" in capsys.readouterr().out
    assert not (world / "bank_refined").exists()
    main(arguments(world))
    assert len(refined) == 4
    assert len(PredictionBank(world / "bank_refined").index) == 4


def test_gauss_newton_steps_may_come_first(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A map that they explain no better is left as it was, and what was refined without them is not taken for theirs."""
    monkeypatch.setattr(refined_bank, "Simulator", functools.partial(Simulator, Acquisition(samples=250, sponge=10)))
    first = ("--most_per_family", "1")
    main(arguments(world, *first, "--method", "gauss_newton"))
    bank, plain = PredictionBank(world / "bank_refined"), world / "plain"
    assert (bank.extra("misfit_after") <= bank.extra("misfit_before")).all()
    main(arguments(world, *first, "--out", str(plain)))
    assert not np.array_equal(PredictionBank(plain).predictions, bank.predictions)
    with pytest.raises(SystemExit):
        main(arguments(world, *first))
    assert "with other flags" in capsys.readouterr().err


def test_only_the_first_of_each_family(world: Path) -> None:
    main(arguments(world, "--most_per_family", "1", "--out", str(world / "few")))
    assert list(PredictionBank(world / "few").index["row_id"]) == ["FlatVel_A/model1/0", "Style_B/model1/0"]


def test_what_cannot_be_refined_is_refused_in_a_sentence(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(says: str, *more: str, drop: str = "") -> None:
        given = [a for a in arguments(world) if not drop or a != drop]
        with pytest.raises(SystemExit):
            main([*given, *more])
        assert says in capsys.readouterr().err

    other = PredictionBank(world / "bank")
    index = other.index.assign(row_id=["FlatVel_A/model1/7", *other.index["row_id"][1:]])
    write_bank(world / "foreign", np.asarray(other.predictions), index, other.manifest, scale=other.scale)
    fails("row 'FlatVel_A/model1/7' is not in", "--bank", str(world / "foreign"))
    oids = index.assign(row_id=[f"{i:010x}" for i in range(4)])
    write_bank(world / "test", np.asarray(other.predictions), oids.drop(columns="group"), other.manifest)
    fails("does not say the families of its rows", "--bank", str(world / "test"))
    write_bank(world / "test2", np.asarray(other.predictions), oids, other.manifest)
    fails("the bank is of another test folder", "--bank", str(world / "test2"))
    write_bank(world / "small", np.zeros((4, 3)), index, other.manifest)
    fails("velocity maps are (70, 70)", "--bank", str(world / "small"))
    fails("--max_iterations must be at least 1", "--max_iterations", "0")
    fails("--at_once must not be negative", "--at_once", "-1")
    main(arguments(world, "--part", "1/4"))
    fails("of other flags", "--tolerance", "0.5")
