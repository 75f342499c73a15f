"""A tiny place for tests: two modalities, three classes, polygons in another CRS, all seeded."""

import os
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import settings
from shapely.geometry import box

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch loads

from m3amba_geo.config import LabelConfig, ModalityConfig, SceneConfig

settings.register_profile("any machine", deadline=None)  # a busy one is no failure
settings.load_profile("any machine")

NAMES = ("forest", "meadow", "water")
HEIGHT, WIDTH = 72, 96
TRANSFORM = Affine(30, 0, 600_000, 0, -30, 5_400_000)
CRS = "EPSG:32632"


@dataclass(frozen=True)
class Place:
    """Files of the scene, and what is true of it."""

    optical: Path
    height: Path
    labels: Path
    truth: np.ndarray  # (H, W) uint8 codes 1..3

    @property
    def scene(self) -> SceneConfig:
        return SceneConfig(
            modalities=(
                ModalityConfig("optical", (self.optical,)),
                ModalityConfig("height", (self.height,)),
            ),
            labels=LabelConfig(self.labels, field="class"),
        )


def write_raster(path: Path, bands: np.ndarray, **options: object) -> Path:
    """Writes `(C, H, W)` as a GeoTIFF in UTM, unless options say otherwise."""
    profile = {"crs": CRS, "transform": TRANSFORM} | options
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype,
        **profile,
    ) as file:  # fmt: skip
        file.write(bands)
    return path


def make_place(folder: Path, seed: int = 0) -> Place:
    """Three vertical stripes of classes that two modalities tell apart, with some noise."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(WIDTH) * 3 // WIDTH + 1, HEIGHT).reshape(WIDTH, HEIGHT).T
    truth = truth.astype(np.uint8)
    spectra = np.array([[40, 90, 30, 120], [70, 100, 60, 160], [30, 40, 60, 10]], np.float32)
    optical = spectra[truth - 1].transpose(2, 0, 1) + rng.normal(0, 8, (4, HEIGHT, WIDTH))
    height = np.array([20, 1, 0], np.float32)[truth - 1][None] + rng.normal(
        0, 1, (1, HEIGHT, WIDTH)
    )
    write_raster(folder / "optical.tif", optical.astype(np.float32))
    write_raster(folder / "height.tif", height.astype(np.float32))
    polygons, classes = [], []
    for column in range(3):
        for row in range(4):  # four polygons a class, 12 x 8 pixels each
            left, top = column * 32 + 10, row * 18 + 4
            x0, y0 = TRANSFORM.c + left * 30, TRANSFORM.f - top * 30
            polygons.append(box(x0 + 2, y0 - 8 * 30 + 2, x0 + 12 * 30 - 2, y0 - 2))
            classes.append(NAMES[column])
    frame = gpd.GeoDataFrame({"class": classes}, geometry=polygons, crs=CRS).to_crs("EPSG:4326")
    frame.to_file(folder / "labels.gpkg", layer="labels")
    return Place(folder / "optical.tif", folder / "height.tif", folder / "labels.gpkg", truth)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture(scope="module")
def one_thread():
    """Small networks lose more by sharing out than they gain, most of all beside others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
