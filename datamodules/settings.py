"""Settings that say beside each field what values it may have and whether it names a run (no torch here: ``--help``)."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Iterator
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, ClassVar

from datamodules.files import sha256_of

_RULES = {
    "low": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "high": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}


def setting(
    default: Any = MISSING,
    *,
    names_run: bool = True,
    reads_rows: bool = False,
    at_prediction: bool = False,
    **limits: float,
) -> Any:
    """A dataclass field with what is known of it beyond its type.

    Args:
        default: Value where nothing is given.
        names_run: Whether another value makes another run; hardware, paths of derived files and display do not.
        reads_rows: Whether it changes how a raw row is read, so that prediction must read with the value of training.
        at_prediction: Whether ``predict.py`` may be given another value than training's.
        limits: ``low`` and ``high`` (inclusive), ``above`` and ``below`` (exclusive) bounds of a number, or of each
            number of a tuple. None is always allowed where it is the default.
    """
    unknown = set(limits) - set(_RULES)
    if unknown:
        raise TypeError(f"setting() has no limit {min(unknown)!r}")
    known = {"names_run": names_run, "reads_rows": reads_rows, "at_prediction": at_prediction, "limits": limits}
    return field(default=default, metadata=known)


class Checked:
    """Base of a settings dataclass whose fields are checked against the limits that stand beside them.

    Attributes:
        group: Prefix of the fields on the command line, such as ``data`` for ``--data.n_folds``; empty for flat flags.
    """

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse values outside the limits.

        Raises:
            ValueError: One sentence that names the flag, its limit and the value.
        """
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, list):
                value = tuple(value)
                setattr(self, item.name, value)
            if any(not math.isfinite(number) for number in _numbers(value)):
                raise ValueError(f"{self.flag(item.name)} must be a finite number, got {value}")
            for limit, bound in item.metadata.get("limits", {}).items():
                passes, words = _RULES[limit]
                if not all(passes(number, bound) for number in _numbers(value)):
                    raise ValueError(f"{self.flag(item.name)} must be {words} {bound:g}, got {value}")

    @classmethod
    def flag(cls, name: str) -> str:
        """A field as a user writes it, such as ``--data.n_folds``."""
        return f"--{cls.group}.{name}" if cls.group else f"--{name}"


def _numbers(value: Any) -> Iterator[float]:
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            yield number


def naming_values(settings: Any, prefix: str = "") -> dict[str, Any]:
    """The fields that name a run by dotted name; a path counts by what it points to, not by where that lies.

    Args:
        settings: A settings dataclass.
        prefix: Put before every name, such as ``data.``.
    """
    return {
        f"{prefix}{item.name}": plain(getattr(settings, item.name), by_content=True)
        for item in fields(settings)
        if item.metadata.get("names_run", True)
    }


def plain(value: Any, by_content: bool = False) -> Any:
    """A setting as JSON and YAML know it: no tuples, no paths.

    Args:
        value: Value of a field.
        by_content: Replace a path by a digest of what it points to.
    """
    if isinstance(value, list | tuple):
        return [plain(item, by_content) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item, by_content) for name, item in value.items()}
    if isinstance(value, Path):
        return content_digest(value) if by_content else str(value)
    return value


def content_digest(path: Path) -> str:
    """What a path points to, in 16 hexadecimal digits, the same wherever it lies.

    A file counts by its bytes; a folder of runs or banks by their manifests and checkpoints; any other folder by names and
    sizes of its files. A path that points to nothing counts by its name.
    """
    path = Path(path)
    if path.is_file():
        return sha256_of(path)[:16]
    digest = hashlib.sha256()
    if not path.is_dir():
        digest.update(path.name.encode())
        return digest.hexdigest()[:16]
    telling = sorted(p for p in path.rglob("*") if p.name == "manifest.json" or p.suffix == ".ckpt")
    for file in telling:
        digest.update(f"{file.relative_to(path)}:{sha256_of(file)}\n".encode())
    if not telling:
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path)}:{file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
