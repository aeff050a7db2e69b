"""How ``--help`` shows a docstring (apart from commands.py, because this imports jsonargparse)."""

from __future__ import annotations

import re
from argparse import Action

from jsonargparse import DefaultHelpFormatter


class HelpLines(DefaultHelpFormatter):
    """Fills the paragraphs of a description, keeps the lines of its examples, and takes the markup out."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.strip().replace("``", "").replace("::\n", ":\n").split("\n\n")
        filled = super()._fill_text
        return "\n\n".join(part if part.startswith(" ") else filled(part, width, indent) for part in parts)

    def _get_type_str(self, action: Action) -> str | None:
        kind = super()._get_type_str(action)
        return None if kind is None else re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
