"""A training step on a GPU: `python -m training.bench.step_gpu [--size base] [--batch 64]`.

Forward and backward in bf16, beside the same network in the released arrangement (on mamba-ssm's
selective scan where it is installed, else on our Triton scan, which is then said), and beside two
floors measured in the same run: the matrix products of such a step, alone, and the scan's floor by
exponentials or bytes.

NOT YET MEASURED: written on a machine without a GPU.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from m3amba_geo.config import WIDTH_AND_DEPTH, Size
from m3amba_geo.model import M3amba, scan
from m3amba_geo.model.scan import availability
from training.bench import record, scan_gpu
from training.bench.network import BANDS, make
from training.bench.released import Released, ReleasedOnOurs
from training.bench.train_step import loss_of

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear"}
Product = tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]


class Products(TorchDispatchMode):
    """Counts matrix products by their shapes; operands are not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            shapes = tuple(tuple(x.shape) for x in args if isinstance(x, Tensor))
            self.found[(func, shapes)] += 1
        return func(*args, **(kwargs or {}))


def step(network: nn.Module, patches: list[Tensor], precision: torch.dtype) -> None:
    """Forward and backward; gradients are thrown away."""
    with torch.autocast(patches[0].device.type, precision):
        loss = loss_of(network(patches))
    loss.backward()
    network.zero_grad(set_to_none=True)


def products_of(network: nn.Module, patches: list[Tensor], precision: torch.dtype) -> Products:
    """Returns the matrix products of a step."""
    with Products() as products:
        step(network, patches, precision)
    return products


def flops(products: Products) -> int:
    """Multiplications and additions of the products, two for each pair."""
    return sum(2 * count * _pairs(shapes) for (_, shapes), count in products.found.items())


def _pairs(shapes: tuple[tuple[int, ...], ...]) -> int:
    *_, left, right = shapes  # of addmm and baddbmm the first is what is added
    rows = 1
    for side in left:
        rows *= side
    return rows * (right[-1] if left[-1] == right[-2] else right[0])


def alone(products: Products, precision: torch.dtype) -> float:
    """Seconds of the products on random operands, the best of what each shape takes."""
    total = 0.0
    for (func, shapes), count in products.found.items():
        operands = [torch.randn(shape, device="cuda", dtype=precision) for shape in shapes]
        total += count * scan_gpu.seconds(lambda f=func, o=operands: f(*o), 10)
    return total


class _Ours(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: list[Tensor]) -> Any:  # noqa: ANN401 - logits
        return self.network(patches, None)


def scan_floor(size: Size, batch: int, precision: torch.dtype) -> float:
    """Seconds that all scans of a step take at least, forward and backward."""
    width, depth = WIDTH_AND_DEPTH[size]
    shape = (batch, 32, 32, 2 * width, 16)
    floors = scan_gpu.floors(shape, precision, scan_gpu.exponentials(), scan_gpu.bandwidth())
    least = sum(
        max(value for key, value in floors.items() if key.startswith(way))
        for way in ("forward", "backward")
    )
    return depth * (len(BANDS) + 1) * least / 1e3


def peer(network: M3amba) -> tuple[str, Released]:
    """Returns the released arrangement, and the scan that it runs on."""
    if availability()["mamba_ssm"]:
        return "our own scan", ReleasedOnOurs(network)
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return "mamba-ssm", Released(network, selective_scan_fn)


@click.command()
@click.option("--size", type=click.Choice(list(WIDTH_AND_DEPTH)), default="base")
@click.option("--batch", default=64, show_default=True)
def main(size: Size, batch: int) -> None:
    """Measures a step and writes `training/results/step_gpu_SIZE.json`."""
    if not torch.cuda.is_available():
        raise SystemExit(
            "step_gpu needs a CUDA device, and torch finds none. A step on this machine's CPU is "
            "measured by: python -m training.bench.train_step"
        )
    precision = torch.bfloat16
    plain, patches = make(size, batch)
    patches = [patch.cuda() for patch in patches]
    network = plain.cuda().train()
    ours = _Ours(network)
    products = products_of(ours, patches, precision)
    torch.cuda.reset_peak_memory_stats()
    own = scan_gpu.seconds(lambda: step(ours, patches, precision))
    peak = torch.cuda.max_memory_allocated()
    seconds = {
        "step": own,
        "products alone": alone(products, precision),
        "floor of the scans": scan_floor(size, batch, precision),
    }
    name, released = peer(network)
    released.cuda().train()
    last = f"released arrangement on {name}"
    seconds[last] = scan_gpu.seconds(lambda: step(released, patches, precision))
    floor = seconds["products alone"] + seconds["floor of the scans"]
    ratios = {
        "step / (products + floor of the scans)": seconds["step"] / floor,
        "released / step": seconds[last] / seconds["step"],
    }
    figures = {
        "batch": batch,
        "scan": scan.choose("auto", torch.device("cuda")),
        "seconds": seconds,
        "ratios": ratios,
        "matrix_flops_per_second": flops(products) / seconds["step"],
        "peak_gib": peak / 2**30,
    }
    for key, value in {**seconds, **ratios}.items():
        print(f"{key:45} {value:10.4f}")
    print(record.write(f"step_gpu_{size}", figures))


if __name__ == "__main__":
    main()
