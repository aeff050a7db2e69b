"""Command lines of which a part is ours and the rest another command's."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser


def split_words(parser: ArgumentParser, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that a parser knows, each option with its value, and all others in their order.

    Args:
        parser: Its options take one value each.
        words: The command line.
    """
    known = {option for action in parser._actions for option in action.option_strings}
    own: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word in ("-h", "--help"):
            own.append(word)
        elif word in known:
            own += [word, *([value] if (value := next(remaining, None)) is not None else [])]
        elif word.partition("=")[0] in known:
            own.append(word)
        else:
            rest.append(word)
    return own, rest
