"""torchvision's operators where its compiled library does not fit torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from lit_modules.torchvision_operators import DeclaresMissingOperators


@pytest.mark.parametrize("compiled", [True, False])
def test_operators_are_declared_where_the_library_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    operator = f"declared_in_a_test_{int(compiled)}"
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_meta_registrations.py").write_text(f'@torch.library.register_fake("torchvision::{operator}")\n')
    if compiled:
        (package / "_C.so").write_bytes(
            b"needs a CUDA library"
        )  # which is no library at all: dlopen refuses both alike
    monkeypatch.syspath_prepend(tmp_path)
    finder = DeclaresMissingOperators()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert finder.find_spec("torch", None) is None
    assert finder in sys.meta_path
    assert finder.find_spec("torchvision", None) is None
    assert finder not in sys.meta_path
    assert hasattr(torch.ops.torchvision, operator) == compiled
