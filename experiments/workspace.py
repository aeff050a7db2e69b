"""Save a workspace of panels for a domain's runs in a W&B project: scores by group, losses, speed, learning rate, pictures.

Needs an account (``wandb login``) and ``pip install "podium[workspaces]"``. Given again, it saves another view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from experiments.engine.command import run_command

if TYPE_CHECKING:
    from experiments.engine.declare import Experiment


@dataclass
class Request:
    """Whose panels, and where.

    Args:
        domain: Runs of this domain are shown.
        wandb_project: W&B project; default: WANDB_PROJECT of the environment, else podium.
        wandb_entity: W&B user or team; default: WANDB_ENTITY, else your account's own.
        name: Name of the view; default: the domain's.
    """

    domain: Literal["leap", "moa", "mars", "gwi"]
    wandb_project: str = ""
    wandb_entity: str = ""
    name: str = ""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/workspace.py``."""
    run_command(Request, save, "python experiments/workspace.py", __doc__, argv)


def save(request: Request) -> None:
    """Save the view and print where it is.

    Raises:
        DataError: wandb-workspaces is not installed, or W&B refuses.
    """
    from datamodules.errors import DataError
    from datamodules.tracking import WandbPlace
    from experiments.__main__ import list_experiments

    if find_spec("wandb_workspaces") is None:
        raise DataError('a workspace needs wandb-workspaces: pip install "podium[workspaces]"')
    import wandb
    from wandb_workspaces import workspaces

    place = WandbPlace(request.wandb_project, request.wandb_entity).options()
    experiments = [one for one in list_experiments() if one.domain.name == request.domain]
    try:
        view = workspaces.Workspace(
            entity=place["entity"] or wandb.Api().default_entity, project=place["project"],
            name=request.name or f"Podium {request.domain}", sections=sections(experiments),
            runset_settings=workspaces.RunsetSettings(
                filters=f"Config('experiment') in {[one.name for one in experiments]}",
                order=[workspaces.Ordering(workspaces.Summary("best_score"), ascending=_lower_is_better(experiments))],
            ),
        )  # fmt: skip
        print(f"saved: {view.save().url}")
    except (wandb.errors.Error, ValueError) as error:
        raise DataError(f"W&B refuses the workspace: {error}; `wandb login` says who you are") from None


def sections(experiments: Sequence[Experiment]) -> list[Any]:
    """The sections of panels.

    Args:
        experiments: Of one domain.
    """
    from wandb_workspaces.reports.v2 import BarPlot, LinePlot, MediaBrowser
    from wandb_workspaces.workspaces import Section

    monitors = list(dict.fromkeys(_monitor(one) for one in experiments))
    steps: dict[str, Any] = {"x": "trainer/global_step"}
    panels = {
        "Score": [
            *(LinePlot(title=name, y=[name], title_x="optimiser steps", **steps) for name in monitors),
            BarPlot(title="best so far", metrics=["best_score"]),
        ],
        "Score by group": [
            LinePlot(title=f"{name} by group", metric_regex=f"^{name}_.+", title_x="optimiser steps", **steps)
            for name in monitors
        ],
        "Training": [
            LinePlot(title="loss", y=["train_loss", "val_loss"], title_x="optimiser steps", **steps),
            LinePlot(title="learning rate", metric_regex="^lr-", title_x="optimiser steps", **steps),
            LinePlot(title="rows per second", y=["rows_per_second"], title_x="optimiser steps", **steps),
        ],
        "Pictures": [MediaBrowser(title="figures", media_keys=list(experiments[0].domain.pictures))],
    }
    return [Section(name=name, panels=own, is_open=True) for name, own in panels.items()]


def _monitor(experiment: Experiment) -> str:
    from experiments.engine.declare import load

    return str(load(experiment.task).monitor)


def _lower_is_better(experiments: Sequence[Experiment]) -> bool:
    from experiments.engine.declare import load

    return bool(load(experiments[0].task).mode == "min")


if __name__ == "__main__":
    main()
