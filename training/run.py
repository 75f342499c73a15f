"""Runs a recipe from rasters to accuracy: `python -m training.run NAME [--seed N]`.

Trains, maps and assesses with the jobs that the command line runs, scores a random forest on the
same training and test pixels in the same run, and keeps all figures in training/results/NAME.json.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sklearn.ensemble import RandomForestClassifier

from m3amba_geo.assess.accuracy import Accuracy, assess
from m3amba_geo.assess.report import to_json
from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import (
    ClassifyConfig,
    Config,
    EvaluateConfig,
    SceneConfig,
    make_config,
    read_toml,
)
from m3amba_geo.events import Event, Listener, ignore
from m3amba_geo.events import Progress as ProgressEvent
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.labels import read_labels
from m3amba_geo.jobs import classify, evaluate, train
from training.bench.record import write

HERE = Path(__file__).parent
CONSOLE = Console(stderr=True)


@click.command()
@click.argument("name")
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", type=int, help="Epochs instead of the recipe's.")
def main(name: str, seed: int, epochs: int | None) -> None:
    """Runs the recipe NAME."""
    path = HERE / "recipes" / f"{name}.toml"
    config = make_config(read_toml(path), str(path))
    folder = HERE / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    result = run(config, folder, seed, epochs)
    command = " ".join(["python -m training.run", *sys.argv[1:]])
    write(name, {"recipe": name, "command": command} | result)
    for method in ("m3amba", "random_forest"):
        scores = result[method]
        CONSOLE.print(
            f"{method:14s} OA {scores['overall_accuracy']:.1%}  AA {scores['average_accuracy']:.1%}"
            f"  kappa {scores['kappa']:.3f}  {scores['seconds']:.0f} s"
        )


def run(config: Config, folder: Path, seed: int, epochs: int | None) -> dict[str, object]:
    """Returns the figures of the network and of the forest."""
    scene = config.scene[0]
    settings = replace(
        config.train, out=folder / "model.m3amba", seed=seed, epochs=epochs or config.train.epochs
    )
    started = time.monotonic()
    with _shown() as emit:
        trained = train.run(config.scene, settings, emit, overwrite=True)
    train_seconds = time.monotonic() - started
    started = time.monotonic()
    outputs = ClassifyConfig(out=folder / "map.tif", overwrite=True)
    classify.run(settings.out, scene, outputs, ignore)
    map_seconds = time.monotonic() - started
    labels = scene.test_labels or scene.labels
    assert labels is not None
    found = evaluate.run(outputs.out, EvaluateConfig(labels=labels), ignore)
    forest, forest_seconds = random_forest(scene, settings.out, seed)
    return {
        "seed": seed,
        "pixels": trained.pixels,
        "steps": trained.steps,
        "validation": trained.scores,
        "m3amba": to_json(found) | {"seconds": train_seconds, "map_seconds": map_seconds},
        "random_forest": {
            "overall_accuracy": forest.overall,
            "average_accuracy": forest.average,
            "kappa": forest.kappa,
            "producers_accuracy": list(forest.producers),
            "seconds": forest_seconds,
        },
    }


def random_forest(scene: SceneConfig, model: Path, seed: int) -> tuple[Accuracy, float]:
    """Scores a forest of 500 trees on the pixels that the model was trained and tested on.

    It also learns from the pixels that the network held back for validation.
    """
    bundle = load_bundle(model)
    legend = bundle.manifest.legend
    with open_stack(scene, ignore) as stack:
        height, width = stack.grid.shape
        pixels, valid = stack.read(0, 0, height, width)
        assert scene.labels is not None
        own = read_labels(scene.labels, stack.grid, legend, ignore).codes
        test = own
        if scene.test_labels is not None:
            test = read_labels(scene.test_labels, stack.grid, legend, ignore).codes
    usable = np.logical_and.reduce(valid)
    features = np.concatenate(pixels).reshape(-1, height * width).T  # (H*W, C)
    used = bundle.areas[0].used
    learn = (used & usable & (own > 0)).ravel()
    score = (~used & usable & (test > 0)).ravel()
    started = time.monotonic()
    forest = RandomForestClassifier(500, random_state=seed, n_jobs=-1)
    forest.fit(features[learn], own.ravel()[learn])
    predicted = forest.predict(features[score]).astype(np.uint16)
    return assess(test.ravel()[score], predicted, legend), time.monotonic() - started


@contextmanager
def _shown() -> Iterator[Listener]:
    """Shows a job's progress on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE) as bar:
        task = bar.add_task("training")

        def show(event: Event) -> None:
            if isinstance(event, ProgressEvent):
                bar.update(task, total=event.total, completed=event.done, description=event.message)

        yield show


if __name__ == "__main__":
    main()
