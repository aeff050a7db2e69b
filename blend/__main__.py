"""Command line of the blend: ``python -m blend search | compare | apply | show | verify``.

Examples::

    python -m blend search runs/leap_bilstm_tcn runs/leap_bilstm --method optuna --trials 500
    python -m blend compare "runs/moa_*"
    python -m blend apply blends/convex --predictions test --submission submission.csv
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from blend.settings import Inputs, Method, Output

# many small matrix products: threads of the matrix library would cost more than they save
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

BANK_HELP = "run, variant, seed or fold directory, bank folder, .npz or .csv, a glob, or NAME=BANK"
METHODS = "single, equal, grow, remove, greedy, convex, nnls, mae, optuna, stack, per_group, per_target"


def build_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = ArgumentParser(prog="python -m blend", description=__doc__, allow_abbrev=False)
    commands = parser.add_subcommands(dest="command")
    search = _command("find blend weights and say what they are worth", banks=True)
    search.add_argument("--method", default="convex", help=f"one of {METHODS}; `show` explains them")
    search.add_argument(
        "--recipe", type=Path | None, default=None, help="YAML file of a stack of blends, in place of BANK and --method"
    )
    _add(search, Inputs, Method, Output)
    commands.add_subcommand("search", search)
    compare = _command("run all methods and recommend the simplest good one", banks=True)
    compare.add_argument(
        "--methods", type=list[str] | None, default=None, help="such as [equal, convex, greedy]; default: all that fit"
    )
    _add(compare, Inputs, Method, Output)
    commands.add_subcommand("compare", compare)
    commands.add_subcommand("apply", _apply_parser())
    show = _command("explain weights, a study, banks, or the methods", banks=True)
    _add(show, Inputs)
    commands.add_subcommand("show", show)
    verify = _command("read banks (and stores and shards) whole and compare their checksums", banks=False)
    verify.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="bank, run, or any folder of them")
    commands.add_subcommand("verify", verify)
    return parser


def _command(description: str, banks: bool) -> ArgumentParser:
    parser = ArgumentParser(description=description, allow_abbrev=False)
    if banks:
        parser.add_argument("banks", metavar="BANK", nargs="*", help=BANK_HELP)
        parser.add_argument("--config", action="config", help="YAML file of flags; the command line wins over it")
    return parser


def _apply_parser() -> ArgumentParser:
    parser = ArgumentParser(description="blend new predictions with fitted weights", allow_abbrev=False)
    parser.add_argument("weights", type=Path, help="weights.json of a search, or its folder")
    parser.add_argument(
        "banks",
        metavar="BANK",
        nargs="*",
        help=f"predictions of the fitted models ({BANK_HELP}); none = look in their run directories",
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
    return parser


def _add(parser: ArgumentParser, *groups: type[Any]) -> None:
    for group in groups:
        parser.add_class_arguments(group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a wrong input ends in one sentence and exit code 2."""
    parsed = build_parser().parse_args(None if arguments is None else list(arguments))
    flags = parsed[parsed.command]
    try:
        return _run(parsed.command, flags)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(command: str, flags: Any) -> int:
    def group(kind: type[Any]) -> Any:
        return kind(**{name: flags[name] for name in kind.__dataclass_fields__})

    if command == "search":
        from blend.commands.search import search

        search(flags.banks, flags.method, flags.recipe, group(Inputs), group(Method), group(Output))
    elif command == "compare":
        from blend.commands.compare import compare

        compare(flags.banks, flags.methods, group(Inputs), group(Method), group(Output))
    elif command == "apply":
        from blend.commands.apply import apply

        apply(flags.weights, flags.banks, flags.predictions, flags.out, flags.submission, flags.template, flags.groups)
    elif command == "verify":
        from datamodules.verify import report

        return 1 if report(flags.paths) else 0
    else:
        from blend.commands.show import show

        show(flags.banks, group(Inputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
