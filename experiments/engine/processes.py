"""Which of several training processes this is, before the Trainer exists."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only


def is_first_process() -> bool:
    """Whether this process writes the files that all share (Lightning reads the launcher's environment)."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0
