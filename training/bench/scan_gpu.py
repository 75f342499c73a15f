"""Time, memory and accuracy of the selective scan on a GPU: `python -m training.bench.scan_gpu`.

Each backend is timed with all that it needs around its kernel: mamba-ssm with the four copies and
the merge. Beside the times stand two floors of the card, measured in the same run: the exponentials
of the states, one a state update forward and one more backward to work them out again, and the
bytes that must be read or written once whatever the arrangement. The file is written anew after
every size, so that nothing is lost where the time ends first.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from m3amba_geo.model.scan import availability, mamba_ssm, reference, triton
from training.bench import record
from training.bench.scan import NAMES, inputs

K = 4
BACKENDS = {
    "triton": triton.cross_scan,
    "mamba_ssm": mamba_ssm.cross_scan,
    "reference": reference.cross_scan,
}
Shape = tuple[int, int, int, int, int]
SHAPES: dict[str, Shape] = {  # B, H, W, I, S of the sizes of network
    "base, batch 64": (64, 32, 32, 768, 16),
    "base, batch 1": (1, 32, 32, 768, 16),
    "small, batch 64": (64, 32, 32, 192, 16),
    "tiny, batch 64": (64, 32, 32, 96, 16),
    "base, 65536 tokens": (1, 256, 256, 768, 16),
}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def seconds(function: Callable[[], Any], runs: int = 20) -> float:
    """Median time of a call on the device, in seconds, after two calls to warm up."""
    times = []
    for run in range(runs + 2):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        stop.record()
        torch.cuda.synchronize()
        if run >= 2:
            times.append(start.elapsed_time(stop) / 1e3)
    return sorted(times)[len(times) // 2]


def exponentials() -> float:
    """Exponentials a second that the card gives when nothing else is asked of it."""
    import triton
    import triton.language as tl

    @triton.jit
    def burn(out, rounds, SIZE: tl.constexpr):  # noqa: ANN001, ANN202
        place = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
        x = place.to(tl.float32)
        for _ in range(rounds):
            x = tl.exp2(-x)
        tl.store(out + place, x)

    programs, rounds, size = 4096, 4096, 1024
    out = torch.empty(programs * size, device="cuda")
    return programs * rounds * size / seconds(lambda: burn[(programs,)](out, rounds, SIZE=size))


def bandwidth() -> float:
    """Bytes a second, read and written, of a copy too large for the caches."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def floors(shape: Shape, dtype: torch.dtype, exps: float, rate: float) -> dict[str, float]:
    """Least milliseconds by exponentials, and by bytes, of a pass forward and one backward."""
    batch, height, width, channels, states = shape
    tokens, updates = batch * height * width, K * math.prod(shape)
    u, dt, both = (tokens * n * dtype.itemsize for n in (channels, K * channels, 2 * K * states))
    return {
        "forward_exponentials_ms": updates / exps * 1e3,
        "forward_bytes_ms": (2 * u + dt + both) / rate * 1e3,
        "backward_exponentials_ms": updates / exps * 1e3,
        "backward_bytes_ms": (3 * u + 2 * dt + 2 * both) / rate * 1e3,
    }


def prepared(shape: Shape, dtype: torch.dtype) -> list[Tensor]:
    """Inputs as the network gives them: parameters always in float32."""
    half = {"u", "dt", "B", "C"}
    tensors = dict(zip(NAMES, inputs(*shape), strict=True))
    return [x.cuda().to(dtype) if name in half else x.cuda() for name, x in tensors.items()]


def speed(name: str, shape: Shape, dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds of a pass forward without gradients and of one backward, and peak memory."""
    scan, tensors = BACKENDS[name], prepared(shape, dtype)
    runs = 2 if name == "reference" else 20
    with torch.no_grad():
        forward = seconds(lambda: scan(*tensors), runs)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    tensors = [x.detach().requires_grad_() for x in tensors]
    y = scan(*tensors)
    gy = torch.ones_like(y)
    backward = seconds(lambda: torch.autograd.grad(y, tensors, gy, retain_graph=True), runs)
    memory = torch.cuda.max_memory_allocated() - before
    return {"forward_ms": forward * 1e3, "backward_ms": backward * 1e3, "peak_mib": memory / 2**20}


def errors(name: str, shape: Shape, dtype: torch.dtype) -> dict[str, float]:
    """Relative error, in the 2-norm, of a result and its gradients against float64."""

    def run(scan: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
        tensors = [x.detach().requires_grad_() for x in tensors]
        y = scan(*tensors)
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        weight = weight.to(y.device, dtype).to(y.dtype)
        return [y.detach(), *torch.autograd.grad(y, tensors, weight)]

    tensors = prepared(shape, dtype)
    found = run(BACKENDS[name], tensors)
    truth = run(reference.cross_scan, [x.double() for x in tensors])
    pairs = zip(("y", *NAMES), found, truth, strict=True)
    return {n: float(f"{((x.double() - t).norm() / t.norm()).item():.2e}") for n, x, t in pairs}


def measure(name: str, size: str, dtype: str) -> dict[str, Any]:
    """Speed at one size, or why there is none."""
    try:
        return {
            key: round(value, 4) for key, value in speed(name, SHAPES[size], DTYPES[dtype]).items()
        }
    except torch.cuda.OutOfMemoryError:
        return {"failed": "out of memory"}
    finally:
        torch.cuda.empty_cache()


def main() -> None:
    """Measure what is usable, print a table and write `training/results/scan_gpu.json`."""
    if not torch.cuda.is_available():
        raise SystemExit(
            "scan_gpu needs a CUDA device, and torch finds none. The scan on this machine's CPU is "
            "measured by: python -m training.bench.scan"
        )
    usable = {name: reason for name, reason in availability().items() if name in BACKENDS}
    exps, rate = exponentials(), bandwidth()
    figures: dict[str, Any] = {
        "availability": usable,
        "exponentials_per_second": exps,
        "bytes_per_second": rate,
        "speed": {},
        "error": {},
    }
    print(f"{exps:.3g} exponentials/s, {rate:.3g} bytes/s, both measured; times in ms")
    print(f"{'size':20} {'dtype':5} {'backend':10} {'forward':>9} {'backward':>9} {'MiB':>8}")
    for size, shape in SHAPES.items():
        for dtype in DTYPES:
            rows: dict[str, Any] = {"floors": floors(shape, DTYPES[dtype], exps, rate)}
            least = [
                max(v for k, v in rows["floors"].items() if way in k) for way in ("for", "back")
            ]
            print(f"{size:20} {dtype:5} {'floor':10} {least[0]:9.3f} {least[1]:9.3f}")
            for name, reason in usable.items():
                if reason or (name == "reference" and size == "base, 65536 tokens"):
                    continue
                rows[name] = row = measure(name, size, dtype)
                times = [
                    row.get(key, math.nan) for key in ("forward_ms", "backward_ms", "peak_mib")
                ]
                print(
                    f"{size:20} {dtype:5} {name:10} {times[0]:9.3f} {times[1]:9.3f} {times[2]:8.0f}"
                )
            figures["speed"][f"{size}, {dtype}"] = {"shape": shape, **rows}
            record.write("scan_gpu", figures)
    for name, reason in usable.items():
        if reason:
            print(f"{name}: not usable: {reason}")
            continue
        figures["error"][name] = {d: errors(name, (2, 32, 32, 96, 16), DTYPES[d]) for d in DTYPES}
        print(f"{name}: relative error {figures['error'][name]}")
    print(record.write("scan_gpu", figures))


if __name__ == "__main__":
    main()
