"""From a bank of velocity maps to a bank of refined ones: which rows, what is done already, the new bank, the gain."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from datamodules.banks.bank import BankError, PredictionBank, write_bank
from datamodules.banks.groups import read_groups
from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, write_json
from datamodules.gwi.refinement.descent import Descent, Refined
from datamodules.gwi.refinement.gauss_newton import NEAR, TEXTURED, GaussNewton
from datamodules.gwi.refinement.inversion import stages_near
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.refinement.priors import prior_of
from datamodules.gwi.refinement.recorded import Recorded
from datamodules.gwi.refinement.side_by_side import Job, refine_maps
from datamodules.gwi.schema import SIDE, family_name, is_style
from datamodules.gwi.simulator import Simulator

_SETTINGS = "settings.json"


@dataclass
class Plan:
    """The rows to refine and where finished ones wait.

    Attributes:
        bank: Whose maps are refined.
        out: Bank folder to write.
        index: Rows of the new bank; ``group`` is the family.
        positions: Positions of these rows in the old bank.
        settings: Settings of the descent.
        gauss_newton: Whether Gauss-Newton steps come before it.
    """

    bank: PredictionBank
    out: Path
    index: pd.DataFrame
    positions: npt.NDArray[np.int64]
    settings: Descent
    gauss_newton: bool = False

    @classmethod
    def of(
        cls,
        path: Path,
        out: Path | None,
        groups: Path | None,
        most_per_family: int | None,
        settings: Descent,
        gauss_newton: bool = False,
    ) -> Plan:
        """Open a bank and choose its rows.

        Raises:
            BankError: no bank of velocity maps, or rows whose family nobody tells.
        """
        folder = path if (path / "manifest.json").is_file() or not (path / "bank").is_dir() else path / "bank"
        bank = PredictionBank(folder)
        if bank.shape != (SIDE, SIDE):
            raise BankError(f"{folder} holds predictions of shape {bank.shape}; velocity maps are {(SIDE, SIDE)}")
        index = bank.index.copy()
        index["group"] = _families(bank, groups)
        if most_per_family is not None:
            index = index[index.groupby("group").cumcount() < most_per_family]
        positions = index.index.to_numpy(dtype=np.int64)
        target = out or folder.with_name(f"{folder.name}_refined")
        return cls(bank, target, index.reset_index(drop=True), positions, settings, gauss_newton)

    @property
    def parts(self) -> Path:
        """Folder of the finished maps, removed once the bank is written."""
        return self.out.with_name(f".{self.out.name}.parts")

    def file(self, row: int) -> Path:
        """Where a finished map waits."""
        return self.parts / f"{row:08d}.npz"

    def missing(self) -> int:
        """Maps that are not finished."""
        return 0 if (self.out / "manifest.json").is_file() else sum(not self.file(r).is_file() for r in self._rows())

    def _rows(self) -> range:
        return range(len(self.index))

    def identity(self) -> dict[str, Any]:
        """What the parts must have in common."""
        settings = asdict(self.settings)
        del settings["noise"]  # of one survey only, and not in what was written before
        method = {"gauss_newton": repr(NEAR)} if self.gauss_newton else {}
        if self.gauss_newton and any(is_style(family) for family in self.index["group"]):
            method["textured"] = repr(TEXTURED)
        return {"bank": digest(self.bank), "rows": len(self.index), "settings": settings, **method}


def digest(bank: PredictionBank) -> str:
    """SHA-256 of a bank's predictions and row ids."""
    value = hashlib.sha256("\n".join(bank.index["row_id"]).encode())
    for start in range(0, len(bank.predictions), 1000):
        value.update(np.ascontiguousarray(bank.predictions[start : start + 1000]).tobytes())
    return value.hexdigest()


def _families(bank: PredictionBank, groups: Path | None) -> list[str]:
    if groups is not None:
        return [family_name(str(name)) for name in read_groups(groups, bank.index["row_id"])]
    if "group" not in bank.index or (missing := bank.index["group"].isna()).all():
        raise BankError(f"{bank.path} does not say the families of its rows, on which the prior depends; give --groups")
    if missing.any():
        raise BankError(f"{bank.path} has no family for row {bank.index['row_id'][missing].iloc[0]!r}")
    return [family_name(str(name)) for name in bank.index["group"]]


def work(plan: Plan, data_dir: Path, part: int, parts: int, device: str, at_once: int) -> None:
    """Refine the rows of a part that are not finished.

    Args:
        plan: The rows.
        data_dir: Data dir of the recorded gathers.
        part: Part of the rows, from 1.
        parts: That there are.
        device: Device of the simulator.
        at_once: Maps side by side.

    Raises:
        DataError: the bank is of other data, or the unfinished maps were made with other settings.
    """
    if (plan.out / "manifest.json").is_file():
        extra = PredictionBank(plan.out).manifest.extra
        if extra.get("parent", {}).get("identity") != plan.identity():
            raise DataError(f"{plan.out} was refined from another bank or with other flags; remove it or give --out")
        print(f"{plan.out} is finished")
        return
    _claim(plan)
    simulator = Simulator().to(device)
    recorded = Recorded(data_dir, simulator)
    recorded.check(list(plan.index["row_id"]))
    rows = range(part - 1, len(plan.index), parts)
    left = [row for row in rows if not plan.file(row).is_file()]
    with tqdm(total=len(rows), initial=len(rows) - len(left), unit=" maps", desc="refining", smoothing=0.05) as bar:
        jobs = (_job(plan, row, recorded, simulator) for row in left)
        for row, result in refine_maps(jobs, plan.settings, at_once):
            _keep(plan, row, result)
            bar.set_postfix_str(f"{plan.index['row_id'][row]}: {_in_words(result)}", refresh=False)
            bar.update()


def _claim(plan: Plan) -> None:
    path = plan.parts / _SETTINGS
    if not path.is_file():
        write_json(path, plan.identity())
    elif read_json(path) != plan.identity():
        raise DataError(f"{plan.parts} holds maps of another bank or of other flags; remove it or give --out")


def _job(plan: Plan, row: int, recorded: Recorded, simulator: Simulator) -> Job:
    row_id, family = str(plan.index["row_id"][row]), str(plan.index["group"][row])
    start = plan.bank.in_judge_units(plan.positions[row : row + 1])[0]
    misfit, prior = Misfit(recorded.gathers(row_id), simulator), prior_of(family)
    if not plan.gauss_newton:
        return Job(row, start, misfit, prior)
    steps, begin = (
        GaussNewton(misfit, plan.settings.slowest, plan.settings.fastest),
        np.asarray(start, dtype=np.float64),
    )
    for stage in stages_near(prior):
        begin = steps(begin, stage)
    return Job(row, start, misfit, prior, begin)


def _keep(plan: Plan, row: int, result: Refined) -> None:
    with atomic_path(plan.file(row)) as path, path.open("wb") as file:
        np.savez(
            file,
            velocity=result.velocity.astype(np.float32),
            numbers=np.array([result.before, result.after, result.iterations]),
        )


def _in_words(result: Refined) -> str:
    return f"{result.before:.3g} to {result.after:.3g}, {result.iterations} iterations, {result.reason}"


def write(plan: Plan) -> PredictionBank:
    """Join the finished maps into a bank that names its parent."""
    if (plan.out / "manifest.json").is_file():
        return PredictionBank(plan.out)
    velocity = np.empty((len(plan.index), *plan.bank.shape), np.float32)
    numbers = np.empty((len(plan.index), 3), np.float32)
    for row in range(len(plan.index)):
        with np.load(plan.file(row), allow_pickle=False) as stored:
            velocity[row], numbers[row] = stored["velocity"], stored["numbers"]
    old = plan.bank.manifest
    truth = old.truth and os.path.relpath((plan.bank.path / old.truth).resolve(), plan.out.resolve())
    parent = {"path": os.path.relpath(plan.bank.path.resolve(), plan.out.resolve()), "identity": plan.identity()}
    manifest = replace(
        old, variant=f"{old.variant or 'default'}+refined", truth=truth, extra={**old.extra, "parent": parent}
    )
    extras = {"misfit_before": numbers[:, 0], "misfit_after": numbers[:, 1], "iterations": numbers[:, 2]}
    bank = write_bank(plan.out, velocity, plan.index, manifest, extras=extras)
    shutil.rmtree(plan.parts, ignore_errors=True)
    return bank


def report(bank: PredictionBank, plan: Plan) -> str:
    """Residuals before and after by family, and mean absolute errors where the truth is known."""
    before, after = (np.asarray(bank.extra(f"misfit_{when}")) for when in ("before", "after"))
    errors = _errors(plan, bank)
    lines = [f"{bank.path}: {len(bank.index):,} maps"]
    header = f"{'family':<14}{'maps':>7}{'iterations':>12}{'residual before':>17}{'after':>10}"
    lines.append(header + (f"{'MAE before':>12}{'after':>8}{'lower by':>10}{'maps better':>13}" if errors else ""))
    groups = bank.index["group"].to_numpy()
    for name in [*sorted(set(groups)), "all"]:
        held = groups == name if name != "all" else np.ones(len(groups), bool)
        steps = float(np.asarray(bank.extra("iterations"))[held].mean())
        line = f"{name:<14}{held.sum():>7}{steps:>12.1f}{before[held].mean():>17.5f}{after[held].mean():>10.5f}"
        if errors:
            old, new = (values[held] for values in errors)
            line += f"{old.mean():>12.2f}{new.mean():>8.2f}{1 - new.mean() / max(old.mean(), 1e-12):>10.1%}{(new <= old).mean():>13.0%}"
        lines.append(line)
    return "\n".join(lines)


def _errors(plan: Plan, bank: PredictionBank) -> Sequence[npt.NDArray[np.float64]] | None:
    """Mean absolute error of every map before and after, or None without truth."""
    if plan.bank.manifest.truth is None:
        return None
    truth = plan.bank.truth()
    places = pd.Index(truth.index["row_id"]).get_indexer(plan.index["row_id"])
    if (places < 0).any():
        raise BankError(f"{truth.path} has no row {plan.index['row_id'][int(np.argmax(places < 0))]!r}")
    out = np.empty((2, len(places)))
    for row, place in enumerate(places):
        true = truth.in_judge_units(np.array([place]))[0]
        for kind, (held, position) in enumerate(((plan.bank, plan.positions[row]), (bank, row))):
            out[kind, row] = np.abs(held.in_judge_units(np.array([position]))[0] - true).mean()
    return out[0], out[1]
