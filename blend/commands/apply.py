"""``python -m blend apply``: fitted weights on test predictions, to a blended bank and a submission."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.aligned.align import align
from blend.aligned.view import Stack
from blend.commands.session import checkpoints, configs, folds
from blend.commands.submission import write_submission
from blend.judging.steps import make_steps
from blend.metrics.ranks import rank_table
from blend.metrics.registry import KNOWN
from blend.weights import Weights, blend_rows, read_weights
from datamodules.banks.bank import BankError, Manifest, PredictionBank, write_bank
from datamodules.banks.roles import TableFlags, TableForm, table_name, test_twins
from datamodules.banks.sources import OUT_OF_FOLD, Source, resolve
from datamodules.kaggle import Submit, open_competition

_PLAIN = TableFlags()
_KEPT = Submit()


def apply(
    weights_file: Path,
    banks: list[str],
    predictions: str = "test",
    out: Path | None = None,
    submission: Path | None = None,
    template: Path | None = None,
    groups: Path | None = None,
    allow_call: Sequence[str] = (),
    tables: TableFlags = _PLAIN,
    submit: Submit = _KEPT,
) -> PredictionBank:
    """Blend new predictions of the fitted models.

    Args:
        weights_file: ``weights.json`` of a search, or its folder.
        banks: Predictions of exactly the fitted models, in any order; none = look in their run directories, or beside the
            tables that they were fitted on.
        predictions: Name of the predictions in the run directories; ``oof`` blends the out-of-fold rows again.
        out: Bank folder to write; default: ``<folder of the weights>/<predictions>``.
        submission: File to write for the judge; ``submission.csv`` where it is sent and has no other name.
        template: The judge's sample submission, whose rows and columns are wanted.
        groups: CSV with the columns row_id and group.
        allow_call: Functions that the weights' steps may call: a weights file alone names no code.
        tables: Names of columns of tables, where test tables call them otherwise.
        submit: Where the submission is sent.

    Raises:
        BankError: these are not the fitted models, or their rows differ.
        DataError: Kaggle cannot be asked, or refuses.
    """
    competition = open_competition(submit, template)
    if competition is not None:
        submission = submission or Path("submission.csv")
    weights, fitted = read_weights(weights_file)
    for step in fitted["post_processing"]:
        if "call" in step and step["call"] not in allow_call:
            raise BankError(
                f"{weights_file} has a step that calls {step['call']}; give --allow_call [{step['call']}] if you trust it"
            )
    folder = weights_file if weights_file.is_dir() else weights_file.parent
    part = OUT_OF_FOLD if predictions == "oof" else f"predictions/{predictions}"
    form = None if fitted.get("tables") is None else TableForm(**fitted["tables"])
    flags = replace(tables, prefer=form.identity) if form else tables
    found = resolve(banks or _stored(fitted["inputs"], folder, part), part, flags, form)
    sources = match(found, fitted["inputs"])
    stack = align(
        sources, groups=groups, clip_predictions=fitted["clip_predictions"], allow_fold_mismatch=True, with_truth=False
    )
    _check_form(stack, fitted, sources)
    stack.probabilities = fitted["metric"] in KNOWN and KNOWN[fitted["metric"]].probabilities
    weights = replace(weights, models=stack.names)
    bank = _write(stack, weights, fitted, sources, out or folder / predictions, folder)
    print(f"blended {len(stack.rows)} rows of {len(stack.names)} models: {bank.path}")
    if submission is not None:
        write_submission(bank, submission, template)
        print(f"submission: {submission}")
        if competition is not None and template is not None:
            competition.send(submission, template)
    return bank


def _stored(models: Sequence[dict[str, Any]], folder: Path, part: str) -> list[str]:
    """BANK arguments for the fitted models: their directories, or the test tables of their tables."""
    named: dict[str, list[str]] = {}
    for model in models:
        named.setdefault(os.path.normpath(folder / model["path"]), []).append(model["name"])
    found = []
    for text, names in named.items():
        path = Path(text)
        if path.is_file() and part != OUT_OF_FOLD:
            twins = test_twins(path)
            if len(twins) != 1:
                what = (
                    f"several of {', '.join(map(str, twins))}"
                    if twins
                    else f"no {table_name(path)}_test.csv or the like beside it"
                )
                raise BankError(
                    f"model {names[0]} was fitted from {path}, and there is {what}; give the new predictions as BANK arguments"
                )
            path = twins[0]
        elif not path.exists():
            raise BankError(
                f"model {names[0]} was fitted from {path}, which does not exist (any more); give its new predictions as BANK arguments"
            )
        whole = len(names) > 1 and path.is_file()  # a file of several models names them itself
        found.append(str(path) if whole else f"{names[0]}={path}")
    return found


def match(sources: Sequence[Source], models: Sequence[dict[str, Any]]) -> list[Source]:
    """Put predictions into the order of the fitted models.

    Raises:
        BankError: a fitted model is missing, another one is there, or it comes from another checkpoint.
    """
    left = list(sources)
    ordered = []
    for model in models:
        wanted = (model["experiment"], model["variant"], tuple(model["seeds"]))
        found = next(
            (s for s in left if s.identity == wanted or (s.name == model["name"] and _is_table(s, model))), None
        )
        if found is None:
            raise BankError(
                f"the weights were fitted for {model['name']} (experiment {model['experiment']!r}, variant {model['variant']!r}, seeds "
                f"{model['seeds']}), which is not among these predictions ({', '.join(source.name for source in left) or 'none left'})"
            )
        left.remove(found)
        _check_nets(found, model)
        found.name = model["name"]
        ordered.append(found)
    wide = {source.path for source in ordered if source.path.is_file()}
    left = [source for source in left if source.path not in wide]  # further columns of a table of several models
    if left:
        raise BankError(f"{left[0].path} ({left[0].name}) is not one of the models that the weights were fitted for")
    return ordered


def _is_table(source: Source, model: dict[str, Any]) -> bool:
    """Both are tables, which carry no more than a name."""
    return not source.identity[1] and not model["variant"]


def _check_nets(source: Source, model: dict[str, Any]) -> None:
    """The same folds, and of each the same checkpoint; a fit on all rows names no fold."""
    if folds(source) and model["folds"] and folds(source) != model["folds"]:
        raise BankError(
            f"{source.path} was predicted by the nets of folds {folds(source)}, the weights were fitted on folds {model['folds']}; "
            "give the seed, variant or experiment directory, with predictions of all of them"
        )
    other = [config for config in configs(source) if model["configs"] and config not in model["configs"]]
    if other:
        raise BankError(
            f"{source.path} was predicted by nets of other settings ({other[0][:12]}) than the out-of-fold rows the weights were "
            f"fitted on ({model['configs'][0][:12]}); predict both with one run, or search again"
        )
    for place, checkpoint in checkpoints(source).items():
        fitted = model["checkpoints"].get(place, checkpoint)
        if fitted != checkpoint:
            raise BankError(
                f"{source.path}: {place} was predicted by another checkpoint ({checkpoint[:12]}) than the out-of-fold rows the weights "
                f"were fitted on ({fitted[:12]}); predict both with one, or search again"
            )


def _check_form(stack: Stack, fitted: dict[str, Any], sources: Sequence[Source]) -> None:
    where = sources[0].path
    if list(stack.shape) != fitted["shape"]:
        raise BankError(
            f"{where} predicts shape {stack.shape} per row, the weights were fitted for {tuple(fitted['shape'])}"
        )
    targets = stack.manifest.targets
    if targets and fitted["targets"] and targets != fitted["targets"]:
        raise BankError(f"{where} has other targets than the weights were fitted for")


def _write(
    stack: Stack, weights: Weights, fitted: dict[str, Any], sources: Sequence[Source], out: Path, folder: Path
) -> PredictionBank:
    rows = stack.rows
    index = rows[[name for name in ("row_id", "fold", "group") if name in rows]].copy()
    if "fold" not in index:
        index["fold"] = -1
    groups = rows["group"].to_numpy(dtype=str) if "group" in rows else None
    with tempfile.TemporaryDirectory(prefix="blend-") as scratch:
        shape = (len(rows), *stack.shape)
        blended = np.lib.format.open_memmap(Path(scratch) / "blended.npy", mode="w+", dtype=np.float32, shape=shape)
        _fill(blended, stack, weights, groups, fitted["post_processing"])
        scale = None if (stack.target_scale == 1.0).all() else np.asarray(stack.scale)
        return write_bank(out, blended, index, _manifest(stack, weights, fitted, sources, out, folder), scale=scale)


def _manifest(
    stack: Stack, weights: Weights, fitted: dict[str, Any], sources: Sequence[Source], out: Path, folder: Path
) -> Manifest:
    first = sources[0].banks[0]
    weights_path = folder / "weights.json"
    digest = hashlib.sha256(weights_path.read_bytes()).hexdigest() if weights_path.is_file() else ""
    truth = first.manifest.truth
    return Manifest(
        kind=first.manifest.kind,
        domain=fitted["domain"],
        metric=fitted["metric"],
        experiment="blend",
        variant=weights.method,
        folds=sorted({fold for source in sources for fold in folds(source)}),
        targets=stack.manifest.targets or fitted["targets"],
        groups=stack.manifest.groups,
        convention=fitted["convention"],
        hashes={"weights": digest} | {k: v for k, v in first.manifest.hashes.items() if k in ("folds", "data")},
        truth=os.path.relpath((first.path / truth).resolve(), out.resolve()) if truth else None,
        extra={key: value for key, value in first.manifest.extra.items() if key == "tables"}
        | {"models": stack.names, "weights": weights.mean().tolist(), "post_processing": fitted["post_processing"]}
        | ({"thresholds": weights.thresholds} if weights.thresholds else {}),
    )


def _fill(
    blended: npt.NDArray[np.float32],
    stack: Stack,
    weights: Weights,
    groups: npt.NDArray[np.str_] | None,
    post_processing: Sequence[dict[str, Any]],
) -> None:
    """Blend chunk by chunk; ranks need all rows of a fold at once."""
    steps, scale = make_steps(post_processing, stack.manifest.domain), stack.target_scale
    if weights.kind == "rank":
        nested = stack.rows["nested"].to_numpy()
        pieces = [
            slice(int(held[0]), int(held[-1]) + 1) for held in (np.flatnonzero(nested == fold) for fold in stack.folds)
        ]
        chunks = (stack.read(piece.start, piece.stop) for piece in pieces)
    else:
        chunks = stack.chunks()  # type: ignore[assignment]
    for chunk in chunks:
        own = groups[chunk.rows] if groups is not None else None
        if weights.kind == "rank":
            values = rank_table(chunk.predictions).blend(weights.values)
        else:
            values = blend_rows(weights, chunk.predictions, own)
        if steps is not None:
            shaped = (values * scale).reshape(-1, *stack.shape)
            values = steps(shaped, own).reshape(values.shape) / scale
        blended[chunk.rows] = values.reshape(-1, *stack.shape)
