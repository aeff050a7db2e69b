"""Typed settings of the MoA data (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.settings import Checked, setting


@dataclass
class MoaData(Checked):
    """Which folds are made, and which features a net sees.

    Args:
        cv: ``drug`` keeps the rows of a rare drug in one fold (unseen drugs, as in the hidden test set); ``row`` splits
            single rows (nearly every validation row has its drug in training). Blends refuse to mix the two.
        n_folds: Number of folds.
        fold_seed: Fold seed of the stratification; all seeds of a net share the folds.
        frequent_drug: With ``drug`` folds, a drug with more rows than this is split by row.
        features: Steps of the feature pipeline in order, such as ``rank_gauss`` or ``pca:genes=50,cells=15``
            (:mod:`datamodules.moa.features`).
        feature_seed: Feature seed of factor analysis, k-means and UMAP.
        transductive: Fit the features on all rows and on ``test_features.csv`` too, as the original did; by default on
            the training fold (and the controls) only.
        keep_controls: Train on control rows too; they are never validated on, because they are predicted as 0.
        targets: ``nonscored`` trains on the targets that the judge does not score, those with a positive at all: the
            first stage of a system of stages. The folds stay those of the scored targets.
        meta: Folder ``<out>/<experiment>/<variant>`` of an earlier stage's finished runs, whose out-of-fold predictions
            the step ``meta_rank_gauss`` makes inputs of. An experiment with an earlier stage sets it by itself.
        cache_dir: Where folds and fitted features are kept; default: ``cache`` in the output folder.
    """

    group: ClassVar[str] = "data"

    cv: Literal["drug", "row"] = "drug"
    n_folds: int = setting(5, low=2)
    fold_seed: int = setting(34, low=0)
    frequent_drug: int = setting(18, low=1)
    features: tuple[str, ...] = setting(("rank_gauss", "one_hot"), reads_rows=True)
    feature_seed: int = setting(0, low=0, reads_rows=True)
    transductive: bool = setting(False, reads_rows=True)
    keep_controls: bool = False
    targets: Literal["scored", "nonscored"] = "scored"
    meta: Path | None = setting(None, names_run=False, reads_rows=True)
    cache_dir: Path | None = setting(None, names_run=False)
