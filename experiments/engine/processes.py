"""Which of several training processes this is, who started them, and decisions that one of them takes for all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_only

from datamodules.errors import DataError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_DECISION = "PODIUM_DECISION"


def is_first_process() -> bool:
    """Whether this process writes the files that all share (Lightning reads the launcher's environment)."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def launcher(environment: Mapping[str, str] = os.environ) -> str:
    """What started the processes of this run from outside: ``torchrun``, ``slurm`` (by srun), or nothing."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return "torchrun"
    interactive = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "slurm" if "SLURM_NTASKS" in environment and "SLURM_PROCID" in environment and not interactive else ""


def check_launch(devices: int, num_nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse processes that could only wait for each other for ever.

    Args:
        devices: Processes on each machine.
        num_nodes: Machines.
        environment: Variables of the launcher.

    Raises:
        DataError: Tasks of a SLURM job that Lightning cannot number, or several machines without a launcher.
    """
    started_by = launcher(environment)
    if num_nodes > 1 and not started_by:
        raise DataError(
            f"--num_nodes {num_nodes} needs a launcher that starts every machine's processes: torchrun or SLURM's srun "
            "(docs/distributed.md shows both)"
        )
    if started_by != "slurm":
        return
    tasks = int(environment["SLURM_NTASKS"])
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
        raise DataError(
            f"this SLURM job was given --ntasks={tasks}, which does not say how many run on a machine; "
            f"give --ntasks-per-node={devices} (and --nodes={num_nodes}) in its place"
        )
    if tasks != devices * num_nodes:
        raise DataError(
            f"this SLURM job runs {tasks} tasks but --devices {devices} on --num_nodes {num_nodes} makes {devices * num_nodes}; "
            f"give --ntasks-per-node={devices} and --nodes={num_nodes}"
        )


def decide(trainer: Trainer, decision: Callable[[], Any]) -> Any:
    """What the first process decides about files, known to all: they would see each other's changes otherwise.

    Args:
        trainer: Of this run; processes that a launcher started are connected by it.
        decision: Called on the first process only; gives plain values.

    Raises:
        DataError: The first process refused, on all.
    """
    if launcher():
        trainer.strategy.setup_environment()
        own = _answer(decision) if trainer.is_global_zero else {}
        answer = trainer.strategy.broadcast(own, 0)
    elif is_first_process():
        answer = _answer(decision)
        os.environ[_DECISION] = json.dumps(answer)  # the processes that Lightning starts from here inherit it
    else:
        answer = json.loads(os.environ[_DECISION])
    if answer["refused"] is not None:
        raise DataError(answer["refused"])
    return answer["value"]


def _answer(decision: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": decision(), "refused": None}
    except DataError as error:
        return {"value": None, "refused": str(error)}
