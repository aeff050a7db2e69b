"""The board of runs: its rows, its pages, and what a browser makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datamodules.errors import DataError
from experiments.__main__ import main
from experiments.engine.board.collect import find_blends, find_runs, table


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


def test_a_browser_sorts_filters_and_opens_a_run(site: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"file://{site}/index.html")
    page.wait_for_selector("table.dataTable tbody >> text=leap_bilstm")

    def names() -> list[str]:
        return [str(text) for text in page.locator("table.dataTable").last.locator("tbody a").all_inner_texts()]

    before = names()
    assert before[0] == "two"
    page.locator("table.dataTable").last.locator("thead th:has-text('name') .dt-column-order").click()
    page.wait_for_timeout(300)
    assert names() == sorted(before)
    page.locator("tfoot input[placeholder='name']").last.press_sequentially("bilstm")
    page.wait_for_timeout(500)
    assert names() == ["leap_bilstm"]
    page.locator("table.dataTable tbody a:has-text('leap_bilstm')").last.click()
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
