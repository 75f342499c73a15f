"""One small training for one process or several: `torchrun sharing.py FOLDER SCENARIO`."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors.torch import save_file
from small import as_they_are, scene_of, stack_of

from m3amba_geo.config import NetworkConfig, TrainConfig
from m3amba_geo.errors import DiskFullError, M3ambaError
from m3amba_geo.events import ignore
from m3amba_geo.learn import loop, teachers
from m3amba_geo.learn.patches import UNLABELLED, Patches
from m3amba_geo.learn.world import World, join
from m3amba_geo.model import build
from m3amba_geo.model.guided import GuidedM3amba

SIDE = 48
# Two processes: two and three patches.
CONFIG = TrainConfig(patch=8, batch=5, epochs=2, class_balance=0.5, seed=1)
HALF = 6  # of the steps


def make_patches():
    """Two classes; the upper half is labelled densely, the lower one hardly; holes in the data."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((SIDE, SIDE))
    truth = columns // (SIDE // 2)
    pixels = truth * 2 - 1 + rng.normal(0, 0.5, (3, SIDE, SIDE))
    known = rng.random((SIDE, SIDE)) < np.where(rows < SIDE // 2, 0.9, 0.05)
    held_out = rows >= SIDE - 8
    scene = scene_of(
        stack_of(
            pixels, rng.normal(0, 1, (1, SIDE, SIDE)), invalid={1: (rows < 8) & (columns < 20)}
        ),
        np.where(known & ~held_out, truth, UNLABELLED),
        np.where(known & held_out, truth, UNLABELLED),
    )
    return Patches([scene], as_they_are(3, 1), 8)


def train(folder, name, world, *, run="run", resume=False, at_step=lambda _: None):
    """Trains; leaves weights, losses and scores under a name, and the checkpoint of half-way."""
    torch.manual_seed(0)
    shape = {"width": 8, "depth": 2, "states": 1, "patch": 8, "embedding": 0, "drop_path": 0.5}
    model = GuidedM3amba(build(NetworkConfig((3, 1), 2, **shape)), None)
    checkpoint = folder / f"{name}.checkpoint"
    losses = []

    class Run(loop._Run):
        def _step(self, step):
            at_step(step)
            losses.append(super()._step(step))
            return losses[-1]

        def _save(self):
            super()._save()
            if world.leads and self.position.step == HALF:
                shutil.copy(checkpoint, folder / f"{name}.half")

    made = Run(
        model, make_patches(), CONFIG, torch.device("cpu"), ignore, run, checkpoint, None, world
    )
    fitted = made.fit(resume)
    told = {"losses": losses, "scores": fitted.scores}
    save_file(model.state_dict(), folder / f"{name}-{world.rank}", {"told": json.dumps(told)})


def hurry():
    """Makes a short run validate half-way and at its end, and teach itself whatever it thinks."""
    loop._VALIDATIONS = 2
    assert teachers._SURE > 0.4
    teachers._SURE = 0.4


class OwnCounts(World):
    """The mistake to be caught: each process divides by its own labelled pixels."""

    def sum(self, tensor):
        counts = tensor * self.size  # as the mean over processes would have it
        summed = super().sum(tensor)
        return counts if tensor.shape == (3,) else summed


def together(folder, world):
    """Trains rightly, from half-way, and wrongly; sums gradients that not all have."""
    train(folder, "two", world)
    if world.leads:
        shutil.copy(folder / "two.half", folder / "again.checkpoint")
    world.wait()
    train(folder, "again", world, resume=True)
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(3)]
    parameters[0].grad = torch.full((2, 3), 1.0 + world.rank)
    parameters[1].grad = torch.full((2, 3), 5.0) if world.rank == 1 else None
    loss = world.sum_gradients(torch.tensor(0.5), parameters)
    found = [None if p.grad is None else p.grad.tolist() for p in parameters]
    (folder / f"gradients-{world.rank}").write_text(json.dumps([loss.item(), found]))
    train(folder, "wrong", OwnCounts(world.rank, world.size))


def other_data(folder, world):
    train(folder, "two", world, run=f"run {world.rank}")


def failing(folder, world):
    def fail(step):
        if world.rank == 1 and step == 3:
            raise DiskFullError("The disk of one machine is full.", "Free some space.")

    train(folder, "two", world, at_step=fail)


def killed(folder, world):
    # What torchrun sends to those that are left must not be faster than their own notice.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def kill(step):
        if world.rank == 1 and step == 3:
            psutil.Process().kill()

    train(folder, "two", world, at_step=kill)


def main(folder, scenario):
    torch.set_num_threads(1)
    hurry()
    try:
        with join() as world:
            globals()[scenario](folder, world)
    except M3ambaError as error:
        ended = [error.code, error.exit_status, str(error), error.hint]
        (folder / f"ended-{os.environ['RANK']}").write_text(json.dumps(ended))
    tasks = Path("/proc/self/task").glob("*/comm")  # of Linux; elsewhere there are none
    threads = [name for task in tasks if "gloo" in (name := task.read_text())]
    (folder / f"threads-{os.environ['RANK']}").write_text(json.dumps(threads))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
