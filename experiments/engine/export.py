"""A trained net as one file for other programs (torch.export, TorchScript, AOTInductor), with its metadata beside it."""

from __future__ import annotations

import io
import json
import tempfile
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
SIDECAR = ".json"
"""Suffix of the same text beside the file, for programs that do not open it; an AOTInductor package has no other."""

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


def write(
    deployable: Deployable, path: Path, file_format: FileFormat, origin: Mapping[str, Any], device: str = "cpu"
) -> None:
    """Write the file and its sidecar, whole or not at all, once it has answered the example rows as prediction does.

    Args:
        deployable: The module with its examples.
        path: File to write; its folder is made.
        file_format: ``torch_export``, ``torchscript`` or ``aotinductor``.
        origin: Metadata that the domain does not know, such as the checkpoint's identity.
        device: ``cpu`` or ``cuda``: where the file will run. A trace keeps the device of its constants.

    Raises:
        DataError: the net cannot be traced or answers differently once it was, or the file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a file to write, such as {path / 'emulator.pt2'}")
    facts = {"format": file_format, "device": device, **deployable.metadata, **origin}
    metadata = json.dumps(facts, indent=1, allow_nan=False)
    inputs = {name: value.to(device) for name, value in deployable.inputs.items()}
    save, load = _FORMATS[file_format]
    with torch.no_grad(), _quiet_tracers():
        module = deployable.module.to(device)
        content = save(module, {name: value[:_TRACED_ROWS] for name, value in inputs.items()}, metadata)
        _check(deployable, inputs, load(content))
    try:
        for file, text in ((path, content), (path.with_suffix(SIDECAR), metadata.encode())):
            with atomic_path(file) as temporary:
                temporary.write_bytes(text)
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


def _check(deployable: Deployable, inputs: Mapping[str, Tensor], answer: Callable[..., Tensor]) -> None:
    """Compare a loaded file with prediction, with one row and with all."""
    for rows in (1, deployable.rows):
        outputs = answer(*(value[:rows] for value in inputs.values())).cpu()
        error = ((outputs - deployable.expected[:rows]) / deployable.scale).abs().max().item()
        if not error <= _TOLERANCE:
            raise DataError(
                f"the exported net differs from prediction by {error:.1e} of an output's typical size on {rows} example "
                "rows, so nothing was written; this net cannot be exported in this format"
            )


def _program(module: nn.Module, inputs: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: {0: batch} for name in inputs}
    return torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)


def _save_export(module: nn.Module, inputs: Mapping[str, Tensor], metadata: str) -> bytes:
    program = _program(module, inputs)
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


def _save_package(module: nn.Module, inputs: Mapping[str, Tensor], metadata: str) -> bytes:  # noqa: ARG001
    try:
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "emulator.pt2"
            torch._inductor.aoti_compile_and_package(_program(module, inputs), package_path=str(package))
            return package.read_bytes()
    except torch._inductor.exc.InductorError as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"AOTInductor could not compile the net ({reason}); it needs a C++ compiler, g++ or $CXX"
        ) from None


def _load_package(content: bytes) -> Callable[..., Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "emulator.pt2"
        package.write_bytes(content)
        out: Callable[..., Tensor] = torch._inductor.aoti_load_package(str(package))
        return out


_FORMATS: dict[FileFormat, tuple[Callable[..., bytes], Callable[[bytes], Callable[..., Tensor]]]] = {
    "torch_export": (_save_export, _load_export),
    "torchscript": (_save_script, _load_script),
    "aotinductor": (_save_package, _load_package),
}


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
