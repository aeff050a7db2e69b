"""LightningModules (loss, metrics, optimiser, schedule) and the plain nets they train."""

import sys

from lit_modules.torchvision_operators import DeclaresMissingOperators

if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, DeclaresMissingOperators())
