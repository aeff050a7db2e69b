"""Stands in for the package where a file of this folder is run as a script: Python then looks here first.

It makes way for the package of this checkout, installed or not, and where the libraries are missing it says so in a sentence.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[1]

if any(find_spec(name) is None for name in ("lightning", "jsonargparse", "pandas", "yaml")):
    sys.exit(f"error: podium's libraries are not installed in {sys.executable}: pip install -e {_REPOSITORY}")
del sys.modules["experiments"]
sys.path[:] = [
    str(_REPOSITORY),
    *(path for path in sys.path if Path(path or ".").resolve() != _REPOSITORY / "experiments"),
]
import experiments  # noqa: E402, F401
