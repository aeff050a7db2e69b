"""Shares of a piece of work, written ``K/N``."""

from __future__ import annotations

from datamodules.errors import DataError


def parse_part(text: str) -> tuple[int, int]:
    """The two numbers of a share such as ``2/3``: which part, from 1 on, and of how many.

    Raises:
        DataError: Not two whole numbers, or a part that there is not.
    """
    part, slash, parts = text.partition("/")
    if not (slash and part.strip().isdecimal() and parts.strip().isdecimal()):
        raise DataError(f"--part is written K/N, such as 2/3, got {text!r}")
    if not 1 <= int(part) <= int(parts):
        raise DataError(f"--part {text}: there are the parts 1/{int(parts)} to {int(parts)}/{int(parts)}")
    return int(part), int(parts)
