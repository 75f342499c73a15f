"""Memory and time of reading many labels: `python -m training.bench.labels`.

What `train` does before its first step: labels onto the grid, those under nodata taken away, the
split, the statistics of the training pixels, the index of patches. Two parts: 10,000 polygons of
200 classes, and 5,000,000 points of 20, both on a grid of 16,384 squared. Each is read in a process
of its own, which then says what Linux has noted as its peak, and what it was before it began.

The command may be stopped, and goes on with the part it was at; its state lies in
`training/runs/labels`. `--small` tries everything in a small setting, and writes there only.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine
from rasterio.windows import Window

from m3amba_geo.config import LabelConfig, ModalityConfig, SceneConfig, SplitConfig, TrainConfig
from m3amba_geo.events import ignore
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.features import scene_features
from m3amba_geo.geo.labels import read_legend
from m3amba_geo.geo.marks import Marks
from m3amba_geo.geo.split import Side, split_labels
from m3amba_geo.jobs.ground_truth import labels_on
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.learn.patches import LabelledScene, Patches
from training.bench import record
from training.bench.train_step import peak_kib

RUNS = record.ROOT / "training" / "runs" / "labels"
PARTS = {"polygons": (10_000, 200), "points": (5_000_000, 20)}  # features, classes
SIDE = 16_384
CRS = "EPSG:32632"
PLACE = Affine(30, 0, 300_000, 0, -30, 5_700_000)
STRIP = 256  # rows generated at a time
SMALL = 16  # times fewer pixels a side, and 256 times fewer features


def make_raster(path: Path, side: int) -> None:
    """Writes two bands of noise, in strips, tiled as maps usually are."""
    rng = np.random.default_rng(side)
    profile = {
        "driver": "GTiff", "height": side, "width": side, "count": 2, "dtype": "uint8",
        "crs": CRS, "transform": PLACE, "tiled": True, "blockxsize": 256, "blockysize": 256,
        "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, STRIP):
            strip = rng.integers(0, 16, (2, STRIP, side), np.uint8)
            file.write(strip, window=Window(0, top, side, STRIP))


def make_labels(path: Path, part: str, features: int, classes: int, side: int) -> None:
    """Writes points at random, or round polygons of 3 to 20 pixels across, well apart."""
    rng = np.random.default_rng(features)
    if part == "points":
        places = rng.random((features, 2)) * side
    else:
        lattice = int(np.ceil(np.sqrt(features)))
        rows, columns = np.divmod(np.arange(features), lattice)
        places = (np.stack([columns, rows], 1) + rng.uniform(0.3, 0.7, (features, 2))) / lattice
        places *= side
    x, y = PLACE.c + PLACE.a * places[:, 0], PLACE.f + PLACE.e * places[:, 1]
    geometries = shapely.points(x, y)
    if part == "polygons":
        geometries = shapely.buffer(geometries, PLACE.a * rng.uniform(1.5, 10, features))
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(geometries),
        field_data=[rng.integers(1, classes + 1, features)],
        fields=["class"],
        geometry_type="Polygon" if part == "polygons" else "Point",
        crs=CRS,
    )


class Clock:
    """Seconds of named stretches."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)


def read(folder: Path) -> dict[str, Any]:
    """Reads the labels of a folder as `train` does, and returns the figures."""
    before = _peak()
    config = LabelConfig(folder / "labels.gpkg", field="class")
    scene = SceneConfig((ModalityConfig("bands", (folder / "raster.tif",)),), config)
    clock = Clock()
    cache = working_memory(None) * 2**20
    with rasterio.Env(GDAL_CACHEMAX=cache // 8), open_stack(scene, ignore) as stack:
        with clock("legend"):
            legend = read_legend([config])
        with clock("labels"):
            labels = labels_on(stack, config, legend, ignore)
        with clock("split"):
            split = split_labels(labels, SplitConfig(), np.random.default_rng(0))
        train, validation = (
            Marks(
                (stack.grid.shape[0], stack.grid.shape[1]),
                labels.pixels[split.sides == side],
                labels.codes[split.sides == side].astype(np.int32) - 1,
            )
            for side in (Side.TRAIN, Side.VALIDATION)
        )
        with clock("features"):
            features = scene_features([stack], [train.pixels], TrainConfig().neighbourhoods)
        with clock("patches"):
            scenes = [LabelledScene(stack, train, validation)]
            patches = Patches(scenes, features, 32, cache=cache - cache // 8)
            windows = patches.validation_windows(np.random.default_rng(0), None)
    return {
        "labelled_pixels": len(labels.pixels),
        "patches": len(patches),
        "validation_windows": len(windows),
        "seconds": clock.seconds | {"all": round(sum(clock.seconds.values()), 2)},
        "start_mib": before,
        "peak_mib": _peak(),
    }


def _peak() -> int:
    return peak_kib() // 1024


def measure(part: str, folder: Path, shrunk: int) -> dict[str, Any]:
    """Returns the figures of one part."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    features, classes = PARTS[part]
    features, side = features // shrunk**2, SIDE // shrunk
    make_raster(folder / "raster.tif", side)
    make_labels(folder / "labels.gpkg", part, features, classes, side)
    command = [sys.executable, "-m", "training.bench.labels", "--one", str(folder)]
    answer = subprocess.run(command, cwd=record.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(folder)
    return {"side": side, "features": features, "classes": classes, **json.loads(answer.stdout)}


@click.command()
@click.argument("parts", type=click.Choice(list(PARTS)), nargs=-1)
@click.option("--small", is_flag=True, help="A sixteenth of the side; writes no result.")
@click.option("--one", type=click.Path(path_type=Path), hidden=True)
def main(parts: tuple[str, ...], small: bool, one: Path | None) -> None:
    """Measures PARTS that are not measured yet, and writes the figures."""
    if one is not None:
        print(json.dumps(read(one)))
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    saved = RUNS / ("small.json" if small else "full.json")
    figures = json.loads(saved.read_text()) if saved.exists() else {}
    for part in parts or PARTS:
        if part not in figures:
            figures[part] = measure(part, RUNS / part, SMALL if small else 1)
            saved.write_text(json.dumps(figures))
        print(f"{part:>9} {figures[part]}", flush=True)
    if not small:
        print(record.write("labels", figures))
        if len(figures) == len(PARTS):
            saved.unlink()


if __name__ == "__main__":
    main()
