"""The live table of jobs, or lines of what changed where nobody looks."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.engine.launch.job import Job

State = Literal["waiting", "queued", "running", "done", "failed", "blocked", "cancelled"]
ENDED = ("done", "failed", "blocked", "cancelled")
_ORDER = ("failed", "running", "queued", "waiting", "blocked", "cancelled", "done")
_COLOURS = {"failed": "red", "running": "cyan", "done": "green", "blocked": "yellow"}
_TAIL_BYTES = 16_384


@dataclass
class Watched:
    """A job as it stands.

    Args:
        job: The job.
        folder: Its folder.
        state: ``waiting`` is not submitted yet, ``blocked`` waits for a job that failed, ``cancelled`` was ended on purpose.
        id: SLURM's id, or a process id.
        starts: How often it began.
        note: Why it waits, or the first line of its error.
    """

    job: Job
    folder: Path
    state: State = "waiting"
    id: str = ""
    starts: int = 0
    note: str = ""


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
    """Epoch and newest validation score of a run that trains.

    Args:
        run: Its run directory.

    Returns:
        Both as text, empty before they are known.
    """
    rows = read_metrics(run)
    monitor = (
        next((name for name in rows[0] if name.startswith("val_") and name != "val_loss"), "val_loss") if rows else ""
    )
    epochs = [row["epoch"] for row in rows if row.get("epoch")]
    scores = [row[monitor] for row in rows if row.get(monitor)]
    return f"{float(epochs[-1]):.0f}" if epochs else "", f"{float(scores[-1]):.5f}" if scores else ""


def read_metrics(run: Path, most_bytes: int = _TAIL_BYTES) -> list[dict[str, str]]:
    """The newest rows of a run's ``metrics.csv``, which another process writes just now.

    Args:
        run: Its run directory.
        most_bytes: So much of the file's end is read.
    """
    try:
        with (run / "metrics.csv").open("rb") as file:
            names = next(csv.reader([file.readline().decode()]))
            start = file.tell()
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - most_bytes))
            lines = file.read().decode(errors="replace").split("\n")[:-1]  # the last line may be half written
    except (OSError, StopIteration):
        return []
    return list(csv.DictReader(lines[0 if end - start <= most_bytes else 1 :], names))
