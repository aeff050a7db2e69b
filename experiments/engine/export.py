"""A trained net as one file for other programs: torch.export or TorchScript, with its metadata inside."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.errors import DataError
from datamodules.files import atomic_path
from experiments.engine.inference import Trained
from experiments.engine.run_directory import provenance
from experiments.engine.settings import FileFormat

METADATA_NAME = "podium.json"
"""Name of the JSON text inside the file (``extra_files`` of torch's savers)."""

_TOLERANCE = 1e-5  # in units of ``Deployable.scale``; float32 nets under other kernels differ by about 1e-6
_TRACED_ROWS = 3  # not 1, which torch.export would take for a constant


@dataclass(frozen=True)
class Deployable:
    """What a domain hands over to be written.

    Args:
        module: In eval mode on the CPU; takes the inputs in their order, gives one tensor, batch first.
        inputs: Example inputs by argument name, batch first; at least three rows.
        expected: What prediction gives for the inputs, in the judge's units, float64.
        scale: Typical size of each output, to which deviations are compared; broadcasts against ``expected``.
        metadata: Names, units and meaning of inputs and outputs, in plain values.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    expected: Tensor
    scale: Tensor
    metadata: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Example rows."""
        return len(self.expected)


def write(deployable: Deployable, path: Path, file_format: FileFormat, origin: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all, once it has answered the example rows as prediction does.

    Args:
        deployable: The module with its examples.
        path: File to write; its folder is made.
        file_format: ``torch_export`` or ``torchscript``.
        origin: Metadata that the domain does not know, such as the checkpoint's identity.

    Raises:
        DataError: the net cannot be traced or answers differently once it was, or the file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a file to write, such as {path / 'emulator.pt2'}")
    metadata = json.dumps({"format": file_format, **deployable.metadata, **origin}, indent=1, allow_nan=False)
    traced = {name: value[:_TRACED_ROWS] for name, value in deployable.inputs.items()}
    save, load = (_save_export, _load_export) if file_format == "torch_export" else (_save_script, _load_script)
    with torch.no_grad(), _quiet_tracers():
        content = save(deployable.module, traced, metadata)
        _check(deployable, load(content))
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}); give another --output") from None


def origin_of(trained: Trained) -> dict[str, Any]:
    """Which checkpoint, and what wrote the file: nothing of the machine it was written on."""
    made, identity = provenance(), trained.identity
    names = ("experiment", "variant", "seed", "fold")
    return {
        "checkpoint": {
            "file": trained.checkpoint.name,
            "sha256": identity.checkpoint,
            **{name: getattr(identity, name) for name in names},
            "model": trained.saved["model"],
            **{f"{name}_hash": identity.hashes[name] for name in ("data", "folds", "config")},
        },
        "written_by": {
            "podium": made["versions"]["podium"],
            "torch": made["versions"]["torch"],
            "commit": made["commit"],
            "uncommitted_changes": made["uncommitted_changes"],
            "time": made["started"],
        },
    }


def _check(deployable: Deployable, answer: Callable[..., Tensor]) -> None:
    """Compare a loaded file with prediction, with one row and with all."""
    for rows in (1, deployable.rows):
        outputs = answer(*(value[:rows] for value in deployable.inputs.values()))
        error = ((outputs - deployable.expected[:rows]) / deployable.scale).abs().max().item()
        if not error <= _TOLERANCE:
            raise DataError(
                f"the exported net differs from prediction by {error:.1e} of an output's typical size on {rows} example "
                "rows, so nothing was written; this net cannot be exported in this format"
            )


def _save_export(module: nn.Module, inputs: Mapping[str, Tensor], metadata: str) -> bytes:
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: {0: batch} for name in inputs}
    program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that traced it
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_NAME: metadata})
    return content.getvalue()


def _load_export(content: bytes) -> Callable[..., Tensor]:
    return torch.export.load(io.BytesIO(content)).module()


def _save_script(module: nn.Module, inputs: Mapping[str, Tensor], metadata: str) -> bytes:
    script = torch.jit.trace(module, tuple(inputs.values()), check_trace=False)
    content = io.BytesIO()
    torch.jit.save(script, content, _extra_files={METADATA_NAME: metadata})
    return content.getvalue()


def _load_script(content: bytes) -> Callable[..., Tensor]:
    out: Callable[..., Tensor] = torch.jit.load(io.BytesIO(content))
    return out


@contextmanager
def _quiet_tracers() -> Iterator[None]:
    """Without the tracers' warnings that do not concern these nets."""
    with warnings.catch_warnings():
        # torch's recurrent layers gather their weights anew when they are traced
        warnings.filterwarnings("ignore", message="The tensor attributes .* were assigned during export")
        # TorchScript is asked for by name, for couplers that read nothing else
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated")
        # constants of the post-processing, checks of shapes; what a trace misses shows when the file is checked
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
