"""What a domain adds to a blend: the writer of its submissions, and steps of its own for recipes.

A domain is a package with any of the modules ``submission`` (a function ``submit_bank(bank, path, template)``) and
``steps`` (a mapping ``STEPS`` from a step's name to a function that makes it from its YAML argument). The packages of
``datamodules`` are known; another distribution declares its own as an entry point, ``[project.entry-points."podium.domains"]
toy = "toy_package"``, or a program calls :func:`register_domain`. A manifest's ``domain`` is only looked up in these, so that
no file names code to import.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import datamodules

ENTRY_POINTS = "podium.domains"
_REGISTERED: dict[str, str] = {}


def register_domain(domain: str, package: str) -> None:
    """Name the package of a domain that is not installed as a distribution.

    Args:
        domain: As in manifests.
        package: Importable name.
    """
    _REGISTERED[domain] = package


def domain_package(domain: str) -> str | None:
    """The package of a domain, None where nobody declared one."""
    if domain in _REGISTERED:
        return _REGISTERED[domain]
    declared = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    own = {module.name for module in pkgutil.iter_modules(datamodules.__path__) if module.ispkg}
    return declared.get(domain) or (f"datamodules.{domain}" if domain in own else None)


def domain_hook(domain: str, module: str, name: str) -> Any | None:
    """What a domain's module declares, None where it declares nothing.

    Args:
        domain: As in manifests.
        module: ``submission`` or ``steps``.
        name: Name in the module.
    """
    package = domain_package(domain)
    if package is None or find_spec(f"{package}.{module}") is None:
        return None
    return getattr(import_module(f"{package}.{module}"), name, None)
