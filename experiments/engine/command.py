"""Commands beside the experiments: a typed request is the interface, its docstring the help."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

Request = TypeVar("Request")


def run_command(
    kind: type[Request],
    function: Callable[[Request], object],
    program: str,
    description: str | None,
    argv: Sequence[str] | None = None,
    positional: str | None = None,
) -> None:
    """Parse the command line into a request and run it; bad input ends the program with one sentence and status 1.

    Args:
        kind: Dataclass of the request.
        function: What to do with it; it imports torch, not its module.
        program: Shown in the usage line, such as ``python experiments/predict.py``.
        description: Shown by ``--help``.
        argv: Arguments instead of the command line's.
        positional: Name of a list field that takes the words without a flag.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=program, description=description, allow_abbrev=False)
    if positional is not None:
        parser.add_argument(positional, nargs="+", type=str, help="names")
    parser.add_class_arguments(kind, as_group=False, skip={positional} if positional else None)
    arguments = parser.parse_args(None if argv is None else list(argv))
    try:
        function(kind(**arguments.as_dict()))
    except ValueError as error:  # of the request's own checks, or a DataError; anything else is a bug
        from datamodules.errors import DataError

        if not isinstance(error, DataError) and not _raised_by(kind, error):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _raised_by(kind: type, error: ValueError) -> bool:
    """Whether a check in the request's module raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == kind.__module__
