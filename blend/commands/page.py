"""A report as blocks: printed to a terminal, written as markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from blend.commands.report import table
from datamodules.files import atomic_path

_TOP = 20  # rows of a table that are shown; the others are folded
_NUMBER = re.compile(r"\**[-+]?[\d.]+(e[-+]?\d+)?( s| %)?\**|")
_STYLE = """
:root { color-scheme: light; --ink: #222; --soft: #6b7280; --line: #e2e5e9; --accent: #2a6f97; --warn: #fff6e5; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto; padding: 1.5rem;
       max-width: 1080px; }
h1 { font-size: 1.6rem; margin: 0 0 .6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
nav a { margin-right: 1rem; color: var(--accent); text-decoration: none; } nav { margin-bottom: 1rem; }
.scroll { overflow-x: auto; margin: .6rem 0; } table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); } td.n { text-align: right; font-variant-numeric: tabular-nums; }
tr:hover td { background: #f6f8fa; } code { background: #f3f4f6; padding: .1rem .3rem; border-radius: 3px; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: var(--soft); font-size: .85rem; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--accent); }
.warning { background: var(--warn); border-left: 4px solid #e0a100; padding: .4rem .8rem; margin: .4rem 0; }
"""


@dataclass(frozen=True)
class Text:
    """A paragraph; ``**bold**`` and backquotes are understood.

    Attributes:
        text: What it says.
        warning: Stands out.
    """

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a header; those after the first twenty are folded.

    Attributes:
        header: Names of the columns.
        rows: Cells.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Picture:
    """A PNG file.

    Attributes:
        path: Beside the report.
        caption: What it shows, in words.
    """

    path: Path
    caption: str


Block = Text | Table | Picture


@dataclass(frozen=True)
class Section:
    """Blocks under a heading.

    Attributes:
        title: The heading.
        blocks: What it holds; a section without any is left out.
    """

    title: str
    blocks: Sequence[Block]


def terminal(sections: Sequence[Section]) -> str:
    """What is printed: no figures, long tables cut."""
    parts = []
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Text):
                parts.append(f"warning: {block.text}" if block.warning else block.text)
            elif isinstance(block, Table):
                more = len(block.rows) - _TOP
                parts.append(
                    table(block.header, block.rows[:_TOP])
                    + (f"\n... and {more} more rows in the report" if more > 0 else "")
                )
    return "\n\n".join(parts)


def pictures(sections: Sequence[Section]) -> list[Path]:
    """Files of all figures."""
    return [block.path for section in sections for block in section.blocks if isinstance(block, Picture)]


def write_report(folder: Path, title: str, sections: Sequence[Section]) -> list[Path]:
    """Write ``report.md`` and ``report.html``.

    Args:
        folder: Where the figures are.
        title: Of the page.
        sections: What it holds.

    Returns:
        Both files.
    """
    held = [section for section in sections if section.blocks]
    files = {folder / "report.md": _markdown(title, held), folder / "report.html": _html(title, held)}
    for path, text in files.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(files)


def _markdown(title: str, sections: Sequence[Section]) -> str:
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        for block in section.blocks:
            if isinstance(block, Text):
                parts.append(f"> **Warning:** {block.text}" if block.warning else block.text)
            elif isinstance(block, Table):
                parts.append(table(block.header, block.rows))
            else:
                parts.append(f"![{block.path.stem}]({block.path.name})\n\n{block.caption}")
    return "\n\n".join(parts) + "\n"


def _html(title: str, sections: Sequence[Section]) -> str:
    links = "".join(f'<a href="#s{i}">{escape(section.title)}</a>' for i, section in enumerate(sections))
    body = "".join(
        f'<section id="s{i}"><h2>{escape(section.title)}</h2>{"".join(map(_block, section.blocks))}</section>'
        for i, section in enumerate(sections)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><nav>{links}</nav>{body}</body></html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f'<p class="warning">{_inline(block.text)}</p>' if block.warning else f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Picture):
        data = base64.b64encode(block.path.read_bytes()).decode()
        name = escape(block.path.stem)
        return (
            f'<figure><img alt="{name}" src="data:image/png;base64,{data}">'
            f"<figcaption>{_inline(block.caption)}</figcaption></figure>"
        )
    rest = block.rows[_TOP:]
    folded = f"<details><summary>{len(rest)} more</summary>{_table(block.header, rest)}</details>" if rest else ""
    return _table(block.header, block.rows[:_TOP]) + folded


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(_cell(str(cell)) for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    return f"<td{' class=n' if _NUMBER.fullmatch(text) else ''}>{_inline(text)}</td>"


def _inline(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text).replace("\n", "<br>")
