from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

from datamodules.banks.bank import PredictionBank
from datamodules.leap.raw import find_pairs, read_inputs
from datamodules.leap.schema import FLUXES, SCALARS, TENDENCIES
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.training import train
from experiments.predict import main as predict
from tests.experiments.tiny import COLUMNS, flags


@pytest.fixture(scope="module")
def run(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = flags(raw_files, tmp_path_factory.mktemp("run"), "--epochs", "1")
    return train(parse(load_experiment("leap_bilstm"), arguments)).path


def test_predictions_are_a_cf_file_that_xarray_reads(run: Path, raw_files: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.nc"
    arguments = ["--run", str(run), "--input", str(raw_files), "--output", str(out), "--batch_size", "50"]
    predict([*arguments, "--accelerator", "cpu"])
    pairs = find_pairs(raw_files)
    bank = PredictionBank(run / "predictions" / raw_files.stem)
    expected = bank.in_judge_units(slice(None)).reshape(len(pairs), COLUMNS, 368)
    with xarray.open_dataset(out, decode_times=xarray.coders.CFDatetimeCoder(use_cftime=True)) as data:
        assert dict(data.sizes) == {"time": 16, "lev": 60, "ncol": COLUMNS, "bnds": 2}
        stamps = [
            f"{t.year:04d}-{t.month:02d}-{t.day:02d}-{t.hour * 3600 + t.minute * 60:05d}" for t in data.time.values
        ]
        assert stamps == [pair.stamp for pair in pairs]
        assert set(data.data_vars) >= {*TENDENCIES, *FLUXES, "PS"}
        assert data.ptend_t.dims == ("time", "lev", "ncol")
        assert data.ptend_q0002.values[5, 20, 3] == expected[5, 3, 140]
        np.testing.assert_array_equal(data.ptend_v.values, expected[..., 300:360].transpose(0, 2, 1))
        np.testing.assert_array_equal(data.cam_out_PRECC.values, expected[..., 363])
        assert (data.ptend_u.units, data.cam_out_FLWDS.units) == ("m s-2", "W m-2")
        assert data.ptend_t.standard_name == "tendency_of_air_temperature"
        surface = read_inputs(pairs[7].mli, COLUMNS).scalars[:, SCALARS.index("state_ps")]
        np.testing.assert_array_equal(data.PS.values[7], surface)
        pressure = data.hyam * data.P0 + data.hybm * data.PS
        assert 97e2 < float(data.lev[-1]) * 10 < 1e4
        assert 0.9 < float((pressure.isel(lev=59) / data.PS).mean()) < 1
        assert data.lat.attrs["units"] == "degrees_north"
        assert abs(data.lat.values).max() <= 90
        assert data.attrs["Conventions"] == "CF-1.11"
        assert "leap_bilstm, best.ckpt, sha256 " in data.attrs["source"]
    checkpoint = json.loads((run / "run.json").read_text())
    assert checkpoint["seed"] == 1325
    assert [file.name for file in out.parent.iterdir()] == ["out.nc"]


@pytest.mark.parametrize(("name", "sentence"), [("out.grib", "must end in .nc"), ("out", "must end in .nc")])
def test_another_format_is_refused_before_predicting(
    name: str, sentence: str, run: Path, raw_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        predict(["--run", str(run), "--input", str(raw_files), "--output", str(tmp_path / name)])
    captured = capsys.readouterr().err
    assert sentence in captured
    assert "predicting" not in captured
