"""Memory follows the labelled pixels, not the rasters they lie on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from small import legend_of

from m3amba_geo.geo.area import GridRecord
from m3amba_geo.geo.runs import Runs, to_text
from m3amba_geo.jobs.sidecar import AreaRecord, Sidecar, sidecar_path
from tests.conftest import CRS, TRANSFORM

TILE = 256
SMALL, BIG = 2048, 16384  # pixels of a side: 64 times as many


def in_corners(path, side, tile):
    """Writes a raster that has data in its first and its last tile only."""
    options = {
        "driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8",
        "crs": CRS, "transform": TRANSFORM, "nodata": 0, "tiled": True, "blockxsize": TILE,
        "blockysize": TILE, "compress": "deflate", "sparse_ok": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as file:
        for start in (0, side - TILE):
            file.write(tile, 1, window=Window(start, start, TILE, TILE))
    return path


def place(folder, side):
    """A map, its sidecar, and labels of which the upper half trained the model."""
    codes = np.random.default_rng(0).integers(1, 4, (TILE, TILE), np.uint8)
    path = in_corners(folder / f"map{side}.tif", side, codes)
    labels = in_corners(folder / f"labels{side}.tif", side, codes[::-1])
    grid = GeoBox((side, side), TRANSFORM, CRS)
    train = Runs.of((np.arange(TILE // 2)[:, None] * side + np.arange(TILE)).ravel())
    none = Runs(np.zeros(0, np.int64))
    area = AreaRecord(GridRecord.of(grid), to_text(train, grid.shape), to_text(none, grid.shape))
    sidecar = Sidecar("0" * 64, "m", "", 32, legend_of(1, 2, 3), (), (area,))
    sidecar_path(path).write_text(sidecar.to_text())
    return [path, labels, folder / f"page{side}.html"]


@pytest.mark.slow
def test_evaluating_takes_no_more_memory_on_a_map_64_times_as_large(tmp_path):
    arguments = [*place(tmp_path, SMALL), *place(tmp_path, BIG)]
    script = Path(__file__).with_name("peaks.py")
    answer = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, check=True, timeout=600,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    small, big = map(float, answer.stdout.split())
    # A byte for each pixel would be 256 MiB; the interpreter and its packages are most of a peak.
    assert big < 1.1 * small
