"""Make the tables of a YAML file, one after the other: what prints a domain's section of ``docs/results.md`` again.

The file holds settings of ``experiments/tables/table.py`` that all tables share, and the tables by name::

    write: docs/results.md
    common: {experiments: [moa_logistic, moa_simple_nn], fold: all, blend: [equal, convex]}
    tables:
      moa-demo-drug: {}
      moa-demo-row: {flags: --data.cv row}
      moa-real:
        data_dir: runs/cache/real
        prepare: [datamodules.moa.l1000, --source, $PODIUM_REAL_DATA/moa, --folder, runs/cache/real]

``prepare`` is a module with its arguments, run once to make ``data_dir``. A table that names an environment variable which is
not set is left out, and said so. Finished runs are not trained again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import shipped
from experiments.engine.command import run_command
from experiments.engine.launch.settings import Launch
from experiments.tables.table import Request as Table

_VARIABLE = re.compile(r"\$\{?(\w+)")


@dataclass
class Request:
    """What to make.

    Args:
        files: YAML files of tables, such as ``experiments/tables/moa.yaml``.
        only: Names of the tables to make; default: all.
        out: Folder of runs; default: as the file says, else ``runs``.
        write: Markdown file, in place of the file's own.
        launch: Where runs are trained, as in an experiment.
    """

    files: list[str]
    only: list[str] = field(default_factory=list)
    out: Path | None = None
    write: Path | None = None
    launch: Launch = field(default_factory=Launch)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/results.py``."""
    run_command(Request, make_tables, "python experiments/results.py", __doc__, argv, "files")


def make_tables(request: Request) -> None:
    """Make the tables of all files.

    Raises:
        DataError: a file with unknown keys, or no table of a wanted name.
    """
    plans = {file: read_plan(Path(file)) for file in request.files}
    known = {name for plan in plans.values() for name in plan}
    unknown = [name for name in request.only if name not in known]
    if unknown:
        raise DataError(f"there is no table {unknown[0]!r} in {', '.join(request.files)}; there are {', '.join(known)}")
    for file, plan in plans.items():
        for name, values in plan.items():
            if not request.only or name in request.only:
                _make(file, name, values, request)


def read_plan(path: Path) -> dict[str, dict[str, Any]]:
    """Settings of every table of a file, by name.

    Raises:
        DataError: the file is missing, no YAML, or has an unknown key.
    """
    import yaml

    path = shipped(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a YAML file of tables")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict) or not isinstance(content.get("tables"), dict):
        raise DataError(f"{path} has no mapping 'tables' of names to settings")
    if extra := set(content) - {"write", "common", "tables"}:
        raise DataError(f"{path}: unknown key {min(extra)!r}; there are write, common and tables")
    allowed = {item.name for item in fields(Table)} - {"name", "launch"} | {"prepare"}
    plan = {}
    for name, own in content["tables"].items():
        values = {"write": content.get("write")} | (content.get("common") or {}) | (own or {})
        if extra := set(values) - allowed:
            raise DataError(f"{path}: table {name} has the unknown key {min(extra)!r}")
        if not values.get("experiments"):
            raise DataError(f"{path}: table {name} names no experiments")
        plan[str(name)] = values
    return plan


def _make(file: str, name: str, values: dict[str, Any], request: Request) -> None:
    missing = [v for v in _VARIABLE.findall(str(values)) if v not in os.environ]
    if missing:
        print(f"== table {name} is left out: the environment variable {missing[0]} is not set", flush=True)
        return
    print(f"== table {name}", flush=True)
    values = {key: _expand(value) for key, value in values.items()}
    prepare = values.pop("prepare", None)
    if request.out is not None:
        values["out"] = request.out
    if request.write is not None:
        values["write"] = request.write
    for key in ("data_dir", "out", "write"):
        if values.get(key) is not None:
            values[key] = Path(values[key])
    if prepare is not None and not values["data_dir"].exists():
        _prepare(name, prepare)
    from experiments.tables.table import make_table

    make_table(
        Table(**values, name=name, launch=request.launch), f"python experiments/results.py {file} --only [{name}]"
    )


def _prepare(name: str, module: list[str]) -> None:
    if subprocess.run([sys.executable, "-m", *map(str, module)], check=False).returncode != 0:
        raise DataError(f"table {name}: its data could not be prepared by python -m {' '.join(map(str, module))}")


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(item) for item in value]
    return os.path.expandvars(value) if isinstance(value, str) else value


if __name__ == "__main__":
    main()
