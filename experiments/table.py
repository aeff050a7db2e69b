"""Train several experiments on the same rows with the same budget, and write one table of their scores.

The table goes between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` of a markdown file, with the command that made it, so
that the same command prints it again. Finished runs are not trained again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.command import run_command


@dataclass
class Request:
    """What to compare.

    Args:
        experiments: names of experiment files, such as ``leap_ridge leap_bilstm``.
        data_dir: folder of the raw files; without it the demo data set.
        size: ``demo`` = every net at its demo's size and budget, ``full`` = as declared.
        epochs: the same number for all; default: as declared.
        batch_size: the same for all; default: as declared.
        fold: which fold.
        out: folder of runs.
        write: markdown file to put the table into; default: print only.
        name: of the table in that file.
        wandb: as in an experiment.
    """

    experiments: list[str]
    data_dir: Path | None = None
    size: Literal["demo", "full"] = "demo"
    epochs: int | None = None
    batch_size: int | None = None
    fold: int = 0
    out: Path = Path("runs")
    write: Path | None = None
    name: str = "table"
    wandb: Literal["online", "offline", "disabled"] = "disabled"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/table.py``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = "python experiments/table.py " + " ".join(arguments)
    run_command(
        Request,
        lambda request: make_table(request, command),
        "python experiments/table.py",
        __doc__,
        arguments,
        "experiments",
    )


def make_table(request: Request, command: str) -> str:
    """Train what is not trained yet, and return (and write) the markdown table."""
    from experiments.cli import parse
    from experiments.declare import load_experiment
    from experiments.training import train

    records = {}
    for name in request.experiments:
        experiment = load_experiment(name)
        settings = parse(experiment, _flags(request, experiment.demo))
        print(f"== {name}", flush=True)
        records[name] = train(settings).record()
    text = markdown(records, command)
    print(text)
    if request.write is not None:
        _replace(request.write, request.name, text)
    return text


def _flags(request: Request, demo: dict[str, Any]) -> list[str]:
    values = dict(demo) if request.size == "demo" else {}
    values |= {"fold": request.fold, "out": request.out, "wandb": request.wandb, "train.progress": "false"}
    for name in ("data_dir", "epochs", "batch_size"):
        if getattr(request, name) is not None:
            values[name] = getattr(request, name)
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def markdown(records: dict[str, dict[str, Any]], command: str) -> str:
    """Scores by group, parameters, rows a second and seconds, a row per predictor."""
    first = next(iter(records.values()))
    groups = list(first["scores"][next(iter(records))])
    head = ["predictor", *groups, "parameters", "rows/s", "seconds"]
    digits = 5 if "log_loss" in (first["best"]["metric"] or "") else 4
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, scores in first["scores"].items():
        if name not in records:
            lines.append(_row(name, [_score(scores.get(group), digits) for group in groups], ["", "", ""]))
    for name, record in records.items():
        speed = record.get("rows_per_second")
        cost = [f"{record['parameters']:,}", f"{speed:,.0f}" if speed else "", f"{record['seconds_of_last_start']:.0f}"]
        lines.append(_row(name, [_score(record["scores"][name].get(group), digits) for group in groups], cost))
    kind = "synthetic demo data; not comparable with any leaderboard" if first["demo"] else "held-out rows"
    rows = first["rows"]
    note = f"{rows['train']:,} rows to train on, {rows['valid']:,} to score ({kind}), seed {first['seed']}, fold {first['fold']}."
    return "\n".join([*lines, "", note, "", f"```bash\n{command}\n```"])


def _row(name: str, scores: list[str], cost: list[str]) -> str:
    return "| " + " | ".join([f"`{name}`", *scores, *cost]) + " |"


def _score(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1e}"


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
