"""The board as a static site: works from ``file://`` and as a folder of any web server, without a network."""

from __future__ import annotations

import html
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.files import atomic_path
from experiments.engine.board.collect import Blend, Run, systems, table

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1500px;padding:0 16px 48px;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}nav a{margin-right:1rem}a{color:#0b5cad}
.scroll{overflow-x:auto}table{border-collapse:collapse}td,th{padding:4px 10px;text-align:left;vertical-align:top}
table.plain td,table.plain th{border-bottom:1px solid #d9dee3}
pre{background:#f3f5f7;padding:10px;overflow-x:auto;user-select:all;border-radius:4px}img{max-width:100%;height:auto}
.note{color:#57606a}.demo{background:#fff1c2;padding:6px 10px;border-radius:4px}figure{margin:12px 0}
.plotly-graph-div{min-width:300px}tfoot input{width:5.5em!important;min-width:0}table.dataTable th{white-space:nowrap}
"""
_CURVES = ("val_", "valid", "train_loss")


def write_board(runs: Sequence[Run], blends: Sequence[Blend], out: Path, refresh: int = 0) -> Path:
    """Write all pages.

    Args:
        runs: Runs, of any domain.
        blends: Blends.
        out: Folder of the site.
        refresh: Seconds after which an open page loads itself again; 0 = never.

    Returns:
        The first page.
    """
    out.mkdir(parents=True, exist_ok=True)
    for run in runs:
        _write(out / f"{run.slug}.html", run.name, _run_page(run, runs, out), refresh)
    for blend in blends:
        _write(out / f"{blend.slug}.html", f"Blend {blend.folder.name}", _blend_page(blend, out), refresh)
    _write(out / "compare.html", "Side by side", _compare_page(runs), refresh)
    return _write(out / "index.html", "Board of runs", _index(runs, blends), refresh)


def _index(runs: Sequence[Run], blends: Sequence[Blend]) -> str:
    parts = []
    for demo, title, note in (
        (False, "Real data", "Scores of held-out rows in the judge's metric."),
        (True, "Demo data", "Synthetic data: these scores say nothing about the competitions'."),
    ):
        frame = table(runs, blends, demo)
        if len(frame):
            parts.append(f"<h2>{title}</h2><p class='{'demo' if demo else 'note'}'>{note}</p>{_sortable(frame)}")
    unfinished = sum(run.record.get("status") != "finished" for run in runs)
    running = f"<p>{unfinished} of {len(runs)} runs are not finished.</p>" if unfinished else ""
    interval = (
        "<p class='note'>± is 1.96 standard errors over folds and seeds (for a blend: half the 95 % interval of its gain over the "
        "best single model). The arrows of a column sort, the field below it filters, click a name to open the run.</p>"
    )
    return running + (_table_library() if parts else "") + ("".join(parts) or "<p>No runs yet.</p>") + interval


def _table_library() -> str:
    """The script that the tables of a page share."""
    import itables
    from itables.javascript import generate_init_offline_itables_html

    text: str = generate_init_offline_itables_html(itables.options.dt_bundle)
    return text


def _sortable(frame: pd.DataFrame) -> str:
    from itables import to_html_datatable

    shown = frame.drop(columns="link")
    shown["name"] = [
        f"<a href='{link}.html'>{html.escape(str(name))}</a>"
        for link, name in zip(frame["link"], frame["name"], strict=True)
    ]
    for column in ("variant", "folds", "seeds", "status", "commit", "published"):
        shown[column] = shown[column].map(lambda value: html.escape(str(value)))
    shown["score"] = shown["score"].map(_number)
    shown["±"] = shown["±"].map(_number)
    for column in ("parameters", "rows/s", "seconds"):
        shown[column] = [None if pd.isna(value) else round(float(value)) for value in shown[column]]
    text = to_html_datatable(
        shown, connected=False, column_filters="footer", allow_html=True, showIndex=False, paging=len(shown) > 50,
        classes="display compact nowrap", maxBytes=0, lengthMenu=[50, 200, 1000],
    )  # fmt: skip
    return f"<div class='scroll'>{text}</div>"


def _run_page(run: Run, runs: Sequence[Run], out: Path) -> str:
    record = run.record
    parts = []
    if record.get("demo"):
        parts.append("<p class='demo'>Demo data: the scores say nothing about the competition's.</p>")
    start = (record.get("starts") or [{}])[-1]
    facts = {
        "status": record.get("status"),
        f"score ({run.metric})": _number(run.score),
        "published": "; ".join(f"{p['score']} {p['what']} ({p['source']})" for p in record.get("published", []))
        or "none",
        "rows": ", ".join(f"{value:,} {name}" for name, value in (record.get("rows") or {}).items()),
        "parameters": f"{record.get('parameters') or 0:,}",
        "rows/s": f"{record.get('rows_per_second') or 0:,.0f}",
        "epochs, steps": f"{record.get('epochs_done', 0)}, {record.get('optimizer_steps', 0):,}",
        "started": start.get("started", ""),
        "commit": f"{start.get('commit') or 'unknown'}{' (and uncommitted changes)' if start.get('uncommitted_changes') else ''}",
        "machine": start.get("machine", ""),
        "data": (record.get("hashes") or {}).get("data", ""),
    }
    parts.append(_plain_table(pd.DataFrame(facts.items()), header=False))
    parts.append("<h2>Settings</h2>" + _settings(run.changed()))
    if run.groups:
        parts.append("<h2>Scores by group</h2>" + _plain_table(_groups(run)))
    curves = _curves({run.name: run.curves})
    if curves:
        parts.append("<h2>Curves</h2>" + curves)
    parts += _figures(run.directory.figures, out / "figures" / run.slug)
    parts.append("<h2>Lineage</h2>" + _lineage(run, runs))
    parts.append("<h2>Go on with it</h2>" + _commands(run))
    return "".join(parts)


def _settings(frame: pd.DataFrame) -> str:
    changed = frame[frame["this run"] != frame["declared"]]
    rest = frame.loc[frame["this run"] == frame["declared"], ["setting", "this run"]]
    first = _plain_table(changed) if len(changed) else "<p>All are as declared.</p>"
    return f"{first}<details><summary>{len(rest)} settings as declared</summary>{_plain_table(rest)}</details>"


def _groups(run: Run) -> pd.DataFrame:
    frame = pd.DataFrame(run.groups).T
    frame = frame.map(_number)
    return frame.reset_index(names="predictor")


def _curves(tables: dict[str, pd.DataFrame], only: str = "") -> str:
    """Curves over optimiser steps, one line a run: every validation metric and the training loss, or ``only`` one and both losses."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = sorted({c for frame in tables.values() for c in frame.columns if c.startswith(_CURVES)})
    if only in names:
        names = [name for name in names if name in (only, "val_loss", "train_loss")]
    if not names:
        return ""
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(rows, columns, subplot_titles=names)
    colours = _colours(len(tables))
    for place, name in enumerate(names):
        for (label, frame), colour in zip(tables.items(), colours, strict=True):
            if name in frame:
                line = frame[["step", name]].dropna()
                figure.add_trace(
                    go.Scatter(
                        x=line["step"].tolist(), y=line[name].tolist(), name=label, legendgroup=label, mode="lines+markers",
                        showlegend=place == 0 and len(tables) > 1, line={"color": colour}, marker={"size": 4},
                    ),
                    row=place // columns + 1, col=place % columns + 1,
                )  # fmt: skip
    figure.update_xaxes(title_text="optimiser steps")
    figure.update_layout(height=280 * rows + 80, template="simple_white", margin={"l": 50, "r": 20, "t": 60, "b": 40})
    if len(tables) > 1:
        figure.update_layout(legend={"orientation": "h", "y": -0.12})
    return _plot(figure)


def _compare_page(runs: Sequence[Run]) -> str:
    """Runs of one domain and one kind of data on the same axes; the legend chooses (double click: one alone)."""
    parts = ["<p class='note'>Click a name in a legend to hide a run, twice to see it alone.</p>"]
    kinds = sorted({(run.domain, bool(run.record.get("demo"))) for run in runs})
    for domain, demo in kinds:
        chosen = [run for run in runs if (run.domain, bool(run.record.get("demo"))) == (domain, demo)]
        only = str((chosen[0].record.get("best") or {}).get("metric", ""))
        label = f"{domain}, {'demo' if demo else 'real'} data"
        parts.append(
            f"<h2>{html.escape(label)}</h2>{_curves({run.name: run.curves for run in chosen}, only)}{_differences(chosen)}"
        )
    return "".join(parts)


def _differences(runs: Sequence[Run]) -> str:
    """Heat map of each system's scores by group, coloured by the difference from the best in that group."""
    import plotly.graph_objects as go

    rows = {}
    for system, members in systems(runs):
        own = [
            run.groups[str(run.record["experiment"])]
            for run in members
            if run.groups.get(str(run.record["experiment"]))
        ]
        if own:
            rows[system] = pd.DataFrame(own).mean()
    if len(rows) < 2:
        return ""
    frame = pd.DataFrame(rows).T
    best = frame.max() if runs[0].metric == "r2" else frame.min()
    figure = go.Figure(
        go.Heatmap(
            z=(frame - best).to_numpy().tolist(), x=list(frame.columns), y=list(frame.index), colorscale="Cividis",
            text=[[_number(v) for v in row] for row in frame.to_numpy()], texttemplate="%{text}",
            colorbar={"title": "difference<br>from the best"}, reversescale=runs[0].metric != "r2",
        )
    )  # fmt: skip
    figure.update_layout(
        height=120 + 32 * len(frame), template="simple_white", title=f"{runs[0].metric} by group (number) and difference (colour)",
        margin={"l": 20, "r": 20, "t": 60, "b": 40}, yaxis={"automargin": True},
    )  # fmt: skip
    return _plot(figure)


def _blend_page(blend: Blend, out: Path) -> str:
    from markdown_it import MarkdownIt

    report = blend.folder / "report.md"
    text = report.read_text() if report.is_file() else "This blend has no report.md."
    parts = [f"<div class='scroll'>{MarkdownIt('commonmark', {'html': False}).enable('table').render(text)}</div>"]
    target = out / "figures" / blend.slug
    for picture in sorted(blend.folder.glob("**/*.png")):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target / picture.name)
        parts[0] = parts[0].replace(
            f'src="{picture.relative_to(blend.folder)}"', f'src="figures/{blend.slug}/{picture.name}"'
        )
    if (page := blend.folder / "report.html").is_file():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, target / page.name)
        parts.insert(0, f'<p><a href="figures/{blend.slug}/{page.name}">The whole report</a>, a page of its own.</p>')
    parts.append(
        "<h2>Go on with it</h2>"
        + _pre(f"python -m blend apply {blend.folder} --predictions test --submission submission.csv")
    )
    return "".join(parts)


def _figures(folder: Path, target: Path) -> list[str]:
    pictures = sorted(folder.glob("*.png"))
    if not pictures:
        return []
    target.mkdir(parents=True, exist_ok=True)
    parts = ["<h2>Figures</h2>"]
    for picture in pictures:
        shutil.copyfile(picture, target / picture.name)
        title = html.escape(picture.stem.replace("_", " "))
        parts.append(
            f"<figure><img loading='lazy' alt='{title}' src='figures/{target.name}/{picture.name}'><figcaption>{title}</figcaption></figure>"
        )
    return parts


def _lineage(run: Run, runs: Sequence[Run]) -> str:
    known = {str(other.directory.path.resolve()): other for other in runs}
    rows = []
    stages = [("earlier stage", stage) for stage in run.record.get("previous") or []]
    for kind, entry in [("starts from", run.record.get("parent")), *stages]:
        if not entry:
            continue
        path = str(entry.get("run") or entry.get("path") or entry) if isinstance(entry, dict) else str(entry)
        other = next(
            (r for where, r in known.items() if path and (where in path or str(r.directory.path) in path)), None
        )
        shown = html.escape(path)
        rows.append(
            f"<li>{kind}: {f'<a href={chr(34)}{other.slug}.html{chr(34)}>{shown}</a>' if other else shown}</li>"
        )
    return f"<ul>{''.join(rows)}</ul>" if rows else "<p>It starts from nothing but its data.</p>"


def _commands(run: Run) -> str:
    name, path = run.record.get("experiment"), run.directory.path
    lines = [
        f"python experiments/{name}.py --config {run.directory.config}    # resume, or train it again",
        f"python experiments/predict.py --run {path} --input TEST_FILE",
    ]
    if run.experiment and run.experiment.domain.export:
        lines.append(f"python experiments/export.py --run {path} --output {name}.pt2")
    return "".join(map(_pre, lines))


def _pre(line: str) -> str:
    return f"<pre>{html.escape(line)}</pre>"


def _plain_table(frame: pd.DataFrame, header: bool = True) -> str:
    text = frame.to_html(index=False, header=header, border=0, classes="plain", na_rep="", escape=True)
    return f"<div class='scroll'>{text}</div>"


def _plot(figure: Any) -> str:
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"responsive": True, "displaylogo": False}
    )
    return text


def _colours(count: int) -> list[str]:
    from plotly.colors import qualitative

    return [qualitative.Safe[i % len(qualitative.Safe)] for i in range(count)]


def _number(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else f"{float(value):.5g}"


def _write(path: Path, title: str, body: str, refresh: int) -> Path:
    script = path.parent / "plotly.min.js"
    if not script.is_file():
        from plotly.offline import get_plotlyjs

        _replace(script, get_plotlyjs())
    again = f"<meta http-equiv='refresh' content='{refresh}'>" if refresh else ""
    plotly = "<script src='plotly.min.js'></script>" if "plotly-graph-div" in body else ""
    _replace(
        path,
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"{again}<title>{html.escape(title)}</title><link rel='icon' href='data:,'><style>{_STYLE}</style>{plotly}</head><body>"
        f"<nav><p><a href='index.html'>All runs</a><a href='compare.html'>Side by side</a></p></nav><h1>{html.escape(title)}</h1>{body}"
        f"<p class='note'>Written {time.strftime('%Y-%m-%d %H:%M')} by Podium.</p></body></html>",
    )
    return path


def _replace(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
