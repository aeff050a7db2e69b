"""From a BANK argument of the command line to the banks of one model.

A BANK is a bank folder, a fold directory (``.../fold0``), a seed directory (its folds are joined), a variant directory
(its seeds are averaged), an experiment directory with one variant, a table (:data:`datamodules.banks.roles.SUFFIXES`), a
folder of tables, a glob of any of these, or ``NAME=BANK`` to name a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.banks.bank import BankError, PredictionBank
from datamodules.banks.roles import SUFFIXES, TableFlags, TableForm, is_model_file, is_truth_file, table_suffix
from datamodules.banks.table_set import read_tables
from datamodules.errors import UsageError

_FOLD = re.compile(r"fold(\d+|full)")
_SEED = re.compile(r"seed\d+")
OUT_OF_FOLD = "bank"
_PLAIN = TableFlags()


@dataclass
class Source:
    """One model to blend.

    Attributes:
        name: Label in tables and weights files, unique in a blend.
        path: What the argument named.
        seeds: For each seed its banks, one per fold.
    """

    name: str
    path: Path
    seeds: list[list[PredictionBank]]

    @property
    def banks(self) -> list[PredictionBank]:
        """All banks of all seeds."""
        return [bank for seed in self.seeds for bank in seed]

    @property
    def kind(self) -> str:
        """``out_of_fold`` or ``test``."""
        return self.seeds[0][0].manifest.kind

    @property
    def identity(self) -> tuple[str, str, tuple[int, ...]]:
        """What stays the same between out-of-fold and test predictions: experiment, variant, seeds."""
        first = self.seeds[0][0].manifest
        seeds = {bank.manifest.seed for bank in self.banks if bank.manifest.seed is not None}
        return first.experiment, first.variant, tuple(sorted(seeds))


def resolve(
    arguments: Sequence[str],
    part: str = OUT_OF_FOLD,
    flags: TableFlags = _PLAIN,
    form: TableForm | None = None,
) -> list[Source]:
    """Find the models that arguments name.

    Args:
        arguments: See the module's text.
        part: Folder inside each fold directory: ``bank``, or ``predictions/<name>`` for test predictions.
        flags: How tables are read.
        form: What the out-of-fold tables held, for test predictions.

    Raises:
        BankError: nothing is there, a fold is unfinished, or an experiment has several variants.
    """
    if not arguments:
        raise UsageError(
            "there is nothing to blend: name at least one BANK (a run directory, a bank folder or a table)"
        )
    test = part != OUT_OF_FOLD
    found = _found(arguments, part)
    tables = [entry for entry in found if entry[1].is_file()]
    models: dict[tuple[str, Path], list[Source]] = {entry: [] for entry in tables}
    if flags.rows == "intersect" and len(tables) < len(found):
        runs = next(path for _, path in found if path.is_dir())
        raise UsageError(
            f"--rows intersect is for tables; {runs} is a folder of banks, whose models have the same rows or differ"
        )
    if tables:
        read = read_tables(list(models), flags, "test" if test else "out_of_fold", form)
        named = [entry for entry in models if entry[0] or not is_truth_file(entry[1])] or list(models)
        for name, argument, bank in read.banks:
            models[named[argument]].append(Source(name, bank.path, [[bank]]))
        print("".join(f"note: {note}\n" for note in read.notes), end="", flush=True)
    sources = [source for entry in found for source in (models[entry] if entry in models else [_source(entry, part)])]
    _name_apart(sources)
    return sources


def locate(arguments: Sequence[str], part: str = OUT_OF_FOLD) -> list[Path]:
    """Directories and tables that arguments name, nothing read yet.

    Raises:
        BankError: nothing is there.
    """
    return [path for _, path in _found(arguments, part)]


def _found(arguments: Sequence[str], part: str) -> list[tuple[str, Path]]:
    """Given names (perhaps empty) and paths."""
    found: list[tuple[str, Path]] = []
    for argument in arguments:
        name, _, location = ("", "", argument) if Path(argument).exists() else argument.partition("=")
        paths = [path for place in _expand(location or name, part) for path in _members(place, part)]
        name = name if location else ""
        if name and len(paths) > 1:
            raise BankError(f"{argument}: one name for {len(paths)} models; give each model its own NAME=BANK")
        found += [(name, path) for path in paths]
    return found


def _expand(location: str, part: str) -> list[Path]:
    if Path(location).exists():
        return [Path(location)]
    anchor = Path(location).anchor
    matches = sorted(Path(anchor or ".").glob(location[len(anchor) :]))
    paths = [p for p in matches if p.is_dir() or table_suffix(p) is not None]
    test = part != OUT_OF_FOLD
    fitting = [p for p in paths if p.is_dir() or is_model_file(p, test) or (is_truth_file(p) and not test)]
    paths = fitting or paths  # a_oof.csv and a_test.csv may lie in one folder
    if not paths:
        raise BankError(f"{location}: there is no such run, bank or table; is the run finished, is the path right?")
    return paths


def _members(path: Path, part: str) -> list[Path]:
    """The tables of a folder of tables, else the path itself."""
    if path.is_file():
        if table_suffix(path) is None:
            raise BankError(
                f"{path} is not a bank: give a run directory, a bank folder, or a table ({', '.join(SUFFIXES)})"
            )
        return [path]
    if any((path / own).is_file() for own in ("manifest.json", "run.json", f"{part}/manifest.json")):
        return [path]  # a bank, or a run, whose metrics.csv is no table of predictions
    test = part != OUT_OF_FOLD
    tables = [child for child in sorted(path.iterdir()) if child.is_file() and is_model_file(child, test)]
    if not tables and not any(path.glob("fold*")) and (path / "oof").is_dir() and not test:
        return _members(path / "oof", part)
    return tables or [path]


def _source(entry: tuple[str, Path], part: str) -> Source:
    name, path = entry
    seeds = [[PredictionBank(folder) for folder in folders] for folders in _folders(path, part)]
    for held in (bank for banks in seeds for bank in banks):
        if held.manifest.kind == "truth":
            raise BankError(f"{held.path} holds true values, not predictions; name the model's run instead")
    return Source(name or seeds[0][0].name, path, seeds)


def _folders(path: Path, part: str) -> list[list[Path]]:
    """Bank folders of a directory: for each seed its folds."""
    if (path / "manifest.json").is_file():
        return [[path]]
    if (path / part).is_dir():
        return [[path / part]]
    children = sorted(child for child in path.iterdir() if child.is_dir())
    folds = [child for child in children if _FOLD.fullmatch(child.name)]
    if folds:
        return [_fold_banks(path, folds, part)]
    seeds = [child for child in children if _SEED.fullmatch(child.name)]
    if seeds:
        return [banks for seed in seeds for banks in _folders(seed, part)]
    variants = [child for child in children if any(_SEED.fullmatch(c.name) for c in child.iterdir() if c.is_dir())]
    banked = [variant for variant in variants if any(variant.glob(f"seed*/fold*/{part}"))]
    if len(banked) == 1 or len(variants) == 1:
        return _folders((banked or variants)[0], part)
    if variants and not banked:
        raise BankError(
            f"{path}: none of the variants {', '.join(v.name for v in variants)} has a {part}; finish a run"
        )
    if banked:
        left = [variant.name for variant in variants if variant not in banked]
        ignored = f" ({', '.join(left)} without a {part} left out)" if left else ""
        raise BankError(f"{path} holds the variants {', '.join(v.name for v in banked)}{ignored}; name one of them")
    raise BankError(
        f"{path} holds no {part}; give a run directory (with seed<S>/fold<F>/{part}), a bank folder or a table"
    )


def _fold_banks(path: Path, folds: list[Path], part: str) -> list[Path]:
    held_out = [fold for fold in folds if fold.name != "foldfull"]  # a fit on all rows holds nothing out
    if part == OUT_OF_FOLD or any((fold / part).is_dir() for fold in held_out):
        folds = held_out
    missing = [fold for fold in folds if not (fold / part).is_dir()]
    if missing or not folds:
        where = missing[0] if missing else path
        raise BankError(f"{where} has no {part}: its run is not finished, or was not asked to predict; run it again")
    return [fold / part for fold in folds]


def _name_apart(sources: list[Source]) -> None:
    """Make names unique: by seed where that is enough, else by path."""
    for tell_apart in (_with_seeds, lambda source: str(source.path)):
        names = [source.name for source in sources]
        for source in sources:
            if names.count(source.name) > 1:
                source.name = tell_apart(source)
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise BankError(f"{name} was given {names.count(name)} times; give each model once")


def _with_seeds(source: Source) -> str:
    return f"{source.name}/seed{'+'.join(map(str, source.identity[2]))}"
