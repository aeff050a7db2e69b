"""Do made maps help a small net on real ones?

The preset ``small`` of ``gwi_inversion`` is trained on real maps, on as many made ones, on more of them, and on real and made ones
together, with as many optimiser steps each, and scored on real maps of other files.

    python -m datamodules.gwi unpack ARCHIVES maps --pattern "*model11-12.zip"
    python benchmarks/gwi_pays.py --maps maps
"""

# ruff: noqa: E402  (the path must be set before the project is imported)

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # blend.py beside this file is not the package

import numpy as np
import numpy.typing as npt

from blend.commands.report import table
from datamodules.gwi.files import find_files
from datamodules.gwi.generate.families import generate_maps
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.training import train

Maps = npt.NDArray[np.float32]
_VALIDATIONS = 12


def real_maps(folder: Path, count: int) -> dict[str, tuple[Maps, Maps]]:
    """The first maps of the first and of the last file of each family: to be scored on, and to train on."""
    found: dict[str, list[Maps]] = {}
    for file in find_files(folder):
        found.setdefault(file.family, []).append(np.asarray(file.maps()[:count], dtype=np.float32))
    return {family: (maps[0], maps[-1]) for family, maps in found.items()}


def write_case(folder: Path, scored: dict[str, Maps], trained: dict[str, Maps]) -> None:
    """A data set in which fold 0 holds the real maps out."""
    for family, maps in scored.items():
        (folder / family).mkdir(parents=True, exist_ok=True)
        np.save(folder / family / "vmodel11.npy", maps)
        np.save(folder / family / "vmodel12.npy", trained[family])  # fold 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of real maps, two files a family")
    parser.add_argument("--count", type=int, default=60, help="real maps a family (60)")
    parser.add_argument("--more", type=int, default=240, help="maps a family of the larger sets (240)")
    parser.add_argument("--passes", type=int, default=84, help="over the real maps (84)")
    parser.add_argument(
        "--out", type=Path, default=Path("pays"), help="data sets and runs; finished ones are not made again"
    )
    parser.add_argument("--cases", type=int, nargs="+", default=[0, 1, 2, 3], help="which of the four (all)")
    args = parser.parse_args()
    real = real_maps(args.maps, args.count)
    made = {family: generate_maps(family, 0, range(args.more)) for family in real}
    cases: dict[str, dict[str, Maps]] = {
        f"{args.count} real": {family: maps for family, (_, maps) in real.items()},
        f"{args.count} made": {family: maps[: args.count] for family, maps in made.items()},
        f"{args.more} made": made,
        f"{args.count} real and {args.more - args.count} made": {
            family: np.concatenate([real[family][1], maps[: args.more - args.count]]) for family, maps in made.items()
        },
    }
    experiment, rows = load_experiment("gwi_inversion"), []
    for name, trained in [list(cases.items())[k] for k in args.cases]:
        folder = args.out / name.replace(" ", "_")
        if not folder.exists():
            write_case(folder, {family: maps for family, (maps, _) in real.items()}, trained)
        maps_each = len(next(iter(trained.values())))
        repeat = max(1, round(args.passes / _VALIDATIONS * args.count / maps_each))
        flags = [
            *("--preset", "small", "--data_dir", str(folder), "--out", str(args.out / "runs" / folder.name), "--fold", "0"),
            *("--epochs", str(_VALIDATIONS), "--data.repeat", str(repeat), "--accelerator", "cpu", "--wandb", "disabled", "--train.progress", "false"),
        ]  # fmt: skip
        run = train(parse(experiment, flags))
        record = run.record()
        scores = record["scores"]["gwi_inversion"]
        columns = ["mae", *(f"mae_{family}" for family in real)]
        rows.append([name, record["optimizer_steps"], *(f"{scores[column]:.1f}" for column in columns)])
        print(" ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    print(table(("trained on, maps a family", "steps", *columns), rows))


if __name__ == "__main__":
    main()
