"""Nets that outgrow one GPU's memory: weights, gradients and optimiser states shared out (FSDP2), checkpoints whole.

Every process keeps its part of each block and gathers a block's weights just before it computes with them (Zhao et al. 2023,
https://arxiv.org/abs/2304.11277; PyTorch's ``fully_shard``). Lightning's strategy joins the parts into one checkpoint file that
looks like every other, so that predicting and resuming work on any number of processes, sharded or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """Share a net's weights out, block by block; a net that is shared out already stays so.

    Args:
        net: Its blocks are the members of its outermost module lists and sequences.
        mesh: Of the processes that hold the parts.
    """
    if isinstance(net, FSDPModule):
        return
    for block in _blocks(net):
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)


def load_whole(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole state into a module that may be shared out. A collective call where it is."""
    set_model_state_dict(module, dict(state), options=StateDictOptions(full_state_dict=True))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from _blocks(child)


class GatherForEvaluation(Callback):
    """Keep all weights gathered while rows are scored or predicted.

    Processes evaluate their rows without padding, so one may have a batch more than the others, and would wait for ever for a
    gathering that they do not join.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather."""
        _gather(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Share out again."""
        _share_out(pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather."""
        _gather(pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Share out again."""
        _share_out(pl_module)


def _gather(module: nn.Module) -> None:
    for part in _sharded(module):
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()


def _share_out(module: nn.Module) -> None:
    parts = list(_sharded(module))
    for part in parts:
        part.set_reshard_after_forward(part is not parts[0], recurse=False)  # as fully_shard does: not the net itself
        part.reshard()


def _sharded(module: nn.Module) -> Iterator[Any]:
    return (part for part in module.modules() if isinstance(part, FSDPModule))
