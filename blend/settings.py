"""Flags of ``python -m blend`` (nothing heavy here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KindName = Literal["arithmetic", "logit", "rank"]


@dataclass
class Inputs:
    """What is blended, and how it is judged.

    Columns of tables that no flag names are guessed from common names, and the guess is printed.

    Args:
        truth: True values (bank folder or table such as train.csv); default: what the banks name, the labels in any of the
            tables, or train.csv beside them.
        metric: Such as auc, rmse or multiclass_log_loss (`show metrics` lists all), or package.module:function; default:
            what the banks name.
        direction: Direction of a metric given as a function; functions of sklearn.metrics know theirs.
        groups: CSV with the columns row_id and group, such as the family of each map.
        clip_predictions: Clip probabilities to [0, 1] instead of refusing others.
        allow_fold_mismatch: Blend models of different fold tables, as long as row ids and fold numbers agree.
        memory: GiB that kept predictions may take; more go through scratch files.
        nested_folds: Parts of the rows for the nested score; default: the banks' own folds, or five shuffled parts.
        nested_seed: Seed of the shuffle into parts.
        group: Rows of one group stay in one part: a column of the tables, or a CSV with row_id and group.
        id: Column of the row ids in tables.
        target: Column of the true values in tables, or several as [a, b].
        prediction: Column of the predictions in tables, or several as [a, b].
        fold: Column of the folds in tables (numbers or text).
        ids: File with the ids of the rows in order, for .npy files and tables without any: a table, or one id per line.
        folds: Table with an id column and a fold column.
        rows: Refuse tables of different rows (equal), or blend the rows that all of them have and say how many are lost.
        wide: Every prediction column of a table is a model; default: unless the columns are those of classes or targets.
    """

    truth: Path | None = None
    metric: str | None = None
    direction: Literal["minimize", "maximize"] | None = None
    groups: Path | None = None
    clip_predictions: bool = False
    allow_fold_mismatch: bool = False
    memory: float = 2.0
    nested_folds: int | None = None
    nested_seed: int = 0
    group: str | None = None
    id: str | None = None
    target: list[str] | str | None = None
    prediction: list[str] | str | None = None
    fold: str | None = None
    ids: Path | None = None
    folds: Path | None = None
    rows: Literal["equal", "intersect"] = "equal"
    wide: bool | None = None

    def __post_init__(self) -> None:
        if self.nested_folds is not None and self.nested_folds < 2:
            raise ValueError(
                f"--nested_folds must be at least 2, got {self.nested_folds}; --nested false asks for none"
            )
        if self.nested_seed < 0:
            raise ValueError(f"--nested_seed must not be negative, got {self.nested_seed}")


@dataclass
class Method:
    """How weights are found.

    Args:
        kind: Mean of predictions, of logits or of ranks.
        clip: Clip probabilities to [clip, 1 - clip] before they are averaged (logit: 1e-4 unless given).
        trials: Optuna trials.
        nested_trials: Optuna trials for each fold of the nested score; default: as many as trials.
        sampler: Sampler of Optuna.
        kinds: Kinds of mean that Optuna may choose, such as arithmetic,logit.
        clips: Clips that Optuna may choose.
        subsets: Optuna also searches which models take part.
        workers: Processes on one study.
        storage: Study file; default <out>/study.journal; memory keeps none; a database such as
            postgresql://USER@HOST/DATABASE serves workers on several machines (pip install "podium[database]").
        steps: Additions of greedy.
        most: Largest set of grow.
        shrink: Grow and remove judge a blend at its best shrink p (1 - 2 c) + c while they choose.
        post_shrink: The finished blend's own best shrink; report = print its scores beside those without, apply = also
            keep it as the last post-processing step.
        top: per_target averages so many models per target; default: regularised weights.
        free_sum: per_target weights of R2 need not sum to 1.
        by: Groups of per_group.
        sparse: Share of the stacker's penalty that is absolute and drops models (the elastic net), 0 to 1.
        min_weight: Convex drops smaller weights and solves again.
        seed: Seed of Optuna.
    """

    kind: KindName = "arithmetic"
    clip: float = 0.0
    trials: int = 500
    nested_trials: int | None = None
    sampler: Literal["tpe", "cmaes"] = "tpe"
    kinds: list[KindName] | None = None
    clips: list[float] | None = None
    subsets: bool = False
    workers: int = 1
    storage: str | None = None
    steps: int = 100
    most: int = 30
    shrink: bool = False
    post_shrink: Literal["off", "report", "apply"] = "off"
    top: int | None = None
    free_sum: bool = True
    by: Literal["auto", "rows", "targets"] = "auto"
    sparse: float = 0.0
    min_weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "workers", "steps", "most"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.sparse <= 1:
            raise ValueError(f"--sparse is a share from 0 to 1, got {self.sparse}")
        for clip in [self.clip, *(self.clips or [])]:
            if not 0 <= clip < 0.5:
                raise ValueError(f"a clip lies in [0, 0.5), got {clip}")


@dataclass
class Output:
    """Where results go.

    Args:
        out: Folder of weights.json, the report and the study; default: blends/<method>.
        nested: Also fit weights without each fold, for the honest score; time = the rows are in the order of time, and
            only earlier blocks choose the weights of a later one.
        figures: Draw the report's figures.
        wandb: Log trials, scores and the report to Weights & Biases; offline needs no key.
        project: W&B project; default: WANDB_PROJECT of the environment, else podium.
        wandb_entity: W&B user or team; default: WANDB_ENTITY, else your account's own.
        wandb_group: W&B group; default: WANDB_RUN_GROUP, else none.
        wandb_tags: W&B tags, such as paper,small, beside those of WANDB_TAGS.
        name: W&B run name.
    """

    out: Path | None = None
    nested: bool | Literal["time"] = True
    figures: bool = True
    wandb: Literal["online", "offline", "disabled"] = "disabled"
    project: str = ""
    wandb_entity: str = ""
    wandb_group: str = ""
    wandb_tags: str = ""
    name: str | None = None
