"""Who a run is: made once when it starts; record, resume check, bank manifest and inference read the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import sha256_of

HASHES = ("data", "training", "folds", "config")


@dataclass(frozen=True)
class RunIdentity:
    """Experiment, settings, data, fold and seed of a run.

    Args:
        experiment: Name of the experiment, or ``module:path`` of one outside this repository.
        variant: Name of the settings in the run directory.
        seed: Seed of weights, shuffling and dropout.
        fold: Number of the fold that is held out, or ``full``.
        data: Hash of the data's content.
        training: Hash of everything that is trained on, where that is more than ``data`` covers.
        folds: Hash of the fold table.
        config: Hash of ``settings``.
        settings: The settings that name the run, flat, by dotted name.
        checkpoint: SHA-256 of the checkpoint file that predicts; empty until there is one.
    """

    experiment: str
    variant: str
    seed: int
    fold: int | str
    data: str
    training: str
    folds: str
    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""

    @classmethod
    def read(cls, saved: Mapping[str, Any], checkpoint: Path | None = None) -> RunIdentity:
        """The identity that a checkpoint or a ``run.json`` carries, of this version or of 0.1.

        Args:
            saved: Its plain values.
            checkpoint: The file they came from.

        Raises:
            DataError: An entry is missing.
        """
        values = {**saved, **{name: value for name, value in saved.get("hashes", {}).items() if name in HASHES}}
        values |= {name: saved[f"{name}_hash"] for name in HASHES if f"{name}_hash" in saved}
        values.setdefault("variant", "")
        if checkpoint is not None:
            values["checkpoint"] = sha256_of(checkpoint)
        missing = [item.name for item in fields(cls) if item.name not in (*values, "settings", "checkpoint")]
        if missing:
            raise DataError(
                f"{checkpoint or 'run.json'} does not say its {missing[0]!r}; it was not written by this program"
            )
        return cls(**{item.name: values[item.name] for item in fields(cls) if item.name in values})

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes by name, those of a bank's manifest; the checkpoint's where there is one."""
        named = {name: getattr(self, name) for name in HASHES}
        return named | ({"checkpoint": self.checkpoint} if self.checkpoint else {})

    def plain(self) -> dict[str, Any]:
        """Plain values, for a checkpoint or a record."""
        return {**asdict(self), "settings": dict(self.settings)}

    def other(self, saved: RunIdentity) -> str:
        """What another run has that this one has not, in words; empty where both are of one experiment, data and folds.

        Settings are compared one by one, see :meth:`experiments.engine.cli.Settings.differing`.
        """
        if saved.experiment != self.experiment:
            return f"experiment {saved.experiment!r}"
        for name in ("seed", "fold"):
            if getattr(saved, name) != getattr(self, name):
                return f"{name} {getattr(saved, name)}"
        words = {"data": "other data", "training": "other training rows", "folds": "other folds"}
        return next((words[name] for name in words if getattr(saved, name) != getattr(self, name)), "")
