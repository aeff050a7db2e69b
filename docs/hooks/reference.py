"""Pages that are made when the site is built: the help of every command, and the docstrings of what a user builds on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
PYTHON = {
    "Declaring": ("experiments.engine.declare", "datamodules.settings", "experiments.engine.prediction"),
    "Data": ("datamodules.base", "datamodules.folds", "datamodules.banks.bank", "datamodules.stores.store", "datamodules.errors"),
    "Training": ("lit_modules.base", "lit_modules.settings", "lit_modules.metrics"),
    "Domains": (
        "datamodules.leap.settings", "lit_modules.leap.settings", "datamodules.moa.settings", "lit_modules.moa.settings",
        "datamodules.mars.settings", "lit_modules.mars.settings", "datamodules.gwi.settings", "lit_modules.gwi.settings",
    ),
    "Blending": ("blend.solvers.base", "blend.metrics.scores", "blend.metrics.registry", "blend.problem", "blend.weights"),
    "Figures": ("datamodules.figures",),
}  # fmt: skip
"""Modules of the reference, by section."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"commands": _commands(), "experiments": _experiments(), "python": _python()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_notebook(path)))
    return files


def _commands() -> str:
    from experiments.__main__ import COMMANDS, scripts

    program = [sys.executable, "-m", "podium"]
    calls = [[name] for name in [*COMMANDS, *scripts()] if name not in ("list", "audit", "data", "blend", "train")]
    calls += [["data", "leap"], ["data", "mars"], ["data", "gwi"]]
    calls += [["blend", name] for name in ("search", "compare", "apply", "show", "verify")]
    started = [
        (words, subprocess.Popen([*program, *words, "--help"], cwd=ROOT, stdout=subprocess.PIPE, text=True))
        for words in [[], *calls]
    ]
    lines = ["# Commands", ""]
    for words, process in started:
        text, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"podium {' '.join(words)} --help ended with {process.returncode}")
        lines += [f"## podium {' '.join(words)}".rstrip(), "", "```text", text.rstrip(), "```", ""]
    return "\n".join(lines)


def _notebook(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```" for cell in cells]
    return "\n\n".join([texts[0], f"This page is the notebook `notebooks/{path.name}`.", *texts[1:]]) + "\n"


def _experiments() -> str:
    from experiments.__main__ import list_experiments
    from experiments.engine.cli import build_parser, presets

    found = list_experiments()
    lines = [
        "# Experiments",
        "",
        "| experiment | answers to | published score of the original | presets |",
        "|---|---|---|---|",
    ]
    for one in found:
        score = "; ".join(f"{p.score:g} {p.what}" for p in one.published).replace("|", "\\|")
        lines.append(f"| [`{one.name}`](#{one.name}) | {one.answers_to} | {score} | {', '.join(presets(one))} |")
    lines += ["", "All experiments have the same daily flags; those of data, net and training differ by domain."]
    for one in found:
        text = build_parser(one).format_help().rstrip()
        lines += ["", f"## {one.name} {{ #{one.name} }}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def _python() -> str:
    lines = ["# Python", ""]
    for section, modules in PYTHON.items():
        lines += [f"## {section}", ""]
        for module in modules:
            lines += [f"::: {module}", "    options: {heading_level: 3}", ""]
    return "\n".join(lines)
