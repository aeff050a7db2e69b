"""The live table of jobs, or lines of what changed where nobody looks."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from experiments.engine.launch.launcher import Watched

_ORDER = ("failed", "running", "queued", "waiting", "blocked", "done")
_COLOURS = {"failed": "red", "running": "cyan", "done": "green", "blocked": "yellow"}
_TAIL_BYTES = 16_384


class LiveTable:
    """Jobs by state, with the epoch and score of those that train.

    Args:
        watched: The jobs; read anew at every :meth:`show`.
    """

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = watched
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._known: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self) -> None:
        """Draw the table, or print the jobs that changed."""
        if self._live is not None:
            self._live.update(self._table(max(5, self._console.height - 8)), refresh=True)
            return
        for one in self._watched:
            text = f"{one.state}{f' ({one.id})' if one.id else ''}{f': {one.note}' if one.note else ''}"
            if self._known.get(one.job.key) != text:
                self._known[one.job.key] = text
                log = f" ({one.folder / 'log'})" if one.state == "failed" else ""
                print(f"{one.job.key}: {text}{log}", flush=True)

    def _table(self, most: int) -> Table:
        counts: Counter[str] = Counter(one.state for one in self._watched)
        table = Table(title=", ".join(f"{counts[state]:,} {state}" for state in _ORDER if counts[state]))
        for name in ("job", "state", "id", "starts", "epoch", "score", "note"):
            table.add_column(name, overflow="fold" if name in ("job", "note") else "ellipsis")
        shown = sorted(self._watched, key=lambda one: _ORDER.index(one.state))[:most]
        for one in shown:
            epoch, score = progress(one.job.run) if one.job.run and one.state == "running" else ("", "")
            note = f"{one.note} ({one.folder / 'log'})" if one.state == "failed" else one.note
            state = f"[{_COLOURS[one.state]}]{one.state}[/]" if one.state in _COLOURS else one.state
            table.add_row(one.job.key, state, one.id, str(one.starts or ""), epoch, score, note)
        if len(shown) < len(self._watched):
            table.add_row(f"and {len(self._watched) - len(shown):,} more", *[""] * 6)
        return table


def progress(run: Path) -> tuple[str, str]:
    """Epoch and newest validation score of a run that trains, from the end of its ``metrics.csv``.

    Args:
        run: Its run directory.

    Returns:
        Both as text, empty before they are known.
    """
    try:
        with (run / "metrics.csv").open("rb") as file:
            names = next(csv.reader([file.readline().decode()]))
            start = file.tell()
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _TAIL_BYTES))
            tail = file.read().decode(errors="replace").splitlines()[0 if size - start <= _TAIL_BYTES else 1 :]
    except (OSError, StopIteration):
        return "", ""
    epoch = score = ""
    monitor = next((name for name in names if name.startswith("val_") and name != "val_loss"), "val_loss")
    for row in csv.DictReader(tail, names):
        epoch = row.get("epoch") or epoch
        score = row.get(monitor) or score
    return f"{float(epoch):.0f}" if epoch else "", f"{float(score):.5f}" if score else ""
