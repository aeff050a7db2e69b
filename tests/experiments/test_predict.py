from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from datamodules.banks.bank import PredictionBank
from datamodules.leap.demo import write_kaggle_files
from datamodules.leap.schema import TARGET_NAMES, zero_weight_mask
from experiments.engine.cli import parse
from experiments.engine.training import train
from experiments.leap_bilstm_tcn import EXPERIMENT
from experiments.predict import main
from tests.datamodules.kaggle_server import Kaggle, serve
from tests.datamodules.leap.raw_files import write_pair
from tests.experiments.tiny import COLUMNS, flags
from tests.files.odd_tables import write_odd


@pytest.fixture(scope="module")
def run_directory(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(parse(EXPERIMENT, flags(raw_files, tmp_path_factory.mktemp("runs")))).path


@pytest.fixture(scope="module")
def kaggle(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kaggle")
    return write_kaggle_files(raw_files, folder, train_steps=4, test_rows=50, columns=COLUMNS)


def predict(run: Path, kaggle: Path, out: Path, *more: str) -> pd.DataFrame:
    main(
        [
            "--run",
            str(run),
            "--input",
            str(kaggle / "test.csv"),
            "--submission",
            str(out),
            "--accelerator",
            "cpu",
            *more,
        ]
    )
    return pd.read_csv(out, float_precision="round_trip")


def test_the_written_file_scores_what_memory_scores(run_directory: Path, kaggle: Path, tmp_path: Path) -> None:
    solution = pd.read_csv(kaggle / "solution.csv", float_precision="round_trip")
    new = predict(run_directory, kaggle, tmp_path / "new.csv", "--weights", str(kaggle / "sample_submission.csv"))
    assert list(new) == ["sample_id", *TARGET_NAMES]
    assert (new["sample_id"] == solution["sample_id"]).all()
    bank = PredictionBank(run_directory / "predictions" / "test")
    in_memory = bank.in_judge_units(slice(None))
    true = solution[list(TARGET_NAMES)].to_numpy()
    weight = np.where(zero_weight_mask(), 0.0, 1.0)
    np.testing.assert_array_equal(new[list(TARGET_NAMES)].to_numpy(), in_memory * weight)
    score = r2_score(true * weight, in_memory * weight)
    assert r2_score(true * weight, new[list(TARGET_NAMES)].to_numpy()) == pytest.approx(score, rel=1e-12)

    old = predict(run_directory, kaggle, tmp_path / "old.csv", "--weights", str(kaggle / "sample_submission_old.csv"))
    old_weight = (
        pd.read_csv(kaggle / "sample_submission_old.csv", nrows=1, float_precision="round_trip")
        .iloc[0, 1:]
        .to_numpy(dtype=float)
    )
    # R2 does not change under a column's weight
    assert r2_score(true * old_weight, old[list(TARGET_NAMES)].to_numpy()) == pytest.approx(score, rel=1e-6)


def test_the_written_file_is_sent_to_kaggle(
    run_directory: Path,
    kaggle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "leap-atmospheric-physics-ai-climsim"
    words = ["--template", str(kaggle / "sample_submission.csv"), "--submit", name]
    with serve(Kaggle(competitions=(name,), looks=0, score="0.78"), monkeypatch) as server:
        predict(run_directory, kaggle, tmp_path / "s.csv", *words)
        assert server.files == [(tmp_path / "s.csv").read_bytes()]
    assert "public score 0.78" in capsys.readouterr().out


def test_batches_do_not_change_predictions(run_directory: Path, kaggle: Path, tmp_path: Path) -> None:
    whole = predict(run_directory, kaggle, tmp_path / "a.csv", "--bank", "false")
    small = predict(run_directory, kaggle, tmp_path / "b.csv", "--bank", "false", "--batch_size", "7")
    a, b = (frame[list(TARGET_NAMES)].to_numpy() for frame in (whole, small))
    scale = np.abs(a).max(axis=0)
    np.testing.assert_allclose(a / np.where(scale > 0, scale, 1), b / np.where(scale > 0, scale, 1), atol=1e-4)


def test_only_the_checkpoint_is_needed(run_directory: Path, kaggle: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "net.ckpt"
    alone.parent.mkdir()
    alone.write_bytes((run_directory / "checkpoints" / "best.ckpt").read_bytes())
    frame = predict(alone, kaggle, tmp_path / "c.csv")
    reference = predict(run_directory, kaggle, tmp_path / "d.csv")
    pd.testing.assert_frame_equal(frame, reference)


def test_packed_and_odd_tables_are_predicted_as_the_plain_ones(
    run_directory: Path, kaggle: Path, tmp_path: Path
) -> None:
    weights = ("--weights", str(kaggle / "sample_submission.csv"))
    reference = predict(run_directory, kaggle, tmp_path / "a.csv", *weights)
    odd = Path(shutil.copytree(kaggle, tmp_path / "odd"))
    table = write_odd("zip_of_one_table", odd / "test.csv")
    form = write_odd("semicolons_and_decimal_commas", odd / "sample_submission.csv")
    given = {"run": run_directory, "input": table, "weights": form, "submission": tmp_path / "b.csv"}
    main([f"--{name}={path}" for name, path in given.items()] + ["--accelerator", "cpu"])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "b.csv", float_precision="round_trip"), reference)
    assert (run_directory / "predictions" / "test" / "manifest.json").is_file()


def test_raw_files_can_be_predicted(run_directory: Path, tmp_path: Path) -> None:
    from tests.datamodules.leap.raw_files import write_pair

    for stamp in ("0009-01-01-00000", "0009-01-02-01200"):
        write_pair(tmp_path / "raw", stamp, columns=384)
    main(
        [
            "--run",
            str(run_directory),
            "--input",
            str(tmp_path / "raw"),
            "--submission",
            str(tmp_path / "e.csv"),
            "--accelerator",
            "cpu",
        ]
    )
    ids = pd.read_csv(tmp_path / "e.csv", usecols=["sample_id"])["sample_id"]
    assert ids.iloc[0] == "0009-01-01-00000_000"
    assert len(ids) == 768


def edit(path: Path, target: Path, change: object) -> Path:
    frame = pd.read_csv(path, dtype=str)
    change(frame).to_csv(target, index=False)  # type: ignore[operator]
    return target


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="ptend_u_7"), "has no column 'ptend_u_7'"),
        (lambda f: f.rename(columns={"ptend_u_7": "ptend_w_7"}), "has no column 'ptend_u_7'"),
        (lambda f: f.iloc[::-1], "must list the same ids in order"),
        (lambda f: f.iloc[:-1], "must list the same ids in order"),
        (lambda f: pd.concat([f, f.tail(1).assign(sample_id="test_999")]), "first missing 'test_999'"),
        (lambda f: pd.concat([f, f.tail(1)]), "stands 2 times"),
    ],
)
def test_a_weights_file_that_does_not_fit_is_refused(
    change: object, sentence: str, run_directory: Path, kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = edit(kaggle / "sample_submission.csv", tmp_path / "weights.csv", change)
    with pytest.raises(SystemExit) as stop:
        predict(run_directory, kaggle, tmp_path / "out.csv", "--weights", str(weights))
    assert stop.value.code == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_bad_inputs_are_refused(
    run_directory: Path, kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(run: Path, file: Path) -> str:
        with pytest.raises(SystemExit) as stop:
            main(
                [
                    "--run",
                    str(run),
                    "--input",
                    str(file),
                    "--submission",
                    str(tmp_path / "out.csv"),
                    "--accelerator",
                    "cpu",
                ]
            )
        assert stop.value.code == 1
        assert not (tmp_path / "out.csv").exists()
        return capsys.readouterr().err

    def poison(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[3, "state_t_5"] = "nan"
        return frame

    assert "does not exist" in refused(tmp_path / "norun", kaggle / "test.csv")
    assert "no checkpoint yet" in refused(tmp_path, kaggle / "test.csv")
    several = run_directory.parents[2]
    assert f"{several} is a folder of runs; give one of them, such as {run_directory}" in refused(
        several, kaggle / "test.csv"
    )
    assert "does not exist" in refused(run_directory, tmp_path / "none.csv")
    missing = edit(kaggle / "test.csv", tmp_path / "m.csv", lambda f: f.drop(columns="state_t_5"))
    assert "state_t_5" in refused(run_directory, missing)
    assert "NaN or infinite" in refused(run_directory, edit(kaggle / "test.csv", tmp_path / "n.csv", poison))


def test_raw_inputs_of_any_grid_are_predicted_without_the_files_after_the_physics(
    run_directory: Path, tmp_path: Path
) -> None:
    """A folder, a file and a pattern; more columns than the run was trained on."""
    stamps = ["0009-03-01-00000", "0009-03-01-01200", "0009-04-01-00000"]
    pairs = [write_pair(tmp_path / "inputs", stamp, columns=11) for stamp in stamps]
    for pair in pairs:
        Path(pair.mlo).unlink()
    found = {}
    for name, place in {
        "inputs": tmp_path / "inputs",
        "E3SM-MMF.mli.0009-03": tmp_path / "inputs" / "0009-03" / "E3SM-MMF.mli.0009-03*.nc",
        Path(pairs[2].mli).stem: Path(pairs[2].mli),
    }.items():
        main(["--run", str(run_directory), "--input", str(place), "--accelerator", "cpu"])
        found[name] = PredictionBank(run_directory / "predictions" / name)
    folder, pattern, single = found.values()
    assert list(folder.index["row_id"]) == [f"{stamp}_{column:03d}" for stamp in stamps for column in range(11)]
    assert list(pattern.index["row_id"]) == list(folder.index["row_id"][:22])
    scale = np.abs(folder.predictions).max(axis=0).clip(1e-30)
    np.testing.assert_allclose(pattern.predictions / scale, folder.predictions[:22] / scale, atol=1e-5)
    np.testing.assert_allclose(single.predictions / scale, folder.predictions[22:] / scale, atol=1e-5)
