"""Every declaration beside what its source says: ``python -m experiments audit [PATTERN]``.

The published values stand in ``published.yaml``, by the names of the settings. A value that departs from its source must say why
there; one that departs without a reason ends the command with status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datamodules.settings import plain
from experiments.engine.cli import PRESETS, resolve
from experiments.engine.declare import load_experiment

PUBLISHED = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Comparison:
    """One setting of one declaration.

    Args:
        entry: Experiment, with its preset where there is one.
        name: Dotted name of the setting.
        declared: What is declared here.
        published: What the source says.
        reason: Why both differ; empty where they should not.
    """

    entry: str
    name: str
    declared: Any
    published: Any
    reason: str

    @property
    def equal(self) -> bool:
        """Whether both are the same."""
        return bool(self.declared == self.published)


def read_published() -> dict[str, dict[str, Any]]:
    """The entries of ``published.yaml`` by experiment and preset."""
    content: dict[str, dict[str, Any]] = yaml.safe_load(PUBLISHED.read_text())
    return {name: entry for name, entry in content.items() if name != "_"}


def compare(pattern: str = "") -> Iterator[Comparison]:
    """Declared against published, setting by setting.

    Args:
        pattern: Part of an experiment's name.
    """
    for entry, published in read_published().items():
        if pattern in entry and "values" in published:
            declared = declared_values(entry)
            reasons = published.get("departs", {})
            for name, value in published["values"].items():
                yield Comparison(entry, name, declared.get(name, "no such setting"), value, reasons.get(name, ""))


def declared_values(entry: str) -> dict[str, Any]:
    """All settings of an experiment, with its preset where the entry names one, by dotted name."""
    name, _, preset = entry.partition(" --config ")
    arguments = ["--config", str(PRESETS / preset)] if preset else []
    settings = resolve(load_experiment(name), arguments, demo=False)
    groups = {
        "": settings.daily,
        **{f"{group}.": getattr(settings, group) for group in ("data", "model", "optim", "train")},
    }
    return {f"{prefix}{key}": plain(value) for prefix, group in groups.items() for key, value in vars(group).items()}


def main(argv: Sequence[str] = ()) -> None:
    """Print the comparison; status 1 where a declaration departs without a reason."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("experiment", "setting", "declared", "published", "departs because"):
        table.add_column(name)
    wrong = 0
    before = ""
    for c in compare(argv[0] if argv else ""):
        wrong += not c.equal and not c.reason
        style = None if c.equal else "yellow" if c.reason else "red"
        reason = "" if c.equal else c.reason or "no reason given"
        table.add_row(
            c.entry if c.entry != before else "", c.name, str(c.declared), str(c.published), reason, style=style
        )
        before = c.entry
    for entry, published in read_published().items():
        if "baseline" in published and (not argv or argv[0] in entry):
            table.add_row(entry, "", "", "", published["baseline"])
    Console(width=220).print(table)
    if wrong:
        print(f"error: {wrong} settings depart from their source without a reason", file=sys.stderr)
        raise SystemExit(1)
