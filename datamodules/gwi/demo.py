"""Demo data sets: generated maps, of three families with their gathers or of all ten without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datamodules.files import usable_cores
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.schema import FAMILIES
from datamodules.gwi.shards import GENERATOR_VERSION, GatherFormat

SHOT = ("FlatVel_A", "CurveVel_A", "FlatFault_A")
SHARDS = 5


def make_demo(
    cache: Path, rows: int = 32, seed: int = 0, families: Sequence[str] = SHOT, gathers: GatherFormat = "compact"
) -> Path:
    """Generate and shoot the demo's maps below ``cache``, or find them there.

    Args:
        cache: Folder of derived data.
        rows: Maps of one of a family's five shards; whole shards are held out.
        seed: Seed of the maps.
        families: To generate.
        gathers: Half precision or none.
    """
    from torch.cuda import is_available

    kind = "gwi-family-demo" if gathers == "none" else "gwi-demo"
    folder = Path(cache) / f"{kind}-s{seed}-{rows}-v{GENERATOR_VERSION}"
    keys = [key for f in families for key in shard_keys(f, seed, rows * SHARDS, rows, gathers=gathers)]
    produce(folder, keys, usable_cores(), "cuda" if is_available() and gathers != "none" else "cpu")
    return folder


def make_family_demo(cache: Path, rows: int = 64, seed: int = 0) -> Path:
    """Generate the family classifier's maps below ``cache``, or find them there; they are not shot.

    Args:
        cache: Folder of derived data.
        rows: Maps of one of a family's five shards; whole shards are held out.
        seed: Seed of the maps.
    """
    return make_demo(cache, rows, seed, FAMILIES, "none")
