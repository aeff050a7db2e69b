"""Run any command of the project as jobs: in parts, as several workers, or once for each of many runs.

Everything after ``--`` is the command, as it would be typed without this one::

    python experiments/launch.py --launch slurm --parts 8 -- python -m datamodules.leap convert --source raw --dest stores
    python experiments/launch.py --launch slurm --parts 20 -- python experiments/gwi_generate.py --family all --samples 100000 --out maps
    python experiments/launch.py --launch slurm --each "--run runs/leap_*/default/seed*/fold*" -- python experiments/predict.py --input test.csv
    python experiments/launch.py --launch slurm --copies 6 -- python -m blend search runs/leap_* --method optuna --storage postgresql://me@db/studies
    python experiments/launch.py --launch cluster.yaml -- python -m blend compare runs/moa_*

One live table shows all jobs. It can be left with Ctrl-C and called again; a job that failed is started again and goes on where it stood.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from experiments.engine.launch.settings import Launch, spell_out

PROGRAM = "python experiments/launch.py"


@dataclass
class Request:
    """How a command becomes jobs.

    Args:
        parts: So many jobs, each with another ``--part K/N``.
        copies: So many jobs of the same command, such as workers on one study.
        each: A flag and a pattern of paths; one job for each of them.
        out: Folder whose ``launch/`` keeps the jobs' records and logs.
    """

    parts: int | None = None
    copies: int | None = None
    each: str | None = None
    out: Path = Path("runs")

    def __post_init__(self) -> None:
        given = [name for name in ("parts", "copies", "each") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of --{' and --'.join(given)}")
        for name in ("parts", "copies"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.each is not None and len(self.each.split(maxsplit=1)) != 2:
            raise ValueError(
                f'--each takes a flag and a pattern, such as "--run runs/*/default/seed0/fold0", got {self.each!r}'
            )

    def more(self) -> list[tuple[str, ...]]:
        """Further arguments of each job.

        Raises:
            DataError: No path fits the pattern.
        """
        from datamodules.errors import DataError

        if self.parts is not None:
            return [("--part", f"{part}/{self.parts}") for part in range(1, self.parts + 1)]
        if self.each is None:
            return [()] * (self.copies or 1)
        flag, pattern = self.each.split(maxsplit=1)
        found = sorted(glob.glob(pattern))  # noqa: PTH207 - the pattern may be absolute
        if not found:
            raise DataError(f"--each: nothing is named like {pattern}")
        return [(flag, path) for path in found]


def read(words: Sequence[str]) -> tuple[Request, Launch, list[str]]:
    """What is asked for, where it runs, and the command.

    Args:
        words: The command line.

    Raises:
        ValueError: One of the three is missing or wrong.
    """
    from jsonargparse import ArgumentParser

    from datamodules.commands import plain_help

    parser = ArgumentParser(
        prog=PROGRAM, usage=f"{PROGRAM} [flags] -- COMMAND", description=__doc__, allow_abbrev=False
    )
    parser.add_class_arguments(Request, as_group=False)
    parser.add_class_arguments(Launch, "launch")
    plain_help(parser)
    words = list(words)
    own, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parsed = parser.parse_args(spell_out(own))
    request = Request(**{item.name: parsed[item.name] for item in fields(Request)})
    launch = Launch(**{item.name: parsed.launch[item.name] for item in fields(Launch)})
    if not command:
        raise ValueError("there is no command after --")
    if not launch.active:
        raise ValueError("give --launch local, --launch slurm or --launch FILE.yaml")
    return request, launch, command


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/launch.py [flags] -- COMMAND``."""
    from datamodules.commands import refusals_as_sentences

    try:
        request, launch, command = read(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with refusals_as_sentences("the same command picks the jobs up"):
        from experiments.engine.launch_plan import launch_command

        program = [sys.executable, *command[1:]] if Path(command[0]).name.startswith("python") else command
        launch_command(program, launch, request.out, request.more())


if __name__ == "__main__":
    main()
