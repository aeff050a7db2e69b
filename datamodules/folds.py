"""Folds are data: a table of keys and roles, computed once, written to a file, hashed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.text_tables import read_table

TRAIN, VALID, UNUSED = "train", "valid", "unused"


@dataclass(frozen=True)
class FoldTable:
    """Which rows (or groups of rows, such as time steps or files) each fold trains on and validates on.

    Args:
        keys: Unique text keys, one per row or group of rows.
        roles: ``(keys, folds)`` of ``train``, ``valid`` or ``unused`` (a gap between the two, say).
    """

    keys: npt.NDArray[np.str_]
    roles: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.roles):
            raise DataError(
                f"a fold table needs one role per key and fold: {len(self.keys)} keys, {len(self.roles)} role rows"
            )
        unique, counts = np.unique(self.keys, return_counts=True)
        if len(unique) != len(self.keys):
            raise DataError(
                f"fold table: key {str(unique[np.argmax(counts)])!r} stands {counts.max()} times; keys must be unique"
            )
        unknown = set(np.unique(self.roles)) - {TRAIN, VALID, UNUSED}
        if unknown:
            raise DataError(
                f"fold table: unknown role {str(sorted(unknown)[0])!r}; roles are {TRAIN}, {VALID} and {UNUSED}"
            )
        for fold in range(self.n_folds):
            for role in (TRAIN, VALID):
                if not (self.roles[:, fold] == role).any():
                    raise DataError(f"fold {fold} has no {role} row; choose other folds or give more data")

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.roles.shape[1])

    @property
    def hash(self) -> str:
        """SHA-256 of the table, free of the order of its rows."""
        digest = hashlib.sha256()
        for i in np.argsort(self.keys):
            digest.update("\t".join([self.keys[i], *self.roles[i]]).encode() + b"\n")
        return digest.hexdigest()

    def where(self, fold: int, role: str) -> npt.NDArray[np.int64]:
        """Positions of the keys with a role in a fold, ascending.

        Raises:
            DataError: the fold does not exist.
        """
        if not 0 <= fold < self.n_folds:
            raise DataError(f"--fold {fold} does not exist: this split has folds 0 to {self.n_folds - 1}")
        return np.flatnonzero(self.roles[:, fold] == role)

    def write(self, path: Path, full: bool = False) -> None:
        """Write the table as CSV: ``key, fold_0, fold_1, ...``; ``key, full`` for a run that trains on every row."""
        roles = {"full": TRAIN} if full else {f"fold_{f}": self.roles[:, f] for f in range(self.n_folds)}
        frame = pd.DataFrame({"key": self.keys} | roles)
        with atomic_path(path) as temporary:
            frame.to_csv(temporary, index=False)

    @classmethod
    def read(cls, path: Path) -> FoldTable:
        """Read a table that :meth:`write` wrote.

        Raises:
            DataError: The file is missing, cut or damaged.
        """
        try:
            table = read_table(path, ("key",))
        except DataError as error:
            raise DataError(f"{error}; this is a fold table: delete it or restore it") from None
        folds = [table.text(name) for name in table.names if name != "key"]
        if not folds:
            raise DataError(f"{path} has no column of roles beside its keys; delete it or restore it")
        return cls(table.text("key"), np.stack(folds, axis=1))

    @classmethod
    def from_assignment(cls, keys: npt.NDArray[np.str_], fold_of: npt.NDArray[np.int64]) -> FoldTable:
        """Ordinary K folds: key ``i`` is validated in fold ``fold_of[i]`` and trained on in all others."""
        n_folds = int(fold_of.max()) + 1
        roles = np.where(fold_of[:, None] == np.arange(n_folds)[None, :], VALID, TRAIN)
        return cls(np.asarray(keys, dtype=str), roles)


def time_blocks(times: npt.NDArray[np.int64], n_folds: int, gap: int) -> npt.NDArray[np.str_]:
    """Roles of contiguous time blocks with a gap, ``(len(times), n_folds)``.

    Args:
        times: Time of each key, ascending.
        n_folds: Number of blocks of about equal numbers of keys.
        gap: Keys closer than this to a validation block are not trained on, in the units of ``times``.
    """
    roles = np.full((len(times), n_folds), TRAIN, dtype="<U6")
    for fold, block in enumerate(np.array_split(np.arange(len(times)), n_folds)):
        if len(block) == 0:
            raise DataError(f"{n_folds} folds of {len(times)} time steps leave fold {fold} empty; use fewer folds")
        near = (times > times[block[0]] - gap) & (times < times[block[-1]] + gap)
        roles[near, fold] = UNUSED
        roles[block, fold] = VALID
    return roles
