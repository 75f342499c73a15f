"""What several looks and several networks are worth: `python -m training.bench.ensemble RECIPE...`.

On the first case of a recipe, networks are trained that differ by their seed alone. Each maps the
scene as it is, and as the mean of its eight turned and mirrored copies; the means of all networks'
probabilities are scored, too.

The command may be stopped, and goes on with the networks that it lacks; its state lies in
`training/runs/ensemble`.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from m3amba_geo.bundle import read_manifest
from m3amba_geo.config import ClassifyConfig
from m3amba_geo.events import ignore
from m3amba_geo.jobs import classify
from m3amba_geo.model.guided import GuidedM3amba
from training.bench import record
from training.cases import Case, Scene, cases, read_scene
from training.own import m3amba
from training.recipe import Recipe, read_recipe

RUNS = record.ROOT / "training" / "runs" / "ensemble"

Shares = NDArray[np.float32]


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--networks", default=3, show_default=True, help="Networks of each recipe.")
def main(names: Sequence[str], networks: int) -> None:
    """Trains what is not trained yet, maps, and writes the figures."""
    found = {name: _figures(read_recipe(name), networks) for name in names}
    table = Table(title=f"Overall accuracy; {networks} networks")
    for head in ("recipe", "each", "each, turned", "together", "together, turned"):
        table.add_column(head, justify="right")
    for name, figures in found.items():
        cells = [" ".join(f"{v:.1%}" for v in figures[k]) for k in ("each", "each_turned")]
        cells += [f"{figures[k]:.1%}" for k in ("together", "together_turned")]
        table.add_row(name, *cells)
    Console().print(table)
    print(record.write("ensemble", {"networks": networks, "recipes": found}))


def _figures(recipe: Recipe, networks: int) -> dict[str, Any]:
    scene = read_scene(recipe.scene, ignore)
    case = next(cases(scene, recipe.protocol, [0]))
    plain, turned, commits = [], [], []
    for seed in range(networks):
        folder = RUNS / recipe.name / f"{seed}"
        done = folder / "trained.json"
        if not done.exists():
            m3amba(scene, replace(case, seed=seed), recipe.train, folder, False, ignore)
            done.write_text(json.dumps({"commit": record.circumstances()["commit"]}))
        commits.append(json.loads(done.read_text())["commit"])
        plain.append(_shares(scene, case, folder))
        with every_way():
            turned.append(_shares(scene, case, folder))
    legend = read_manifest(RUNS / recipe.name / "0" / "model.m3amba").legend
    codes = np.array([entry.code for entry in legend])

    def score(shares: Shares) -> float:
        return float((codes[shares.argmax(0)] == case.codes[case.test]).mean())

    return {
        "pixels": case.pixels,
        "commits": commits,  # of the networks: they may be of earlier sittings
        "each": [score(s) for s in plain],
        "each_turned": [score(s) for s in turned],
        "together": score(np.mean(plain, 0)),
        "together_turned": score(np.mean(turned, 0)),
    }


def _shares(scene: Scene, case: Case, folder: Path) -> Shares:
    """Returns the network's probabilities of the test pixels `(Q, n)`."""
    out = ClassifyConfig(
        folder / "map.tif", probabilities=folder / "shares.tif", overwrite=True, restart=True
    )
    classify.run(folder / "model.m3amba", scene.config, out, ignore)
    with rasterio.open(folder / "shares.tif") as file:
        shares: Shares = file.read()[:, case.test].astype(np.float32)
    return shares


@contextmanager
def every_way() -> Iterator[None]:
    """Lets networks see each patch turned by every quarter and mirrored; the means are theirs."""
    forward = GuidedM3amba.forward

    def mean(
        self: GuidedM3amba, patches: Sequence[Tensor], embeddings: Sequence[Tensor] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        shares = []
        for turns in range(4):
            for mirrored in ((), (-1,)):
                seen = [p.rot90(turns, (-2, -1)).flip(mirrored) for p in patches]
                _, fused = forward(self, seen, embeddings)
                shares.append(fused.float().softmax(1).flip(mirrored).rot90(-turns, (-2, -1)))
        return [], torch.stack(shares).mean(0).log()

    GuidedM3amba.forward = mean  # type: ignore[method-assign]
    try:
        yield
    finally:
        GuidedM3amba.forward = forward  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
