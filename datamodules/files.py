"""Atomic files: everything that is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.errors import DataError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` (file or folder) that takes its name on success and vanishes on failure.

    Raises:
        OSError: a full disk is reported as one sentence that names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    work = holder / path.name
    try:
        yield work
        if path.is_dir() and work.is_dir():  # a folder cannot be renamed over a folder that holds files
            path.rename(holder / "replaced")
        work.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC, f"the disk is full: {path} was not written; free some space and run again"
            ) from None
        raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that belongs to this process alone and vanishes at the end."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically and flushed to the disk."""
    with atomic_path(path) as temporary, temporary.open("w") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; a file of any size is read piece by piece."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        DataError: the file is not JSON, named in the sentence.
    """
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON (line {error.lineno}): {error.msg}; delete it or restore it"
        ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file that holds a mapping.

    Raises:
        DataError: The file is not there, or holds anything else.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a mapping of names to values")
    return content
