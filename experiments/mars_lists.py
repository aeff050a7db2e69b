"""Train a whole list of models of the 2nd place, fold by fold, with one command; finished folds are not trained again.

The flags after the list's are handed on to every model, such as --data_dir, --devices or --epochs. The lists are those of
the solution: 11 models of the submission, 16 of the published re-run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PRESETS = Path(__file__).parent / "presets" / "mars_timm"


class Member(NamedTuple):
    """One model of a list.

    Args:
        preset: run configuration, a file of the presets.
        backbone: of timm.
        seed: of weights, shuffling and widths, the same in all folds.
    """

    preset: str
    backbone: str
    seed: int

    @property
    def variant(self) -> str:
        """Name of the settings in the run directory."""
        return f"{self.preset}-{self.backbone}"


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
}


def arguments(member: Member) -> list[str]:
    """Flags of ``experiments/mars_timm.py`` for all folds of a model."""
    return [
        "--config", str(PRESETS / f"{member.preset}.yaml"), "--variant", member.variant,
        "--model.backbone", member.backbone, "--seed", str(member.seed), "--fold", "all",
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/mars_lists.py LIST [flags of mars_timm.py ...]``."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in LISTS:
        asked_help = bool(given) and given[0] in ("-h", "--help")
        print(
            f"usage: python experiments/mars_lists.py {{{','.join(LISTS)}}} [flags of mars_timm.py ...]\n\n{__doc__}",
            file=sys.stdout if asked_help else sys.stderr,
        )
        raise SystemExit(0 if asked_help else 2)
    members = LISTS[given[0]]
    for number, member in enumerate(members, start=1):
        print(f"model {number} of {len(members)}: {member.variant}, seed {member.seed}", flush=True)
        command = [sys.executable, "-m", "experiments.mars_timm", *arguments(member), *given[1:]]
        if status := subprocess.run(command, check=False).returncode:
            print(
                f"error: {member.variant} ended with exit status {status}; mend the cause above and run the same command again",
                file=sys.stderr,
            )
            raise SystemExit(1)


if __name__ == "__main__":
    main()
