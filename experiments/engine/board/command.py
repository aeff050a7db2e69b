"""``python -m experiments board`` and ``python -m experiments runs``."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from datamodules.commands import announced, as_typed
from datamodules.errors import DataError
from experiments.engine.board.collect import COLUMNS, cell, find_blends, find_runs, table


def board(
    runs: Sequence[Path], out: Path = Path("board"), blends: Sequence[Path] = (), pattern: str = "*", watch: int = 0
) -> None:
    """Write a static site of all runs, baselines and blends: a table, a page for each run, runs side by side.

    Args:
        runs: Folders of runs.
        out: Folder of the site; open its index.html, or serve it as it is.
        blends: Folders of blends, besides those below the folders of runs.
        pattern: Part of ``experiment/variant/seedS/foldF``, or a shell pattern.
        watch: Write it again every so many seconds until interrupted; open pages follow. 0 = once.
    """
    for library in ("plotly", "itables", "markdown_it"):
        if find_spec(library) is None:
            raise DataError(f'a board needs {library}: pip install "podium[board]"')
    from experiments.engine.board.site import write_board

    while True:
        found = find_runs(runs, pattern)
        with announced(f"a board of {len(found)} runs"):
            page = write_board(found, find_blends([*runs, *blends]), out, refresh=watch)
        print(f"{page}: {len(found)} runs", flush=True)
        if not watch:
            return
        time.sleep(watch)


def runs(pattern: str = "*", out: Path = Path("runs")) -> None:
    """Print all runs as a table.

    Args:
        pattern: Part of ``experiment/variant/seedS/foldF``, or a shell pattern.
        out: Folder of runs.
    """
    from rich.console import Console
    from rich.table import Table

    found = find_runs([out], pattern)
    if not found:
        raise DataError(f"{out} holds no run like {pattern!r}; `python -m experiments` lists what can be trained")
    console = Console()
    for demo in (False, True):
        frame = table(found, demo=demo)
        if not len(frame):
            continue
        hidden = {"data", "published", "domain"} if console.width < 180 else set()
        shown = [column for column in COLUMNS if column not in hidden]
        view = Table(*shown, title="demo data: no measure of the competition's scores" if demo else "real data")
        for row in frame[shown].itertuples(index=False):
            view.add_row(*map(cell, shown, row))
        console.print(view)


def board_main(arguments: Sequence[str]) -> None:
    """Command line of ``python -m experiments board``."""
    parser = ArgumentParser(prog=as_typed("python -m experiments board"), description=_first(board), allow_abbrev=False)
    parser.add_argument("runs", nargs="*", type=Path, default=[Path("runs")], help="folders of runs (default: runs)")
    parser.add_argument("--out", type=Path, default=Path("board"), help="folder of the site (default: board)")
    parser.add_argument("--blends", nargs="+", type=Path, default=[p for p in [Path("blends")] if p.is_dir()],
                        help="folders of blends (default: blends, where there is one)")  # fmt: skip
    parser.add_argument("--pattern", default="*", help="part of experiment/variant/seedS/foldF, or a shell pattern")
    parser.add_argument("--watch", nargs="?", type=int, const=30, default=0, metavar="SECONDS",
                        help="write it again every so many seconds (30) until interrupted; open pages follow")  # fmt: skip
    _run(board, parser, arguments)


def runs_main(arguments: Sequence[str]) -> None:
    """Command line of ``python -m experiments runs``."""
    parser = ArgumentParser(prog=as_typed("python -m experiments runs"), description=_first(runs), allow_abbrev=False)
    parser.add_argument(
        "pattern", nargs="?", default="*", help="part of experiment/variant/seedS/foldF, or a shell pattern"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    _run(runs, parser, arguments)


def _first(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").splitlines()[0]


def _run(function: Callable[..., None], parser: ArgumentParser, arguments: Sequence[str]) -> None:
    try:
        function(**vars(parser.parse_args(list(arguments))))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print()
