"""Archives of maps and the folders they become."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from datamodules.errors import DataError
from datamodules.gwi.__main__ import main
from datamodules.gwi.archives import unpack_archives


def pack(path: Path, **files: bytes) -> Path:
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/") + ".npy", content)
        archive.writestr("readme.txt", "no maps")
    return path


def test_maps_lie_in_their_familys_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(tmp_path / "openfwi_CurveVelA_model1-10.zip", vmodel1=b"one", deep__vmodel2=b"two")
    pack(tmp_path / "flatfault-b.zip", vel=b"three")
    main(["unpack", str(tmp_path), str(tmp_path / "maps")])
    found = {str(p.relative_to(tmp_path / "maps")): p.read_bytes() for p in (tmp_path / "maps").rglob("*.npy")}
    assert found == {
        "CurveVel_A/vmodel1.npy": b"one",
        "CurveVel_A/vmodel2.npy": b"two",
        "FlatFault_B/vel.npy": b"three",
    }
    assert "3 files of CurveVel_A, FlatFault_B" in capsys.readouterr().out


def test_what_is_whole_is_left_and_what_is_cut_is_written_again(tmp_path: Path) -> None:
    pack(tmp_path / "FlatVel_A.zip", a=b"whole", b=b"whole")
    a, b = unpack_archives(tmp_path, tmp_path / "maps")
    b.write_bytes(b"wh")
    before = a.stat().st_mtime_ns
    unpack_archives(tmp_path, tmp_path / "maps")
    assert a.stat().st_mtime_ns == before
    assert b.read_bytes() == b"whole"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    pack(tmp_path / "Style_A.zip", **{"..__..__out": b"x"})
    (path,) = unpack_archives(tmp_path, tmp_path / "maps")
    assert path == tmp_path / "maps" / "Style_A" / "out.npy"


def test_bad_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no archive"):
        unpack_archives(tmp_path, tmp_path / "maps")
    pack(tmp_path / "other.zip", a=b"x")
    with pytest.raises(DataError, match=r"other\.zip: its name tells no family"):
        unpack_archives(tmp_path, tmp_path / "maps")
    (tmp_path / "other.zip").unlink()
    (tmp_path / "StyleB.zip").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match=r"StyleB\.zip cannot be unpacked"):
        unpack_archives(tmp_path, tmp_path / "maps")


def test_two_members_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    pack(tmp_path / "Style_A.zip", a__model1=b"one", b__model1=b"two", other=b"three")
    with pytest.raises(DataError, match=r"Style_A\.zip:a/model1\.npy and .*Style_A\.zip:b/model1\.npy would both be"):
        unpack_archives(tmp_path, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
    pack(tmp_path / "Style_A.zip", model1=b"one")
    pack(tmp_path / "style-a-again.zip", model1=b"two")
    with pytest.raises(DataError, match="would both be"):
        unpack_archives(tmp_path, tmp_path / "maps")


def test_more_than_the_disk_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "Style_A.zip", model1=b"x" * 2000)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1999))
    with pytest.raises(DataError, match=r"unpack to 0\.0 GB, .*maps has room for"):
        unpack_archives(tmp_path, tmp_path / "maps")
    assert not list((tmp_path / "maps").rglob("*.npy"))
