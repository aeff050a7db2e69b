"""Commands beside the experiments: a typed request is the interface, its docstring the help."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from datamodules.commands import as_typed, plain_help, refusals_as_sentences

Request = TypeVar("Request")


def run_command(
    kind: type[Request],
    function: Callable[[Request], object],
    program: str,
    description: str | None,
    argv: Sequence[str] | None = None,
    positional: str | None = None,
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Parse the command line into a request and run it.

    The exit status is 2 for a command line that cannot be, 1 for data that cannot be used, 128 + signal for a signal.

    Args:
        kind: Dataclass of the request; its own checks raise ValueError.
        function: What to do with it; it imports torch, not its module.
        program: Shown in the usage line, such as ``python experiments/predict.py``.
        description: Shown by ``--help``.
        argv: Arguments instead of the command line's.
        positional: Name of a list field that takes the words without a flag.
        aliases: Older names of flags and what they are called now, such as ``{"--weights": "--template"}``.
    """
    from jsonargparse import ArgumentParser

    from experiments.engine.launch.settings import spell_out

    parser = ArgumentParser(prog=as_typed(program), description=description, allow_abbrev=False)
    if positional is not None:
        parser.add_argument(positional, nargs="+", type=str, help="names")
    parser.add_class_arguments(kind, as_group=False, skip={positional} if positional else None)
    plain_help(parser)
    words = [renamed(word, aliases or {}) for word in (sys.argv[1:] if argv is None else argv)]
    try:
        arguments = parser.parse_args(spell_out(words))
        request = kind(**parser.instantiate_classes(arguments).as_dict())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with refusals_as_sentences():
        function(request)


def renamed(word: str, aliases: Mapping[str, str]) -> str:
    """A word of the command line under the name that its flag has now."""
    flag, equals, value = word.partition("=")
    return aliases.get(flag, flag) + equals + value
