"""GWI: generate velocity maps of one family and shoot them exactly as OpenFWI did.

Killed and started again it goes on where it stood; several machines share the work with --part 1/3, 2/3, 3/3 and the same
other flags, into the same folder or into folders that are joined later.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodules.parts import parse_part
from experiments.engine.command import run_command


@dataclass
class Request:
    """What to generate.

    Args:
        family: Such as curvefault_b, or all for the ten families.
        samples: Maps a family.
        out: Folder of the data set; shards lie in a sub-folder for each family.
        seed: Seed of the data set; map i is a function of family, seed and i.
        gathers: Full float32 (5, 1000, 70), compact half precision (5, 288, 70), or none; velocities are float32 always.
        augment: Share of maps that are cut-mixed, zoomed or shifted.
        shard_rows: Maps of one shard.
        part: K/N = only every N-th shard, beginning with the K-th.
        processes: Worker processes; default: all cores.
        device: auto takes a CUDA GPU where there is one.
    """

    family: str
    samples: int
    out: Path
    seed: int = 0
    gathers: Literal["full", "compact", "none"] = "full"
    augment: float = 0.0
    shard_rows: int = 100
    part: str = "1/1"
    processes: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name in ("samples", "shard_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.augment <= 1:
            raise ValueError(f"--augment is a share in [0, 1], got {self.augment}")
        parse_part(self.part)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/gwi_generate.py``."""
    run_command(Request, generate, "python experiments/gwi_generate.py", __doc__, argv)


def generate(request: Request) -> None:
    """Make what is missing of every family asked for."""
    import torch

    from datamodules.gwi.generate.produce import part_of, produce, shard_keys
    from datamodules.gwi.schema import FAMILIES, family_name

    families = FAMILIES if request.family == "all" else (family_name(request.family),)
    part, parts = parse_part(request.part)
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = auto if request.device == "auto" else request.device
    keys = [
        key
        for family in families
        for key in shard_keys(
            family, request.seed, request.samples, request.shard_rows, request.augment, request.gathers
        )
    ]
    made = produce(request.out, part_of(keys, part, parts), request.processes or os.cpu_count() or 1, device)
    print(f"{request.out}: {made:,} maps made, {', '.join(families)}, part {part} of {parts}")


if __name__ == "__main__":
    main()
