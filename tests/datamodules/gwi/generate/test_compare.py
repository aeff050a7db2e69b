"""The judges of made maps tell what differs and are at a loss where nothing does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.gwi import __main__ as command
from datamodules.gwi.generate.compare import compare, statistics_of
from datamodules.gwi.generate.families import generate_maps


def test_two_draws_of_one_family_cannot_be_told_apart_and_two_families_can() -> None:
    flat, again = generate_maps("FlatVel_A", 0, range(100)), generate_maps("FlatVel_A", 1, range(100))
    for judged in compare(flat, again):
        assert judged.low < 0.6, judged
    curved = generate_maps("CurveVel_A", 0, range(100))
    forest, net = compare(flat, curved)
    assert forest.auc > 0.99
    assert net.auc > 0.95
    assert {area for _, area in forest.gives_away} == {1.0}


def test_statistics_of_a_map_that_can_be_counted_by_hand() -> None:
    velocity = np.full((1, 70, 70), 2000.0, np.float32)
    velocity[0, 35:] = 3000
    velocity[0, 10, 20] = 2000.5
    found = {name: float(value[0]) for name, value in statistics_of(velocity).items()}
    assert found["common values"] == 2
    assert found["fractions"] == pytest.approx(1 / 4900)
    assert found["across changed"] == pytest.approx(2 / (70 * 69))
    assert found["across steps"] == found["bent columns"] == 0
    assert found["down steps"] == pytest.approx(70 / (70 * 69))
    assert found["isolated"] == pytest.approx(2 / (2 * 68 * 70))
    assert (found["row 30"], found["row 40"]) == (2000, 3000)


def test_the_command_judges_the_files_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, family in (("vmodel1", "FlatVel_A"), ("vmodel2", "CurveVel_A")):
        path = tmp_path / "FlatVel_A" / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, generate_maps(family, 3, range(40)))
    command.main(["compare", str(tmp_path), "flatvel_a", "--names", "vmodel2", "--figure", str(tmp_path / "sheet.png")])
    printed = capsys.readouterr().out
    assert "40 real, 40 made maps" in printed
    assert "random forest" in printed
    assert (tmp_path / "sheet.png").stat().st_size > 20_000
    with pytest.raises(SystemExit, match="1"):
        command.main(["compare", "--real", str(tmp_path), "--family", "flatvel_a", "--names", "nothing"])
    assert "has 0 maps of FlatVel_A in files named nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_made_curves_cannot_be_told_from_real_ones(real_data: Path, tmp_path: Path) -> None:
    """Files 11 and 12, to which nothing was fitted."""
    from datamodules.gwi.archives import unpack_archives
    from datamodules.gwi.files import find_files

    unpack_archives(real_data / "gwi", tmp_path, "*VelA_model11-12.zip")
    for file in find_files(tmp_path):
        if file.name.endswith("11"):
            forest, net = compare(np.array(file.maps()), generate_maps(file.family, 0, range(file.rows)))
            assert forest.low <= 0.6, file.family
            assert net.low <= 0.6, file.family


def test_the_contact_sheet_shows_every_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["sheet", str(tmp_path / "sheet.png"), "--maps", "2"])
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert "sheet.png" in capsys.readouterr().out
