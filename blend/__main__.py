"""Command line of the blend: ``podium-blend`` or ``python -m blend``, then a command: search, compare,
apply, show, verify.

Examples::

    python -m blend compare oof/ --metric auc                                  # a folder of CSVs, train.csv beside it
    python -m blend search oof/ --metric auc --method greedy --out blends/first
    python -m blend apply blends/first --template sample_submission.csv --submission submission.csv
    python -m blend search runs/leap_bilstm_tcn runs/leap_bilstm --method optuna --trials 500
    python -m blend show metrics
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn

from jsonargparse import ArgumentParser

from blend.settings import Inputs, Method, Output
from datamodules.commands import as_typed, refusals_as_sentences
from datamodules.errors import UsageError
from datamodules.help_lines import HelpLines
from datamodules.kaggle import Submit

# many small matrix products: threads of the matrix library would cost more than they save
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

BANK_HELP = "run, variant, seed or fold directory, bank folder, table (.csv, .tsv, .parquet, .npz, .npy), a folder or glob of these, or NAME=BANK"
METHODS = "single, equal, grow, remove, greedy, bagged, coordinate, convex, shrunk, nnls, stacker, committee, optuna, stack, per_group, per_target"

_LISTS = ("--methods", "--kinds", "--clips", "--allow_call")


class _Parser(ArgumentParser):
    """Says in one line what is wrong with a command line, and what a misspelt flag or command may have meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the program with status 2."""
        flags = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        if unknown := re.search(r"[Uu]nrecognized arguments: (--[\w.-]+)", message):
            message = f"there is no flag {unknown[1]}" + _meant(unknown[1], flags)
        elif wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            choices = re.findall(r"'([^']+)'", wrong[2]) or wrong[2].split(", ")
            message = f"there is no command {wrong[1]}" + (_meant(wrong[1], choices) or f"; it is {', '.join(choices)}")
        elif key := re.search(r'Parser key "(\w+)":\s*(.*)', message, flags=re.DOTALL):
            expected = re.sub(r"<class '(\w+)'>", r"\1", " ".join(key[2].split()))
            expected = re.sub(
                r"^Does not validate against .*? Errors: - (.*?) - Expected a NoneType.*$", r"\1", expected
            )
            message = f"--{key[1]}: " + re.sub(r"typing\.Literal\[([^\]]*)\]", r"one of \1", expected).replace(
                " a one", " one"
            )
        message = re.sub(r"\b(\w+)\.(weights|banks|paths)\b", r"\2", message).replace("weights, banks", "weights")
        print(f"error: {message} ({self.prog.replace(' [options]', '')} --help lists all)", file=sys.stderr)
        sys.exit(2)


def _meant(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def build_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog=as_typed("python -m blend"), description=__doc__, allow_abbrev=False, formatter_class=HelpLines
    )
    commands = parser.add_subcommands(dest="command")
    search = _command("find blend weights and say what they are worth", banks=True)
    search.add_argument("--method", default="convex", help=f"one of {METHODS}; `show` explains them")
    search.add_argument(
        "--recipe", type=Path | None, default=None, help="YAML file of a stack of blends, in place of BANK and --method"
    )
    _add(search, Inputs, Method, Output)
    commands.add_subcommand("search", search, help=search.description)
    compare = _command("run all methods that can win and recommend one", banks=True)
    compare.add_argument(
        "--methods",
        type=list[str] | None,
        default=None,
        help="such as equal,convex,greedy; default: all that can win",
    )
    _add(compare, Inputs, Method, Output)
    commands.add_subcommand("compare", compare, help=compare.description)
    apply = _apply_parser()
    commands.add_subcommand("apply", apply, help=apply.description)
    show = _command("explain weights, a study, banks, the methods, or (show metrics) the metrics", banks=True)
    _add(show, Inputs)
    commands.add_subcommand("show", show, help=show.description)
    verify = _command("read banks (and stores and shards) whole and compare their checksums", banks=False)
    verify.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="bank, run, or any folder of them")
    commands.add_subcommand("verify", verify, help=verify.description)
    return parser


def _command(description: str, banks: bool) -> ArgumentParser:
    parser = _Parser(description=description, allow_abbrev=False, formatter_class=HelpLines)
    if banks:
        parser.add_argument("banks", metavar="BANK", nargs="*", help=BANK_HELP)
        parser.add_argument("--config", action="config", help="YAML file of flags; the command line wins over it")
    return parser


def _apply_parser() -> ArgumentParser:
    parser = _command("blend new predictions with fitted weights", banks=False)
    parser.add_argument("weights", type=Path, help="weights.json of a search, or its folder")
    parser.add_argument(
        "banks",
        metavar="BANK",
        nargs="*",
        help=f"predictions of the fitted models ({BANK_HELP}); none = look in their run directories or beside their tables",
    )
    parser.add_argument(
        "--predictions",
        default="test",
        help="name of the predictions in the run directories; oof = the out-of-fold rows",
    )
    parser.add_argument("--out", type=Path | None, default=None, help="bank folder to write")
    parser.add_argument("--submission", type=Path | None, default=None, help="file to write for the judge")
    parser.add_argument(
        "--template",
        type=Path | None,
        default=None,
        help="the judge's sample submission: its rows and columns are written",
    )
    parser.add_argument("--groups", type=Path | None, default=None, help="CSV with the columns row_id and group")
    parser.add_argument(
        "--allow_call",
        type=list[str],
        default=[],
        help="functions that the weights' steps may call, such as package.module:function; a file alone may name no code",
    )
    parser.add_argument("--id", type=str | None, default=None, help="column of the row ids in test tables")
    parser.add_argument("--prediction", type=str | None, default=None, help="column of the predictions in test tables")
    parser.add_argument(
        "--ids",
        type=Path | None,
        default=None,
        help="file with the ids of the rows, for .npy files and tables without any",
    )
    parser.add_argument(
        "--rows",
        type=Literal["equal", "intersect"],
        default="equal",
        help="intersect: blend the rows that all tables have",
    )
    _add(parser, Submit)
    return parser


def _add(parser: ArgumentParser, *groups: type[Any]) -> None:
    for group in groups:
        parser.add_class_arguments(group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        Exit status: 0; 1 for wrong data and 2 for a wrong command line, each with one sentence; 130 after Ctrl-C, 143 after
        SIGTERM. Anything else that goes wrong is a bug and keeps its traceback.
    """
    parsed = build_parser().parse_args(_lists(sys.argv[1:] if arguments is None else arguments))
    if parsed.command is None:
        build_parser().print_help()
        return 2
    flags = parsed[parsed.command]
    again = "the trials in its study" if flags.get("method") == "optuna" else "the beginning, nothing is half written"
    try:
        with refusals_as_sentences(f"the same command goes on from {again}"):
            try:
                kinds = (Inputs, Method, Output) if "metric" in flags else (Submit,) if "submit" in flags else ()
                groups = {kind: _group(kind, flags) for kind in kinds}
            except ValueError as error:
                raise UsageError(str(error)) from None
            return _run(parsed.command, flags, groups)
    except SystemExit as end:
        return int(end.code or 0)


def _lists(words: Sequence[str]) -> list[str]:
    """Values of flags that are lists, also without the brackets: ``greedy`` and ``greedy,stacker``."""
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in _LISTS and equals:
            word = flag + equals + _bracketed(value)
        elif found and found[-1] in _LISTS:
            word = _bracketed(word)
        found.append(word)
    return found


def _bracketed(value: str) -> str:
    return value if value.startswith(("[", "--")) or value == "null" else f"[{value}]"


def _group(kind: type[Any], flags: Any) -> Any:
    return kind(**{name: flags[name] for name in kind.__dataclass_fields__ if name in flags})


def _run(command: str, flags: Any, groups: dict[type[Any], Any]) -> int:
    if command == "search":
        from blend.commands.search import search

        search(flags.banks, flags.method, flags.recipe, groups[Inputs], groups[Method], groups[Output])
    elif command == "compare":
        from blend.commands.compare import compare

        compare(flags.banks, flags.methods, groups[Inputs], groups[Method], groups[Output])
    elif command == "apply":
        from blend.commands.apply import apply
        from datamodules.banks.roles import TableFlags

        apply(
            flags.weights,
            flags.banks,
            flags.predictions,
            flags.out,
            flags.submission,
            flags.template,
            flags.groups,
            flags.allow_call,
            TableFlags(
                id=flags.id, prediction=(flags.prediction,) if flags.prediction else (), ids=flags.ids, rows=flags.rows
            ),
            groups[Submit],
        )
    elif command == "verify":
        from datamodules.verify import report

        return 1 if report(flags.paths) else 0
    else:
        from blend.commands.show import show

        show(flags.banks, groups[Inputs])
    return 0


def command(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console command: :func:`main` as a process.

    Args:
        arguments: Words of the command line; None for those of the process.
    """
    sys.exit(main(arguments))


if __name__ == "__main__":
    command()
