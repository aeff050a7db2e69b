"""Files that appear whole or not at all, and small files read against a schema."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from datamodules.errors import DataError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOENT,
    errno.EIO,
    errno.ENAMETOOLONG,
)
LFS_POINTER = (b"version https://git-lfs", "a Git-LFS pointer, not the file itself; fetch it with git lfs pull")
"""How it begins, and what to say of it."""
_SCRATCH = ".scratch"
_SEAL = "checksum"


def shipped(path: Path | str) -> Path:
    """The path itself where it exists, else the file that podium brings under this name, installed or not.

    Args:
        path: Such as ``experiments/tables/moa.yaml`` or ``blend/recipes/leap_1st.yaml``, from whatever folder.
    """
    own = Path(__file__).resolve().parents[1] / path
    return own if not Path(path).exists() and own.is_file() else Path(path)


def refuse_lfs_pointer(path: str | Path) -> None:
    """Name a pointer that Git LFS left in the place of a file as what it is; what cannot be opened is left to its reader.

    Raises:
        DataError: It is one.
    """
    begins, what = LFS_POINTER
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(len(begins)) == begins:
            raise DataError(f"{path} is {what}")


def disk_full_sentence(what: str) -> str:
    """What to tell when the disk or a quota is full while ``what`` is written."""
    return f"the disk is full: {what} was not written; free some space and run again"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses while ``path`` is written into one sentence that names it.

    Raises:
        DataError: The disk is full, the place cannot be written to, or a file vanished.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DataError(disk_full_sentence(str(path))) from error
        if error.errno not in _REFUSED:  # such as an error of the network while a file is fetched
            raise
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise DataError(f"{path} cannot be written: {error.strerror or error}{where}; choose another place") from error


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that belongs to this process alone and is removed afterwards.

    Its name is random, and the process holds a lock on it while it lives. What a killed process left is therefore told
    from what a living one works in, and removed by the next that asks for scratch beside the same ``path``.

    Args:
        path: File or folder that is to be made with the help of the scratch.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    left_over = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}" + re.escape(_SCRATCH))
    for folder in [entry for entry in path.parent.iterdir() if left_over.fullmatch(entry.name)]:
        with _locked(folder) as ours:
            if ours:
                shutil.rmtree(folder, ignore_errors=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SCRATCH, dir=path.parent))
        with _locked(folder) as ours:
            if ours is False or not folder.is_dir():  # another process took it for left over before it was locked
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool | None]:
    """Whether the folder is locked by this process now; None where the file system knows no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        except OSError:
            yield None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` (file or folder) that takes its name on success and vanishes on failure.

    Raises:
        DataError: What the file system refused, such as a full disk; names ``path``.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        work = holder / path.name
        try:
            yield work
            _take_name(work, path, holder)
        finally:
            shutil.rmtree(holder, ignore_errors=True)


def _take_name(work: Path, path: Path, holder: Path) -> None:
    """Rename ``work`` to ``path``; a folder that holds files cannot be renamed over, it steps aside into ``holder``."""
    for attempt in range(100):
        if path.is_dir() and work.is_dir():
            with contextlib.suppress(FileNotFoundError):
                path.rename(holder / f"replaced-{attempt}")
        try:
            work.replace(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process put its own there meanwhile
                raise
        else:
            return
    raise DataError(f"{path} is replaced by other processes all the time; let one of them finish")


def fsync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any, sealed: bool = False) -> None:
    """Write ``content`` as indented JSON, atomically and flushed to the disk.

    Args:
        path: The file.
        content: Plain values.
        sealed: Add a checksum of a mapping, which :func:`read_json` compares and takes out again.
    """
    if sealed:
        content = {**content, _SEAL: _checksum(content)}
    with atomic_path(path) as temporary, temporary.open("w") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _checksum(content: Any) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; a file of any size is read piece by piece."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, remedy: str = "delete it or restore it") -> Any:
    """Read one JSON file.

    Raises:
        DataError: The file is missing, empty, cut or not JSON, or is not what was written; names the file and the line.
    """
    try:
        content = json.loads(Path(path).read_text())
        if isinstance(content, dict) and _SEAL in content and content.pop(_SEAL) != _checksum(content):
            raise DataError(
                f"{path} was damaged or changed since it was written; {remedy} (who changed it on purpose deletes its {_SEAL!r})"
            )
        return content
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON (line {error.lineno}): {error.msg}; {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DataError(f"{path} cannot be read: {reason}; {remedy}") from None


def read_record(path: Path, kind: type[T], remedy: str, version: tuple[str, int] | None = None) -> T:
    """Read a JSON file against the schema that a dataclass is.

    Args:
        path: The file.
        kind: Dataclass whose annotations are the schema; nested dataclasses and containers are checked too. Entries
            that it does not know are left out, so that files of later versions with more in them can be read.
        remedy: What to do about a damaged file, the end of the sentence.
        version: Name and value of the entry that tells the format.

    Raises:
        DataError: The file is missing, empty, cut, of another format, or an entry is missing or of the wrong type;
            names the file and the entry.
    """
    content = read_json(path, remedy)
    if version is not None and isinstance(content, dict) and content.get(version[0], version[1]) != version[1]:
        found = content[version[0]]
        raise DataError(f"{path} is of format {found}, this program reads format {version[1]}; {remedy}")
    return as_record(content, kind, path, remedy)


def as_record(content: Any, kind: type[T], path: Path, remedy: str) -> T:
    """What a file held, as JSON knows it, against the schema that a dataclass is; see :func:`read_record`.

    Raises:
        DataError: An entry is missing, of the wrong type, or refused by the dataclass; names the file and the entry.
    """
    from pydantic import ValidationError

    try:
        record: T = _adapter(cast(Any, kind)).validate_json(json.dumps(content, default=str), strict=True)
        return record
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        entry = ".".join(map(str, first["loc"]))
        problem = "is missing" if first["type"] == "missing" else f"is not as expected: {first['msg']}"
        raise DataError(f"{path}: {f'the entry {entry!r}' if entry else 'its content'} {problem}; {remedy}") from None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


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
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a mapping of names to values")
    return content


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1
