"""A narrow MoA data set that is made in well under a second."""

from __future__ import annotations

from pathlib import Path

from datamodules.moa.demo import DemoSpec, generate

SPEC = DemoSpec(
    drugs=60, test_drugs=8, genes=30, cells=10, scored=12, nonscored=10, empty=2, programs=12, reference_drugs=2
)


def write_files(folder: Path, seed: int = 0) -> Path:
    """About 500 rows of 30 genes, 10 cells, 12 scored and 10 non-scored targets."""
    return generate(folder, DemoSpec(**{**SPEC.__dict__, "seed": seed}))
