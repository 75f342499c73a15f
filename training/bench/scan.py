"""Time, accuracy and growth of the selective scan: `python -m training.bench.scan`.

Times are the best of a few runs, as nanoseconds a state update: one of `B * K * L * I * S`; what
comes before the states, from the low rank of the step size on, is in them. Wall clock is what a
user waits for; the processor time of all threads, what the work itself takes.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from m3amba_geo.model.scan import availability, cpu, reference
from training.bench import record

K = 4
BACKENDS = {"cpu": cpu.cross_scan, "reference": reference.cross_scan}
SHAPES = {  # B, H, W, I, S of the sizes of network
    "published": (1, 32, 32, 768, 16),
    "small": (4, 32, 32, 192, 16),
    "tiny": (8, 32, 32, 96, 16),
}
TOKENS = (1024, 4096, 16384, 65536)
NAMES = ("u", "dt", "weight", "bias", "A", "B", "C", "D")


def inputs(batch: int, height: int, width: int, channels: int, states: int) -> list[Tensor]:
    """Inputs as they are at the start of training."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rank = math.ceil(channels / 32)
    rows = normal(batch, height, width, K, rank + 2 * states)
    dt, B, C = rows.split([rank, states, states], -1)
    step = torch.exp(torch.rand(K, channels, generator=generator) * 4.6 - 6.9)
    decay = -torch.arange(1.0, states + 1).expand(K, channels, states).clone()
    return [
        normal(batch, height, width, channels),
        dt,
        (torch.rand(K, channels, rank, generator=generator) * 2 - 1) * rank**-0.5,
        step + torch.log(-torch.expm1(-step)),  # its softplus is log-uniform in [0.001, 0.1]
        decay,
        B,
        C,
        torch.ones(K, channels),
    ]


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, wall clock and processor time of a call, in seconds."""
    wall, busy = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - busy


def speed(name: str, shape: tuple[int, int, int, int, int], runs: int) -> dict[str, float]:
    """Best times of a forward pass without gradients, and of a backward pass."""
    scan, tensors = BACKENDS[name], inputs(*shape)
    updates = K * math.prod(shape)
    forward, backward = [], []
    for _ in range(runs):
        with torch.no_grad():
            forward.append(timed(lambda: scan(*tensors))[1:])
    tensors = [x.detach().requires_grad_() for x in tensors]
    for _ in range(runs):
        y = scan(*tensors)
        gy = torch.ones_like(y)
        backward.append(timed(lambda y=y, gy=gy: torch.autograd.grad(y, tensors, gy))[1:])
    return {
        f"{way}_{clock}_ns": round(min(run[i] for run in times) / updates * 1e9, 4)
        for way, times in (("forward", forward), ("backward", backward))
        for i, clock in enumerate(("wall", "processor"))
    }


def errors(name: str, shape: tuple[int, int, int, int, int]) -> dict[str, float]:
    """Relative error, in the 2-norm, of a result and its gradients against float64."""

    def run(scan: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        tensors = [x.to(dtype).requires_grad_() for x in inputs(*shape)]
        y = scan(*tensors)
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        return [y.detach(), *torch.autograd.grad((y * weight).sum(), tensors)]

    pairs = zip(
        ("y", *NAMES),
        run(BACKENDS[name], torch.float32),
        run(reference.cross_scan, torch.float64),
        strict=True,
    )
    return {n: float(f"{((x.double() - t).norm() / t.norm()).item():.2e}") for n, x, t in pairs}


def growth(name: str) -> dict[str, Any]:
    """Seconds of a forward pass at growing numbers of tokens, and the exponent of a power law."""
    seconds = []
    for tokens in TOKENS:
        side = math.isqrt(tokens)
        tensors = inputs(1, side, side, 96, 16)
        with torch.no_grad():
            seconds.append(min(timed(lambda x=tensors: BACKENDS[name](*x))[1] for _ in range(5)))
    x = [math.log(tokens) for tokens in TOKENS]
    y = [math.log(s) for s in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    exponent = slope / sum((a - mean_x) ** 2 for a in x)
    return {
        "tokens": TOKENS,
        "seconds": [round(s, 5) for s in seconds],
        "exponent": round(exponent, 3),
    }


def main() -> None:
    """Measure what is usable, print a table and write `training/results/scan.json`."""
    figures: dict[str, Any] = {"availability": availability(), "speed": {}, "error": {}}
    print(f"{'backend':10} {'size':10} {'forward ns':>11} {'backward ns':>12}   (processor)")
    for name, reason in figures["availability"].items():
        if reason:
            print(f"{name:10} not usable: {reason}")
            continue
        sizes = SHAPES if name == "cpu" else {"published": SHAPES["published"]}
        figures["speed"][name] = {}
        for size, shape in sizes.items():
            row = speed(name, shape, runs=7 if name == "cpu" else 1)
            figures["speed"][name][size] = {"shape": shape, **row}
            wall = f"{row['forward_wall_ns']:11.3f} {row['backward_wall_ns']:12.3f}"
            print(
                f"{name:10} {size:10} {wall}"
                f"   ({row['forward_processor_ns']:.3f}, {row['backward_processor_ns']:.3f})"
            )
        figures["error"][name] = errors(name, (1, 32, 32, 96, 16))
        print(f"{name:10} relative error {figures['error'][name]}")
    if not figures["availability"]["cpu"]:
        figures["growth"] = growth("cpu")
        print(f"cpu        seconds by tokens {figures['growth']}")
    print(record.write("scan", figures))


if __name__ == "__main__":
    main()
