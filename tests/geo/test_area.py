"""Where a model has looked, kept and found again."""

import base64
import zlib

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from odc.geo.geobox import GeoBox
from rasterio.warp import transform

from m3amba_geo.geo.area import (
    GridRecord,
    TrainingArea,
    from_text,
    pack,
    to_text,
    unpack,
    used_on,
)
from tests.conftest import CRS, TRANSFORM

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))
GRID = GeoBox((20, 30), TRANSFORM, CRS)


def area(*places, grid=GRID):
    train, validation = np.zeros((2, *grid.shape), bool)
    for n, place in enumerate(places):
        (train if n % 2 == 0 else validation)[place] = True
    return TrainingArea(grid, train, validation)


def moved(columns, rows, shape=(20, 30), scale=1.0, crs=CRS):
    affine = TRANSFORM @ Affine.translation(columns, rows) @ Affine.scale(scale)
    return GeoBox(shape, affine, crs)


def found(areas, grid):
    return list(zip(*used_on(areas, grid).nonzero(), strict=True))


@given(masks)
def test_masks_survive_packing_and_text(mask):
    assert np.array_equal(unpack(pack(mask), mask.shape), mask)
    assert np.array_equal(from_text(to_text(mask), mask.shape), mask)


@pytest.mark.parametrize("shape", [(0, 0), (-1, 8), (-1, -8), (3, -1), (4, 5), (10**6, 10**6)])
def test_another_shape_is_refused(shape):
    mask = np.ones((3, 5), bool)
    with pytest.raises(ValueError, match="can't be a mask"):
        unpack(pack(mask), shape)
    with pytest.raises(ValueError, match="can't be a mask"):
        from_text(to_text(mask), shape)


@pytest.mark.parametrize("text", ["", "!", "ä", "AAAA", base64.b64encode(b"junk").decode()])
def test_damaged_text_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - base64 has its own words
        from_text(text, (3, 5))


@pytest.mark.parametrize("shape", [(8, 8), (-1, 8), (0, 8)])
def test_forged_text_does_not_fill_memory(shape, monkeypatch):
    """A thousandth of what it unpacks to; only as much as a mask needs is unpacked."""
    bomb = base64.b64encode(zlib.compress(bytes(100_000_000), 9)).decode()
    unpacked = []
    monkeypatch.setattr("m3amba_geo.geo.area.unpack", lambda bits, _: unpacked.append(bits.size))
    from_text(bomb, shape)
    assert unpacked[0] <= 9


@pytest.mark.parametrize(
    "grid", [GRID, GeoBox((3, 4), Affine.rotation(20) @ Affine.scale(2, -2), None)]
)
def test_a_record_gives_the_grid_back(grid):
    assert GridRecord.of(grid).grid() == grid


@pytest.mark.parametrize(
    "record",
    [
        GridRecord("nonsense", TRANSFORM[:6], (3, 4)),
        GridRecord(CRS, (0, 0, 0, 0, 0, 0), (3, 4)),
        GridRecord(CRS, (1, 0, 0, 0, float("nan"), 0), (3, 4)),
        GridRecord(None, (1, 0, 0, 0, float("inf"), 0), (3, 4)),
        GridRecord(CRS, TRANSFORM[:6], (3, 0)),
    ],
)
def test_forged_grids_are_refused(record):
    with pytest.raises(ValueError, match=r"no CRS|no grid"):
        record.grid()


def test_the_same_grid_is_taken_as_it_is():
    areas = [area((2, 3), (4, 5)), area((6, 7))]
    assert found(areas, GRID) == [(2, 3), (4, 5), (6, 7)]
    assert found(areas, GeoBox(GRID.shape, GRID.affine, None)) == [(2, 3), (4, 5), (6, 7)]


def test_part_of_the_grid_and_a_larger_one():
    areas = [area((5, 5), (0, 0))]
    assert found(areas, moved(4, 3, (6, 6))) == [(2, 1)]
    assert found(areas, moved(-4, -3, (40, 40))) == [(3, 4), (8, 9)]


@pytest.mark.parametrize("crs", [None, CRS])
def test_part_of_a_grid_without_a_crs(crs):
    """A map of a part of a bare raster must not forget what trained its model."""
    bare = GeoBox((20, 30), Affine.identity(), None)
    part = GeoBox((6, 6), Affine.translation(4, 3), crs)
    assert found([area((5, 5), grid=bare)], part) == [(2, 1)]


def test_a_pixel_that_is_reached_in_part_counts():
    assert found([area((5, 5))], moved(0.3, 0)) == [(5, 4), (5, 5)]
    assert found([area((5, 5))], moved(0, 0, scale=2)) == [(2, 2)]
    assert found([area((1, 1))], moved(0.25, 0.25, scale=0.5)) == [
        (r, c) for r in (1, 2, 3) for c in (1, 2, 3)
    ]
    assert found([area((5, 5))], moved(1e-5, 0)) == [(5, 5)]  # not for a rounding error


def test_elsewhere_leaves_no_trace():
    assert found([area((5, 5))], moved(1000, 0)) == []
    assert found([area((5, 5))], GeoBox((9, 9), Affine(1, 0, 170, 0, -1, -40), "EPSG:4326")) == []


@pytest.mark.parametrize(
    "grid",
    [
        GeoBox((60, 60), Affine(1e-4, 0, 10.36, 0, -1e-4, 48.747), "EPSG:4326"),
        GeoBox((25, 35), TRANSFORM @ Affine.rotation(30) @ Affine.translation(-3, -8), CRS),
        GeoBox((9, 9), TRANSFORM @ Affine.rotation(45) @ Affine.scale(4.3), CRS),
    ],
    ids=["degrees", "rotated", "rotated and coarse"],
)
def test_no_point_of_a_training_pixel_is_missed(grid):
    """Random points in training pixels, moved one by one, fall on used pixels only."""
    rng = np.random.default_rng(0)
    used = rng.random(GRID.shape) < 0.1
    rows, columns = used.nonzero()
    y, x = (a + rng.random((50, a.size)) for a in (rows, columns))
    easting, northing = GRID.pix2wld(x.ravel(), y.ravel())
    there = np.array(transform(CRS, str(grid.crs), easting, northing))
    u, v = np.floor(grid.wld2pix(*there)).astype(int)
    inside = (u >= 0) & (v >= 0) & (u < grid.shape[1]) & (v < grid.shape[0])
    assert inside.mean() > 0.2
    mask = used_on([TrainingArea(GRID, used, np.zeros_like(used))], grid)
    assert mask[v[inside], u[inside]].all()
    reached = np.zeros(grid.shape, bool)
    reached[v[inside], u[inside]] = True
    assert mask.sum() < 3 * reached.sum()  # nor is everything called used
