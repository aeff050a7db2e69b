"""Surveys of one's own: inverted from plain starts by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.errors import DataError
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.refinement import inversion
from datamodules.gwi.refinement.inversion import estimate_wavelet, parse_start
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.simulator import Simulator
from datamodules.gwi.survey import read_acquisition, read_survey
from experiments.domains.gwi.survey import calibration
from experiments.gwi_refine import main

SURVEY = Acquisition(
    samples=300, sponge=25, source_columns=(2, 15, 27), source_rows=(2, 2, 3), receiver_columns=tuple(range(1, 30, 2)),
    receiver_rows=(1,) * 15, frequency=20.0, interval=1e-3,
)  # fmt: skip
DEPTH, COLUMNS = 24, 30


def truth() -> np.ndarray:
    velocity = np.full((DEPTH, COLUMNS), 1800.0)
    velocity[8:] = 2200
    velocity[14:, 12:] = 2600
    return velocity


def shoot(velocity: np.ndarray, survey: Acquisition = SURVEY) -> np.ndarray:
    with torch.no_grad():
        return Simulator(survey)(torch.from_numpy(velocity.astype(np.float32))[None])[0].numpy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = (
        "spacing",
        "interval",
        "sponge",
        "frequency",
        "source_columns",
        "source_rows",
        "receiver_columns",
        "receiver_rows",
    )
    plain = {key: list(v) if isinstance(v := getattr(SURVEY, key), tuple) else v for key in keys}
    (tmp_path / "survey.yaml").write_text(yaml.safe_dump(plain))
    np.save(tmp_path / "gathers.npy", shoot(truth()))
    np.save(tmp_path / "truth.npy", truth())
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    return [
        "--gathers", str(folder / "gathers.npy"), "--acquisition", str(folder / "survey.yaml"), "--truth", str(folder / "truth.npy"),
        "--start", "gradient:1700:2500", "--out", str(folder / "out"), "--threads", "1", *more,
    ]  # fmt: skip


def test_an_inversion_from_a_gradient_by_stages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(folder, "--frequencies", "12,20", "--max_iterations", "45"))
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["mae_after"] < 0.6 * report["mae_before"]
    assert report["residual_after"] < 0.1 * report["residual_before"]
    assert np.load(folder / "out" / "velocity.npy").shape == (DEPTH, COLUMNS)
    assert (folder / "out" / "inversion.png").stat().st_size > 10_000
    assert "mean absolute error: " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("broken_off", [2, 6])
def test_an_inversion_that_was_broken_off_ends_with_the_same_bits(
    folder: Path, broken_off: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (
        "--max_iterations",
        "4",
        "--ensemble",
        "2",
        "--frequencies",
        "12",
        "--start",
        "smooth:3:" + str(folder / "truth.npy"),
    )
    main(arguments(folder, *flags, "--out", str(folder / "whole")))
    write, written = inversion._State.write, []

    def killed(self: inversion._State, path: Path | None) -> None:
        write(self, path)
        written.append(path)
        if len(written) == broken_off:
            raise KeyboardInterrupt

    monkeypatch.setattr(inversion._State, "write", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(arguments(folder, *flags))
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        main(arguments(folder, *flags, "--spread", "50"))
    assert "of other gathers or flags" in capsys.readouterr().err
    main(arguments(folder, *flags))
    for name in ("velocity.npy", "deviation.npy", "report.json"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert not (folder / ".out.parts").exists()


@pytest.mark.parametrize(
    ("spoil", "flags", "share"),
    [
        (lambda g: g + 0.05 * g.std() * np.random.default_rng(0).standard_normal(g.shape), (), 0.7),
        (lambda g: without_lows(g, 6.0), ("--lowest", "6"), 0.8),
        (lambda g: np.where(np.random.default_rng(1).random((g.shape[0], 1, g.shape[2])) < 0.3, np.nan, g), (), 0.6),
        (lambda g: g, ("--wavelet", "estimate"), 0.8),
    ],
    ids=["noise", "no lows", "missing traces", "estimated wavelet"],
)
def test_gathers_as_they_are_in_the_field(
    folder: Path, spoil: Callable[[np.ndarray], np.ndarray], flags: tuple[str, ...], share: float
) -> None:
    np.save(folder / "gathers.npy", spoil(np.load(folder / "gathers.npy").astype(np.float64)).astype(np.float32))
    main(arguments(folder, "--max_iterations", "20", *flags))
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["mae_after"] < share * report["mae_before"]
    assert report["residual_after"] < report["residual_before"]


def without_lows(gathers: np.ndarray, lowest: float) -> np.ndarray:
    hertz = np.fft.rfftfreq(gathers.shape[1], SURVEY.interval)
    return np.fft.irfft(np.fft.rfft(gathers, axis=1) * (hertz >= lowest)[:, None], gathers.shape[1], axis=1)


def test_missing_traces_do_not_count_and_an_ensemble_doubts_what_is_not_lit(folder: Path) -> None:
    gathers = np.load(folder / "gathers.npy")
    gathers[:, :, 3], gathers[0, :, 7] = np.nan, 0
    np.save(folder / "gathers.npy", gathers)
    main(arguments(folder, "--ensemble", "3", "--spread", "60", "--max_iterations", "12"))
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["mae_after"] < 0.8 * report["mae_before"]
    deviation = np.load(folder / "out" / "deviation.npy")
    assert deviation[-6:].mean() > 1.5 * deviation[:6].mean()
    assert report["within"] == sorted(report["within"])
    assert len(report["calibration"]) == 10


def test_what_is_compared(folder: Path) -> None:
    """A late wavelet: envelopes and lows forgive it more than traces do, and a missing trace changes nothing."""
    recorded, simulator = np.load(folder / "gathers.npy"), Simulator(SURVEY)
    start = parse_start("constant:2000", (DEPTH, COLUMNS))
    plain, low, by_envelope = (
        Misfit(recorded, simulator, **k)(start) for k in ({}, {"highest": 8.0}, {"envelope": True})
    )
    assert low.value < plain.value
    assert by_envelope.value < plain.value
    for fit in (low, by_envelope):
        assert np.isfinite(fit.gradient).all()
    step = np.zeros_like(start)
    step[5, 10] = 1.0
    misfit = Misfit(recorded, simulator, 15.0, envelope=True)
    slope = (misfit(start + step, 2000.0).value - misfit(start - step, 2000.0).value) / 2
    assert misfit(start, 2000.0).gradient[5, 10] == pytest.approx(slope, rel=0.05)


def test_a_wrong_wavelet_is_estimated(folder: Path) -> None:
    recorded = np.load(folder / "gathers.npy")
    wrong = replace(SURVEY, frequency=14.0)
    found = estimate_wavelet(recorded, truth(), wrong)
    dead, without = recorded.copy(), recorded.copy()
    dead[:, :, 4], without[:, :, 4] = 0, np.nan
    assert estimate_wavelet(dead, truth(), wrong) == estimate_wavelet(without, truth(), wrong)
    right, before = SURVEY.wavelet(), wrong.wavelet()
    assert np.corrcoef(found.wavelet(), right)[0, 1] > 0.96 > np.corrcoef(before, right)[0, 1] + 0.05


def write_segy(path: Path, recorded: np.ndarray, origin: int = 0, interval: int = 1000, apart: int = 100) -> None:
    """Headers in decimetres."""
    segyio = pytest.importorskip("segyio")
    spec = segyio.spec()
    spec.format, spec.samples, spec.tracecount = 5, np.arange(recorded.shape[1]), recorded.shape[0] * recorded.shape[2]
    field = segyio.TraceField
    with segyio.create(str(path), spec) as file:
        file.bin.update(hdt=interval)
        for shot, (row, column) in enumerate(SURVEY.sources()):
            for k, (receiver_row, receiver) in enumerate(SURVEY.receivers(COLUMNS)):
                trace = shot * recorded.shape[2] + k
                file.header[trace] = {
                    field.FieldRecord: shot + 1, field.SourceGroupScalar: -10, field.ElevationScalar: 1,
                    field.SourceX: origin + column * 100, field.GroupX: origin + receiver * apart, field.SourceDepth: row * 10,
                    field.ReceiverGroupElevation: -receiver_row * 10, field.TRACE_SAMPLE_INTERVAL: interval,
                }  # fmt: skip
                file.trace[trace] = recorded[shot, :, k]


def test_segy_files_say_where_they_were_shot(folder: Path) -> None:
    recorded, path = np.load(folder / "gathers.npy"), folder / "line.sgy"
    told = Acquisition(sponge=25, frequency=20.0)
    write_segy(path, recorded)
    gathers, found = read_survey(path, told)
    np.testing.assert_array_equal(gathers, recorded)
    assert found == SURVEY
    write_segy(path, recorded, origin=4_321_000)
    assert replace(read_survey(path, replace(told, origin=432_100.0))[1], origin=0.0) == SURVEY
    write_segy(path, recorded, origin=40)
    with pytest.warns(
        UserWarning, match=r"line\.sgy: sources or receivers are moved by up to 4\.0 m, onto cells of 10 m"
    ):
        assert read_survey(path, told)[1] == SURVEY


def test_segy_files_that_say_too_little_are_refused(folder: Path) -> None:
    recorded, path = np.load(folder / "gathers.npy"), folder / "line.sgy"
    write_segy(path, recorded, interval=0)
    with pytest.raises(DataError, match=r"line\.sgy: its headers name no sampling interval"):
        read_survey(path, SURVEY)
    write_segy(path, recorded, apart=0)
    with pytest.raises(DataError, match=r"line\.sgy: its headers place all receivers of a shot at X = 0 m"):
        read_survey(path, SURVEY)
    write_segy(path, recorded)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"line\.sgy is no whole SEG-Y file"):
        read_survey(path, SURVEY)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--start", "gradient:1600"], "--start gradient:1600 is not written as"),
        (["--start", "nowhere.npy"], "nowhere.npy does not exist"),
        (["--family", "flatvale"], "did you mean FlatVel_"),
        (["--frequencies", "8,x"], "--frequencies takes numbers above 0"),
        (["--bank", "b"], "give either --bank"),
        (["--lowest", "-3"], "--lowest is a frequency above 0 Hz"),
        (["--lowest", "150"], "the gathers hold nothing between 150 and 500 Hz"),
        (["--frequencies", "12,5"], "--frequencies rise from descent to descent"),
        (
            ["--start", "gradient:1.7:2.5"],
            "--start has velocities from 1.7 to 2.5 m/s, results have 1500 to 4500: it seems to hold kilometres",
        ),
        (
            ["--fastest", "2000"],
            "--start has velocities from 1700 to 2500 m/s, results have 1500 to 2000: give other bounds",
        ),
        (["--slowest", "1900"], "--start has velocities from 1700 to 2500 m/s, results have 1900 to 4500"),
    ],
)
def test_what_cannot_be_inverted_is_said(
    folder: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments(folder, *flags))
    assert end.value.code in (1, 2)  # 2: of the command line itself
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gathers", "says"),
    [
        (np.zeros((3, 300, 15), np.float32), "gathers.npy holds no trace"),
        (np.full((3, 300, 15), np.nan, np.float32), "gathers.npy holds no trace"),
        (np.ones((3, 300, 15), np.complex64), "gathers.npy holds complex64, not real numbers"),
        (np.ones((3, 300, 14), np.float32), "gathers.npy holds 14 traces a shot, a map of 30 columns has 15 receivers"),
    ],
    ids=["zeros", "NaN", "complex", "receivers"],
)
def test_gathers_of_nothing_or_of_another_survey_are_refused(
    folder: Path, gathers: np.ndarray, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(folder / "gathers.npy", gathers)
    with pytest.raises(SystemExit):
        main(arguments(folder))
    assert says in capsys.readouterr().err
    assert not (folder / ".out.parts").exists()


def test_a_command_that_failed_before_its_first_step_blocks_no_other(folder: Path) -> None:
    with pytest.raises(SystemExit):
        main(arguments(folder, "--lowest", "150"))
    main(arguments(folder, "--method", "quasi_newton", "--max_iterations", "1"))
    assert (folder / "out" / "velocity.npy").is_file()


def test_surveys_that_are_wrong_are_named(folder: Path) -> None:
    path = folder / "survey.yaml"
    path.write_text("spacings: 10")
    with pytest.raises(DataError, match=r"'spacings' is no setting of a survey; did you mean spacing\?"):
        read_acquisition(path)
    path.write_text("spacing: -1")
    with pytest.raises(DataError, match="spacing must be above 0"):
        read_acquisition(path)
    with pytest.raises(DataError, match=r"has the shape \(3, 300, 15\); a survey of 5 sources"):
        read_survey(folder / "gathers.npy", Acquisition())
    for wrong, says in {
        "source_columns: 10": "'source_columns' is not as expected",
        "spacing: 20m": "'spacing' is not as expected: Input should be a valid number",
        "spacing:": "'spacing' is not as expected",
        "source_columns: [0, 17.5]": r"'source_columns\.1' is not as expected: Input should be a valid integer",
        "source_samples: [1, a]": r"'source_samples\.1' is not as expected",
        "sponge: 2.5": "'sponge' is not as expected",
        "free_surface: maybe": "'free_surface' is not as expected",
        "frequency: 1000": "samples every 0.001 s hold frequencies below 500 Hz, the wavelet's is 1000 Hz",
        "- 1": "must hold a mapping",
        "{1: 2, spacings: 3}": "1 is no setting of a survey",
        "{{{": "is not valid YAML",
    }.items():
        path.write_text(wrong)
        with pytest.raises(DataError, match=says):
            read_acquisition(path)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_acquisition(folder)
    np.save(folder / "wavelet.npy", np.array([0.0, 1.0]))
    path.write_text("source_samples: wavelet.npy")
    assert read_acquisition(path).source_samples == (0.0, 1.0)


def test_calibration_groups_cells_by_their_doubt() -> None:
    deviation = np.arange(100.0).reshape(10, 10)
    groups = calibration(deviation, 2 * deviation)
    assert groups[0] == [4.5, 9.0]
    assert groups[-1] == [94.5, 189.0]
