"""Models as others are given them: folders or Hub repositories of safetensors and JSON, each file checked by its hash."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import read_json, sha256_of

CONFIG, CHECKSUMS, WEIGHTS = "config.json", "checksums.json", "model.safetensors"
FORMAT = 1
"""Of ``config.json``; a program refuses what it does not know."""

_HUB = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+?)(@(?P<revision>[^/@]+))?(/(?P<member>[\w.-]+))?/?")
_REMEDY = "fetch it again from who shared it"


@dataclass(frozen=True)
class HubName:
    """``hf://user/name[@revision][/member]``.

    Args:
        name: ``user/name``.
        revision: Branch, tag or commit.
        member: One of several models; empty where there is one.
    """

    name: str
    revision: str
    member: str

    @classmethod
    def read(cls, place: str | Path) -> HubName | None:
        """The name that a place is; None for a path of this machine.

        Args:
            place: As it was given; a ``Path`` of an address has lost one slash.

        Raises:
            DataError: It begins as such a name and is none.
        """
        if not str(place).startswith("hf:/"):
            return None
        found = _HUB.fullmatch(str(place))
        if found is None:
            raise DataError(f"{place} is no name on the Hub; write hf://user/name, hf://user/name@revision or …/member")
        return cls(found["name"], found["revision"] or "main", found["member"] or "")

    @property
    def kept(self) -> Path:
        """Where predictions of a model belong that lies in the Hub's cache."""
        return Path("runs") / "hub" / self.name


@dataclass(frozen=True)
class Shared:
    """One shared model, with its files checked.

    Args:
        weights: ``model.safetensors``.
        saved: Plain values of the checkpoint it was made of.
        epoch: Passes over the training rows when that was written.
        home: Where its predictions belong.
    """

    weights: Path
    saved: Mapping[str, Any]
    epoch: int
    home: Path

    def checkpoint(self) -> dict[str, Any]:
        """Weights and statistics as a checkpoint has them."""
        from safetensors.torch import load_file

        return {"state_dict": load_file(self.weights), "epoch": self.epoch}


def find_shared(place: str | Path) -> Shared | None:
    """The shared model at a place; None where something else lies there, such as a run directory.

    Args:
        place: Folder that ``experiments/share.py`` wrote, or a model's folder in it, or ``hf://user/name[@revision][/member]``.

    Raises:
        DataError: A file is missing or is not what was shared, several models and none named, or the Hub is not reached.
    """
    name = HubName.read(place)
    if name is not None:
        fetch = _fetcher(name)
        folder = fetch(CONFIG).parent
        fetch(CHECKSUMS)
        return _open(folder, name.member, f"hf://{name.name}", name.kept, fetch)
    folder = Path(place)
    if (folder / WEIGHTS).is_file() and (folder.parent / CHECKSUMS).is_file():
        return _open(folder.parent, folder.name, str(folder.parent), folder.parent)
    if folder.is_dir() and ((folder / CHECKSUMS).is_file() or (folder / CONFIG).is_file()):
        return _open(folder, "", str(folder), folder)
    return None


def _open(folder: Path, member: str, shown: str, home: Path, fetch: Callable[[str], Path] | None = None) -> Shared:
    """Check what is read, and everything else that lies there too."""
    sums = read_json(folder / CHECKSUMS, _REMEDY)
    if not isinstance(sums, dict) or CONFIG not in sums:
        raise DataError(f"{folder / CHECKSUMS} does not list {CONFIG}; {_REMEDY}")
    _check(folder, CONFIG, sums)
    config = read_json(folder / CONFIG, _REMEDY)
    if config.get("format") != FORMAT:
        raise DataError(
            f"{shown} is of format {config.get('format')}, this program reads format {FORMAT}; update podium"
        )
    members = config["models"]
    if not member and len(members) > 1:
        raise DataError(f"{shown} holds {len(members)} models; name one: {', '.join(f'{shown}/{m}' for m in members)}")
    member = member or next(iter(members))
    if member not in members:
        raise DataError(f"{shown} has no model {member!r}; it has {', '.join(members)}")
    weights = f"{member}/{WEIGHTS}"
    if fetch is not None:
        fetch(weights)
    _check(folder, weights, sums)
    for name in sums:
        if name not in (CONFIG, weights) and (folder / name).exists():  # of the Hub only what is needed is fetched
            _check(folder, name, sums)
    about = members[member]
    return Shared(folder / weights, about["saved"], int(about["epoch"]), home / member)


def _check(folder: Path, name: str, sums: Mapping[str, str]) -> None:
    path = folder / name
    if name not in sums:
        raise DataError(f"{folder / CHECKSUMS} does not list {name}; {_REMEDY}")
    if not path.is_file():
        raise DataError(f"{path} is missing; {_REMEDY}")
    if sha256_of(path) != sums[name]:
        raise DataError(f"{path} is not the file that was shared (its SHA-256 is not that of {CHECKSUMS}); {_REMEDY}")


def _fetcher(name: HubName) -> Callable[[str], Path]:
    """Downloads files of one commit into the Hub's cache, where they stay."""
    from huggingface_hub import HfApi

    api, commit = HfApi(), name.revision

    def fetch(file: str) -> Path:
        nonlocal commit
        try:
            path = Path(api.hf_hub_download(name.name, file, revision=commit))
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise DataError(
                f"hf://{name.name}: {file} cannot be fetched ({reason}); check the name, the network, and HF_TOKEN if it is private"
            ) from None
        if file == CONFIG:
            commit = path.parent.name  # further files of the same commit, whatever the branch becomes meanwhile
        return path

    return fetch
