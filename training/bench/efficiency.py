"""How soon a training is worth its end: `python -m training.bench.efficiency [RECIPE]`.

Accuracy on test pixels along the training of our network and of the net of convolutions, by the
recipe's first seed: steps, pixels seen and seconds until 95 % of the final accuracy. Looking on
takes no part in the training, and its time is not counted; neither is what comes before the first
step: features, and the regression that has a say in our map from then on. The released
arrangement computes what ours does, so it takes the same steps; the seconds of one are measured, on
one patch, by its scan, token by token.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from m3amba_geo.config import NetworkConfig, TrainConfig
from m3amba_geo.events import Event, Metric, Progress, ignore
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.features import scene_features
from m3amba_geo.geo.marks import Marks
from m3amba_geo.jobs.network import choose_size
from m3amba_geo.jobs.training_scenes import with_settled_balance
from m3amba_geo.learn.loop import fit
from m3amba_geo.learn.patches import LabelledScene, Patches
from m3amba_geo.model import M3amba, build
from m3amba_geo.model.guided import GuidedM3amba
from training.baselines import fit as plain
from training.baselines import nets
from training.bench.network import timed
from training.bench.record import write
from training.bench.released import Released
from training.bench.train_step import loss_of
from training.cases import Case, Scene, cases, read_scene
from training.recipe import read_recipe

PATCH = 32
SHARE = 0.95  # of the final accuracy
LOOKS = 20  # a run


@dataclass
class Course:
    """A training as it went: the seconds of its steps, and what its weights reached on the way."""

    pixels: int  # a step
    seconds: list[float] = field(default_factory=list)
    reached: dict[int, float] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Returns what it took until enough of the final accuracy was reached for good."""
        final = [*self.reached.values()][-1]
        short = [step for step, value in self.reached.items() if value < SHARE * final]
        enough = next(step for step in self.reached if step > max(short, default=0))
        return {
            "final_overall_accuracy": final,
            "steps": enough,
            "pixels": enough * self.pixels,
            "seconds": sum(self.seconds[:enough]),
            "of_steps": len(self.seconds),
            "of_seconds": sum(self.seconds),
            "course": self.reached,
        }


@click.command()
@click.argument("name", default="indian_pines")
@click.option("--quick", is_flag=True, help="A few steps, to see that it runs; writes nothing.")
def main(name: str, quick: bool) -> None:
    """Measures on the first seed of a recipe."""
    recipe = read_recipe(name)
    scene = read_scene(recipe.scene, ignore)
    case = next(cases(scene, recipe.protocol, [0]))
    settings = replace(recipe.train, seed=case.seed, patience=LOOKS, epochs=1 if quick else None)
    settings = with_settled_balance(settings, [scene.labels.kind], ignore)
    network, course = ours(scene, case, settings)
    found = {"m3amba": course.summary()}
    a_step = settings.batch * timed(lambda: _released_step(network))
    found["released arrangement (the same steps)"] = found["m3amba"] | {
        "seconds": found["m3amba"]["steps"] * a_step,
        "of_seconds": found["m3amba"]["of_steps"] * a_step,
    }
    found["cnn"] = convolutions(scene, case, quick).summary()
    table = Table(title=f"{name}: until {SHARE:.0%} of the final accuracy")
    for head in ("method", "final", "steps", "pixels", "seconds", "of"):
        table.add_column(head, justify="right")
    for method, row in found.items():
        table.add_row(
            method, f"{row['final_overall_accuracy']:.1%}", str(row["steps"]),
            f"{row['pixels']:,}", f"{row['seconds']:,.0f}", f"{row['of_seconds']:,.0f}",
        )  # fmt: skip
    Console().print(table)
    if not quick:
        write("efficiency", {"recipe": name, "share": SHARE, "released_step": a_step, **found})


def ours(scene: Scene, case: Case, settings: TrainConfig) -> tuple[M3amba, Course]:
    """Trains our network with the test pixels to look at, and returns how it went."""
    known = np.unique(case.codes[case.train])
    course = Course(settings.batch * PATCH**2)
    looked, last = False, 0.0

    def hear(event: Event) -> None:
        nonlocal looked, last
        now = time.perf_counter()
        if isinstance(event, Metric):
            course.reached[event.step or 0] = event.value
            looked = True
        elif isinstance(event, Progress):
            # A step that was looked at took as long as the one before.
            course.seconds.append(course.seconds[-1] if looked and course.seconds else now - last)
            looked = False
        last = time.perf_counter()

    with open_stack(scene.config, ignore) as stack, tempfile.TemporaryDirectory() as folder:
        train, test = (_marks(case, side, known) for side in (case.train, case.test))
        features = scene_features([stack], [train.pixels], settings.neighbourhoods)
        patches = Patches([LabelledScene(stack, train, test)], features, PATCH)
        bands = tuple(f.count for f in features)
        size = settings.size
        if size == "auto":
            raw, area = sum(len(m.bands) for m in stack.modalities), stack.grid.shape
            size = choose_size(len(train.pixels), raw, area[0] * area[1], on_cpu=True)
        torch.manual_seed(settings.seed)
        head = settings.linear_head
        network = build(NetworkConfig(bands, len(known), size=size, embedding=0, linear_head=head))
        fit(
            GuidedM3amba(network, None), patches, settings, torch.device("cpu"), hear,
            run="", checkpoint=Path(folder) / "checkpoint", resume=False,
        )  # fmt: skip
    return network, course


def _marks(case: Case, side: NDArray[np.bool_], known: NDArray[np.uint16]) -> Marks[np.int32]:
    pixels = np.flatnonzero(side & np.isin(case.codes, known))
    classes = np.searchsorted(known, case.codes.flat[pixels]).astype(np.int32)
    return Marks(case.codes.shape, pixels, classes)


def convolutions(scene: Scene, case: Case, quick: bool) -> Course:
    """Trains the net of convolutions, likewise."""
    course = Course(plain.BATCH * plain.PATCH**2)
    steps = plain.QUICK_STEPS if quick else plain.STEPS
    truth, last = case.codes[case.test], time.perf_counter()

    def watch(step: int, mapped: Callable[[], plain.Codes]) -> None:
        nonlocal last
        course.seconds.append(time.perf_counter() - last)
        if step % max(1, steps // LOOKS) == 0 or step == steps:
            course.reached[step] = float((mapped()[case.test] == truth).mean())
        last = time.perf_counter()

    plain.net(nets.cnn, watch)(scene, case, quick)
    return course


def _released_step(network: M3amba) -> None:
    patches = [torch.randn(1, bands, PATCH, PATCH) for bands in network.config.bands]
    loss_of(Released(network).train()(patches)).backward()


if __name__ == "__main__":
    main()
