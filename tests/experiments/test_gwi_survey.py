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
    right, before = SURVEY.wavelet(), wrong.wavelet()
    assert np.corrcoef(found.wavelet(), right)[0, 1] > 0.96 > np.corrcoef(before, right)[0, 1] + 0.05


def test_segy_files_say_where_they_were_shot(folder: Path) -> None:
    segyio = pytest.importorskip("segyio")
    recorded = np.load(folder / "gathers.npy")
    spec = segyio.spec()
    spec.format, spec.samples, spec.tracecount = 5, np.arange(recorded.shape[1]), recorded.shape[0] * recorded.shape[2]
    with segyio.create(str(folder / "line.sgy"), spec) as file:
        file.bin.update(hdt=1000)
        for shot, (row, column) in enumerate(SURVEY.sources()):
            for k, (receiver_row, receiver) in enumerate(SURVEY.receivers(COLUMNS)):
                trace = shot * recorded.shape[2] + k
                file.header[trace] = {
                    segyio.TraceField.FieldRecord: shot + 1, segyio.TraceField.SourceGroupScalar: -10, segyio.TraceField.ElevationScalar: 1,
                    segyio.TraceField.SourceX: column * 100, segyio.TraceField.GroupX: receiver * 100, segyio.TraceField.SourceDepth: row * 10,
                    segyio.TraceField.ReceiverGroupElevation: -receiver_row * 10, segyio.TraceField.TRACE_SAMPLE_INTERVAL: 1000,
                }  # fmt: skip
                file.trace[trace] = recorded[shot, :, k]
    gathers, found = read_survey(folder / "line.sgy", Acquisition(sponge=25, frequency=20.0))
    np.testing.assert_array_equal(gathers, recorded)
    assert found == SURVEY
    (folder / "cut.sgy").write_bytes((folder / "line.sgy").read_bytes()[:4000])
    with pytest.raises(DataError, match=r"cut\.sgy is no whole SEG-Y file"):
        read_survey(folder / "cut.sgy", SURVEY)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--start", "gradient:1600"], "--start gradient:1600 is not written as"),
        (["--start", "nowhere.npy"], "nowhere.npy does not exist"),
        (["--family", "flatvale"], "did you mean FlatVel_"),
        (["--frequencies", "8,x"], "--frequencies takes numbers above 0"),
        (["--bank", "b"], "give either --bank"),
        (["--lowest", "-3"], "--lowest is a frequency above 0 Hz"),
    ],
)
def test_what_cannot_be_inverted_is_said(
    folder: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments(folder, *flags))
    assert end.value.code in (1, 2)  # 2: of the command line itself
    assert says in capsys.readouterr().err


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
    np.save(folder / "wavelet.npy", np.array([0.0, 1.0]))
    path.write_text("source_samples: wavelet.npy")
    assert read_acquisition(path).source_samples == (0.0, 1.0)


def test_calibration_groups_cells_by_their_doubt() -> None:
    deviation = np.arange(100.0).reshape(10, 10)
    groups = calibration(deviation, 2 * deviation)
    assert groups[0] == [4.5, 9.0]
    assert groups[-1] == [94.5, 189.0]
