"""The four domains alike: ``podium data DOMAIN demo DEST``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

SMALL = {
    "leap": ["--months", "1", "--steps_per_month", "1", "--columns", "4"],
    "moa": ["--drugs", "30", "--test_drugs", "2"],
    "mars": ["--train", "4", "--val", "1", "--test", "1", "--processes", "1"],
    "gwi": ["--rows", "1"],
}


@pytest.mark.parametrize("domain", SMALL)
def test_a_demo_data_set_is_made_once_and_named(
    domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.gwi.demo.SHOT", ("FlatVel_A",))
    monkeypatch.setattr("datamodules.gwi.demo.SHARDS", 1)
    main = import_module(f"datamodules.{domain}.__main__").main
    main(["demo", str(tmp_path / "made"), *SMALL[domain]])
    said = capsys.readouterr().out
    assert Path(said.partition(":")[0]).is_dir()
    assert "synthetic" in said
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "made").rglob("*") if path.is_file()}
    main(["demo", str(tmp_path / "made"), *SMALL[domain]])
    assert times
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path.suffix != ".lock")


@pytest.mark.parametrize("domain", SMALL)
def test_help_names_kinds_as_a_person_writes_them(domain: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_module(f"datamodules.{domain}.__main__").main(["demo", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "type: Path" in shown
    assert "<class" not in shown
