"""How much refinement lowers the error of maps that look like a net's predictions, on simulated shots of real maps.

The start is the true map, blurred by two cells and with smooth errors that grow with depth, scaled to a mean absolute error of 60
to 100 m/s. One map costs about a minute of one core; a run that was broken off goes on.

    python -m datamodules.gwi unpack ARCHIVES maps --pattern "*model11-12.zip"
    python benchmarks/gwi_refine.py --maps maps --per_family 2 --out refined
"""

# ruff: noqa: E402  (the path must be set before the project is imported)

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # blend.py beside this file is not the package

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter

from datamodules.banks.bank import Manifest, write_bank
from datamodules.gwi.files import find_files
from datamodules.gwi.schema import SIDE, VMAX, VMIN
from experiments.gwi_refine import Request, refine

Map = npt.NDArray[np.float32]
_LOWEST, _HIGHEST = 60.0, 100.0  # m/s
_HALVINGS = 30


def main() -> None:
    args = parse_arguments()
    bank = args.out / "imitated"
    if not (bank / "manifest.json").is_file():
        write_imitations(args.maps, args.per_family, args.out)
    refine(Request(bank, args.maps, out=args.out / "refined", max_iterations=args.max_iterations, threads=args.threads))


def write_imitations(maps: Path, per_family: int, out: Path) -> None:
    """Banks of the true maps and of their imitated predictions: the first maps of each family's last file, families in turn."""
    files = {file.family: file for file in find_files(maps)}
    rows, truth, start = [], [], []
    for index in range(per_family):
        for file in files.values():
            velocity = np.array(file.maps()[index])
            rows.append((f"{file.family}/{file.name}/{index}", 0, file.family))
            truth.append(velocity)
            start.append(imitate_prediction(velocity, len(rows)))
    table = pd.DataFrame(rows, columns=["row_id", "fold", "group"])
    write_bank(out / "truth", np.stack(truth), table, Manifest(kind="truth", domain="gwi", metric="mae"))
    manifest = Manifest(
        kind="out_of_fold", domain="gwi", metric="mae", experiment="imitated", variant="default", seed=0, folds=[0],
        truth="../truth",
    )  # fmt: skip
    write_bank(out / "imitated", np.stack(start), table, manifest)


def imitate_prediction(velocity: Map, seed: int) -> Map:
    """A map with interfaces blurred and smooth errors, as far off as a fair net's."""
    generator = np.random.default_rng(seed)
    target = generator.uniform(_LOWEST, _HIGHEST)
    noise = gaussian_filter(generator.standard_normal((SIDE, SIDE)), 5.0, mode="nearest")
    noise *= (0.3 + np.arange(SIDE) / SIDE)[:, None] / noise.std()
    blurred = gaussian_filter(velocity, 2.0, mode="nearest")
    low, high = 0.0, 400.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shown = np.clip(blurred + middle * noise, VMIN, VMAX)
        low, high = (middle, high) if np.abs(shown - velocity).mean() < target else (low, middle)
    return shown.astype(np.float32)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of real maps, a sub-folder for each family")
    parser.add_argument("--per_family", type=int, default=2, help="maps of each family (2)")
    parser.add_argument("--out", type=Path, default=Path("refined"), help="where banks and finished maps are kept")
    parser.add_argument("--max_iterations", type=int, default=60, help="for each map (60)")
    parser.add_argument("--threads", type=int, default=0, help="of the simulator; 0 = all cores")
    return parser.parse_args()


if __name__ == "__main__":
    main()
