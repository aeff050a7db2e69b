"""All experiments, one line each: ``python -m experiments [PATTERN]``.

A line names the experiment, its domain, the place it answers to, the parameters of its net, the published score and the
stage before it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from experiments.engine.declare import Experiment

COMMANDS: dict[str, str] = {
    "audit": "experiments.engine.audit:main",
    "board": "experiments.engine.board.command:board_main",
    "runs": "experiments.engine.board.command:runs_main",
}
"""Further commands by name, ``module:function`` of the arguments that follow."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python -m experiments``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        module, _, function = COMMANDS[arguments[0]].partition(":")
        getattr(import_module(module), function)(arguments[1:])
        return
    if arguments in (["--help"], ["-h"]):
        print(__doc__)
        print("PATTERN is a part of a name, or a pattern such as 'leap_*'. Commands: " + ", ".join(COMMANDS))
        return
    found = list_experiments(arguments[0] if arguments else "*")
    if not found or len(arguments) > 1:
        print(f"error: no experiment is named like {' '.join(arguments)!r}", file=sys.stderr)
        raise SystemExit(2)
    print_experiments(found)


def list_experiments(pattern: str = "*") -> list[Experiment]:
    """The declarations of this folder whose names match, in alphabetical order.

    Args:
        pattern: Part of a name, or a shell pattern.
    """
    from experiments.engine.declare import load_experiment

    here = Path(__file__).parent
    names = sorted(path.stem for path in here.glob("[a-z]*_*.py") if "\nEXPERIMENT" in path.read_text())
    return [load_experiment(name) for name in names if fnmatch(name, pattern) or pattern in name]


def print_experiments(experiments: Sequence[Experiment]) -> None:
    """One line an experiment."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("experiment", "domain", "answers to", "parameters", "published", "stage before"):
        table.add_column(name, justify="right" if name == "parameters" else "left", no_wrap=True)
    for e in experiments:
        net = _net(e)
        published = f"{e.published[0].score:g} {e.published[0].what}" if e.published else ""
        count = sum(p.numel() for p in net.parameters()) if net is not None else 0
        parameters = f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}" if count else "by the data"
        table.add_row(e.name, e.domain.name, e.answers_to, parameters, published, e.previous)
    Console(width=250).print(table)


def _net(experiment: Experiment) -> nn.Module | None:
    from experiments.engine.declare import load
    from lit_modules.base import without_memory

    with without_memory():
        net: nn.Module | None = load(experiment.task).net_of(experiment.model, experiment.data)
    return net


if __name__ == "__main__":
    main()
