"""Weights & Biases, only where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blend.settings import Output
from datamodules.banks.sources import Source
from datamodules.errors import UsageError
from datamodules.tracking import WandbPlace, bank_artifact, kept_run, use


class Tracker:
    """One W&B run, or nothing.

    Args:
        output: Flags; ``wandb`` decides.
        config: Recorded settings.
        folder: Where an offline run is kept.
        sources: What is blended; banks that their runs keep as artifacts are joined to the blend.
    """

    def __init__(self, output: Output, config: dict[str, Any], folder: Path, sources: Sequence[Source] = ()) -> None:
        self._run: Any = None
        if output.wandb == "disabled":
            return
        try:
            import wandb
        except ImportError:
            raise UsageError("--wandb needs Weights & Biases: pip install wandb") from None

        folder.mkdir(parents=True, exist_ok=True)
        place = WandbPlace(output.project, output.wandb_entity, output.wandb_group, output.wandb_tags)
        self._run = wandb.init(
            name=output.name, config=config, dir=str(folder), mode=output.wandb, job_type="blend", **place.options()
        )
        for bank in (bank for source in sources for bank in source.banks):
            if "bank" in kept_run(bank.path.parent).get("artifacts", ()):
                use(self._run, bank_artifact(bank))

    @property
    def active(self) -> bool:
        """Whether anything is logged."""
        return self._run is not None

    def trial(self, number: int, score: float, best: float, weights: dict[str, float]) -> None:
        """Log one trial of a study."""
        if self._run is not None:
            shares = {f"weight/{name}": value for name, value in weights.items()}
            self._run.log({"trial": number, "score": score, "best_score": best, **shares})

    def finish(
        self,
        summary: dict[str, Any],
        tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]],
        figures: Sequence[Path],
        files: Sequence[Path],
    ) -> None:
        """Log scores, tables, figures and files, and end the run."""
        if self._run is None:
            return
        import wandb

        self._run.summary.update(summary)
        shown: dict[str, Any] = {f"report/{p.stem}": wandb.Image(str(p)) for p in figures}
        shown |= {
            f"report/{name}": wandb.Table(columns=list(header), data=[[str(cell) for cell in row] for row in rows])
            for name, (header, rows) in tables.items()
        }
        self._run.log(shown)
        artifact = wandb.Artifact("blend", type="blend")
        for path in files:
            if path.is_file():
                artifact.add_file(str(path))
        self._run.log_artifact(artifact)
        self._run.finish()

    def abandon(self) -> None:
        """End the run after an error."""
        if self._run is not None:
            self._run.finish(exit_code=1)
