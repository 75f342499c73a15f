"""What a missing modality costs: `python -m training.bench.missing [--seeds N]`.

On the fixed split of Indian Pines, networks are trained on VNIR and SWIR by several chances of
modality dropout, and on either alone. Those of both map the scene whole, without one of the two,
and with holes: in a pattern of blocks both are there, or one of them is nodata.

The command may be stopped, and goes on with the training it was at; its state lies in
`training/runs/missing`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio

from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.bundle import read_manifest
from m3amba_geo.config import ClassifyConfig, EvaluateConfig, ModalityConfig, SceneConfig
from m3amba_geo.events import ignore
from m3amba_geo.jobs import classify, evaluate, train
from training.bench import record
from training.recipe import Recipe, read_recipe

RUNS = record.ROOT / "training" / "runs" / "missing"
RECIPE = "indian_pines"
DROPOUTS = (0.3, 0.5, 0.1, 0.0)
BLOCK = 24  # pixels; side of what is missing in places
NODATA = 65535

Figures = dict[str, Any]


@click.command()
@click.option("--seeds", default=1, show_default=True, help="Networks of each kind.")
def main(seeds: int) -> None:
    """Trains what is not trained yet, maps, and writes the figures."""
    recipe = read_recipe(RECIPE)
    names = [modality.name for modality in recipe.scene.modalities]
    first, *others = [(names, dropout) for dropout in DROPOUTS]
    wanted = [first, *(([name], 0.0) for name in names), *others]
    rows = []
    for seed in range(seeds):
        for modalities, dropout in wanted:
            rows.append(_figures(recipe, modalities, dropout, seed))
            for name, score in rows[-1]["overall_accuracy"].items():
                print(f"{rows[-1]['trained on']}, dropout {dropout}: {name}: {score:.2%}")
    print(record.write("missing", {"recipe": RECIPE, "block": BLOCK, "rows": rows}))


def _figures(recipe: Recipe, modalities: list[str], dropout: float, seed: int) -> Figures:
    """Returns what a network comes to; it is trained only once."""
    folder = RUNS / f"{'-'.join(modalities)}-{dropout}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / "figures.json"
    if not saved.exists():
        model = folder / "model.m3amba"
        _train(recipe, _only(recipe.scene, modalities), dropout, seed, model)
        row = {
            "trained on": ", ".join(modalities),
            "modality_dropout": dropout,
            "seed": seed,
            "commit": record.circumstances()["commit"],
            "overall_accuracy": _scores(recipe.scene, modalities, model),
        }
        saved.write_text(json.dumps(row))
    return json.loads(saved.read_text())


def _train(recipe: Recipe, scene: SceneConfig, dropout: float, seed: int, model: Path) -> None:
    config = replace(recipe.train, out=model, modality_dropout=dropout, seed=seed)
    unfinished = model.with_name(model.name + ".checkpoint").exists()
    if not model.exists():
        train.run([scene], config, ignore, resume=unfinished)


def _scores(scene: SceneConfig, modalities: list[str], model: Path) -> dict[str, float | None]:
    """Returns the overall accuracy of each map that the network can make."""
    scores = {"all": _score(model, _only(scene, modalities)).accuracy.overall}
    if not read_manifest(model).coverage.fewer:
        return scores
    for name in modalities:
        rest = [other for other in modalities if other != name]
        scores[f"without {name}"] = _score(model, _only(scene, rest)).accuracy.overall
    holed = _score(model, _with_holes(scene, model.parent))
    return scores | {f"holes: from {k}": v.overall for k, v in holed.subsets.items()}


def _score(model: Path, scene: SceneConfig) -> Evaluation:
    out = model.with_name("map.tif")
    classify.run(model, scene, ClassifyConfig(out=out, overwrite=True, restart=True), ignore)
    assert scene.test_labels is not None
    return evaluate.run(out, EvaluateConfig(scene.test_labels), ignore)


def _with_holes(scene: SceneConfig, folder: Path) -> SceneConfig:
    """Returns the scene with one modality missing, or none, in every third block of a diagonal."""
    modalities = []
    for n, modality in enumerate(scene.modalities, 1):
        (source,) = modality.files
        with rasterio.open(source) as file:
            bands, profile = file.read(), file.profile
        rows, columns = np.indices(bands.shape[1:]) // BLOCK
        bands[:, (rows + columns) % (len(scene.modalities) + 1) == n] = NODATA
        path = folder / f"{modality.name}.tif"
        with rasterio.open(path, "w", **profile | {"nodata": NODATA}) as file:
            file.write(bands)
        modalities.append(ModalityConfig(modality.name, (path,)))
    return replace(scene, modalities=tuple(modalities))


def _only(scene: SceneConfig, names: list[str]) -> SceneConfig:
    return replace(scene, modalities=tuple(m for m in scene.modalities if m.name in names))


if __name__ == "__main__":
    main()
