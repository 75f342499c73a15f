"""The network beside its own matrix products: `python -m training.bench.network [--size base]`.

In one run: the forward pass in float32 and bfloat16; the matrix products of that pass alone, at
the same shapes and types, operands at hand (depthwise convolutions are none; the projection to step
sizes is part of our scan); the scan alone; and one patch in the arrangement of the released code,
token by token. Times are the best of a few rounds, taken in turn, so that what else the machine
does hits all alike; the last is too slow for more than one.
"""

import time
from collections.abc import Callable

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from m3amba_geo.config import WIDTH_AND_DEPTH, NetworkConfig, Size
from m3amba_geo.model import M3amba, build, scan
from training.bench.record import write
from training.bench.released import Released
from training.bench.scan import inputs

BANDS, CLASSES = (64, 2), 11
ROUNDS = 4  # the first one warms up


@click.command()
@click.option("--size", type=click.Choice(list(WIDTH_AND_DEPTH)), default="base")
@click.option("--batch", default=4, show_default=True)
def main(size: Size, batch: int) -> None:
    """Measures the forward pass of one size of the network."""
    network, patches = make(size, batch)
    works: dict[str, Callable[[], object]] = {
        "forward fp32": lambda: forward(network, patches, torch.float32),
        "products fp32": _products(network, patches, torch.float32),
        "scan fp32": _scan(network, batch, torch.float32),
        "forward bf16": lambda: forward(network, patches, torch.bfloat16),
        "products bf16": _products(network, patches, torch.bfloat16),
        "scan bf16": _scan(network, batch, torch.bfloat16),
    }
    seconds = {name: float("inf") for name in works}
    for turn in range(ROUNDS):
        for name, work in works.items():
            took = timed(work)
            seconds[name] = min(seconds[name], took) if turn else seconds[name]
    released, first = Released(network).eval(), [x[:1] for x in patches]
    with torch.inference_mode():
        seconds["released arrangement, token by token, one patch"] = timed(lambda: released(first))
    floor = seconds["products bf16"] + seconds["scan bf16"]
    a_patch = seconds["forward fp32"] / batch
    ratios = {
        "forward / products, fp32": seconds["forward fp32"] / seconds["products fp32"],
        "forward / (products + scan), bf16": seconds["forward bf16"] / floor,
        "released / forward, a patch, fp32": [*seconds.values()][-1] / a_patch,
    }
    show(f"{size}, batch {batch}, patches of 32 pixels", seconds, ratios)
    write(f"network_{size}", {"batch": batch, "seconds": seconds, "ratios": ratios})


def make(size: Size, batch: int) -> tuple[M3amba, list[Tensor]]:
    """Returns a fresh network and patches for it."""
    torch.manual_seed(0)
    network = build(NetworkConfig(bands=BANDS, classes=CLASSES, size=size, embedding=0))
    return network.eval(), [torch.randn(batch, bands, 32, 32) for bands in BANDS]


@torch.inference_mode()
def forward(network: M3amba, patches: list[Tensor], precision: torch.dtype) -> None:
    """One pass without gradients."""
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        network(patches, None)


def timed(work: Callable[[], object]) -> float:
    """Returns seconds of wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _Recorder(TorchDispatchMode):
    """Writes down every matrix product (1x1 convolutions too) with its operands."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        name = func.overloadpacket.__name__
        pointwise = name == "convolution" and args[8] == 1  # groups
        if pointwise or name in {"mm", "addmm", "bmm", "baddbmm", "linear"}:
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def _products(network: M3amba, patches: list[Tensor], precision: torch.dtype) -> Callable[[], None]:
    cast = torch.autocast("cpu", precision, enabled=precision is not torch.float32)
    with torch.no_grad(), _Recorder() as recorder, cast:
        network(patches, None)

    def run() -> None:
        with torch.inference_mode():
            for func, args in recorder.calls:
                func(*args)

    return run


def _scan(network: M3amba, batch: int, precision: torch.dtype) -> Callable[[], None]:
    config = network.config
    u, *others = inputs(batch, config.patch, config.patch, 2 * config.width, config.states)
    blocks = config.depth * (len(BANDS) + 1)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(blocks):
                scan.cross_scan(u.to(precision), *others)

    return run


def show(title: str, seconds: dict[str, float], ratios: dict[str, float]) -> None:
    """Prints a table of times and one of ratios."""
    table = Table(title=title)
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
