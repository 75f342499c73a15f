"""Statistics of training pixels against numpy's."""

from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3amba_geo.config import ModalityConfig, SceneConfig
from m3amba_geo.errors import AllNodataError
from m3amba_geo.events import ignore
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.stats import BandStatistics, _Moments, scene_statistics
from tests.conftest import write_raster

HEIGHT, WIDTH = 300, 40  # more than two strips


@pytest.fixture
def scenes(tmp_path):
    """Stacks of two modalities in two places, with holes that differ between them."""
    rng = np.random.default_rng(1)
    stacks = []
    with ExitStack() as handles:
        for n in range(2):
            first = (1e4 + rng.normal(0, 1 + n, (2, HEIGHT, WIDTH))).astype(np.float32)
            second = rng.integers(0, 9, (1, HEIGHT, WIDTH)).astype(np.int16)
            first[:, rng.random((HEIGHT, WIDTH)) < 0.1] = np.nan
            files = [
                write_raster(tmp_path / f"a{n}.tif", first),
                write_raster(tmp_path / f"b{n}.tif", second, nodata=0),
            ]
            modalities = tuple(ModalityConfig(f.stem[0], (f,)) for f in files)
            stacks.append(handles.enter_context(open_stack(SceneConfig(modalities), ignore)))
        yield stacks


def test_statistics_equal_numpys_over_all_scenes(scenes):
    rng = np.random.default_rng(2)
    chosen = [np.zeros((HEIGHT, WIDTH), bool) for _ in scenes]
    chosen[0][5:20, 3:30] = True  # one strip
    chosen[1][rng.random((HEIGHT, WIDTH)) < 0.05] = True  # all of them
    found = scene_statistics(scenes, [np.flatnonzero(mask) for mask in chosen])
    for n, statistics in enumerate(found):
        parts = []
        for stack, mask in zip(scenes, chosen, strict=True):
            pixels, valid = stack.read(0, 0, HEIGHT, WIDTH)
            parts.append(pixels[n][:, mask & valid[n]].astype(np.float64))
        values = np.concatenate(parts, axis=1)
        assert 0 < values.shape[1] < sum(mask.sum() for mask in chosen)  # holes are left out
        np.testing.assert_allclose(statistics.mean, values.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(statistics.deviation, values.std(axis=1), rtol=1e-9)


def test_without_a_valid_pixel(scenes):
    chosen = [np.zeros((HEIGHT, WIDTH), bool) for _ in scenes]
    with pytest.raises(AllNodataError, match="Modality 'a' has no valid pixel") as caught:
        scene_statistics(scenes, [np.flatnonzero(mask) for mask in chosen])
    assert caught.value.code == "all-nodata"
    assert "nodata" in caught.value.hint


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any), st.integers(0, 9))
def test_moments_do_not_depend_on_the_parts(sizes, seed):
    values = np.random.default_rng(seed).normal(1e5, 3, (3, sum(sizes))).astype(np.float32)
    moments = _Moments(3)
    for part in np.split(values, np.cumsum(sizes)[:-1], axis=1):
        moments.add(part)
    found = moments.statistics()
    exact = values.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(axis=1), rtol=1e-12)
    spread = exact.std(axis=1)
    np.testing.assert_allclose(found.deviation, np.where(spread > 0, spread, 1), rtol=1e-7)


def test_a_band_without_spread_has_deviation_1():
    moments = _Moments(3)
    moments.add(np.array([[0, 0, 0], [1e6, 1e6, 1e6], [0, 1, 2]], np.float32))
    assert moments.statistics().deviation[:2].tolist() == [1, 1]


def test_scaling_is_bounded_and_0_where_invalid():
    statistics = BandStatistics(np.array([10.0, 0.0]), np.array([2.0, 1.0]))
    pixels = np.array([[[12, 8, 1e30, 5]], [[0, -1e30, 1, 1]]], np.float32)
    valid = np.array([[True, True, True, False]])
    scaled = statistics.scale(pixels, valid)
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[[1, -1, 10, 0]], [[0, -10, 1, 0]]]
