"""The report as a page, opened in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from blend.__main__ import main
from blend.commands.page import Section, Table, Text, terminal, write_report
from tests.blend.banks import random_case


def write_tables(folder: Path, metric: str, models: int, rows: int, width: int = 1) -> list[str]:
    truth, predictions = random_case(metric, models, rows, (width,), seed=5)
    ids = [f"r{i}" for i in range(rows)]
    columns = [f"target {c}" for c in range(width)]
    named = {f"model{k:02d}": p for k, p in enumerate(predictions)} | {"truth": truth}
    for name, values in named.items():
        pd.DataFrame({"row_id": ids, **{c: values[:, i] for i, c in enumerate(columns)}}).to_csv(
            folder / f"{name}.csv", index=False
        )
    banks = [str(folder / f"model{k:02d}.csv") for k in range(models)]
    return [*banks, "--truth", str(folder / "truth.csv"), "--metric", metric, "--out", str(folder / "out")]


def opened(browser: Any, path: Path) -> Any:
    """The page, with what went wrong in ``page.problems``; nothing may be loaded from elsewhere."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.problems = []
    page.on(
        "console", lambda message: page.problems.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(f"file://{path}")
    return page


def pixels(page: Any, path: Path) -> np.ndarray:
    from PIL import Image

    page.screenshot(path=path, full_page=True)
    return np.asarray(Image.open(path).convert("L"))


def test_three_models_side_by_side(tmp_path, browser):
    assert main(["compare", *write_tables(tmp_path, "column_log_loss", 3, 200)]) == 0
    page = opened(browser, tmp_path / "out/report.html")
    assert page.title() == "Blending methods compared"
    text = page.inner_text("body")
    for words in (
        "3 models, 200 rows x 1 targets, metric column_log_loss (lower is better)",
        "95 %",
        "Recommended:",
        "over the folds",
        "decided rightly",
        "rank correlation",
        "calibration",
    ):
        assert words.lower() in text.lower(), words
    assert {"Methods", "Weights", "Folds and classes", "Predictions"} <= set(page.locator("h2").all_inner_texts())
    assert "model01" in page.locator("#s1 table").inner_text()
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 300)")
    assert page.locator("img[alt=calibration]").count() == 1
    assert page.problems == []
    shot = pixels(page, tmp_path / "page.png")
    assert 2000 < shot.shape[0] < 8000
    assert (shot > 240).mean() > 0.6  # dark on light
    assert (shot < 100).mean() > 0.005
    assert (tmp_path / "out/weights.json").is_file()


def test_a_hundred_models_stay_readable(tmp_path, browser):
    assert main(["search", *write_tables(tmp_path, "r2", 100, 150, width=3), "--method", "convex"]) == 0
    page = opened(browser, tmp_path / "out/report.html")
    models = page.locator("section", has=page.locator("h2", has_text="Weights"))
    assert models.locator("tbody tr:visible").count() == 20
    models.locator("summary", has_text="80 more").click()
    assert models.locator("tbody tr:visible").count() == 100
    assert "certificate: no other weights of this kind are better" in page.inner_text("body")
    assert page.locator("img[alt=gains]").count() == 1
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.problems == []
    assert 2000 < pixels(page, tmp_path / "page.png").shape[0] < 12_000


def test_markdown_and_terminal_say_the_same(tmp_path, capsys):
    assert main(["search", *write_tables(tmp_path, "mae", 30, 100), "--method", "greedy"]) == 0
    printed, written = capsys.readouterr().out, (tmp_path / "out/report.md").read_text()
    assert "... and 10 more rows in the report" in printed
    assert all(f"model{k:02d}" in written for k in range(30))
    assert "![weights](weights.png)" in written
    assert "![path](path.png)" in written
    assert "## Warnings" not in written  # nothing to warn of


def test_names_are_text_and_never_markup(tmp_path):
    name = "<script>alert(1)</script>"
    sections = [Section("A", [Text(f"see `{name}`", warning=True), Table(("x",), [[name]])]), Section("empty", [])]
    files = write_report(tmp_path, name, sections)
    page = files[1].read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert 'class="warning"' in page
    assert "empty" not in page
    assert "warning: see" in terminal(sections)
