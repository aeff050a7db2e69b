"""Typed settings of the GWI data (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.settings import Checked, setting


@dataclass
class GwiMaps(Checked):
    """Which maps are read, how they are split and how often each family is shown.

    Args:
        families: Comma list such as CurveVel_A,CurveVel_B; all by default.
        maps_per_file: Use the first so many maps of every file only; 0 = all of them.
        n_folds: Whole files are held out, so that a family needs at least two; fewer folds where it has fewer files.
        weights: How often an epoch shows each map of a family, such as Style_A=3,Style_B=2.5; 1 where none is given.
        repeat: Show every map so many times an epoch, at whose end is validated: for few maps, where that would take most of the time.
        check_values: Read all values once and refuse NaN and velocities that are none; checksums of shards too.
        threads: read-ahead threads; 0 reads in the training thread.
        cache_dir: Where simulated gathers are kept; default: ``cache`` in the output folder.
    """

    group: ClassVar[str] = "data"

    families: str = "all"
    maps_per_file: int = setting(0, low=0)
    n_folds: int = setting(5, low=2)
    weights: str = ""
    repeat: int = setting(1, low=1)
    check_values: bool = True
    threads: int = setting(2, low=0, names_run=False)
    cache_dir: Path | None = setting(None, names_run=False)


@dataclass
class FamilyMaps(GwiMaps):
    """Maps, true and predicted.

    Args:
        predicted: Folder ``<out>/<experiment>/<variant>`` of a net's finished runs: maps as it predicted them out of fold stand in
            for imitations. The runs must have held out the same files.
    """

    predicted: Path | None = None


@dataclass
class GwiData(GwiMaps):
    """Maps and their gathers.

    Args:
        samples: Time samples that a net gets: 288 (4th place), or all 1000, which compact shards have not kept.
        exact_mirror: Train on the mirror image of every training map too, its central shot simulated (once, cached).
        simulate: Shoot maps that have no gathers (once, cached); otherwise they are an error.
        check_gathers: Shoot one shot of the first and of the last map of every file (once, cached) and refuse files whose gathers are
            of other maps; false for gathers of another simulator or survey.
    """

    samples: Literal[288, 1000] = 288
    exact_mirror: bool = False
    simulate: bool = True
    check_gathers: bool = setting(True, names_run=False)
