"""Windowed prediction against a plain one, and what it must not depend on."""

import threading
from concurrent.futures import Future
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.env import get_gdal_config
from small import as_they_are, bundle_of, stack_of

from m3amba_geo.errors import NoOverlapError, OutOfMemoryError, RasterUnreadableError
from m3amba_geo.geo.region import Region, region_of
from m3amba_geo.geo.windows import blend_weights, starts
from m3amba_geo.infer import predict
from m3amba_geo.infer.predict import map_rows
from m3amba_geo.infer.predictor import CPU_BATCH, Predictor, agreement
from m3amba_geo.model.guided import GuidedM3amba

CPU = torch.device("cpu")
PATCH = 8


class Plain:
    """Stands in for a model: each window's shares follow from its pixels, its mean included."""

    classes = 3
    patch = PATCH

    def __init__(self, batch=4):
        self.batch = batch
        self.windows = 0

    def read(self, stack, *window):
        pixels, valid = stack.read(*window)
        return [p * v for p, v in zip(pixels, valid, strict=True)], stack.coverage.used(valid)

    def threads(self):
        return nullcontext()

    def start(self, threads, patches):
        done = Future()
        done.set_result(self.shares(patches))
        return [done]

    def shares(self, patches):
        self.windows += len(patches[0])
        means = patches[1].mean(axis=(1, 2, 3), keepdims=True)  # (B, 1, 1, 1)
        first = np.abs(patches[0][:, :1]) + np.abs(means)
        scores = np.concatenate([first, np.ones_like(first), 2 / (1 + first)], axis=1)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def scene(shape, seed=0, holes=0.1):
    rng = np.random.default_rng(seed)
    invalid = {n: rng.random(shape) < holes for n in range(2)}
    stack = stack_of(rng.normal(0, 1, (2, *shape)), rng.normal(0, 1, (1, *shape)), invalid=invalid)
    return stack, ~(invalid[0] | invalid[1])


def whole(stack):
    return Region(0, 0, *stack.grid.shape)


def mapped(stack, predictor, region, stride=PATCH * 7 // 8):
    """Returns shares and validity of a region, and that rows come in order without gaps."""
    rows = list(map_rows(stack, predictor, stride, region))
    tops = [r.top for r in rows]
    heights = [r.used.shape[0] for r in rows]
    assert tops == [region.top, *(region.top + np.cumsum(heights)[:-1])]
    assert sum(heights) == region.shape[0]
    shares = np.concatenate([r.shares for r in rows], axis=1)
    used = np.concatenate([r.used for r in rows])
    assert shares.dtype == np.float32
    assert shares.shape[1:] == used.shape == region.shape
    return shares, used > 0


def plainly(stack, stride):
    """The same on whole arrays, one window at a time, in float64."""
    height, width = stack.grid.shape
    sums = np.zeros((3, height + PATCH, width + PATCH))
    total = np.zeros((height + PATCH, width + PATCH))
    weights, predictor = blend_weights(PATCH).astype(float), Plain()
    for top in starts(height, PATCH, stride):
        for left in starts(width, PATCH, stride):
            pixels, used = predictor.read(stack, int(top), int(left), PATCH, PATCH)
            if not used.any():
                continue
            share = predictor.shares([p[None] for p in pixels])[0]
            sums[:, top : top + PATCH, left : left + PATCH] += share * weights
            total[top : top + PATCH, left : left + PATCH] += weights
    total = np.where(total == 0, 1, total)
    return (sums / total)[:, :height, :width]


sides = st.integers(1, 45)


@settings(max_examples=40)
@given(
    shape=st.tuples(sides, sides),
    stride=st.integers(1, PATCH),
    batch=st.integers(1, 9),
    at_once=st.sampled_from([1, 500, 1 << 18]),
    holes=st.sampled_from([0.0, 0.1, 0.9]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_map_is_what_a_plain_one_is_and_a_part_what_the_whole_is(
    shape, stride, batch, at_once, holes, seed, data
):
    stack, there = scene(shape, seed, holes)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(predict, "_AT_ONCE", at_once)
        shares, valid = mapped(stack, Plain(batch), whole(stack), stride)
    assert np.array_equal(valid, there)
    expected = plainly(stack, stride)
    assert np.allclose(shares[:, valid], expected[:, valid], atol=1e-6)
    assert np.allclose(shares[:, valid].sum(axis=0), 1, atol=1e-6)
    assert (shares <= 1).all()

    top = data.draw(st.integers(0, shape[0] - 1))
    left = data.draw(st.integers(0, shape[1] - 1))
    bottom = data.draw(st.integers(top + 1, shape[0]))
    right = data.draw(st.integers(left + 1, shape[1]))
    part, part_valid = mapped(stack, Plain(), Region(top, left, bottom, right), stride)
    assert np.array_equal(part_valid, there[top:bottom, left:right])
    # Not only near: to the last bit.
    assert np.array_equal(part[:, part_valid], shares[:, top:bottom, left:right][:, part_valid])


def test_windows_without_a_valid_pixel_are_not_predicted():
    shape = (PATCH, 10 * PATCH)
    hole = np.ones(shape, bool)
    hole[:, 5 * PATCH] = False
    stack = stack_of(np.ones((2, *shape)), np.ones((1, *shape)), invalid={1: hole})
    predictor = Plain()
    shares, valid = mapped(stack, predictor, whole(stack), stride=PATCH)
    assert predictor.windows == 1
    assert np.array_equal(valid, ~hole)
    assert np.isfinite(shares).all()


def test_what_pixels_are_made_from_comes_with_them_and_one_modality_may_be_enough():
    shape = (40, 50)
    rng = np.random.default_rng(0)
    holes = {n: rng.random(shape) < 0.3 for n in range(2)}
    holes[0][:PATCH, :PATCH] = holes[1][:PATCH, :PATCH] = True
    stack = stack_of(
        rng.normal(0, 1, (2, *shape)), rng.normal(0, 1, (1, *shape)), invalid=holes, dropout=0.3
    )
    rows = list(map_rows(stack, Plain(), 6, whole(stack)))
    used = np.concatenate([r.used for r in rows])
    assert np.array_equal(used, np.where(holes[0] & holes[1], 0, 1 + holes[0] + 2 * holes[1]))
    shares = np.concatenate([r.shares for r in rows], axis=1)
    assert np.allclose(shares[:, used > 0], plainly(stack, 6)[:, used > 0], atol=1e-6)


def model(batch=None, **settings):
    bundle = bundle_of({"a": 2, "b": 1}, patch=PATCH, **settings)
    return Predictor(GuidedM3amba(bundle.network, None), as_they_are(2, 1), CPU, batch)


def test_the_batch_has_a_default():
    assert model().batch == CPU_BATCH
    assert model(3).batch == 3


def test_probabilities_of_a_network():
    stack, there = scene((30, 41))
    shares, valid = mapped(stack, model(), whole(stack))
    assert np.array_equal(valid, there)
    assert (shares[:, valid] >= 0).all()
    assert np.allclose(shares[:, valid].sum(axis=0), 1, atol=1e-6)
    assert len(np.unique(shares[:, valid].argmax(axis=0))) > 1  # or the tests below say nothing


def test_strips_of_whole_rows_are_the_same_to_the_last_bit():
    stack, _ = scene((50, 40))
    shares, valid = mapped(stack, model(), whole(stack))
    for cuts in ((0, 25, 50), (0, 1, 2, 7, 33, 50)):
        for top, bottom in pairwise(cuts):
            part, part_valid = mapped(stack, model(), Region(top, 0, bottom, 40))
            assert np.array_equal(part_valid, valid[top:bottom])
            assert np.array_equal(part, shares[:, top:bottom])


def test_batches_and_parts_agree_class_for_class():
    stack, valid = scene((72, 80))
    shares, _ = mapped(stack, model(), whole(stack))
    sure = np.diff(np.sort(shares, axis=0)[-2:], axis=0)[0] >= 1e-5
    others = [mapped(stack, model(batch), whole(stack))[0] for batch in (1, 5, 64)]
    tiled = np.zeros_like(shares)
    for top, left in np.ndindex(3, 3):
        region = Region(top * 24, left * 30, (top + 1) * 24, min((left + 1) * 30, 80))
        tiled[:, region.top : region.bottom, region.left : region.right], _ = mapped(
            stack, model(), region
        )
    for other in (*others, tiled):
        assert np.abs(other - shares).max() < 1e-5
        differ = (other.argmax(axis=0) != shares.argmax(axis=0)) & valid
        assert not (differ & sure).any()
        assert differ.sum() <= 10 * valid.sum() / 1e6


def test_a_map_may_be_given_up_and_errors_of_reading_come_through(monkeypatch):
    stack, _ = scene((60, 60))
    rows = map_rows(stack, Plain(), 6, whole(stack))
    next(rows)
    rows.close()
    read, count = stack.read, []

    def fail_later(*window):
        count.append(window)
        if len(count) == 5:
            raise RasterUnreadableError("the file ends here")
        return read(*window)

    monkeypatch.setattr(stack, "read", fail_later)
    with pytest.raises(RasterUnreadableError):
        list(map_rows(stack, Plain(), 6, whole(stack)))


def test_pixels_are_read_with_the_settings_of_whoever_asks(monkeypatch):
    stack, _ = scene((20, 20))
    read, found = stack.read, []

    def tell(*window):
        found.append(get_gdal_config("GDAL_HTTP_PROXY"))
        return read(*window)

    monkeypatch.setattr(stack, "read", tell)

    def work():
        with rasterio.Env(GDAL_HTTP_PROXY="127.0.0.1:9"):
            list(map_rows(stack, Plain(), 6, whole(stack)))

    other = threading.Thread(target=work)  # as a worker of a cluster, or of a window, would
    other.start()
    other.join()
    assert set(found) == {"127.0.0.1:9"}


def short_of_memory(predictor, most):
    """Makes a predictor fail on batches above `most`, as a device without memory does."""
    part = predictor._part

    def fail(patches):
        if len(patches[0]) > most:
            raise torch.OutOfMemoryError
        return part(patches)

    predictor._part = fail
    return predictor


def test_batches_are_halved_where_memory_runs_out():
    stack, _ = scene((20, 60))
    expected, _ = mapped(stack, model(2), whole(stack))
    predictor = short_of_memory(model(9), 2)
    predictor.together = 9
    found, _ = mapped(stack, predictor, whole(stack))
    assert predictor.together == 2
    assert np.allclose(found, expected, atol=1e-5)
    with pytest.raises(OutOfMemoryError, match="One patch of 8 pixels"):
        mapped(stack, short_of_memory(model(9), 0), whole(stack))


@pytest.mark.parametrize("shape", [(70, 50), (5, 5)])
def test_agreement_compares_precisions_and_leaves_the_predictor_as_it_was(shape):
    stack, _ = scene(shape)
    predictor = model()
    assert agreement(stack, predictor) == 1
    part = predictor._part

    def shuffled(patches):
        found = part(patches)
        return found if predictor.precision is torch.float32 else np.roll(found, 1, axis=1)

    predictor._part = shuffled
    predictor.precision = torch.bfloat16
    # Pixels outside the raster or without data, all alike, do not count.
    assert agreement(stack, predictor) == 0
    assert predictor.precision is torch.bfloat16


def test_without_a_pixel_to_try_nothing_is_known_to_agree():
    stack, _ = scene((30, 30), holes=1.1)
    assert agreement(stack, model()) == 0


def test_evaluation_mode_without_gradients():
    predictor = model(drop_path=0.9)
    assert not predictor.model.training
    patches = [np.ones((2, c, PATCH, PATCH), np.float32) for c in (2, 1)]
    assert np.array_equal(predictor.shares(patches), predictor.shares(patches))


NORTH_UP = GeoBox((40, 60), Affine(10, 0, 1000, 0, -10, 9000), "EPSG:32632")


@pytest.mark.parametrize(
    ("bounds", "region"),
    [
        (None, (0, 0, 40, 60)),
        ((1000, 8600, 1600, 9000), (0, 0, 40, 60)),
        ((0, 0, 1e6, 1e6), (0, 0, 40, 60)),
        ((1100, 8700, 1250, 8900), (10, 10, 30, 25)),
        ((1104, 8700, 1246, 8896), (10, 10, 30, 25)),
        ((900, 8950, 1010, 9100), (0, 0, 5, 1)),
    ],
)
def test_bounds_become_pixels(bounds, region):
    assert region_of(NORTH_UP, bounds) == Region(*region)


@pytest.mark.parametrize(
    "bounds", [(0, 0, 900, 900), (1000, 9001, 1600, 9900), (1101, 8701, 1102, 8702)]
)
def test_bounds_outside_or_within_a_pixel_are_refused(bounds):
    with pytest.raises(NoOverlapError, match="do not meet"):
        region_of(NORTH_UP, bounds)


@given(st.lists(st.floats(1000, 1600), min_size=1, max_size=5, unique=True))
def test_parts_side_by_side_leave_no_column_out_and_none_twice(cuts):
    edges = sorted({1000.0, 1600.0, *cuts})
    columns = []
    for left, right in pairwise(edges):
        try:
            region = region_of(NORTH_UP, (left, 8600, right, 9000))
        except NoOverlapError:  # narrower than a pixel, and between two centres
            continue
        columns += range(region.left, region.right)
    assert columns == list(range(60))


def test_bounds_on_a_rotated_grid_hold_every_pixel_within():
    grid = GeoBox((40, 60), Affine.rotation(30) * Affine.scale(10, -10), "EPSG:32632")
    region = region_of(grid, (100.0, 0.0, 200.0, 100.0))
    rows, columns = np.indices(grid.shape)
    a, b, c, d, e, f = grid.affine[:6]
    x = a * (columns + 0.5) + b * (rows + 0.5) + c
    y = d * (columns + 0.5) + e * (rows + 0.5) + f
    inside = (x > 100) & (x < 200) & (y > 0) & (y < 100)
    kept = np.zeros(grid.shape, bool)
    kept[region.top : region.bottom, region.left : region.right] = True
    assert inside.any()
    assert kept[inside].all()
    assert not kept.all()
