"""The console command ``podium``: everything of the project by one name, from any folder."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("experiments", "datamodules", "lit_modules", "blend")


def main() -> None:
    """Hand over to ``python -m experiments``, once it is sure that the four packages are podium's own."""
    here = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parents[1] != here:
            found = (
                "is missing"
                if spec is None
                else f"is {spec.origin or next(iter(spec.submodule_search_locations or ()), '?')}"
            )
            sys.exit(
                f"error: podium's package {name!r} lies in {here}, but the one that Python finds first {found}; take that folder "
                "off PYTHONPATH, or start from another one"
            )
    from experiments.__main__ import main as run

    run(sys.argv[1:] or ["--help"])


if __name__ == "__main__":
    main()
