"""Train several experiments on the same rows, and write one table of their scores; finished runs are not trained again.

The table goes between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` of a markdown file, with the command that made it, so
that the same command prints it again. A row is an experiment, or one with flags of its own in quotes::

    python experiments/tables/table.py moa_logistic "moa_deepinsight_resnest --model.head_dropout 0" --fold all --blend "[equal, convex]"

Several tables of one file in one command: ``experiments/results.py``.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.engine.command import run_command
from experiments.engine.launch.settings import Launch

if TYPE_CHECKING:
    from experiments.tables.table_runs import Summary


@dataclass
class Request:
    """What to compare.

    Args:
        experiments: Names of experiment files, such as ``leap_ridge leap_bilstm``, each with flags of its own in quotes.
        data_dir: Folder of the raw files; without it the demo data set.
        size: ``demo`` = every net at its demo's size and budget, ``full`` = as declared.
        epochs: The same number for all; default: as declared.
        batch_size: The same for all; default: as declared.
        fold: Which fold, or all: scores are then means over the folds, weighted by their rows.
        flags: Further flags of all experiments, earlier stages too, such as ``--data.cv row``.
        blend: Methods of ``python -m blend`` whose nested scores over the rows' out-of-fold predictions are added.
        mean: What the blends average: probabilities, their logits (clipped at 1e-4), or ranks.
        trials: Trials of Optuna's blends.
        out: Folder of runs.
        write: Markdown file to put the table into; default: print only.
        name: Name of the table in that file.
        wandb: As in an experiment.
        launch: Where the runs of all rows are trained, as in an experiment.
    """

    experiments: list[str]
    data_dir: Path | None = None
    size: Literal["demo", "full"] = "demo"
    epochs: int | None = None
    batch_size: int | None = None
    fold: int | Literal["all"] = 0
    flags: str = ""
    blend: list[str] = field(default_factory=list)
    mean: Literal["arithmetic", "logit", "rank"] = "arithmetic"
    trials: int = 200
    out: Path = Path("runs")
    write: Path | None = None
    name: str = "table"
    wandb: Literal["online", "offline", "disabled"] = "disabled"
    launch: Launch = field(default_factory=Launch)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/tables/table.py``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = "python experiments/tables/table.py " + shlex.join(arguments)
    run_command(
        Request,
        lambda request: make_table(request, command),
        "python experiments/tables/table.py",
        __doc__,
        arguments,
        "experiments",
    )


def make_table(request: Request, command: str) -> str:
    """Train what is not trained yet, and return (and write) the markdown table.

    Args:
        request: What to compare.
        command: What prints the table again, shown below it.

    Raises:
        DataError: a run cannot be trained.
        BankError: the rows' predictions cannot be blended.
    """
    from experiments.tables.table_runs import Entry, blend_scores, launch_entries, train_entry  # imports torch

    entries = [Entry.read(text) for text in request.experiments]
    if request.launch.active:
        launch_entries(entries, common_flags(request), request.fold, request.size, request.launch)
    rows = [train_entry(entry, common_flags(request), request.fold, request.size) for entry in entries]
    blends = (
        blend_scores([row.banks for row in rows], request.blend, request.trials, request.mean) if request.blend else {}
    )
    text = markdown(rows, blends, command)
    print(text)
    if request.write is not None:
        _replace(request.write, request.name, text)
    return text


def common_flags(request: Request) -> list[str]:
    """Flags of every row."""
    values = {"out": request.out, "wandb": request.wandb, "train.progress": "false"}
    more = {name: getattr(request, name) for name in ("data_dir", "epochs", "batch_size")}
    values |= {name: value for name, value in more.items() if value is not None}
    return [
        *(part for name, value in values.items() for part in (f"--{name}", str(value))),
        *shlex.split(request.flags),
    ]


def markdown(rows: Sequence[Summary], blends: dict[str, float], command: str) -> str:
    """Scores by group, parameters, rows a second and seconds, a row per predictor; references first, blends last."""
    first = rows[0]
    known = first.scores[first.own]
    groups = [
        name for name in known if f"{name}_clipped" not in known
    ]  # the steadier form of a score where there are two
    digits = 5 if "log_loss" in (first.records[0]["best"]["metric"] or "") else 4
    lines = ["| " + " | ".join(["predictor", *groups, "parameters", "rows/s", "seconds"]) + " |"]
    lines.append("|" + "---|" * (len(groups) + 4))
    for name, scores in first.scores.items():
        if name != first.own:
            lines.append(_row(name, [_score(scores.get(group), digits) for group in groups], ["", "", ""]))
    for row in rows:
        speed = row.rows_per_second
        cost = [f"{row.records[0]['parameters']:,}", f"{speed:,.0f}" if speed else "", f"{row.seconds:.0f}"]
        lines.append(_row(row.label, [_score(row.scores[row.own].get(group), digits) for group in groups], cost))
    for method, score in blends.items():
        own = [_score(score, digits), *[""] * (len(groups) - 1)]
        lines.append(_row(f"blend, {method}", own, ["", "", ""]))
    return "\n".join([*lines, "", _note(first, bool(blends)), "", f"```bash\n{command}\n```"])


def _note(row: Summary, blended: bool) -> str:
    first = row.records[0]
    kind = "synthetic demo data; not comparable with any leaderboard" if first["demo"] else "held-out rows"
    trained, held = first["rows"]["train"], sum(record["rows"]["valid"] for record in row.records)
    folds = f"fold {first['fold']}" if len(row.records) == 1 else f"mean of {len(row.records)} folds"
    note = f"{trained:,} rows to train on, {held:,} to score ({kind}), seed {first['seed']}, {folds}."
    return f"{note} Blends: nested, weights of each fold from the other folds." if blended else note


def _row(name: str, scores: list[str], cost: list[str]) -> str:
    return "| " + " | ".join([f"`{name}`", *scores, *cost]) + " |"


def _score(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    if abs(value) >= 10_000:
        return f"{value:.1e}"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1f}"


def _replace(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the file's markers of ``name``, appending them where they are missing."""
    from datamodules.files import atomic_path

    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    content = path.read_text() if path.is_file() else ""
    if begin not in content:
        content = f"{content.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    before, rest = content.split(begin, 1)
    after = rest.split(end, 1)[1]
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    main()
