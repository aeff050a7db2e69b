from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.mars.__main__ import main
from datamodules.mars.features import read_run
from datamodules.mars.render import rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import read_labels, read_metadata
from tests.files.mass_spectra import Scan, scans, write_andi, write_mzml


def write_ega(folder: Path) -> Path:
    """The first competition's layout: two labelled runs and one without labels, ten classes."""
    folder.mkdir()
    classes = [f"class_{i}" for i in range(10)]
    rows = ["sample_id,split,instrument_type,features_path,features_md5_hash"]
    for i, split in enumerate(("train", "train", "test")):
        path = folder / f"{split}_features" / f"S{i:04d}.csv"
        path.parent.mkdir(exist_ok=True)
        lines = [
            f"{30.0 * t},{25 + 5 * t},{float(m)},{(m + 1) * 1e-10 * (t + 1)}" for t in range(4) for m in range(12, 20)
        ]
        path.write_text("\n".join(["time,temp,m/z,abundance", *lines, "120.0,45,19.0,"]) + "\n")
        rows.append(f"S{i:04d},{split},commercial,{split}_features/S{i:04d}.csv,0123")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    labels = [f"S{i:04d},{','.join(str((i + j) % 2) for j in range(10))}" for i in range(2)]
    (folder / "train_labels.csv").write_text("\n".join(["sample_id," + ",".join(classes), *labels]) + "\n")
    return folder


def fails(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--processes", "1"])
    assert ended.value.code == 1


def test_the_first_competitions_layout_becomes_a_data_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, dest = write_ega(tmp_path / "ega"), tmp_path / "gcms"
    main(["convert", str(source), "--dest", str(dest), "--processes", "1"])
    printed = capsys.readouterr().out
    assert "first competition" in printed
    assert "temperatures, 1 rows with an absent value" in printed
    assert "2 train, 0 val, 1 test" in printed
    samples = read_metadata(dest)
    assert list(samples.splits) == ["train", "train", "test"]
    assert (samples.derivatized == -1).all()
    assert len(read_labels(samples).classes) == 10
    run = read_run(dest / samples.paths[0], samples.md5[0])
    assert sorted(set(run.time)) == [0, 0.5, 1.0, 1.5]
    np.testing.assert_array_equal(run.mass[:8], np.arange(12, 20))
    assert run.intensity[8] == 13e-10 * 2
    rendered(samples, Rendering(m_bins=32, t_bins=8), tmp_path / "cache", processes=1)
    assert json.loads((dest / "conversion.json").read_text())["S0001"]["rows"] == 32
    fails("convert", source, "--dest", dest)
    assert f"{dest} is there already" in capsys.readouterr().err


def test_spectrometers_files_become_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "runs"
    (source / "deep").mkdir(parents=True)
    made = scans()
    write_andi(source / "a.CDF", made)
    write_mzml(source / "deep" / "b.mzML", made)
    packed = write_mzml(source / "c.mzML", made, minutes=False)
    (source / "c.mzML.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    (source / "train_labels.csv").write_text("sample_id,acid\na,1\nb,0\n")
    dest = tmp_path / "gcms"
    main(["convert", str(source), "--dest", str(dest), "--processes", "2"])
    assert "6 scans of higher MS levels" in capsys.readouterr().out
    samples = read_metadata(dest)
    assert dict(zip(samples.ids, samples.splits, strict=True)) == {"a": "train", "b": "train", "c": "test"}
    for sample, path, tolerance in zip(samples.ids, samples.paths, (1e-6, 1e-12, 1e-12), strict=True):
        run = read_run(dest / path)
        check(run.time, run.mass, run.intensity, made, tolerance), sample
    assert read_labels(samples).classes == ("acid",)


def check(time: np.ndarray, mass: np.ndarray, intensity: np.ndarray, made: list[Scan], tolerance: float) -> None:
    np.testing.assert_allclose(time, np.repeat([s for s, _, _ in made], [len(m) for _, m, _ in made]) / 60, rtol=1e-12)
    np.testing.assert_allclose(mass, np.concatenate([m for _, m, _ in made]), rtol=tolerance)
    np.testing.assert_allclose(intensity, np.concatenate([i for _, _, i in made]), rtol=tolerance)


def test_what_cannot_be_converted_is_named_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, dest = tmp_path / "runs", tmp_path / "gcms"
    source.mkdir()
    fails("convert", source, "--dest", dest)
    assert "holds no metadata.csv and no file of" in capsys.readouterr().err
    write_andi(source / "a.cdf", scans())
    write_mzml(source / "a.mzML", scans())
    fails("convert", source, "--dest", dest)
    assert "two files make one sample 'a'" in capsys.readouterr().err
    (source / "a.cdf").unlink()
    monkeypatch.setitem(sys.modules, "pymzml.run", None)
    fails("convert", source, "--dest", dest)
    assert 'needs pymzml: pip install "podium[ms]"' in capsys.readouterr().err
    monkeypatch.undo()
    whole = (source / "a.mzML").read_text()
    (source / "a.mzML").write_text(whole[: len(whole) // 2])
    fails("convert", source, "--dest", dest)
    assert "a.mzML cannot be read as mzML" in capsys.readouterr().err
    (source / "a.mzML").unlink()
    from netCDF4 import Dataset

    with Dataset(source / "weather.nc", "w") as file:
        file.createDimension("time", 3)
    fails("convert", source, "--dest", dest)
    assert (
        "is no ANDI file of a mass spectrometer: it has no variable 'scan_acquisition_time'" in capsys.readouterr().err
    )
    shutil.rmtree(source)
    write_ega(source)
    (source / "train_features" / "S0001.csv").unlink()
    fails("convert", source, "--dest", dest)
    assert "S0001.csv does not exist, but metadata.csv names it" in capsys.readouterr().err
    assert not dest.exists()


def test_readers_name_the_command(tmp_path: Path) -> None:
    from datamodules.errors import DataError

    made = write_ega(tmp_path / "ega") / "train_features" / "S0000.csv"
    for path in (write_andi(tmp_path / "a.csv", scans()), write_mzml(tmp_path / "b.csv", scans()), made):
        with pytest.raises(DataError, match=r"python -m datamodules.mars convert turns it into time,mass,intensity"):
            read_run(path)


@pytest.mark.real_data
def test_real_runs_of_the_first_competition_come_out_as_they_were_rewritten_by_hand(
    real_data: Path, tmp_path: Path
) -> None:
    main(
        [
            "convert",
            str(real_data / "mars" / "ega_as_gcms" / "raw_examples"),
            "--dest",
            str(tmp_path / "gcms"),
            "--processes",
            "1",
        ]
    )
    samples = read_metadata(tmp_path / "gcms")
    assert list(samples.ids) == ["S0005", "S0032", "S0056", "S0079"]
    for sample, path in zip(samples.ids, samples.paths, strict=True):
        ours = read_run(tmp_path / "gcms" / path, "", "zero")
        known = read_run(real_data / "mars" / "ega_as_gcms" / "train_features" / f"{sample}.csv", "", "zero")
        np.testing.assert_allclose(ours.time, known.time, atol=1e-5)
        np.testing.assert_array_equal(ours.mass, known.mass)
        np.testing.assert_allclose(ours.intensity, known.intensity, rtol=1e-6)
