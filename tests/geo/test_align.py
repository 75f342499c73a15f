"""Modalities on one grid: windows, cache, warps, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from m3amba_geo.config import ModalityConfig, SceneConfig
from m3amba_geo.errors import (
    BandMismatchError,
    CRSMissingError,
    FileMissingError,
    ModalityMissingError,
    NoOverlapError,
    UsageError,
)
from m3amba_geo.events import Note, Warned, ignore
from m3amba_geo.geo.align import TrainedModality, open_stack
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.cache import Cached
from tests.conftest import CRS, HEIGHT, TRANSFORM, WIDTH, write_raster

ROWS, COLUMNS = 300, 600  # larger than blocks of the cache and of a warp
MARGIN = 200


def scene(*modalities, **options):
    named = {f"m{n}": m for n, m in enumerate(modalities)}
    return SceneConfig(
        tuple(ModalityConfig(k, m if isinstance(m, tuple) else (m,)) for k, m in named.items()),
        **options,
    )


def refused(error, configured, trained=None):
    with pytest.raises(error) as caught, open_stack(configured, ignore, trained):
        pass
    assert caught.value.hint
    return str(caught.value)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A stack of three modalities, two of them warped, one of those from another CRS."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    first = rng.normal(size=(2, ROWS, COLUMNS)).astype(np.float32)
    first[:, 100:140, 50:90] = np.nan
    second = rng.integers(0, 9, (1, ROWS // 2, COLUMNS // 2)).astype(np.uint8)
    third = rng.normal(size=(1, ROWS, COLUMNS)).astype(np.float32)
    degrees = Affine(4e-4, 0, 10.37, 0, -3e-4, 48.74)
    write_raster(folder / "a.tif", first)
    write_raster(folder / "b.tif", second, transform=TRANSFORM @ Affine.scale(2), nodata=0)
    write_raster(folder / "c.tif", third, crs="EPSG:4326", transform=degrees)
    configured = scene(*(folder / f"{name}.tif" for name in "abc"))
    with open_stack(configured, ignore) as stack:
        yield stack


@pytest.fixture(scope="module")
def everything(large):
    """The stack's whole content, with a margin around it."""
    return large.read(-MARGIN, -MARGIN, ROWS + 2 * MARGIN, COLUMNS + 2 * MARGIN)


@pytest.fixture(scope="module")
def cached(large):
    """The stack, read through a cache of three blocks."""
    return Cached(large.read, most=3 * 128 * 128 * (4 * 4 + 3))


def assert_same(one, other):
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)


def stretches(length):
    """Start and length of stretches that may reach beyond both ends."""
    ends = st.tuples(*[st.integers(-MARGIN, length + MARGIN)] * 2)
    return ends.filter(lambda two: two[0] != two[1]).map(
        lambda two: (min(two), abs(two[1] - two[0]))
    )


@given(stretches(ROWS), stretches(COLUMNS))
@settings(max_examples=25)
def test_a_window_is_a_part_of_the_whole_and_so_is_a_cached_one(
    large, cached, everything, vertical, horizontal
):
    """What a pixel holds depends neither on the window nor on the way of reading."""
    (top, height), (left, width) = vertical, horizontal
    rows = slice(top + MARGIN, top + MARGIN + height)
    columns = slice(left + MARGIN, left + MARGIN + width)
    pixels, valid = everything
    part = [p[:, rows, columns] for p in pixels], [v[rows, columns] for v in valid]
    assert_same(large.read(top, left, height, width), part)
    assert_same(cached(top, left, height, width), part)


def test_beyond_the_edge_nothing_is_valid(large):
    pixels, valid = large.read(-2, COLUMNS - 2, 4, 4)
    for p, v in zip(pixels, valid, strict=True):
        assert not v[:2].any()
        assert not v[:, 2:].any()
        assert (p[:, ~v] == 0).all()
    assert valid[0][2:, :2].all()
    pixels, valid = large.read(ROWS + 5, 0, 3, 3)
    assert [p.shape for p in pixels] == [(2, 3, 3), (1, 3, 3), (1, 3, 3)]
    assert not any(v.any() for v in valid)


def test_strips_cover_the_grid(large):
    strips = list(large.strips())
    assert strips[0][0] == 0
    assert all(a + h == b for (a, h), (b, _) in pairwise(strips))
    assert sum(strips[-1]) == ROWS


def test_files_of_a_modality_follow_each_other(tmp_path):
    files = []
    for value in (1, 2, 3):
        bands = np.full((1, 4, 5), value, np.int16)
        bands[0, value, value] = -1
        files.append(write_raster(tmp_path / f"b{value}.tif", bands, nodata=-1))
    with open_stack(scene(tuple(files)), ignore) as stack:
        (modality,) = stack.modalities
        assert [band.name for band in modality.bands] == ["b1", "b2", "b3"]
        (pixels,), (valid,) = stack.read(0, 0, 4, 5)
    assert [np.unique(p[valid]).tolist() for p in pixels] == [[1], [2], [3]]
    assert list(zip(*(~valid).nonzero(), strict=True)) == [(1, 1), (2, 2), (3, 3)]


def test_the_first_raster_gives_the_grid_unless_another_is_named(tmp_path):
    fine = write_raster(tmp_path / "fine.tif", np.ones((1, 8, 8), np.float32))
    coarse = write_raster(
        tmp_path / "coarse.tif",
        np.ones((1, 4, 4), np.float32),
        transform=TRANSFORM @ Affine.scale(2),
    )
    said = []
    with open_stack(scene(fine, coarse), said.append) as stack:
        assert stack.grid.shape == (8, 8)
        assert all(v.all() for v in stack.read(0, 0, 8, 8)[1])
    (note,) = said
    assert isinstance(note, Note)
    assert "coarse.tif is warped" in note.message
    assert "bilinear" in note.message
    with open_stack(scene(fine, grid=coarse), ignore) as stack:
        assert stack.grid.shape == (4, 4)


def test_where_a_modality_does_not_reach_nothing_is_valid(place, tmp_path):
    half = write_raster(tmp_path / "half.tif", np.ones((1, HEIGHT, WIDTH // 2), np.int16))
    with open_stack(scene(place.optical, half), ignore) as stack:
        valid = stack.read(0, 0, HEIGHT, WIDTH)[1]
    assert valid[0].all()
    assert np.array_equal(valid[1].all(axis=0), np.arange(WIDTH) < WIDTH // 2)


def test_rasters_without_a_crs(tmp_path):
    ones = np.ones((1, 4, 4), np.float32)
    with pytest.warns(NotGeoreferencedWarning):
        bare = write_raster(tmp_path / "bare.tif", ones, crs=None, transform=None)
    said = []
    with open_stack(scene(bare), said.append) as stack:
        assert stack.grid.crs is None
        assert stack.read(0, 0, 4, 4)[1][0].all()
    assert [(type(e), e.code) for e in said] == [(Warned, "crs-none")]
    placed = write_raster(tmp_path / "placed.tif", ones)
    assert "has no CRS" in refused(CRSMissingError, scene(placed, bare))
    assert "reference raster has no CRS" in refused(CRSMissingError, scene(bare, placed))


def test_a_crs_that_is_a_mere_name_is_refused(place, tmp_path):
    ones = np.ones((1, 4, 4), np.float32)
    local = write_raster(tmp_path / "local.tif", ones, crs='LOCAL_CS["mine",UNIT["metre",1]]')
    assert "No transformation" in refused(CRSMissingError, scene(place.optical, local))


def test_rasters_elsewhere_are_refused(place, tmp_path):
    ones = np.ones((1, 4, 4), np.float32)
    away = write_raster(
        tmp_path / "away.tif", ones, transform=TRANSFORM @ Affine.translation(500, 0)
    )
    message = refused(NoOverlapError, scene(place.optical, away))
    assert "away.tif" in message
    assert "x 615000" in message
    refused(NoOverlapError, scene(away, place.optical))
    wrong_crs = write_raster(tmp_path / "wrong.tif", ones, crs="EPSG:32633")
    refused(NoOverlapError, scene(place.optical, wrong_crs))


def test_a_world_wide_raster_overlaps(place, tmp_path):
    """Most of it can't be moved to the grid's CRS."""
    world = write_raster(
        tmp_path / "world.tif",
        np.arange(180 * 360, dtype=np.float32).reshape(1, 180, 360),
        crs="EPSG:4326",
        transform=Affine(1, 0, -180, 0, -1, 90),
    )
    with open_stack(scene(place.optical, world), ignore) as stack:
        pixels, valid = stack.read(0, 0, HEIGHT, WIDTH)
    assert valid[1].all()
    assert np.ptp(pixels[1]) < 2 * 360
    with open_stack(scene(world, place.optical), ignore) as stack:
        assert stack.grid.shape == (180, 360)


def test_missing_files(tmp_path):
    assert "nothing.tif" in refused(FileMissingError, scene(tmp_path / "nothing.tif"))


def test_names_of_modalities_are_unique(place):
    twice = SceneConfig(
        (ModalityConfig("a", (place.optical,)), ModalityConfig("a", (place.height,)))
    )
    assert "a, a" in refused(UsageError, twice)


def trained(name, *bands):
    return TrainedModality(name, tuple(Band(band) for band in bands))


def test_modalities_are_found_by_name(place):
    swapped = [trained("height", "height"), trained("optical", "", "", "", "")]
    with open_stack(place.scene, ignore, swapped) as stack:
        assert [m.name for m in stack.modalities] == ["height", "optical"]
        assert stack.grid.shape == (HEIGHT, WIDTH)


def test_modalities_of_other_names_are_taken_in_order_and_shown(place):
    said = []
    before = [trained("old", "", "", "", ""), trained("older", "height")]
    with open_stack(place.scene, said.append, before) as stack:
        assert [m.name for m in stack.modalities] == ["optical", "height"]
    assert "optical for old, height for older" in said[0].message


def test_modalities_that_contradict_their_names_are_refused(place):
    crossed = [trained("height", "height"), trained("radar", "a", "b", "c", "d")]
    assert "height, radar" in refused(BandMismatchError, place.scene, crossed)
    assert "3 modalities" in refused(BandMismatchError, place.scene, [*crossed, trained("x", "x")])


def test_a_missing_modality_is_invalid_everywhere_if_training_allowed_for_it(place):
    before = [trained("radar", "a", "b", "c"), trained("height", "height")]
    configured = SceneConfig((ModalityConfig("height", (place.height,)),))
    said = []
    with open_stack(configured, said.append, before, 0.3) as stack:
        pixels, valid = stack.read(-2, 0, HEIGHT, WIDTH)
        assert [p.shape for p in pixels] == [(3, HEIGHT, WIDTH), (1, HEIGHT, WIDTH)]
        assert not pixels[0].any()
        assert not valid[0].any()
        assert valid[1].any()
        assert stack.modalities[0].bands == before[0].bands
        assert stack.grid.shape == (HEIGHT, WIDTH)
    assert "without radar" in said[0].message
    text = refused(ModalityMissingError, configured, before)
    assert "radar" in text
    unknown = SceneConfig((ModalityConfig("other", (place.height,)),))
    with pytest.raises(BandMismatchError), open_stack(unknown, ignore, before, 0.3):
        pass


def test_bands_are_found_by_name_and_shown(place):
    names = ["blue", "green", "red", "nir"]
    with rasterio.open(place.optical, "r+") as file:
        for n, name in enumerate(names, 1):
            file.set_band_description(n, name)
        stored = file.read()
    before = [trained("optical", "NIR", "red"), trained("height", "height")]
    said = []
    with open_stack(place.scene, said.append, before) as stack:
        (pixels, _), _ = stack.read(0, 0, HEIGHT, WIDTH)
    assert np.array_equal(pixels, stored[[3, 2]])
    assert "Bands of 'optical': nir for NIR" in said[0].message


def test_transparency_is_told(tmp_path):
    bands = np.full((4, 4, 4), 255, np.uint8)
    path = write_raster(tmp_path / "rgba.tif", bands)  # four bytes: GDAL calls the last one alpha
    said = []
    with open_stack(scene(path), said.append) as stack:
        assert len(stack.modalities[0].bands) == 3
    assert "rgba.tif is marked as transparency" in said[0].message


def test_crs_of_the_grid(place):
    with open_stack(place.scene, ignore) as stack:
        assert stack.grid.crs == CRS


def test_strips_count_the_blocks_that_rows_lie_in(tmp_path):
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    fine = write_raster(tmp_path / "fine.tif", np.ones((2, 200, 200), np.uint8), **tiled)
    pixels = np.ones((1, 50, 50), np.float32)
    coarse = write_raster(
        tmp_path / "coarse.tif", pixels, transform=TRANSFORM * Affine.scale(4), blockysize=10
    )
    with open_stack(scene(fine, coarse), ignore) as stack:
        # They may begin within a block.
        assert stack.strip_bytes(64) == 2 * 64 * 200 * 2 + 8 * 10 * 50 * 4
        assert stack.strip_bytes(65) == 3 * 64 * 200 * 2 + 8 * 10 * 50 * 4
    with open_stack(scene(coarse, fine), ignore) as stack:  # four rows of the second for one
        assert stack.strip_bytes(16) == 3 * 10 * 50 * 4 + 2 * 64 * 200 * 2


def test_ground_control_points_are_no_place_and_told(tmp_path):
    path = tmp_path / "raw.tif"
    points = [GroundControlPoint(0, 0, 7.0, 48.0), GroundControlPoint(9, 9, 7.1, 47.9)]
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=9, width=9, dtype="uint8", gcps=points,
        crs="EPSG:4326",
    ) as file:  # fmt: skip
        file.write(np.ones((1, 9, 9), np.uint8))
    events = []
    with open_stack(SceneConfig((ModalityConfig("a", (path,)),)), events.append) as stack:
        assert stack.grid.crs is None
    (told,) = (event.message for event in events if isinstance(event, Warned))
    assert "gdalwarp" in told
