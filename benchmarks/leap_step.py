"""Rows per second of a training step of every LEAP net, and how much of the machine's matrix rate it reaches.

One step is what training does with a batch that lies on the device: raw float64 columns to net inputs, forward, loss, backward,
AdamW. ``share`` is the arithmetic of the matrix products in it (forward once, backward twice), per second, over the rate
of one large square product in the same precision in the same run. ``naive`` runs the same net with the blocks written as the
sources write them - transposed copies around Conv1d and BatchNorm1d, separate query, key and value copies - so that a gain is seen side by side.

    python benchmarks/leap_step.py --width small --nets bilstm_tcn squeezeformer
    python benchmarks/leap_step.py --width full --batch_size 1024 --device cuda
"""

from __future__ import annotations

import argparse
import functools
import gc
import statistics as stats
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from datamodules.leap.schema import LEVELS, N_PROFILES, N_SCALARS, N_TARGETS
from lit_modules.leap import settings
from lit_modules.leap.losses import learnable_target_mask, masked_confidence_loss, pointwise_loss
from lit_modules.leap.representations import MultiRepresentation, StandardColumns
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.task import build_net
from lit_modules.nets.blocks.attention import SelfAttention
from lit_modules.nets.blocks.level_conv import LevelBatchNorm, LevelConv
from lit_modules.nets.squeezeformer import Squeezeformer

_SMALL = {"hidden": 64, "layers": 2}
_ENCODER = {**_SMALL, "feedforward": 512}
NETS: dict[str, tuple[type[LeapModel], dict[str, Any]]] = {  # settings, what makes them small
    "bilstm": (settings.BiLSTM, _SMALL),
    "bigru": (settings.BiGRU, _SMALL),
    "bilstm_transformer": (settings.BiLSTMTransformer, _ENCODER),
    "bilstm_attention": (settings.BiLSTMAttention, _SMALL),
    "bilstm_tcn": (settings.BiLSTMTCN, _SMALL),
    "bilstm_cnn": (settings.BiLSTMCNN, _SMALL),
    "bigru_transformer": (settings.BiGRUTransformer, _ENCODER),
    "lstm_gru_transformer": (settings.LSTMGRUTransformer, _ENCODER),
    "transformer_lstm": (settings.TransformerLSTM, _ENCODER),
    "reslstm_attention": (settings.ResLSTMAttention, _SMALL),
    "tcn_attention": (settings.TCNAttention, {"hidden": 128, "layers": 4}),
    "squeezeformer": (settings.Squeezeformer, {"dim": 128, "head": 512, "blocks": 2}),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    args = parse_arguments()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.tf32:
        torch.set_float32_matmul_precision("high")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(
        f"{name}, torch {torch.__version__}, width {args.width}, batch {args.batch_size}, median of {args.steps} steps"
    )
    rates = {precision: matmul_rate(device, DTYPES[precision]) for precision in args.precision}
    print("matrix rate: " + ", ".join(f"{p} {rate / 1e12:.3g} TFLOP/s" for p, rate in rates.items()))
    print_representations(args, device)
    print(
        f"\n{'net':<22}{'parameters':>12}  {'precision':<10}{'mode':<10}{'rows/s':>9}{'ms/step':>9}{'share':>7}{'GiB':>7}"
    )
    for net_name in args.nets:
        for precision in args.precision:
            for mode in args.mode:
                print_step(args, device, net_name, precision, mode, rates[precision])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--width", choices=["small", "full"], default="small", help="reduced nets, or the published ones"
    )
    parser.add_argument(
        "--nets", nargs="+", choices=list(NETS), default=list(NETS), metavar="NET", help=", ".join(NETS)
    )
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), default=["fp32", "bf16"])
    parser.add_argument("--mode", nargs="+", choices=["naive", "eager", "compiled"], default=["eager", "compiled"])
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after three that warm up")
    parser.add_argument("--device", help="cuda if there is one")
    parser.add_argument("--checkpoint_blocks", action="store_true", help="recompute the squeezeformer's blocks")
    parser.add_argument("--tf32", action="store_true", help="let fp32 matrix products use TF32")
    return parser.parse_args()


def print_step(
    args: argparse.Namespace, device: torch.device, net_name: str, precision: str, mode: str, rate: float
) -> None:
    torch.manual_seed(0)
    model, small = NETS[net_name]
    arguments = dict(small) if args.width == "small" else {}
    squeezeformer = model is settings.Squeezeformer
    if squeezeformer:
        arguments["checkpoint_blocks"] = args.checkpoint_blocks
    features = (MultiRepresentation() if squeezeformer else StandardColumns()).to(device)
    net = build_net(model(**arguments), features.out_channels).to(device)
    with as_the_sources() if mode == "naive" else nullcontext():
        if mode == "compiled":
            torch._dynamo.reset()
            net.compile()
            features.compile()
        step = training_step(net, features, args.batch_size, device, DTYPES[precision])
        parameters = sum(p.numel() for p in net.parameters())
        label = f"{net_name:<22}{parameters:>12,}  {precision:<10}{mode:<10}"
        try:
            seconds, memory = median_seconds(step, args.steps, device)
        except Exception as error:  # a missing compiler or too little memory belongs in the table
            print(f"{label} failed: {type(error).__name__}: {str(error).strip().splitlines()[0][:80]}")
            return
    share = (
        3
        * matmul_flops(build_net(model(**arguments), features.out_channels), features.out_channels)
        * args.batch_size
        / seconds
        / rate
    )
    gib = f"{memory / 2**30:7.2f}" if device.type == "cuda" else f"{'-':>7}"
    print(f"{label}{args.batch_size / seconds:>9,.0f}{1e3 * seconds:>9.1f}{share:>7.2f}{gib}", flush=True)


def training_step(
    net: nn.Module, features: nn.Module, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Callable[[], None]:
    """A closure that runs one optimiser step on a fixed batch of raw columns."""
    profiles, scalars = raw_batch(batch_size, device)
    squeezeformer = isinstance(net, Squeezeformer)
    targets = torch.randn(batch_size, N_TARGETS + 6 * squeezeformer, device=device)
    mask = learnable_target_mask(n_aux=6).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        x = features(profiles, scalars)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = net(x)
        if squeezeformer:
            loss = masked_confidence_loss(output.prediction, output.confidence, targets, mask)
        else:
            loss = pointwise_loss(output, targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def raw_batch(batch_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    profiles = torch.randn(batch_size, N_PROFILES, LEVELS, dtype=torch.float64, generator=generator)
    scalars = torch.randn(batch_size, N_SCALARS, dtype=torch.float64, generator=generator)
    return profiles.to(device), scalars.to(device)


def print_representations(args: argparse.Namespace, device: torch.device) -> None:
    """Rows per second of the input features alone."""
    for features in (StandardColumns(), MultiRepresentation()):
        features.to(device)
        profiles, scalars = raw_batch(args.batch_size, device)
        line = f"{type(features).__name__:<22}"
        for mode in args.mode:
            if mode == "naive":
                continue
            if mode == "compiled":
                features.compile()
            try:
                run = functools.partial(features, profiles, scalars)
                line += f"  {mode} {args.batch_size / median_seconds(run, 20, device)[0]:,.0f} rows/s"
            except Exception as error:
                line += f"  {mode} failed: {type(error).__name__}"
        print(line)


def median_seconds(run: Callable[[], Any], steps: int, device: torch.device) -> tuple[float, int]:
    """Median wall-clock time of a call after three, and the peak device memory in bytes."""
    gc.collect()
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for i in range(3 + steps):
        if cuda:
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize(device)
        if i >= 3:
            times.append(time.perf_counter() - start)
    return stats.median(times), torch.cuda.max_memory_allocated(device) if cuda else 0


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of one large square product, the best of ten."""
    n = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def matmul_flops(net: nn.Module, in_channels: int) -> float:
    """Operations of the matrix products, convolutions and attention in the forward pass of one row."""
    total = 0.0

    def count(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += 2 * output.numel() * module.in_features
        elif isinstance(module, nn.Conv1d):
            total += 2 * output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.RNNBase):
            total += 2 * output[0].shape[:2].numel() * sum(w.numel() for w in module.parameters() if w.dim() == 2)
        elif isinstance(module, SelfAttention):
            total += 4 * output.numel() * output.shape[1]

    for module in net.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(torch.zeros(1, LEVELS, in_channels))
    return total


@contextmanager
def as_the_sources() -> Iterator[None]:
    """Run the shared blocks the way the published code writes them."""

    def conv(self: LevelConv, x: Tensor) -> Tensor:
        return nn.Conv1d.forward(self, x.transpose(1, 2)).transpose(1, 2)

    def batch_norm(self: LevelBatchNorm, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)

    def attention(self: SelfAttention, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        q, k, v = (part.contiguous() for part in self.qkv(x).chunk(3, dim=-1))
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in (q, k, v))
        weights = (q @ k.transpose(-1, -2) * (dim // self.heads) ** -0.5).softmax(-1)
        attended = F.dropout(weights, self.dropout, self.training) @ v
        return self.out(attended.transpose(1, 2).reshape(batch, length, dim))

    replacements: list[tuple[type[nn.Module], Callable[..., Tensor]]] = [
        (LevelConv, conv),
        (LevelBatchNorm, batch_norm),
        (SelfAttention, attention),
    ]
    originals = [(block, block.forward) for block, _ in replacements]
    for block, forward in replacements:
        block.forward = forward
    try:
        yield
    finally:
        for block, forward in originals:
            block.forward = forward


if __name__ == "__main__":
    main()
