"""What the GPU backends of OpenFWI's forward modelling should reach, reckoned from their code on a machine without a GPU.

Launches a step are counted while the steps run, on the CPU: kernels that torch.compile makes of the fused step, and torch's own
operations. The Triton kernel is compiled for the GPU, and the instructions of its innermost loop are counted. A rate is what
memory (fields read and written once a pass, everything else from caches) and, for the Triton kernel, the instructions leave, each
at the most the card can do: upper bounds, of which kernels usually reach a half to three quarters.

    python benchmarks/gwi_forward.py --predict
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datamodules.gwi import propagation
from datamodules.gwi.acquisition import OPENFWI
from datamodules.gwi.simulator import Simulator

SIDE = 70
_BYTES = 4


@dataclass(frozen=True)
class Card:
    """A GPU.

    Args:
        name: As it is sold.
        bandwidth: Bytes a second of its memory.
        processors: Streaming multiprocessors.
        clock: Cycles a second.
    """

    name: str
    bandwidth: float
    processors: int = 132
    clock: float = 1.755e9


CARDS = (Card("H100", 3.35e12), Card("H200", 4.8e12))
_ISSUED = 4 * 32  # instructions of threads that a multiprocessor issues in a cycle


def show_predictions() -> None:
    """Print the table."""
    from datamodules.gwi import march

    shots, cells = len(OPENFWI.source_columns), (SIDE + 2 * OPENFWI.sponge) ** 2
    work = shots * OPENFWI.samples * cells  # cells a map
    used = resources()
    # two fields read and one written; three coefficients a map
    fused = (3 + 3 / shots) * _BYTES
    # two fields read and written a pass
    marched = 4 * _BYTES / march.PER_PASS
    print("predicted from code, not measured; maps/s at the most")
    print(
        f"march kernel on sm_90: {used.registers} registers, {used.stack} bytes of stack, {used.instructions:.0f} instructions a cell"
    )
    print(
        f"{'backend':<12}{'launches/step':>15}{'bytes/cell/step':>17}" + "".join(f"{card.name:>10}" for card in CARDS)
    )
    for name, launches, size in (
        ("inductor", f"{launches_of_fused_steps()}", fused),
        ("triton", f"1/{OPENFWI.samples}", marched),
    ):
        rates = [card.bandwidth / size for card in CARDS]
        if name == "triton":
            rates = [
                min(rate, card.processors * card.clock * _ISSUED / used.instructions)
                for rate, card in zip(rates, CARDS, strict=True)
            ]
        print(f"{name:<12}{launches:>15}{size:>17.1f}" + "".join(f"{rate / work:>10.0f}" for rate in rates))


class _Operations(TorchDispatchMode):
    """Counts operations of torch that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += not func.is_view and "detach" not in func.name()
        return func(*args, **kwargs or {})


def launches_of_fused_steps() -> int:
    """Kernels of torch.compile and operations of torch in one step of the ``inductor`` backend."""
    from torch._inductor import metrics

    survey = dataclasses.replace(OPENFWI, samples=4, sponge=4, source_columns=(0, 3))
    velocity = torch.full((3, 9, 9), 2000.0)
    metrics.reset()
    Simulator(survey, "inductor")(velocity)
    fused, counts = metrics.generated_kernel_count, []
    with mock.patch.object(propagation._Steps, "advance"):  # torch.compile runs under no other mode
        for samples in (4, 5):
            simulator = Simulator(dataclasses.replace(survey, samples=samples), "inductor")
            with _Operations() as operations:
                simulator(velocity)
            counts.append(operations.count)
    return int(fused) + counts[1] - counts[0]


@dataclass(frozen=True)
class Resources:
    """What the compiled kernel takes: registers and bytes of stack a thread, instructions a cell and step."""

    registers: int
    stack: int
    instructions: float


def resources() -> Resources:
    """The Triton kernel in float32 compiled for an H100, by the tools that come with Triton."""
    import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from triton.backends.compiler import GPUTarget  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from triton.compiler import ASTSource  # type: ignore[import-not-found,import-untyped,unused-ignore]

    from datamodules.gwi import march

    width = SIDE + 2 * OPENFWI.sponge
    fixed = {
        "width": width, "pitch": march.pitch_of(width), "margin": march.MARGIN, "steps": march.PER_PASS, "reach": march.REACH,
        "block_rows": march.ROWS, "block_columns": march.COLUMNS, "record": march.RECORD, "backwards": False,
    }  # fmt: skip
    places, numbers = ("sources", "receivers"), ("shots", "samples", "listening", "height", "depth", "columns")
    signature = {
        name: "constexpr" if name in fixed else "*i32" if name in places else "i32" if name in numbers else "*fp32"
        for name in march.march_kernel.arg_names
    }
    kernel = triton.compile(
        ASTSource(fn=march.march_kernel, signature=signature, constexprs=fixed),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": march.WARPS, "num_stages": 1},
    )
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage, listing = (
            subprocess.run([tools / tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for tool, option in (("cuobjdump", "-res-usage"), ("nvdisasm", "-c"))
        )
    registers, stack = (int(re.findall(rf"{what}:(\d+)", usage)[-1]) for what in ("REG", "STACK"))
    # the loop over blocks' cells, which holds no other loop and reads most
    loops = re.findall(r"^(\.L_x_\d+):\n((?:(?!^\.L_x).*\n)*?.*BRA `\(\1\))", listing, flags=re.MULTILINE)
    body = max((body for _, body in loops), key=lambda body: body.count("LDG"))
    cells = march.ROWS * march.COLUMNS / (32 * march.WARPS)  # of one thread
    padding = -(-width // march.COLUMNS) * march.COLUMNS / width  # threads beyond the grid's width wait too
    return Resources(registers, stack, body.count("\n") / cells * padding)
