"""ClimSim on the Hugging Face Hub: which months there are, their files and sizes, and one file at a time to the disk."""

from __future__ import annotations

import errno
import logging
import random
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datamodules.errors import DataError

Resolution = Literal["low", "high"]

ATTEMPTS = 6
LISTING_ATTEMPTS = 2
"""The library repeats listings by itself, for about twenty seconds."""
FIRST_PAUSE = 2.0
"""Seconds before the second attempt; each further pause is twice as long."""
INCOMING = ".incoming"
"""Folder below the destination where files lie until they are complete."""

_FILE = re.compile(r"train/(\d{4}-\d{2})/[^/]+\.(mli|mlo)\.\d{4}-\d{2}-\d{2}-\d{5}\.nc")
_PERMANENT = (401, 403, 404, 410)


class FetchError(DataError):
    """One file could not be fetched; others may."""


@dataclass(frozen=True)
class Repository:
    """A public data set repository.

    Args:
        name: ``owner/name``.
        revision: Commit to take, or a branch that is resolved to its commit when a download begins.
    """

    name: str
    revision: str


REPOSITORIES: dict[Resolution, Repository] = {
    "low": Repository("LEAP/ClimSim_low-res", "bab82a2ebdc750a0134ddcd0d5813867b92eed2a"),
    "high": Repository("LEAP/ClimSim_high-res", "main"),
}


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it.

    Args:
        path: Below the repository's root, ``train/YYYY-MM/<name>``, and below the destination too.
        size: In bytes.
    """

    path: str
    size: int


class Hub:
    """Reads one repository; every failure becomes a sentence.

    Args:
        repository: What to read.
        endpoint: Address of the hub; by default the library's own, which ``HF_ENDPOINT`` changes.
    """

    def __init__(self, repository: Repository, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()  # one bar for all files instead of one for each
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        self.repository = repository
        self.endpoint = endpoint
        self._api = HfApi(endpoint=endpoint)
        self._stop = threading.Event()
        self.revision = repository.revision
        if re.fullmatch(r"[0-9a-f]{40}", self.revision) is None:
            info = self._ask(self._api.repo_info, repo_id=repository.name, revision=self.revision, repo_type="dataset")
            self.revision = str(info.sha)

    def months(self) -> list[str]:
        """Months that the repository has, ``YYYY-MM``, sorted."""
        names = (entry.path.removeprefix("train/") for entry in self._tree("train"))
        return sorted(name for name in names if re.fullmatch(r"\d{4}-\d{2}", name))

    def files(self, month: str) -> list[RemoteFile]:
        """All raw files of a month with their sizes."""
        entries = self._tree(f"train/{month}")
        return [RemoteFile(entry.path, int(entry.size)) for entry in entries if _FILE.fullmatch(entry.path)]

    def fetch(self, file: RemoteFile, destination: Path) -> None:
        """Download a file; it appears below the destination only with the listed size.

        The library takes up a connection that breaks where it broke, to the last ten megabytes, several times; then the
        whole attempt is repeated with growing pauses.

        Raises:
            FetchError: It stays incomplete or unreachable.
            DataError: The disk is full.
        """
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._fetch_once(file, destination)
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise DataError(f"the disk of {destination} is full; free some space and run again") from None
                if _status(error) in _PERMANENT or attempt == ATTEMPTS or self._stop.is_set():
                    raise FetchError(f"{file.path} ({_reason(error)})") from None
            self._stop.wait(pause * random.uniform(0.75, 1.25))  # workers do not all come back at once
            pause *= 2
        return None

    def stop(self) -> None:
        """Let downloads in progress end without further attempts."""
        self._stop.set()

    def _fetch_once(self, file: RemoteFile, destination: Path) -> None:
        from huggingface_hub import hf_hub_download

        # a folder for each file, so that the library's lock and bookkeeping vanish with it
        holder = destination / INCOMING / Path(file.path).stem
        arrived = Path(
            hf_hub_download(
                self.repository.name,
                file.path,
                repo_type="dataset",
                revision=self.revision,
                local_dir=holder,
                endpoint=self.endpoint,
            )
        )
        size = arrived.stat().st_size
        if size != file.size:
            shutil.rmtree(holder, ignore_errors=True)
            raise OSError(f"{size:,} bytes arrived where the hub lists {file.size:,}")
        target = destination / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(target)
        shutil.rmtree(holder, ignore_errors=True)

    def _tree(self, path: str) -> list[Any]:
        name = self.repository.name
        result: list[Any] = self._ask(
            lambda: list(self._api.list_repo_tree(name, path, revision=self.revision, repo_type="dataset"))
        )
        return result

    def _ask(self, call: Any, **arguments: Any) -> Any:
        """A request of the listing, repeated when it may help."""
        pause = FIRST_PAUSE
        for attempt in range(1, LISTING_ATTEMPTS + 1):
            try:
                return call(**arguments)
            except Exception as error:
                if _status(error) in _PERMANENT or attempt == LISTING_ATTEMPTS:
                    raise DataError(
                        f"{self.repository.name} cannot be listed: {_reason(error)}; "
                        "check the network, and HF_ENDPOINT if it is set"
                    ) from None
            self._stop.wait(pause * random.uniform(0.75, 1.25))
            pause *= 2
        return None


def _status(error: Exception) -> int | None:
    """HTTP status of an error of any of the clients that the library has used."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: Exception) -> str:
    status = _status(error)
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return f"HTTP status {status}, {text}" if status is not None else text
