"""Fitted state that is the same in all checkpoints of a run: large parts of it lie once beside them, in a file named by its content.

UMAP keeps its training rows, tens of megabytes; with a net of two million weights that was most of every checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from datamodules.errors import DataError
from datamodules.files import atomic_path

FROZEN_KEY = "frozen"
PATTERN = "frozen-*.safetensors"
_WORTH_A_FILE = 1 << 20  # bytes; smaller entries stay in the checkpoint, which then can be copied alone
_STATES = ("state_dict", "current_model_state")  # the second is there with a moving average


class FrozenIO(TorchCheckpointIO):
    """Reads and writes a trainer's checkpoints, with the large entries of the fitted state in a file of their own.

    Not for FSDP, whose strategy reads files by itself.

    Args:
        prefixes: What the names of fitted entries start with; training must not change them.
    """

    def __init__(self, prefixes: Collection[str]) -> None:
        self.prefixes = tuple(prefixes)
        self._written: tuple[Any, Path, str] = ((), Path(), "")  # state, file and hash of the last one

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the file of fitted state where it is not there yet, then the checkpoint without it."""
        from safetensors.torch import save

        state = checkpoint["state_dict"]
        frozen = {
            name: value.detach().cpu().contiguous()
            for name, value in state.items()
            if name.startswith(self.prefixes) and value.nbytes >= _WORTH_A_FILE
        }
        if frozen:
            same = Path(path).parent, [(name, state[name].data_ptr(), state[name]._version) for name in frozen]
            _, file, digest = self._written
            if self._written[0] != same or not file.is_file():
                content = save(frozen)
                digest = hashlib.sha256(content).hexdigest()
                file = Path(path).parent / PATTERN.replace("*", digest[:16])
                if not file.is_file():
                    with atomic_path(file) as temporary:
                        temporary.write_bytes(content)
                self._written = same, file, digest
            rest = {
                key: {name: value for name, value in checkpoint[key].items() if name not in frozen}
                for key in _STATES
                if key in checkpoint
            }
            checkpoint = {**checkpoint, **rest, FROZEN_KEY: {"file": file.name, "sha256": digest}}
        super().save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint whole."""
        return made_whole(super().load_checkpoint(path, *args, **kwargs), Path(path))


def made_whole(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """A checkpoint with its fitted state; one that carries it all is given back as it is.

    Args:
        checkpoint: As torch reads it.
        path: Where it lies.

    Raises:
        DataError: The file beside it is missing or another one.
    """
    from safetensors.torch import load

    about = checkpoint.pop(FROZEN_KEY, None)
    if about is None:
        return checkpoint
    file = path.parent / about["file"]
    if not file.is_file():
        raise DataError(
            f"{path} needs {file.name}, the fitted features that its run keeps once for all checkpoints; copy that file from the "
            f"run's checkpoints folder to {path.parent}"
        )
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise DataError(f"{file} is not what {path} was written with (another SHA-256); restore it")
    frozen = load(content)
    for key in _STATES:
        if key in checkpoint:
            checkpoint[key].update(frozen)
    return checkpoint
