"""The exception of everything that reads data, and a helper for its sentences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Input data, or a store made from it, cannot be used as it is.

    The message is one sentence for the person who started the program: it names the file (row, column, key) and says
    what to do, so that a command may print it without a traceback.
    """


class UsageError(DataError):
    """The command line asks for what does not exist or does not go together: exit status 2 instead of 1."""


def nearest_name(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that looks most like ``name`` (whatever its case), for a hint at a renamed variable; None if none does."""
    lower = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return lower[near[0]] if near else None
