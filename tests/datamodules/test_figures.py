"""The common style of figures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from datamodules.figures import ACCENT, colorbar, save, subplots
from lit_modules.leap.figures import predicted_against_true


@pytest.mark.parametrize("seed", range(3))
def test_tick_labels_never_meet(tmp_path: Path, seed: int) -> None:
    """Twelve panels of targets from 1e-14 to 100, whose labels once ran into each other."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(200, 368)) * 10.0 ** rng.uniform(-14, 2, 368)
    figure = predicted_against_true(true * 0.9, true, np.ones(368))
    save(figure, tmp_path / "deep" / "panels.png")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axis in figure.axes:
        boxes = [label.get_window_extent(renderer) for label in axis.get_xticklabels() if label.get_text()]
        boxes = [box for box in boxes if axis.bbox.x0 <= (box.x0 + box.x1) / 2 <= axis.bbox.x1]
        assert len(boxes) >= 2
        assert all(left.x1 < right.x0 for left, right in pairwise(sorted(boxes, key=lambda box: box.x0)))
        assert "[" in axis.get_xlabel()
    assert (tmp_path / "deep" / "panels.png").stat().st_size > 10_000


def test_the_style_is_the_figures_own() -> None:
    before = dict(mpl.rcParams)
    figure, axis = subplots()
    (line,) = axis.plot([1e6, 2e6])
    assert line.get_color() == ACCENT
    colorbar(axis.imshow([[0, 1e6]]), axis, "velocity [m/s]")
    FigureCanvasAgg(figure).draw()
    assert figure.axes[1].get_ylabel() == "velocity [m/s]"
    assert figure.axes[1].yaxis.get_offset_text().get_text() == "$\\times\\mathdefault{10^{6}}\\mathdefault{}$"
    assert dict(mpl.rcParams) == before
