"""timm, imported when a net is built and not before."""

from __future__ import annotations

import re
from types import ModuleType

import torch

_SCHEMA = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"


def import_timm() -> ModuleType:
    """The module ``timm``, also where torchvision's compiled operators do not fit torch.

    timm imports torchvision for its image transforms. The wheels of torchvision that package indexes serve are built
    against CUDA; beside a CPU-only torch their operators do not load, and torchvision's import then ends in a
    ``RuntimeError``, because it describes operators (non-maximum suppression of boxes) that nobody has defined. No net
    here uses them, so they are declared without a body and the import is tried again.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason.
    """
    while True:
        try:
            import timm
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing[1], _SCHEMA)
        else:
            module: ModuleType = timm
            return module
