"""The board as a static site: works from ``file://`` and as a folder of any web server, without a network."""

from __future__ import annotations

import html
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.files import atomic_path
from experiments.engine.board.collect import Blend, Run, cell, higher_is_better, number, systems, table

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1500px;padding:0 16px 48px;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}nav a{margin-right:1rem}a{color:#0b5cad}
.scroll{overflow-x:auto}table{border-collapse:collapse}td,th{padding:4px 10px;text-align:left;vertical-align:top}
table.plain td,table.plain th{border-bottom:1px solid #d9dee3}
pre{background:#f3f5f7;padding:10px;overflow-x:auto;user-select:all;border-radius:4px}img{max-width:100%;height:auto}
.note{color:#57606a}.demo{background:#fff1c2;padding:6px 10px;border-radius:4px}figure{margin:12px 0}
.plotly-graph-div{min-width:300px}tfoot input{width:5.5em!important;min-width:0}table.dataTable th{white-space:nowrap}
"""
_REFERENCES = 6
"""Systems that others can be compared with by target; each adds its differences to the page."""


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
        page, ended = out / f"{run.slug}.html", run.record.get("status") == "finished"
        if not (ended and _is_newer(page, run)):
            _write(page, run.name, _run_page(run, runs, out), 0 if ended else refresh)
    for blend in blends:
        _write(out / f"{blend.slug}.html", f"Blend {blend.folder.name}", _blend_page(blend, out), refresh)
    _write(out / "compare.html", "Side by side", _compare_page(runs), refresh)
    return _write(out / "index.html", "Board of runs", _index(runs, blends), refresh)


def _is_newer(page: Path, run: Run) -> bool:
    """Whether a page was written after its run ended, by this version: a board of hundreds of runs only writes what is new."""
    folder = run.directory.path
    sources = (folder / "run.json", folder / "metrics.csv", run.directory.config, Path(__file__))
    return page.is_file() and all(page.stat().st_mtime > p.stat().st_mtime for p in sources if p.exists())


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
        "<p class='note'>± is 1.96 standard errors over folds and seeds; for one run half the 95 % interval over its held-out rows, "
        "for a blend that of its gain over the best single model. The arrows of a column sort, the field below it filters, click a name to open the run.</p>"
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
    for column in shown.columns[1:]:
        shown[column] = [html.escape(cell(column, value)) for value in shown[column]]
    words = [
        i for i, column in enumerate(shown.columns) if column not in ("score", "±", "parameters", "rows/s", "seconds")
    ]
    text = to_html_datatable(
        shown, connected=False, column_filters="footer", allow_html=True, showIndex=False, paging=len(shown) > 50,
        classes="display compact nowrap", maxBytes=0, lengthMenu=[50, 200, 1000], fixedColumns={"start": 1}, scrollX=True,
        columnDefs=[{"targets": words, "type": "html", "className": "dt-left"}],
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
        f"score ({run.metric})": number(run.score),
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
    curves = _curves([run])
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
    frame = frame.map(number)
    return frame.reset_index(names="predictor")


def _curves(runs: Sequence[Run], columns: int = 2, every: bool = True) -> str:
    """Curves over optimiser steps, a colour a system: the score that chose the checkpoint and both losses first.

    Args:
        runs: Drawn on the same axes.
        columns: Plots beside each other.
        every: Also draw every other validation score.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    found = sorted({c for run in runs for c in run.curves.columns if c.startswith(("val_", "train_loss"))})
    chosen = {str((run.record.get("best") or {}).get("metric")) for run in runs}
    first = [
        *sorted(chosen & set(found)),
        *(n for n in found if n == "val_loss"),
        *(n for n in found if n[:3] == "tra"),
    ]
    names = list(dict.fromkeys([*first, *found] if every or not first else first))
    if not names:
        return ""
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(rows, columns, subplot_titles=names)
    looks = _looks(run.system for run in runs)
    for place, name in enumerate(names):
        told: set[str] = set()
        for run in (run for run in runs if name in run.curves):
            line = run.curves[["step", name]].dropna()
            figure.add_trace(
                go.Scatter(
                    x=line["step"].tolist(), y=line[name].tolist(), name=run.system, legendgroup=run.system, mode="lines",
                    showlegend=place == 0 and len(looks) > 1 and run.system not in told, line=looks[run.system],
                    hovertemplate=f"{run.name}<br>step %{{x}}: %{{y:.5g}}<extra></extra>",
                ),
                row=place // columns + 1, col=place % columns + 1,
            )  # fmt: skip
            told.add(run.system)
    figure.update_xaxes(title_text="optimiser steps")
    return _plot(figure, 280 * rows + 40, len(looks))


def _compare_page(runs: Sequence[Run]) -> str:
    """Runs of one domain and one kind of data on the same axes; the legend chooses (double click: one alone)."""
    parts = ["<p class='note'>Click a name in a legend to hide or show it, twice to see it alone.</p>"]
    kinds = sorted({(run.domain, bool(run.record.get("demo"))) for run in runs})
    for domain, demo in kinds:
        chosen = [run for run in runs if (run.domain, bool(run.record.get("demo"))) == (domain, demo)]
        parts.append(f"<h2>{html.escape(domain)}, {'demo' if demo else 'real'} data</h2>")
        parts += [_curves(chosen, columns=1, every=False), _by_group(chosen), *_by_target(chosen)]
    return "".join(parts)


def _ranked(runs: Sequence[Run], scores: Callable[[Run], pd.Series[float]]) -> dict[tuple[str, ...], pd.DataFrame]:
    """Mean scores over folds and seeds, a column a system, the best first; only systems of the same rows of scores are beside each other."""
    found: dict[tuple[str, ...], dict[str, tuple[float, pd.Series[float]]]] = {}
    sign = -1 if higher_is_better(runs[0].metric) else 1
    for system, members in systems(runs):
        own = [scores(run) for run in members if len(scores(run))]
        if own:
            mean = sign * float(np.nanmean([run.score for run in members]))
            found.setdefault(tuple(map(str, own[0].index)), {})[system] = mean, pd.DataFrame(own).mean()
    return {
        names: pd.DataFrame({system: values for system, (_, values) in sorted(rows.items(), key=lambda row: row[1][0])})
        for names, rows in found.items()
        if len(rows) > 1
    }


def _by_group(runs: Sequence[Run]) -> str:
    """Heat map of each system's scores by group, coloured by the difference from the best in that group."""
    import plotly.graph_objects as go

    text = ""
    for frame in _ranked(runs, lambda run: pd.Series(run.own_groups, dtype=float)).values():
        higher = higher_is_better(runs[0].metric)
        worse = (frame.sub(frame.max(axis=1) if higher else frame.min(axis=1), axis=0)).abs().T.iloc[::-1]
        figure = go.Figure(
            go.Heatmap(
                z=worse.to_numpy().tolist(), x=list(worse.columns), y=list(worse.index), colorscale="Cividis", reversescale=True,
                text=[[number(v, 3) for v in row] for row in frame.T.iloc[::-1].to_numpy()], texttemplate="%{text}",
                zmin=0, zmax=_limit(worse.to_numpy()), colorbar={"title": "worse than<br>the best by"},
                hovertemplate="%{y}<br>%{x}: %{text}, worse by %{z:.3g}<extra></extra>",
            )
        )  # fmt: skip
        figure.update_layout(title=f"{runs[0].metric} by group", yaxis={"automargin": True})
        text += _plot(figure, 150 + 30 * len(worse), width=300 + 70 * worse.shape[1])
    return text


def _by_target(runs: Sequence[Run]) -> list[str]:
    """A point a target: by how much each system is better than another, which the menu chooses."""
    import plotly.graph_objects as go

    parts = []
    for frame in _ranked(runs, lambda run: run.per_target).values():
        names, values = list(frame.columns), frame.to_numpy() * (1 if higher_is_better(runs[0].metric) else -1)
        looks = _looks(names)
        gains = [values - values[:, [i]] for i in range(min(_REFERENCES, len(names)))]
        ranges = [[-1.1 * _limit(gain), 1.1 * _limit(gain)] for gain in gains]
        tables = [[[float(f"{v:.4g}") for v in column] for column in gain.T] for gain in gains]
        figure = go.Figure(
            [
                go.Scatter(
                    x=[str(target) for target in frame.index], y=column, name=name, mode="markers",
                    marker={"size": 4, "color": looks[name]["color"]}, visible=True if 0 < i < 4 else "legendonly",
                    hovertemplate=f"%{{x}}<br>{name}: %{{y:.4g}}<extra></extra>",
                )
                for i, (name, column) in enumerate(zip(names, tables[0], strict=True))
            ]
        )  # fmt: skip
        menu = [
            {"label": f"against {name}", "method": "update", "args": [{"y": table}, {"yaxis.range": limits}]}
            for name, table, limits in zip(names, tables, ranges, strict=False)
        ]
        figure.update_layout(
            title=f"{runs[0].metric} by target: better by (above 0) or worse", xaxis={"nticks": 20, "automargin": True},
            yaxis={"range": ranges[0], "title": "better by"},
            updatemenus=[{"buttons": menu, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}],
        )  # fmt: skip
        parts.append(_plot(figure, 460, len(names), top=90))
    return parts


def _limit(values: npt.NDArray[np.float64]) -> float:
    """Largest size that colours and axes show: a single wild score must not hide all others."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.quantile(sizes, 0.95)) if len(sizes) else 1.0


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
    rows = []
    stages = [("earlier stage", stage) for stage in run.record.get("previous") or []]
    for kind, entry in [("starts from", run.record.get("parent")), *stages]:
        if not entry:
            continue
        path = str(entry.get("run") or entry.get("path") or entry) if isinstance(entry, dict) else str(entry)
        other = next(
            (r for r in runs if path and (str(r.directory.path.resolve()) in path or str(r.directory.path) in path)),
            None,
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


def _plot(figure: Any, height: int, named: int = 1, width: int = 0, top: int = 60) -> str:
    """A figure as wide as the page; what needs more scrolls inside.

    Args:
        figure: Of plotly.
        height: Without the legend.
        named: Entries of the legend, which stands below.
        width: Least width in pixels.
        top: Margin above, for titles and menus.
    """
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
    more = 22 * named if named > 1 else 0
    figure.update_layout(
        template="simple_white",
        legend=legend,
        height=height + more,
        margin={"l": 60, "r": 20, "t": top, "b": 50 + more},
    )
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"responsive": True, "displaylogo": False}
    )
    return f"<div class='scroll'><div style='min-width:{width}px'>{text}</div></div>"


def _looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """A colour and a dash for each name; the colours are those that colour-blind readers tell apart."""
    from plotly.colors import qualitative

    dashes, colours = ("solid", "dash", "dot", "dashdot"), qualitative.Safe
    return {
        name: {"color": colours[i % len(colours)], "dash": dashes[i // len(colours) % len(dashes)]}
        for i, name in enumerate(dict.fromkeys(names))
    }


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
