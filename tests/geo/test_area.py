"""Where a model has looked, kept and found again."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.warp import transform
from scipy.ndimage import distance_transform_cdt
from small import runs_of

from m3amba_geo.geo import area as areas_module
from m3amba_geo.geo.area import GridRecord, TrainingArea, leaves_trace, reached
from tests.conftest import CRS, TRANSFORM

GRID = GeoBox((20, 30), TRANSFORM, CRS)


def area(*places, grid=GRID):
    train, validation = np.zeros((2, *grid.shape), bool)
    for n, place in enumerate(places):
        (train if n % 2 == 0 else validation)[place] = True
    return TrainingArea(grid, runs_of(train), runs_of(validation))


def moved(columns, rows, shape=(20, 30), scale=1.0, crs=CRS):
    affine = TRANSFORM @ Affine.translation(columns, rows) @ Affine.scale(scale)
    return GeoBox(shape, affine, crs)


def used_on(areas, grid, margin=0):
    return reached(areas, grid, np.arange(grid.shape[0] * grid.shape[1]), margin).reshape(
        grid.shape
    )


def found(areas, grid):
    assert leaves_trace(areas, grid) == used_on(areas, grid).any()
    return list(zip(*used_on(areas, grid).nonzero(), strict=True))


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
    mask = used_on([TrainingArea(GRID, runs_of(used), runs_of(~used & used))], grid)
    assert mask[v[inside], u[inside]].all()
    reached = np.zeros(grid.shape, bool)
    reached[v[inside], u[inside]] = True
    assert mask.sum() < 3 * reached.sum()  # nor is everything called used


GRIDS = [
    GRID,
    moved(4, 3, (12, 9)),
    moved(-4, -3, (30, 40)),
    moved(3.3, 2.6, (25, 35), 0.4),
    GeoBox((25, 35), TRANSFORM @ Affine.rotation(30) @ Affine.translation(-3, -8), CRS),
]


@settings(max_examples=50)
@given(
    st.sampled_from(GRIDS),
    st.integers(0, 99),
    st.sampled_from([0.002, 0.02, 0.3]),
    st.integers(0, 9),
    st.sampled_from([7, 60, 2000]),
    st.sampled_from([6, 17, 100]),
)
def test_some_pixels_are_told_what_the_whole_grid_says(grid, seed, share, margin, few, block):
    """Used pixels of the whole grid, and the distance to them, taken as arrays."""
    rng = np.random.default_rng(seed)
    used = rng.random((2, *GRID.shape)) < share
    areas = [TrainingArea(GRID, runs_of(used[0]), runs_of(used[1]))]
    dense = np.zeros(grid.shape, bool)
    for boxes in areas_module._boxes_on(areas[0], grid):
        for left, top, right, bottom in boxes.T:
            dense[top:bottom, left:right] = True
    distance = distance_transform_cdt(~dense, "chessboard")
    pixels = np.flatnonzero(rng.random(grid.shape) < 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(areas_module, "_FEW", few)
        patch.setattr(areas_module, "_BLOCK", block)
        near = reached(areas, grid, pixels, margin)
    expected = (distance.ravel()[pixels] <= margin) & dense.any()  # there is none without any
    assert np.array_equal(near, expected)
