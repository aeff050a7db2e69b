"""Name the families of predicted maps: a bank of velocity maps in, a bank of probabilities and a table of groups out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from datamodules.banks.bank import PredictionBank, write_bank
from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.gwi.schema import FAMILIES, PLAUSIBLE, SIDE
from experiments.engine.inference import Trained
from experiments.engine.request import Request
from lit_modules.gwi.family_task import FamilyTask

_MOST = 512


def predict(request: Request, trained: Trained) -> None:
    """Write ``predictions/<name>-groups.csv`` (or ``request.submission``), which ``python -m blend ... --groups`` takes.

    Its columns are ``row_id``, ``group`` (the likeliest family) and ``probability``; its rows are the bank's. The bank of
    probabilities lies beside it. Of out-of-fold maps, whose families are known, the accuracy is printed.

    Raises:
        DataError: the input is no bank of velocity maps.
    """
    bank = _open(Path(request.input))
    assert isinstance(trained.task, FamilyTask)
    probabilities = _probabilities(trained.task, bank, min(request.batch_size, _MOST))
    folder = trained.predictions
    name = name_of(bank)
    best = probabilities.argmax(1)
    groups = pd.DataFrame(
        {
            "row_id": bank.index["row_id"].to_numpy(),
            "group": np.array(FAMILIES)[best],
            "probability": probabilities.max(1).round(4),
        }
    )
    table = request.submission or folder / f"{name}-groups.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(table) as temporary:
        groups.to_csv(temporary, index=False)
    if request.bank:
        _keep(folder / name, trained, bank, probabilities)
        print(f"probabilities of {len(groups):,} maps: {folder / name}")
    if "group" in bank.index and bank.index["group"].isin(FAMILIES).all():
        print(
            f"{(bank.index['group'].to_numpy() == groups['group'].to_numpy()).mean():.1%} are the families that the bank names"
        )
    counts = groups["group"].value_counts()
    print("families: " + ", ".join(f"{family} {counts[family]:,}" for family in FAMILIES if family in counts))
    print(f"groups: {table}")


def name_of(bank: PredictionBank) -> str:
    """A name for what is predicted from a bank: experiment, variant, seed, and the bank's own folder."""
    m = bank.manifest
    parts = [
        m.experiment,
        m.variant,
        "" if m.seed is None else f"seed{m.seed}",
        *(f"fold{f}" for f in m.folds),
        bank.path.name,
    ]
    return "-".join(part for part in parts if part)


def _open(path: Path) -> PredictionBank:
    bank = PredictionBank(path)
    if bank.shape != (SIDE, SIDE):
        raise DataError(
            f"{path} predicts shape {bank.shape} per row; families are told from velocity maps ({SIDE}, {SIDE})"
        )
    return bank


@torch.no_grad()
def _probabilities(task: FamilyTask, bank: PredictionBank, size: int) -> npt.NDArray[np.float32]:
    low, high = PLAUSIBLE
    out = []
    with tqdm(total=len(bank.index), unit=" maps", desc="telling families") as bar:
        for start in range(0, len(bank.index), size):
            maps = bank.in_judge_units(slice(start, start + size))
            median = np.median(maps, axis=(1, 2))
            if not ((median >= low) & (median <= high)).all():
                row = int(np.argmin((median >= low) & (median <= high)))
                raise DataError(
                    f"{bank.path}, row {bank.index['row_id'].iloc[start + row]!r}: half of its values are no velocities in m/s "
                    f"(median {median[row]:.4g}); families are told from velocity maps"
                )
            probabilities = task.probabilities(torch.from_numpy(maps).float().to(task.device))
            out.append(probabilities.float().cpu().numpy())
            bar.update(len(maps))
    return np.concatenate(out)


def _keep(target: Path, trained: Trained, maps: PredictionBank, probabilities: npt.NDArray[np.float32]) -> None:
    extra = {"trained_on_fold": trained.identity.fold, "maps": str(maps.path)}
    manifest = trained.manifest(targets=list(FAMILIES), extra=extra)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bank(target, probabilities, maps.index[["row_id", "fold"]], manifest)
