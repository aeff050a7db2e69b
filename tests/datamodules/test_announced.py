"""Long phases announce themselves."""

from __future__ import annotations

import time

import pytest

from datamodules.commands import announced


def test_a_long_phase_says_what_it_does_and_a_short_one_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with announced("a short phase", after=5):
        pass
    with announced("a long phase", after=0.01):
        time.sleep(0.3)
    assert capsys.readouterr().out == "a long phase ...\n"
