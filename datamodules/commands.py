"""What all command lines share: functions as sub-commands, help in plain words, refusals as sentences (no torch here)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from datamodules.errors import DataError, UsageError
from datamodules.signals import ending_with_status

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def run_commands(
    program: str,
    description: str | None,
    commands: Mapping[str, Callable[..., None]],
    argv: Sequence[str] | None = None,
) -> None:
    """Run one of several functions as a sub-command: its signature is the interface, its docstring the help.

    Args:
        program: Shown in the usage line, such as ``python -m datamodules.leap``.
        description: Shown by ``--help``.
        commands: The functions by name; what is true or false is a switch.
        argv: Arguments instead of the command line's.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=as_typed(program), description=description, allow_abbrev=False)
    plain_help(parser)  # which hands its formatter on
    choices = parser.add_subcommands(dest="command")
    for name, function in commands.items():
        choices.add_subcommand(name, _parser_of(function), help=_summary(function))
    chosen = parser.parse_args(None if argv is None else list(argv))
    with refusals_as_sentences():
        commands[chosen.command](**chosen[chosen.command].as_dict())


def as_typed(program: str) -> str:
    """A program as this user calls it: ``podium predict`` for ``python experiments/predict.py`` where podium was called.

    Args:
        program: As it is called in a checkout.
    """
    if Path(sys.argv[0]).stem != "podium":
        return program
    for written, typed in (
        (r"^python experiments/(\w+)\.py", r"podium \1"),
        (r"^python -m experiments ", "podium "),
        (r"^python -m datamodules\.", "podium data "),
        (r"^python -m ", "podium "),
    ):
        program = re.sub(written, typed, program)
    return program


def plain_help(parser: ArgumentParser, more: Mapping[str, str] | None = None) -> None:
    """Take the docstrings' markup out of ``--help``, and keep the lines of their examples.

    Args:
        parser: With all its arguments.
        more: What is said of some flags behind their own text.
    """
    from datamodules.help_lines import HelpLines

    parser.formatter_class = HelpLines
    for action in parser._actions:
        if isinstance(action.help, str):
            own = next((more[flag] for flag in action.option_strings if more and flag in more), "")
            action.help = action.help.replace("``", "") + own
    for group in parser._action_groups:
        if isinstance(group.title, str):
            group.title = group.title.replace("``", "")


@contextmanager
def announced(what: str, after: float = 3.0) -> Iterator[None]:
    """Say what is going on, once it takes long; a phase that is over before says nothing.

    Args:
        what: The phase in words, such as ``statistics of the training rows``.
        after: Seconds until it is said.
    """
    timer = Timer(after, print, (f"{what} ...",), {"flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def refusals_as_sentences(again: str = "the same command goes on from what is done") -> Iterator[None]:
    """End the program with one sentence where data or the machine refuse (status 1) or the command line does (2); everything else is a bug and shows so.

    Args:
        again: How to go on after a signal.
    """
    if (
        not sys.stderr.isatty()
    ):  # a log file wants a few lines of a bar, not hundreds of updates; tqdm reads it when imported
        os.environ.setdefault("TQDM_MININTERVAL", "15")
    with ending_with_status(again):
        try:
            yield
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
        except OSError as error:  # a full disk, a folder that cannot be made, a file that vanished
            if error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename else ""
            print(f"error: {where}{error.strerror}; mend it, and the same command goes on", file=sys.stderr)
            raise SystemExit(1) from None


def _parser_of(function: Callable[..., None]) -> ArgumentParser:
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    switches: set[str | int] = {name for name, kind in function.__annotations__.items() if kind in (bool, "bool")}
    parser = ArgumentParser(description=_summary(function), allow_abbrev=False)
    parser.add_function_arguments(function, as_positional=True, skip=switches)
    for parameter in parse(function.__doc__ or "").params:
        if parameter.arg_name in switches:
            parser.add_argument(f"--{parameter.arg_name}", action="store_true", help=parameter.description)
    plain_help(parser)
    return parser


def _summary(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").partition("\n")[0]
