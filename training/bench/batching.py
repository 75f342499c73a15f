"""Products of streams one after the other, or as one batch: `python -m training.bench.batching`.

The streams of modalities have weights of their own and inputs of one shape, so their products could
be one batched product. What that is worth is measured for the three products of a block, by size of
network, patches a step and type; weights lie together from the start, inputs and outputs too, as
they would if all of the network were arranged that way. With all threads, as training computes, and
with one, as each thread that makes a map does for two patches at a time.
"""

import click
import torch
from rich.console import Console
from rich.table import Table

from m3amba_geo.config import WIDTH_AND_DEPTH
from training.bench.network import timed
from training.bench.record import write

STREAMS, ROUNDS = 2, 12  # the first round warms up
BATCHES = (1, 2, 4, 16)


@click.command()
def main() -> None:
    """Measures and writes `training/results/batching.json`."""
    table = Table(title="Two products one after the other / one batched product, time")
    for head in ("size", "patches", "threads", "fp32", "bf16"):
        table.add_column(head, justify="right")
    ratios = {}
    for threads in (1, torch.get_num_threads()):
        torch.set_num_threads(threads)
        for size, (width, _) in WIDTH_AND_DEPTH.items():
            for batch in BATCHES if size != "base" else BATCHES[:3]:
                found = [ratio(width, batch, dtype) for dtype in (torch.float32, torch.bfloat16)]
                table.add_row(size, str(batch), str(threads), *(f"{value:.2f}" for value in found))
                case = f"{size}, {batch} patches, {threads} threads"
                ratios[case] = dict(zip(("fp32", "bf16"), found, strict=True))
    Console().print(table)
    write("batching", {"streams": STREAMS, "apart_over_batched": ratios})


@torch.inference_mode()
def ratio(width: int, batch: int, dtype: torch.dtype) -> float:
    """Returns how much longer the products take apart than as a batch."""
    tokens = batch * 32 * 32
    apart = batched = 0.0
    for rows, columns in ((width, 4 * width), (2 * width, width), (4 * width, width)):
        inputs = torch.randn(STREAMS, tokens, rows, dtype=dtype)
        weights = torch.randn(STREAMS, rows, columns, dtype=dtype)

        def one_by_one(x: torch.Tensor = inputs, w: torch.Tensor = weights) -> None:
            for stream in range(STREAMS):
                torch.mm(x[stream], w[stream])

        def together(x: torch.Tensor = inputs, w: torch.Tensor = weights) -> None:
            torch.bmm(x, w)

        times = [(timed(one_by_one), timed(together)) for _ in range(ROUNDS)][1:]
        apart += min(first for first, _ in times)
        batched += min(second for _, second in times)
    return apart / batched


if __name__ == "__main__":
    main()
