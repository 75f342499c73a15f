"""The network beside its own matrix products: `python -m training.bench.network [--size base]`.

In one run: the forward pass in float32 and bfloat16, a training step (optimiser included), the
matrix products of the forward pass alone at the same shapes and types, and the scan alone. Times
are the best of a few rounds, taken in turn, so that what else the machine does hits all alike.
"""

import time
from collections.abc import Callable

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from m3amba_geo.config import WIDTH_AND_DEPTH, NetworkConfig
from m3amba_geo.model import M3amba, build, scan
from training.bench.record import write

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear", "convolution"}
BANDS = (64, 2)


@click.command()
@click.option("--size", type=click.Choice(list(WIDTH_AND_DEPTH)), default="base")
@click.option("--batch", default=4, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(size: str, batch: int, rounds: int) -> None:
    """Measures one size of the network."""
    torch.manual_seed(0)
    network = build(NetworkConfig(bands=BANDS, classes=11, size=size, embedding=0))
    patches = [torch.randn(batch, bands, 32, 32) for bands in BANDS]
    optimizer = torch.optim.AdamW(network.parameters())
    works: dict[str, Callable[[], object]] = {
        "forward fp32": lambda: _forward(network, patches, torch.float32),
        "products fp32": _replay(network, patches, torch.float32),
        "scan": _scan(network, batch),
        "forward bf16": lambda: _forward(network, patches, torch.bfloat16),
        "products bf16": _replay(network, patches, torch.bfloat16),
        "training step": lambda: _step(network, patches, optimizer),
    }
    seconds = {name: float("inf") for name in works}
    for turn in range(rounds + 1):  # the first one warms up
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    ratios = {
        "forward / products, fp32 (goal 1.6)": seconds["forward fp32"] / seconds["products fp32"],
        "forward / (products + scan), bf16 (goal 1.5)": seconds["forward bf16"]
        / (seconds["products bf16"] + seconds["scan"]),
        "step / forward (goal 3.6)": seconds["training step"] / seconds["forward fp32"],
    }
    _show(size, batch, seconds, ratios)
    write(f"network_{size}", {"batch": batch, "seconds": seconds, "ratios": ratios})


@torch.inference_mode()
def _forward(network: M3amba, patches: list[Tensor], precision: torch.dtype) -> None:
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        network.eval()(patches, None)


def _step(network: M3amba, patches: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    logits, fused = network.train()(patches, None)
    loss = fused.square().mean() + sum(x.square().mean() for x in logits)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


class _Products(TorchDispatchMode):
    """Writes down every matrix product (1x1 and depthwise convolutions too) with its operands."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[object, tuple[object, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        if func.overloadpacket.__name__ in PRODUCTS:
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def _replay(network: M3amba, patches: list[Tensor], precision: torch.dtype) -> Callable[[], None]:
    """Returns a function that does the forward pass's products alone, operands at hand."""
    cast = torch.autocast("cpu", precision, enabled=precision is not torch.float32)
    with torch.no_grad(), _Products() as products, cast:
        network.eval()(patches, None)

    def run() -> None:
        with torch.inference_mode():
            for func, args in products.calls:
                func(*args)

    return run


def _scan(network: M3amba, batch: int) -> Callable[[], None]:
    config = network.config
    inner, states, side = 2 * config.width, config.states, config.patch
    u = torch.randn(batch, side, side, inner)
    dt = torch.randn(4, batch, side, side, inner) - 4
    decay = -torch.rand(4, inner, states) * states
    b, c = torch.randn(2, batch, side, side, 4, states)
    skip = torch.ones(4, inner)
    blocks = config.depth * (len(BANDS) + 1)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(blocks):
                scan.cross_scan(u, dt, decay, b, c, skip)

    return run


def _show(size: str, batch: int, seconds: dict[str, float], ratios: dict[str, float]) -> None:
    table = Table(title=f"{size}, batch {batch}, patches of 32 pixels")
    table.add_column("work")
    table.add_column("seconds", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.3f}")
    table.add_section()
    for name, value in ratios.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
