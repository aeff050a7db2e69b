"""Trained runs as a folder that others can use: weights, exported program, configuration, model card, checksums."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.errors import DataError
from datamodules.files import sha256_of, write_json
from experiments.engine.export import origin_of, write
from experiments.engine.inference import Trained
from experiments.engine.pretrained import CHECKSUMS, CONFIG, FORMAT, WEIGHTS, HubName
from experiments.engine.run_directory import RunDirectory

PROGRAM = "emulator.pt2"
_LOCAL = ("checkpoint", "previous")  # of the checkpoint's values, those that speak of where it lay


def member_of(trained: Trained) -> str:
    """Name of a run's folder among those that are shared together."""
    return f"seed{trained.identity.seed}-fold{trained.identity.fold}"


def check_shareable(trained: Sequence[Trained]) -> None:
    """Refuse runs that cannot be shared, or not together.

    Raises:
        DataError: Another experiment or variant, the same fold and seed twice, a net that needs other runs or rows.
    """
    first = trained[0]
    for one in trained:
        if (one.experiment.name, one.variant) != (first.experiment.name, first.variant):
            raise DataError(
                f"{one.run} is {one.experiment.name}/{one.variant}, {first.run} is {first.experiment.name}/{first.variant}; "
                "share folds and seeds of one variant together"
            )
        if one.saved.get("previous"):
            raise DataError(f"{one.run} needs the runs of the stage before it to predict; share that stage's runs")
        if one.task.cannot_predict:
            raise DataError(f"{one.checkpoint} cannot be shared: {one.task.cannot_predict}")
    names = [member_of(one) for one in trained]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{min(twice)} is given twice; a seed's fold can be shared once")


def write_shared(trained: Sequence[Trained], folder: Path, name: str) -> None:
    """Write all files of a shared model.

    Args:
        trained: Folds and seeds of one variant.
        folder: Empty, or not there yet.
        name: What a reader calls it: ``hf://user/name`` or a folder.
    """
    from safetensors.torch import save_file

    check_shareable(trained)
    programs = []
    for one in trained:
        place = folder / member_of(one)
        place.mkdir(parents=True)
        state: dict[str, Tensor] = {key: value.clone().contiguous() for key, value in one.task.state_dict().items()}
        save_file(state, place / WEIGHTS, metadata={"format": "pt"})
        domain = one.experiment.domain
        if domain.export is not None:
            write(domain.part("export")(one.task, "columns"), place / PROGRAM, "torch_export", origin_of(one))
            programs.append(place / PROGRAM)
    first = trained[0]
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "experiment": first.experiment.name,
            "domain": first.experiment.domain.name,
            "metric": first.experiment.domain.metric,
            "targets": list(first.task.target_names),
            "written_by": origin_of(first)["written_by"],
            "models": {
                member_of(one): {
                    "epoch": one.epoch,
                    "checkpoint_sha256": one.identity.checkpoint,
                    "saved": _portable(one.saved),
                }
                for one in trained
            },
        },
    )
    (folder / "README.md").write_text(model_card(trained, name, bool(programs)))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / CHECKSUMS, {path.relative_to(folder).as_posix(): sha256_of(path) for path in files})


def _portable(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's plain values without paths of this machine; what they pointed to is in the weights."""
    values = {name: value for name, value in saved.items() if name not in _LOCAL}
    if not str(values.get("place", "")).startswith("experiments."):
        values["place"] = ""  # a reader names the file of a declaration of one's own with --experiment
    for name, value in values.items():
        if isinstance(value, Mapping):
            values[name] = {
                key: item
                for key, item in value.items()
                if not (isinstance(item, Path) or (isinstance(item, str) and Path(item).is_absolute()))
            }
    return values


def model_card(trained: Sequence[Trained], name: str, has_program: bool) -> str:
    """``README.md`` of a shared model, from what its runs recorded.

    Args:
        trained: Folds and seeds of one variant.
        name: What a reader calls it.
        has_program: Whether a program lies beside the weights.
    """
    experiment, domain = trained[0].experiment, trained[0].experiment.domain
    records = [RunDirectory(one.run).record() for one in trained]
    demo = any(record.get("demo") for record in records)
    known = all(records)
    kind = "**DEMO: trained on synthetic demo data; its scores say nothing about the competition's.**"
    if not demo:
        kind = (
            "**Trained on data that its owner brought (no demo).**"
            if known
            else "**No record says what it was trained on.**"
        )
    about = " ".join(
        (getattr(sys.modules.get(experiment.place), "__doc__", "") or experiment.name).split("\n\n")[0].split()
    )
    published = [f"- {p.score:g}: {p.what} ({p.source}), the original's own number" for p in experiment.published]
    place = name if len(trained) == 1 else f"{name}/{member_of(trained[0])}"
    lines = [
        "---", "license: other", "license_name: see-data-licence", "library_name: pytorch",
        "tags:", "- podium", f"- {domain.name}", f"- {experiment.name}", *(["- demo"] if demo else []), "---", "",
        f"# {experiment.name}", "", kind, "", about, "",
        "## Task and data", "", f"{domain.task}", "", f"Data and licence: {domain.data_licence}", "",
        "## Scores", "",
        f"Metric: {domain.metric}, on the rows that each fold held out of training. Where a checkpoint was chosen as the best epoch, "
        "it was chosen on these same rows, so the numbers lean to the bright side.", "",
        "| model | score | 95 % interval | rows trained / held out | chosen by | epoch | parameters |",
        "|---|---|---|---|---|---|---|",
        *(_score_row(one, record) for one, record in zip(trained, records, strict=True)), "",
        "Intervals are those of the run's report: bootstraps of the held-out rows, in whole blocks of time where rows have a time; — = not recorded.", "",
        "## Intended use", "",
        f"Research: {domain.intended_use} Inputs unlike the training data give answers that nobody has checked.", "",
        "## Load", "", "```python", *_loading(place, member_of(trained[0]), has_program), "```", "",
        "Or predict a file: " f"`python experiments/predict.py --run {place} --input FILE`. "
        f"Every file's SHA-256 is in `{CHECKSUMS}` and checked when podium reads it; no file is a pickle that runs code.", "",
        "## Source", "",
        f"The system was rebuilt from published descriptions ({experiment.answers_to or 'baseline'}); please cite the source beside it.",
        *(["", *published] if published else []), "",
        f"Written by podium {records[0].get('starts', [{}])[-1].get('versions', {}).get('podium', '')}".rstrip() + ".", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _loading(place: str, member: str, has_program: bool) -> list[str]:
    lines = [
        "from experiments.engine.inference import load_pretrained",
        f'task = load_pretrained("{place}").task  # a LightningModule in eval mode, statistics inside',
    ]
    if has_program:
        lines += [
            "# without podium, torch alone, from the folder's files:",
            "import torch",
            f'net = torch.export.load("{member}/{PROGRAM}").module()  # {PROGRAM.replace(".pt2", ".json")} says its inputs',
        ]
    return lines


def _score_row(trained: Trained, record: Mapping[str, Any]) -> str:
    groups = (record.get("scores") or {}).get(trained.experiment.name) or {}
    group, score = next(iter(groups.items()), ("", (record.get("best") or {}).get("score")))
    if trained.checkpoint.stem not in ("best", "last") or (trained.variant != trained.identity.variant):
        score = None  # the record speaks of the best checkpoint
    interval = (record.get("intervals") or {}).get(group) if score is not None else None
    rows, best = record.get("rows") or {}, record.get("best") or {}
    cells = [
        member_of(trained),
        "—" if score is None else f"{score:.5g}",
        "—" if not interval else f"{interval[0]:.5g} to {interval[1]:.5g}",
        f"{rows.get('train', '—')} / {rows.get('valid', '—')}",
        best.get("metric", "—"),
        trained.epoch,
        f"{trained.task.count_parameters():,}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def upload(folder: Path, name: HubName) -> str:
    """Upload a written folder to a model repository, which is made where there is none, in one commit.

    Args:
        folder: As :func:`write_shared` wrote it.
        name: Repository; the account is that of ``HF_TOKEN`` or ``hf auth login``.

    Returns:
        Address of the commit.

    Raises:
        DataError: The Hub refused, or is not reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name.name, exist_ok=True, private=True)
        done = api.upload_folder(
            repo_id=name.name, folder_path=folder, revision=name.revision, commit_message="Share a model"
        )
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"hf://{name.name} cannot be written ({reason}); check the name, the network, and that HF_TOKEN may write"
        ) from None
    return str(done.commit_url)
