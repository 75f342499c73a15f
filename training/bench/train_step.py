"""A training step beside the forward pass: `python -m training.bench.train_step [--size base]`.

A step is forward, backward and optimiser; beside it stands the forward pass without gradients of
the same batch, in the same process, taken in turn. Peak memory is what Linux notes of the process,
so each arrangement has one of its own: as it is by default, and as with `--recompute`.
"""

import json
import subprocess
import sys
from pathlib import Path

import click
import torch
from torch import Tensor

from m3amba_geo.config import WIDTH_AND_DEPTH, Size
from m3amba_geo.model import M3amba
from m3amba_geo.model.device import return_memory
from training.bench.network import forward, make, show, timed
from training.bench.record import ROOT, write

ROUNDS = 3  # the first one warms up


@click.command()
@click.option("--size", type=click.Choice(list(WIDTH_AND_DEPTH)), default="base")
@click.option("--batch", default=4, show_default=True)
@click.option("--one", type=click.Choice(["keep", "recompute"]), hidden=True)
def main(size: Size, batch: int, one: str | None) -> None:
    """Measures a training step of one size of the network, with and without recomputing."""
    if one:
        print(json.dumps(measure(size, batch, recompute=one == "recompute")))
        return
    seconds, ratios, memory = {}, {}, {}
    for way in ("keep", "recompute"):
        command = [sys.executable, "-m", "training.bench.train_step", "--size", size]
        answer = subprocess.run(
            [*command, "--batch", str(batch), "--one", way],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = json.loads(answer.stdout)
        seconds[f"forward, {way}"], seconds[f"step, {way}"] = found["forward"], found["step"]
        ratios[f"step / forward, {way}"] = found["step"] / found["forward"]
        memory[way] = found["peak_gib"]
    show(
        f"{size}, batch {batch}, fp32", seconds,
        ratios | {f"peak memory, {way} (GiB)": gib for way, gib in memory.items()},
    )  # fmt: skip
    figures = {"batch": batch, "seconds": seconds, "ratios": ratios, "peak_gib": memory}
    write(f"train_step_{size}", figures)


def measure(size: Size, batch: int, *, recompute: bool) -> dict[str, float]:
    """Returns seconds of a forward pass and of a step, and the peak memory of this process."""
    network, patches = make(size, batch)
    network.recompute = recompute
    if recompute:
        return_memory()
    optimizer = torch.optim.AdamW(network.parameters())
    best = {"forward": float("inf"), "step": float("inf")}
    for turn in range(ROUNDS):
        passed = timed(lambda: forward(network.eval(), patches, torch.float32))
        stepped = timed(lambda: _step(network.train(), patches, optimizer))
        if turn:
            best = {
                "forward": min(best["forward"], passed),
                "step": min(best["step"], stepped),
            }
    return best | {"peak_gib": peak_kib() / 2**20}


def peak_kib() -> int:
    """Returns the peak memory of this process in KiB, as Linux notes it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def _step(network: M3amba, patches: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    loss = loss_of(network(patches, None))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def loss_of(outputs: tuple[list[Tensor], Tensor]) -> Tensor:
    """Returns a loss that reaches every head."""
    logits, fused = outputs
    return fused.square().mean() + sum(x.square().mean() for x in logits)


if __name__ == "__main__":
    main()
