"""Every command of the project by one name: ``podium COMMAND``, or ``python -m experiments COMMAND``.

``podium COMMAND --help`` explains a command, ``podium train EXPERIMENT --help`` an experiment.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import nn

    from experiments.engine.declare import Experiment

_HERE = Path(__file__).parent
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("experiments.__main__:train", "EXPERIMENT [flags]: train one of `podium list`, or a FILE.py of your own"),
    "list": ("experiments.__main__:show_list", "[PATTERN]: the experiments, one line each"),
    "data": (
        "experiments.__main__:data",
        "DOMAIN COMMAND: demo files, downloads, conversions and checks of a domain's data",
    ),
    "blend": ("blend.__main__:command", "find blend weights on saved predictions, judge them, apply them"),
    "board": ("experiments.engine.board.command:board_main", "a site of all runs and blends"),
    "runs": ("experiments.engine.board.command:runs_main", "[PATTERN]: the same table in the terminal"),
    "audit": ("experiments.engine.audit:main", "[PATTERN]: every declaration beside what its source says"),
}
"""Commands that are no file of this folder: ``module:function`` of the arguments that follow, and what they do."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; a word that is no command is a pattern of experiments, as for ``list``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    word = arguments[0] if arguments else "list"
    if word in ("--help", "-h"):
        _print_help()
    elif word in COMMANDS:
        _function(COMMANDS[word][0])(arguments[1:])
    elif word in scripts():
        _function(f"experiments.{word}:main")(arguments[1:])
    else:
        show_list(arguments)


def scripts() -> dict[str, str]:
    """The files of this folder that are commands and no experiments, with the first line of what they say of themselves."""
    sources = {path.stem: path.read_text() for path in sorted(_HERE.glob("[a-z]*.py"))}
    return {
        name: (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].rstrip(".:")
        for name, text in sources.items()
        if "\ndef main(" in text
    }


def train(arguments: Sequence[str]) -> None:
    """Train an experiment by its name, or one in a file of the user's own."""
    from datamodules.commands import refusals_as_sentences
    from experiments.engine.declare import load_experiment
    from experiments.engine.runner import main as run

    if not arguments or arguments[0].startswith("-"):
        print("usage: podium train EXPERIMENT [flags]; `podium list` names the experiments")
        raise SystemExit(0 if arguments[:1] in (["--help"], ["-h"]) else 2)
    name = arguments[0]
    own = Path(name) if name.endswith(".py") else None
    if own is None and name not in names():
        _refuse_name(name)
    with refusals_as_sentences():
        experiment = load_experiment(own.stem if own else name, given=own)
    run(experiment, arguments[1:])


def data(arguments: Sequence[str]) -> None:
    """Hand over to the commands of a domain's data, ``python -m datamodules.DOMAIN``."""
    domains = sorted(path.parent.name for path in (_HERE.parent / "datamodules").glob("*/__main__.py"))
    if not arguments or arguments[0] not in domains:
        print(f"usage: podium data {{{','.join(domains)}}} COMMAND [flags]")
        raise SystemExit(0 if arguments[:1] in (["--help"], ["-h"]) else 2)
    _function(f"datamodules.{arguments[0]}.__main__:main")(arguments[1:])


def show_list(arguments: Sequence[str]) -> None:
    """Print the experiments whose names match."""
    found = list_experiments(arguments[0] if arguments else "*")
    if not found or len(arguments) > 1:
        _refuse_name(" ".join(arguments))
    print_experiments(found)


def names() -> list[str]:
    """Names of the experiments of this folder, in alphabetical order."""
    return sorted(path.stem for path in _HERE.glob("[a-z]*_*.py") if "\nEXPERIMENT" in path.read_text())


def list_experiments(pattern: str = "*") -> list[Experiment]:
    """The declarations of this folder whose names match, in alphabetical order.

    Args:
        pattern: Part of a name, or a shell pattern.
    """
    from experiments.engine.declare import load_experiment

    return [load_experiment(name) for name in names() if fnmatch(name, pattern) or pattern in name]


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


def _function(reference: str) -> Callable[[Sequence[str]], object]:
    module, _, name = reference.partition(":")
    function: Callable[[Sequence[str]], object] = getattr(import_module(module), name)
    return function


def _refuse_name(name: str) -> NoReturn:
    near = get_close_matches(name, [*COMMANDS, *scripts(), *names()], n=1)
    meant = (
        f"; did you mean {near[0]}?" if near else "; `podium list` names the experiments, `podium --help` the commands"
    )
    print(f"error: there is no experiment or command {name!r}{meant}", file=sys.stderr)
    raise SystemExit(2)


def _print_help() -> None:
    lines = {name: text for name, (_, text) in COMMANDS.items()} | scripts()
    print("usage: podium COMMAND [flags]\n\ncommands:")
    for name, text in lines.items():
        print(f"  {name:<16} {text}")
    print(f"\n{(__doc__ or '').partition(chr(10))[2].strip().replace('``', '')}")


if __name__ == "__main__":
    main()
