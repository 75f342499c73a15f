"""Features beside a plain computation of them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from training.baselines.features import (
    WINDOWS,
    fractions,
    local,
    local_moments,
    profile,
    profiles,
    raw,
)


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(3, 2, (9, 11, 2)).astype(np.float32)


@pytest.mark.parametrize("side", WINDOWS)
def test_local_moments(image, side):
    mean, deviation = local_moments(image, side)
    reach = side // 2
    padded = np.pad(image, [(reach, reach), (reach, reach), (0, 0)], mode="symmetric")
    for row in range(9):
        for column in range(11):
            window = padded[row : row + side, column : column + side].astype(np.float64)
            # float32 carries seven digits
            assert mean[row, column] == pytest.approx(window.mean((0, 1)), abs=1e-5)
            assert deviation[row, column] == pytest.approx(window.std((0, 1)), abs=1e-5)


def disk(radius):
    ends = range(-radius, radius + 1)
    return [(y, x) for y in ends for x in ends if y * y + x * x <= radius * radius]


def shifted(image, offsets, pick, beyond):
    """The least or greatest value at any of the offsets."""
    height, width = image.shape
    reach = max(abs(step) for offset in offsets for step in offset)
    padded = np.pad(image, reach, constant_values=beyond)
    parts = [padded[reach + y :, reach + x :][:height, :width] for y, x in offsets]
    return pick(parts, axis=0)


def opened(image, radius):
    """Opening by reconstruction: erode, then grow under the image until nothing changes."""
    square = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    grown = shifted(image, disk(radius), np.min, np.inf)
    while True:
        more = np.minimum(shifted(grown, square, np.max, -np.inf), image)
        if np.array_equal(more, grown):
            return grown
        grown = more


def test_profile():
    image = np.random.default_rng(1).integers(0, 9, (30, 34)).astype(np.float64)
    image[4:20, 5:25] += 9  # large enough for all disks but the largest
    own, *layers = profile(image)
    assert np.array_equal(own, image)
    for radius, opening, closing in zip((1, 2, 4, 8), layers[::2], layers[1::2], strict=True):
        assert np.array_equal(opening, opened(image, radius))
        assert np.array_equal(closing, -opened(-image, radius))
    assert not np.array_equal(layers[0], layers[4])


def test_layout_and_scale(scene):
    bands = raw(scene)
    assert bands.shape == (72, 96, 5)
    assert bands.reshape(-1, 5).std(0) == pytest.approx(1, abs=1e-4)
    assert local(scene).shape == (72, 96, 5 * 7)
    found = profiles(scene)
    assert np.array_equal(found[..., :5], bands)
    assert (found.shape[2] - 5) % 9 == 0


def test_invalid_pixels_take_the_nearest_value(scene):
    valid = np.ones_like(scene.valid)
    valid[:, 90:] = False
    pixels = tuple(np.where(valid, bands, -9999).astype(np.float32) for bands in scene.pixels)
    bands = raw(replace(scene, valid=valid, pixels=pixels))
    assert np.array_equal(bands[:, 93], bands[:, 89])
    assert abs(bands).max() < 10  # the nodata value moved nothing


def test_fractions_put_what_tells_fields_apart_first_and_keep_its_size(scene):
    """Two bands share a strong pattern of the ground; fields of 24 pixels differ in their ratio."""
    pattern = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (72, 96)), 2)
    fields = np.kron(np.random.default_rng(1).choice([-1.0, 1.0], (3, 4)), np.ones((24, 24)))
    pattern, fields = (x / x.std() for x in (pattern, fields))
    bands = np.stack([pattern + 0.4 * fields, pattern - 0.4 * fields]).astype(np.float32)
    found = fractions(replace(scene, pixels=(bands,))).reshape(-1, 3, 2)
    for first, second in found.transpose(1, 2, 0):
        assert first.var() + second.var() == pytest.approx(2, rel=1e-3)
        assert first.var() > 3 * second.var()
        assert abs(np.corrcoef(first, second)[0, 1]) < 1e-3
        assert abs(np.corrcoef(first, fields.ravel())[0, 1]) > 0.85
