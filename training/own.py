"""Our own network on a case, through the jobs that the command line runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from geopandas import GeoDataFrame, points_from_xy
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.config import ClassifyConfig, LabelConfig, TrainConfig
from m3amba_geo.events import Listener, ignore
from m3amba_geo.files import together
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.geo.maps import Layer, open_map, pieces
from m3amba_geo.geo.raster import Mask
from m3amba_geo.jobs import classify, train
from m3amba_geo.model.blocks import CrossBlock
from training.cases import Case, Scene
from training.outcome import Outcome


def m3amba(
    scene: Scene, case: Case, config: TrainConfig, folder: Path, quick: bool, emit: Listener
) -> Outcome:
    """Trains on the case's training pixels, maps the scene, and returns the map at test pixels.

    What it validates on is taken from the training pixels, by the recipe's `[train.split]`. An
    unfinished training in `folder` goes on where it stopped.

    Raises:
        M3ambaError: Training or mapping fails, or the unfinished training was of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    test = folder / "test.tif"
    _write(test, case.codes, case.test, scene.grid)
    labels = _training_labels(scene, case, folder)
    own = replace(scene.config, labels=labels, test_labels=LabelConfig(test))
    settings = replace(
        config,
        out=folder / "model.m3amba",
        seed=case.seed,
        epochs=1 if quick else config.epochs,
    )
    unfinished = settings.out.with_name(settings.out.name + ".checkpoint").exists()
    trained = train.run([own], settings, emit, resume=unfinished, overwrite=True)
    outputs = ClassifyConfig(
        out=folder / "map.tif", guide_weights=config.guide.weights, overwrite=True, restart=True
    )
    classify.run(settings.out, own, outputs, ignore)
    found = read_label_raster(outputs.out).values[case.test]
    details = {"steps": trained.steps, "pixels": trained.pixels, "validation": trained.scores}
    return Outcome(found.astype(np.uint16), details, timed=not unfinished)


def _training_labels(scene: Scene, case: Case, folder: Path) -> LabelConfig:
    """Writes the training pixels: points stay points, as training tells them from drawn areas."""
    if scene.labels.kind != "points":
        labels = folder / "train.tif"
        _write(labels, case.codes, case.train, scene.grid)
        return LabelConfig(labels)
    labels = folder / "train.gpkg"
    rows, columns = np.nonzero(case.train)
    x, y = scene.grid.affine * (columns + 0.5, rows + 0.5)
    points = GeoDataFrame({"code": case.codes[case.train]}, geometry=points_from_xy(x, y))
    points.set_crs(scene.grid.crs).to_file(labels)
    return LabelConfig(labels, field="code")


@contextmanager
def uncrossed() -> Iterator[None]:
    """Lets every modality's stream cross with itself: what the fusion stream writes is lost.

    Each is then scanned as by a plain SS2D; parameters and time stay as they are.
    """
    crossed = CrossBlock.forward
    CrossBlock.forward = lambda self, x, z: crossed(self, x, x)  # type: ignore[method-assign]
    try:
        yield
    finally:
        CrossBlock.forward = crossed  # type: ignore[method-assign]


def _write(path: Path, codes: NDArray[np.uint16], where: Mask, grid: GeoBox) -> None:
    layer = Layer(path, "uint16", 0, ("class",))
    with together() as scratch_of, open_map(layer, grid, scratch_of) as writer:
        for piece in pieces(codes.shape):
            writer.write(np.where(where, codes, np.uint16(0))[piece.slices])
