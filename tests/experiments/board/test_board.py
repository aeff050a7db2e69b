"""The board of runs: its rows, its pages, and what a browser makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datamodules.errors import DataError
from experiments.__main__ import main
from experiments.engine.board.collect import cell, find_blends, find_runs, number, table
from experiments.engine.cli import parse
from experiments.engine.grid import conclude
from experiments.leap_bilstm import EXPERIMENT


def write_run(out: Path, experiment: str, fold: int, score: float, *, demo: bool = True, **more: Any) -> Path:
    """A finished run of a LEAP net, without its checkpoint and bank."""
    folder = out / experiment / ("demo" if demo else "default") / "seed1325" / f"fold{fold}"
    folder.mkdir(parents=True)
    record = {
        "status": "finished", "experiment": experiment, "seed": 1325, "fold": fold, "demo": demo, "parameters": 12_345,
        "rows": {"train": 100, "valid": 50}, "rows_per_second": 1000.0, "seconds_of_last_start": 12.0, "epochs_done": 3,
        "hashes": {"data": "d" * 64}, "best": {"score": score, "metric": "val_r2"},
        "starts": [{"commit": "c" * 40, "uncommitted_changes": True, "started": "2026-01-02T03:04:05+0000", "machine": "here"}],
        "published": [{"score": 0.7835, "what": "CV R2", "source": "a <README>"}],
        "scores": {"mean": {"all": 0.1, "t": 0.0}, experiment: {"all": score, "t": score / 2}},
    } | more  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(f"experiment: {experiment}\ndemo: {demo}\nepochs: 2\nfold: {fold}\n".lower())
    (folder / "metrics.csv").write_text(f"step,val_r2,val_loss\n1,0.1,1.0\n2,{score},0.5\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    out = tmp_path / "runs"
    write_run(out, "leap_bilstm", 0, 0.3)
    write_run(out, "leap_bilstm", 1, 0.5)
    first = out / "leap_bilstm/demo/seed1325/fold0"
    write_run(out, "leap_bigru", 0, 0.6, parent={"run": str(first)})
    write_run(out, "leap_bigru", 0, 0.7, demo=False)
    (first / "figures").mkdir()
    shutil.copyfile(
        next((Path(__file__).parents[3] / "docs").rglob("*.png"), _picture(tmp_path)), first / "figures/scores.png"
    )
    blend = tmp_path / "blends" / "two"
    blend.mkdir(parents=True)
    content = {"weights": {"method": "convex", "models": ["leap_bilstm/demo", "leap_bigru/demo"]},
               "scores": {"in_sample": 0.66, "nested": 0.65, "against_best_single": {"value": 0.01, "low": 0.0, "high": 0.02}}}  # fmt: skip
    (blend / "weights.json").write_text(json.dumps(content))
    (blend / "report.md").write_text(
        "# Blend\n\n| model | weight |\n|---|---|\n| leap_bigru | 0.9 |\n\n<script>alert(1)</script>\n"
    )
    (blend / "report.html").write_text("<h1>Blend</h1>")
    return out


def _picture(folder: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure()
    figure.savefig(folder / "picture.png")
    plt.close(figure)
    return folder / "picture.png"


def test_one_row_a_system_with_its_interval_and_demo_apart(runs: Path) -> None:
    found = find_runs([runs])
    frame = table(found, find_blends([runs.parent / "blends"]), demo=True)
    assert list(frame["name"]) == ["two", "leap_bigru", "leap_bilstm", "mean"]
    bilstm = frame.set_index("name").loc["leap_bilstm"]
    assert bilstm["score"] == pytest.approx(0.4)
    assert bilstm["±"] == pytest.approx(1.96 * 0.1)  # standard deviation 0.1414 over the root of two folds
    assert bilstm["folds"] == "0, 1"
    assert bilstm["commit"] == "ccccccc+"
    assert frame.set_index("name").loc["two", "score"] == 0.65
    real = table(found, demo=False)
    assert list(real["name"]) == ["leap_bigru", "mean"]


def test_runs_in_the_terminal(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["runs", "bilstm", "--out", str(runs)])
    printed = capsys.readouterr().out
    assert "leap_bilstm" in printed
    assert "leap_bigru" not in printed
    with pytest.raises(SystemExit) as end:
        main(["runs", "nothing", "--out", str(runs)])
    assert end.value.code == 1


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is no folder"):
        find_runs([tmp_path / "nowhere"])


@pytest.fixture
def site(runs: Path) -> Path:
    main(["board", str(runs), "--out", str(runs.parent / "board"), "--blends", str(runs.parent / "blends")])
    return runs.parent / "board"


def test_pages_say_what_a_run_was(site: Path) -> None:
    page = (site / "leap_bigru--demo--seed1325--fold0.html").read_text()
    assert 'href="leap_bilstm--demo--seed1325--fold0.html"' in page  # the run that it starts from
    assert "a &lt;README&gt;" in page
    assert "python experiments/predict.py --run" in page
    assert page.index("epochs") < page.index("settings as declared")  # what differs comes first
    blend = (site / "blend--blends--two.html").read_text()
    assert "<td>leap_bigru</td>" in blend
    assert (site / blend.split('<p><a href="')[1].split('"')[0]).read_text() == "<h1>Blend</h1>"
    assert "<script>alert" not in blend
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_only_what_is_new_is_written_again_and_watching_follows_runs(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = runs.parent / "board"
    write_run(runs, "leap_unet", 0, 0.2, status="running")
    page, other = (out / f"leap_{name}--demo--seed1325--fold0.html" for name in ("unet", "bilstm"))
    written: list[tuple[str, int]] = []

    def sleep(seconds: float) -> None:
        assert seconds == 7
        written.append((page.read_text(), other.stat().st_mtime_ns))
        if len(written) == 2:
            raise KeyboardInterrupt  # as a user ends it
        shutil.rmtree(runs / "leap_unet")
        write_run(runs, "leap_unet", 0, 0.25)

    monkeypatch.setattr("experiments.engine.board.command.time.sleep", sleep)
    main(["board", str(runs), "--out", str(out), "--watch", "7"])
    (before, first), (after, second) = written
    assert "content='7'" in before
    assert "content='7'" not in after  # it is finished
    assert "0.25000" in after
    assert first == second
    assert "content='7'" in (out / "index.html").read_text()
    assert capsys.readouterr().out.count("5 runs") == 2


def test_side_by_side_tells_differences_by_target(runs: Path) -> None:
    for name, values in (("leap_bilstm", [0.5, 0.1]), ("leap_bigru", [0.2, 0.4])):
        folder = runs / name / "demo/seed1325/fold0"
        record = json.loads((folder / "run.json").read_text()) | {"per_target": values}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "bank").mkdir()
        (folder / "bank/manifest.json").write_text(json.dumps({"manifest": {"targets": ["warm", "wet"]}}))
    main(["board", str(runs), "--out", str(runs.parent / "board")])
    page = (runs.parent / "board/compare.html").read_text()
    assert "r2 by target" in page
    assert '"x":["warm","wet"],"y":[0.3,-0.3]' in page.replace(" ", "")  # leap_bilstm against the better leap_bigru
    assert "against leap_bilstm/demo" in page.replace("\\u002f", "/")


def test_numbers_have_one_notation() -> None:
    shown = [number(v) for v in (406_596.0, 0.019714812, 6.9756e-05, -54.8889, 0.0, float("nan"), None, 3e-12, -4e10)]
    assert shown == ["406,596", "0.019715", "0.000069756", "-54.889", "0", "", "", "3.0000e-12", "-4.0000e+10"]
    assert [cell("rows/s", 1562.3), cell("parameters", float("nan")), cell("±", 0.00064713)] == ["1,562", "", "0.00065"]


def test_a_grid_ends_with_the_board_and_never_fails_by_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = parse(EXPERIMENT, ["--out", str(runs), "--fold", "all", "--seed", "1325"])
    monkeypatch.setattr("experiments.engine.grid.print_scores", lambda *_: None)
    conclude(settings, [0])
    assert (runs / "board/index.html").is_file()
    (runs / "leap_bilstm/demo/seed1325/fold1/run.json").write_text("{")
    conclude(settings, [0])
    assert "no board of runs was written" in capsys.readouterr().out


def test_a_browser_sorts_filters_and_opens_a_run(site: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"file://{site}/index.html")
    page.wait_for_selector("table.dataTable tbody >> text=leap_bilstm")

    def names() -> list[str]:
        return [str(text) for text in page.locator(".dt-scroll-body").last.locator("tbody a").all_inner_texts()]

    before = names()
    assert before[0] == "two"
    page.locator(".dt-scroll-head").last.locator("th:has-text('name') .dt-column-order").click()
    page.wait_for_timeout(300)
    assert names() == sorted(before)
    page.locator(".dt-scroll-head").last.locator("th:has-text('score') .dt-column-order").click()
    page.wait_for_timeout(300)
    scores = [float(text) for text in page.locator(".dt-scroll-body").last.locator("td:nth-child(2)").all_inner_texts()]
    assert scores == sorted(scores)
    page.locator(".dt-scroll-foot input[placeholder='name']").last.press_sequentially("bilstm")
    page.wait_for_timeout(500)
    assert names() == ["leap_bilstm"]
    page.locator(".dt-scroll-body a:has-text('leap_bilstm')").last.click()
    page.wait_for_selector(".main-svg")
    assert "leap_bilstm/demo/seed1325/fold0" in page.inner_text("h1")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0 || image.loading === 'lazy')")
    page.goto(f"file://{site}/compare.html")
    page.wait_for_selector(".main-svg")
    assert problems == []


def test_a_telephone_needs_no_scrolling_sideways(site: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for name in ("index", "compare", "leap_bilstm--demo--seed1325--fold0", "blend--blends--two"):
        page.goto(f"file://{site}/{name}.html")
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
