"""The LightningModule that all domains share: what differs between them is declared in five hooks."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric

from datamodules.errors import DataError
from datamodules.files import refuse_lfs_pointer
from lit_modules.frozen import made_whole
from lit_modules.optim import Plateau, build_optimizer, build_scheduler, tie_weight_decay
from lit_modules.settings import Optim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = dict[str, Tensor]
IDENTITY_KEY = "podium"


class BaseTask(LightningModule, ABC):
    """One supervised task: a net, its loss, the judge's metric, an optimiser.

    A sub-class implements the hooks :meth:`configure_models`, :meth:`configure_metrics`, :meth:`compute_loss`,
    :meth:`update_metrics`, :meth:`metric_table` and :meth:`predict_step`. Everything that inference needs
    (normalisers, encoders, target scales) is a buffer of the module, so it travels in the checkpoint.

    Args:
        model: The experiment's ``--model.*`` settings.
        optim: Optimiser and schedule settings.
        lr: Peak learning rate.
        statistics: Arrays fitted on the training fold, or None when a checkpoint will bring them.

    Attributes:
        net: The plain ``nn.Module`` that is trained.
        monitor: Metric name that selects the best checkpoint.
        mode: ``max`` or ``min``.
        one_pass: Whether the task solves for its weights from one pass over the training rows. It then gets every row
            once, whatever the batch size; where a broken-off pass goes on, :meth:`collect` sees the first batches again.
        frozen: What the names of fitted buffers start with that may be large; a run's checkpoints share them.
        identity: Plain values that a checkpoint carries to be rebuilt without its run (set by the runner).
    """

    monitor: ClassVar[str]
    mode: ClassVar[str]
    one_pass: ClassVar[bool] = False
    frozen: ClassVar[tuple[str, ...]] = ()
    net: nn.Module

    def __init__(self, model: Any, optim: Optim, lr: float, statistics: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.model_settings = model
        self.optim_settings = optim
        self.lr = lr
        self.identity: dict[str, Any] = {}
        self.configure_models(statistics)
        self.configure_metrics()
        self.val_loss = MeanMetric()

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any] | None:  # noqa: ARG003
        """Statistics that stand in a checkpoint's state, for a task whose shapes follow from them; None where none do."""
        return None

    @classmethod
    def net_of(cls, model: Any, data: Any) -> nn.Module | None:
        """Build the net as far as settings alone can, before any data are read; called :func:`without_memory`.

        Args:
            model: The ``--model.*`` settings.
            data: The ``--data.*`` settings, for a task whose shapes follow from them.

        Returns:
            The net, or None where its size follows from the data.

        Raises:
            Exception: What a layer refuses, in its own words.
        """
        del data
        return cls(model, Optim(), 1.0).net

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: Any, map_location: Any = None, **kwargs: Any
    ) -> Self:
        """Rebuild a trained task from its file, as Lightning's own door promises.

        Args:
            checkpoint_path: A checkpoint of this project.
            map_location: Device that the weights go to; the CPU by default.
            kwargs: Nothing else is understood: settings and statistics are in the checkpoint.

        Raises:
            DataError: No checkpoint, or one of another task.
        """
        if kwargs:
            raise TypeError(f"{min(kwargs)!r} is in the checkpoint and cannot be given")
        checkpoint = read_checkpoint(checkpoint_path)
        saved = checkpoint[IDENTITY_KEY]
        base = get_type_hints(cls).get("model_settings", object)
        kinds = {kind.__name__: kind for kind in (base, *subclasses(base))}
        kind = kinds.get(saved.get("settings_class", ""))
        if kind is None:
            raise DataError(
                f"{checkpoint_path} was made by {saved['experiment']!r}, whose settings {cls.__name__} does not know"
            )
        task = cls(
            kind(**saved["model"]), Optim(**saved["optim"]), saved["lr"], cls.statistics_in(checkpoint["state_dict"])
        )
        load_weights(task, checkpoint)
        return task.to(map_location or "cpu").eval()

    @abstractmethod
    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """Make ``self.net`` and the modules that hold the statistics."""

    @abstractmethod
    def configure_metrics(self) -> None:
        """Make the metric objects of validation."""

    @abstractmethod
    def compute_loss(self, batch: Batch) -> Tensor:
        """Training loss of a batch, a scalar."""

    @abstractmethod
    def update_metrics(self, batch: Batch) -> Tensor:
        """Add a validation batch to the metrics; return its mean loss."""

    @abstractmethod
    def metric_table(self) -> dict[str, float]:
        """Scores of the validation rows seen, named without prefix. A collective call; must hold ``monitor``'s name."""

    @abstractmethod
    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""

    @abstractmethod
    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """``row_id`` ``(batch,)`` and ``predictions`` ``(batch, *shape)`` in bank units, plus any extras."""

    def configure_model(self) -> None:
        """Share the net out among the processes where the strategy is FSDP."""
        if self.device_mesh is not None:
            from lit_modules.sharding import shard

            shard(self.net, self.device_mesh["data_parallel"])

    def collect(self, batch: Batch) -> None:
        """What a task that solves in one pass keeps of a training batch."""

    def on_train_start(self) -> None:
        """See again what a broken-off pass had collected: no checkpoint holds it."""
        if self.one_pass:
            loader = self.trainer.train_dataloader
            for index in range(loader.first()):  # type: ignore[union-attr]
                batch = loader.read(loader.sampler.batch(index))  # type: ignore[union-attr]
                self.collect({name: value.to(self.device) for name, value in batch.items()})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One step; logs ``train_loss`` of this process. Where a pass is all, nothing is left to the optimiser but to count."""
        if self.one_pass:
            self.collect(batch)
            self.optimizers().step()  # type: ignore[union-attr]
            return None
        loss = self.compute_loss(batch)
        self.log("train_loss", loss.detach(), prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Feed the sum-state metrics; nothing is averaged over batches or processes here."""
        self.val_loss.update(self.update_metrics(batch), weight=len(batch["row_id"]))

    def on_validation_epoch_end(self) -> None:
        """Log every score of the metric table; the values are the same on every process."""
        scores = self.metric_table() | {"loss": float(self.val_loss.compute())}
        self.reset_metrics()
        self.val_loss.reset()
        for name, value in scores.items():
            # synchronised already: the tables are computed from all-reduced states
            self.log(f"val_{name}", value, prog_bar=f"val_{name}" == self.monitor, rank_zero_only=False)
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, Plateau):
                config.scheduler.observe(scores[self.monitor.removeprefix("val_")])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimiser and per-step schedule of the settings."""
        optimizer = build_optimizer(self, self.optim_settings, self.lr)
        total = int(self.trainer.estimated_stepping_batches)
        epochs = max(1, self.trainer.max_epochs or 1)
        scheduler = build_scheduler(optimizer, self.optim_settings, self.lr, total, max(1, total // epochs), self.mode)
        # validation scores reach a plateau schedule in on_validation_epoch_end, before any checkpoint is written
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "reduce_on_plateau": False},
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keep the weight decay tied to the learning rate where the settings say so."""
        if self.optim_settings.weight_decay_per_lr > 0:
            tie_weight_decay(self.trainer.optimizers[0], self.optim_settings.weight_decay_per_lr)

    @property
    def target_names(self) -> Sequence[str]:
        """Names of the targets in order, empty for maps."""
        return ()

    @property
    def target_groups(self) -> Mapping[str, slice]:
        """Named target ranges of the score tables."""
        return {}

    @property
    def bank_scale(self) -> Tensor:
        """What turns predictions into the judge's units."""
        return torch.ones(())

    def own_entries(self, state: Mapping[str, Tensor]) -> set[str]:
        """Entries of this task that a parent's weights (``--init_from``) do not replace, such as a head for other targets."""
        return set()

    @property
    def cannot_predict(self) -> str:
        """Why a row's prediction is not its own, and what to do; empty where it is. Without it there is no bank, no export."""
        return ""

    def figures(self) -> dict[str, Figure]:
        """Pictures of the last validation, by file name."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write who this is beside the weights, in plain values."""
        checkpoint[IDENTITY_KEY] = self.identity

    def count_parameters(self) -> int:
        """Trainable parameters of the net."""
        return sum(p.numel() for p in self.net.parameters() if p.requires_grad)


@contextmanager
def without_memory() -> Iterator[None]:
    """Inside, parameters of new layers lie on torch's ``meta`` device: shapes without numbers, in no time.

    Buffers stay real (``torch.device("meta")`` would take them too), because layers read them while they are built.
    """
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def subclasses(kind: type) -> list[type]:
    """All classes below a class."""
    children: list[type] = kind.__subclasses__()
    return [below for child in children for below in (child, *subclasses(child))]


def load_weights(task: BaseTask, checkpoint: Mapping[str, Any], keep: Collection[str] = ()) -> None:
    """Load a checkpoint's weights and statistics into a task.

    Args:
        task: Built without statistics, or with its own.
        checkpoint: As :func:`read_checkpoint` gives it.
        keep: Entries that stay the task's own.

    Raises:
        DataError: the checkpoint belongs to another architecture; the first differing key is named.
    """
    own = task.state_dict()
    state = {**checkpoint["state_dict"], **{name: own[name] for name in keep if name in own}}
    state = {name: value for name, value in state.items() if name in own or name not in keep}
    wrong = sorted(set(own) ^ set(state)) + [k for k in own if k in state and own[k].shape != state[k].shape]
    if wrong:
        raise DataError(
            f"the checkpoint does not fit this net: {len(wrong)} of its entries differ, first {wrong[0]!r}; "
            "it was trained with other --model settings or by another experiment"
        )
    task.load_state_dict(state)


def read_checkpoint(path: Any) -> dict[str, Any]:
    """Read a checkpoint on the CPU, plain tensors and values only (pickled code is refused by torch).

    Raises:
        DataError: the file is missing, damaged, or not a checkpoint of this project, or fitted state that lies beside it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not compare them
            if damaged := archive.testzip():
                raise ValueError(f"its entry {damaged} is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give a checkpoint file or a run directory") from None
    except Exception as error:
        refuse_lfs_pointer(path)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{path} cannot be read as a checkpoint ({reason}); it is damaged or not from this project: restore it, or start the "
            "run anew with --resume never"
        ) from None
    if not isinstance(checkpoint, dict) or IDENTITY_KEY not in checkpoint:
        raise DataError(f"{path} is not a checkpoint of this project: it does not say which experiment made it")
    return made_whole(checkpoint, Path(path))
