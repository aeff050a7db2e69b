"""torchvision beside a torch that its compiled operators do not fit, such as a CPU-only one."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_SCHEMA = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"


class DeclaresMissingOperators(MetaPathFinder):
    """Declares torchvision's operators just before its import, where its compiled library cannot be loaded.

    The wheels of torchvision that PyPI serves for Linux are built against CUDA. Beside a CPU-only torch their library does not
    load, and the import ends in ``RuntimeError: operator torchvision::nms does not exist``, because it describes operators that
    nobody has defined. TorchMetrics (and so Lightning) and timm import torchvision for image transforms; no net here uses
    the operators, so they are declared without a body.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leave the import to the finders that follow."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = PathFinder.find_spec(fullname)
            if spec is not None and spec.origin is not None:
                _declare(Path(spec.origin).parent)
        return None


def _declare(folder: Path) -> None:
    import torch

    library, described = folder / "_C.so", folder / "_meta_registrations.py"
    if not library.is_file() or not described.is_file():
        return
    try:
        torch.ops.load_library(str(library))  # torchvision does the same a moment later, which then costs nothing
    except OSError:
        for operator in re.findall(r'register_fake\("(torchvision::\w+)"\)', described.read_text()):
            torch.library.define(operator, _SCHEMA)
