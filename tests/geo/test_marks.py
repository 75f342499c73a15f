"""Lists of pixels say what arrays of the whole grid would."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy.ndimage import label

from m3amba_geo.geo import burn as burning
from m3amba_geo.geo.burn import VectorFeatures, burn
from m3amba_geo.geo.marks import Marks, boxes_around, spread

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 30))


def some_marks(shape, seed, share=0.2):
    rng = np.random.default_rng(seed)
    pixels = np.flatnonzero(rng.random(shape) < share)
    return Marks(shape, pixels, rng.integers(1, 9, pixels.size).astype(np.int32))


@given(SHAPES, st.integers(0, 99), st.integers(-12, 35), st.integers(-12, 35), st.integers(1, 20))
def test_windows_are_cuts_of_the_whole(shape, seed, top, left, side):
    marks = some_marks(shape, seed)
    dense = spread(shape, marks.pixels, marks.values)
    wide = np.pad(dense, 60)
    cut = wide[top + 60 : top + 60 + side, left + 60 : left + 60 + side + 1]
    assert np.array_equal(marks.window(top, left, side, side + 1, 0), cut)
    rows, columns = marks.lines(max(top, 0), side)
    part = dense[max(top, 0) : max(top, 0) + side]
    assert np.array_equal(np.stack([rows - max(top, 0), columns]), np.nonzero(part))
    rows, columns = np.nonzero(dense)
    assert np.array_equal(marks.values[marks.places(rows, columns)], dense[rows, columns])


@given(SHAPES, st.integers(0, 99), st.integers(1, 12), st.integers(1, 12))
def test_boxes_hold_every_pixel_once(shape, seed, height, width):
    pixels = some_marks(shape, seed).pixels
    found = np.zeros(pixels.size, int)
    for top, left, rows, columns, here in boxes_around(shape, pixels, height, width):
        assert 0 < rows <= height
        assert 0 < columns <= width
        y, x = np.divmod(pixels[here], shape[1])
        assert ((y >= top) & (y < top + rows) & (x >= left) & (x < left + columns)).all()
        found[here] += 1
    assert (found == 1).all()


GRIDS = [Affine(10, 0, 500, 0, -10, 900), Affine(8, 6, 500, 6, -8, 900), Affine.identity()]


def shapes_on(affine, seed):
    rng = np.random.default_rng(seed)
    found = []
    for n in range(60):
        x, y = affine @ tuple(rng.uniform(-3, 43, 2))
        size = abs(affine.determinant) ** 0.5
        kind = n % 3
        if kind == 0:
            found.append(shapely.Point(x, y))
        elif kind == 1:
            found.append(shapely.Point(x, y).buffer(size * rng.uniform(0.3, 6)))
        else:
            end = affine @ tuple(rng.uniform(0, 40, 2))
            found.append(shapely.LineString([(x, y), end]))
    return np.array(found, object), rng.integers(1, 4, 60).astype(np.uint16)


@pytest.mark.parametrize("affine", GRIDS)
@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("rows", [1, 7])
def test_strips_burn_what_the_whole_burns(monkeypatch, affine, touched, rows):
    grid = GeoBox((40, 37), affine, None)
    shapes, codes = shapes_on(affine, rows)
    whole = burn(VectorFeatures.of(shapes, grid), codes, grid, touched)
    monkeypatch.setattr(burning, "_STRIP", rows * 37)
    strips = burn(VectorFeatures.of(shapes, grid), codes, grid, touched)
    assert whole.pixels.size > 300
    assert whole.overlapping > 20
    for name in ("pixels", "codes", "groups", "overlapping", "without_pixel"):
        assert np.array_equal(getattr(whole, name), getattr(strips, name)), name


@pytest.mark.parametrize("affine", GRIDS)
def test_points_fall_where_gdal_puts_them(affine):
    grid = GeoBox((40, 37), affine, None)
    rng = np.random.default_rng(0)
    places = [affine @ tuple(place) for place in rng.uniform(-5, 45, (500, 2))]
    points = np.array([shapely.Point(*place) for place in places], object)
    burned = burn(VectorFeatures.of(points, grid), np.ones(500, np.uint16), grid, all_touched=False)
    theirs = rasterize([(p, 1) for p in points], (40, 37), transform=affine, dtype=np.uint8)
    assert np.array_equal(burned.pixels, np.flatnonzero(theirs))


@given(SHAPES, st.integers(0, 99), st.sampled_from([0.3, 0.6, 1]), st.integers(1, 3))
def test_patches_are_those_of_the_whole_raster(shape, seed, share, classes):
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random(shape) < share, rng.integers(1, classes + 1, shape), 0)
    expected = np.zeros(shape, int)
    for code in range(1, classes + 1):
        found, _ = label(codes == code, np.ones((3, 3)))
        expected[found > 0] = found[found > 0] + expected.max()
    pixels = np.flatnonzero(codes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burning, "_STRIP", 7)
        found = burning.patches(pixels, codes.ravel()[pixels].astype(np.uint16), shape[1])
    assert np.array_equal(found, expected.ravel()[pixels])
