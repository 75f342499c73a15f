"""The whole path on real data that comes with the package: train, map, assess, look."""

import shutil
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3amba_geo import __version__
from m3amba_geo.assess.picture import side_by_side
from m3amba_geo.config import (
    ClassifyConfig,
    EvaluateConfig,
    GuideConfig,
    LabelConfig,
    ModalityConfig,
    SceneConfig,
    TrainConfig,
)
from m3amba_geo.errors import OutputFolderError
from m3amba_geo.events import Artifact, Event, Listener, Note, Started, ignore
from m3amba_geo.files import whole
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.geo.labels import read_labels
from m3amba_geo.jobs import classify, evaluate, train
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.sidecar import read_sidecar

MODALITIES = {"vnir": ("10", "20", "30", "40"), "swir": ("50", "70")}
_EPOCHS = 24


@dataclass(frozen=True)
class DemoResults(Results):
    """Where the demo's files lie, and how good its map is on points that training never saw."""

    model: Path
    map: Path
    confidence: Path
    report: Path
    page: Path
    picture: Path
    overall_accuracy: float | None
    kappa: float | None
    points: int


def run(folder: Path, emit: Listener, *, epochs: int = _EPOCHS) -> DemoResults:
    """Trains on polygons of the North Carolina scene, maps it, and scores the map on points.

    Args:
        folder: Where everything is written; made if it is missing, earlier files are replaced.
        emit: Told of everything on the way.
        epochs: Epochs of the training.

    Raises:
        M3ambaError: The folder can't be written, or a step failed.
    """
    emit(Started("demo", __version__))
    data = _copy_data(folder)
    scene = SceneConfig(
        modalities=tuple(
            ModalityConfig(name, tuple(data / f"lsat7_2000_{band}.tif" for band in bands))
            for name, bands in MODALITIES.items()
        ),
        labels=LabelConfig(data / "landsat96_polygons.shp", field="label"),
    )
    settings = TrainConfig(
        out=folder / "model.m3amba", epochs=epochs, guide=GuideConfig(mode="none")
    )
    tell = _within(emit)
    train.run([scene], settings, tell, overwrite=True)
    outputs = ClassifyConfig(
        out=folder / "map.tif",
        confidence=folder / "confidence.tif",
        overwrite=True,
        restart=True,  # the model is a new one
    )
    classify.run(settings.out, scene, outputs, tell)
    points = LabelConfig(data / "landsat96_points.gpkg", field="label")
    report = EvaluateConfig(
        labels=points,
        report=folder / "accuracy.json",
        html=folder / "accuracy.html",
        overwrite=True,
    )
    emit(Note("The points and polygons show 1996, the image 2000: some disagreement is change."))
    found = evaluate.run(outputs.out, report, tell)
    picture = folder / "picture.png"
    _draw(scene, outputs.out, picture)
    emit(Artifact(str(picture), "picture"))
    return DemoResults(
        model=settings.out,
        map=outputs.out,
        confidence=folder / "confidence.tif",
        report=folder / "accuracy.json",
        page=folder / "accuracy.html",
        picture=picture,
        overall_accuracy=found.accuracy.overall,
        kappa=found.accuracy.kappa,
        points=found.accuracy.pixels,
    )


def _within(emit: Listener) -> Listener:
    """Passes on what the steps tell, but for their own beginnings."""

    def tell(event: Event) -> None:
        if not isinstance(event, Started):
            emit(event)

    return tell


def _copy_data(folder: Path) -> Path:
    """Puts the scene where the user can open it in QGIS, whatever the package is stored in."""
    data = folder / "data"
    try:
        with as_file(files("m3amba_geo") / "data" / "nc_landsat") as source:
            shutil.copytree(source, data, dirs_exist_ok=True)
    except OSError as error:
        raise OutputFolderError(
            f"The demo's data can't be written to {folder}: {error}.",
            "Name a folder that you may write to: m3amba-geo demo DIR.",
        ) from error
    return data


def _draw(scene: SceneConfig, map_path: Path, picture: Path) -> None:
    """Draws image, labels and map beside each other."""
    sidecar = read_sidecar(map_path)
    assert sidecar is not None
    assert scene.labels is not None
    with open_stack(scene, ignore) as stack:
        height, width = stack.grid.shape
        pixels, valid = stack.read(0, 0, height, width)
        complete = stack.coverage.used(valid) > 0
        labels = read_labels(scene.labels, stack.grid, sidecar.legend, ignore)
    vnir, swir = pixels
    image = _stretched(np.stack([swir[0], vnir[3], vnir[2]]), complete)
    codes = read_label_raster(map_path).values.astype(np.uint16)
    with whole(picture) as scratch:
        scratch.write_bytes(
            side_by_side(
                image,
                labels.spread(labels.codes),
                codes,
                sidecar.legend,
                "North Carolina, Landsat-7 (SWIR, NIR, red)",
            )
        )


def _stretched(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns `(H, W, 3)` uint8: each band stretched from its 2nd to its 98th percentile."""
    image = np.full((*valid.shape, 3), 255, np.uint8)
    for channel, band in enumerate(bands):
        low, high = np.percentile(band[valid], (2, 98))
        scaled = np.clip((band - low) / max(high - low, 1e-6), 0, 1) * 255
        image[..., channel] = np.where(valid, scaled, 255)
    return image
