"""What the network sees: means over neighbourhoods, less what differs between neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small import stack_of

from m3amba_geo.errors import AllNodataError
from m3amba_geo.geo.features import joint_components, means_around, read_features, scene_features

SIDES = (3, 7)


def plainly(pixels, valid, side):
    """Means of valid pixels, one pixel at a time, in float64."""
    reach = side // 2
    means = np.zeros(pixels.shape)
    for y, x in np.ndindex(valid.shape):
        part = (slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
        if valid[part].any():
            means[:, y, x] = pixels[(slice(None), *part)][:, valid[part]].mean(axis=1)
    return means


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5]), st.integers(0, 99))
@settings(max_examples=40)
def test_means_are_of_valid_pixels_only(height, width, side, seed):
    rng = np.random.default_rng(seed)
    valid = rng.random((height, width)) < 0.6
    pixels = (rng.normal(0, 1, (2, height, width)) * valid).astype(np.float32)
    found = means_around(pixels, valid, side)
    np.testing.assert_allclose(found, plainly(pixels, valid, side), atol=1e-6)


@pytest.fixture(scope="module")
def scene():
    """A scene of correlated bands, beside a modality with holes; the first 40 rows train."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 50, (1, 60, 70))
    first = np.concatenate([common + rng.normal(0, s, (1, 60, 70)) for s in (1, 2, 4)]) + 100
    second = rng.normal(0, 1, (1, 60, 70))
    stack = stack_of(first, second, invalid={1: rng.random((60, 70)) < 0.2})
    train = np.zeros((60, 70), np.bool_)
    train[2:30:3, 5:65:6] = True
    return stack, np.flatnonzero(train)


@pytest.fixture(scope="module")
def features(scene):
    stack, train = scene
    return scene_features([stack], [train], SIDES)


def test_bands_are_as_many_as_sides_and_decorrelated(scene, features):
    stack, _ = scene
    assert [f.count for f in features] == [6, 2]
    assert [f.reach for f in features] == [3, 3]
    (first, _), _ = read_features(stack, features, 10, 10, 30, 50)
    for means in (first[:3], first[3:]):
        spread = np.cov(means.reshape(3, -1))
        assert np.abs(spread - np.diag(np.diag(spread))).max() < 0.05
        assert np.diag(spread).mean() == pytest.approx(1, abs=0.2)
        assert (np.diff(np.diag(spread)) < 0).all()


def test_a_window_is_a_part_of_the_whole(scene, features):
    stack, _ = scene
    whole, everywhere = read_features(stack, features, 0, 0, 60, 70)
    part, valid = read_features(stack, features, 7, 31, 20, 11)
    for n in range(2):
        np.testing.assert_array_equal(part[n], whole[n][:, 7:27, 31:42])
        np.testing.assert_array_equal(valid[n], everywhere[n][7:27, 31:42])
        assert not part[n][:, ~valid[n]].any()


def test_components_come_from_cells_with_training_pixels_alone(scene, features):
    stack, train = scene
    changed = stack.modalities[0].pixels.copy()
    changed[:, 40:] += 1e5  # another cell, and more than a neighbourhood from this one
    found = scene_features([stack_of(changed)], [train], (3,))[0].neighbourhoods[0]
    np.testing.assert_allclose(found.matrix, features[0].neighbourhoods[0].matrix, rtol=1e-4)


@pytest.fixture(scope="module")
def patterned():
    """Fields of 20 pixels, and two bands whose ratio they differ in; both share a pattern."""
    rng = np.random.default_rng(1)
    pattern = ndimage.gaussian_filter(rng.normal(0, 1, (80, 80)), 2)
    fields = np.kron(rng.choice([-1.0, 1.0], (4, 4)), np.ones((20, 20)))
    pattern, fields = (x / x.std() for x in (pattern, fields))
    return fields, pattern + 0.4 * fields, pattern - 0.4 * fields


def test_what_tells_fields_apart_comes_before_what_varies_within_them(patterned):
    fields, *bands = patterned
    stack = stack_of(np.stack(bands))
    (found,) = scene_features([stack], [np.arange(80 * 80)], (3,))
    (seen,), _ = read_features(stack, [found], 0, 0, 80, 80)
    likeness = np.corrcoef([fields.ravel(), *seen.reshape(2, -1)])[0, 1:]
    assert abs(likeness[0]) > 0.9 > 0.1 > abs(likeness[1])


def test_what_tells_fields_apart_may_take_two_modalities(patterned):
    fields, *bands = patterned
    stack = stack_of(*(band[None] for band in bands))
    chosen = [np.arange(80 * 80)]
    found = scene_features([stack], chosen, (3, 5))
    center, matrix = joint_components([stack], chosen, found)
    seen = np.concatenate(read_features(stack, found, 0, 0, 80, 80)[0]).reshape(4, -1)
    components = matrix @ (seen - center[:, None])
    likeness = np.corrcoef([fields.ravel(), *components])[0, 1:]
    # Of each modality the neighbourhoods of 3 and 5 pixels, and so of the components.
    assert np.abs(likeness[:2]).min() > 0.9 > 0.1 > np.abs(likeness[2:]).max()
    assert not matrix[np.ix_([0, 2], [1, 3])].any()
    for own in (components[[0, 2]], components[[1, 3]]):
        spread = np.cov(own)
        assert abs(spread[0, 1]) < 0.01
        assert np.diag(spread).mean() == pytest.approx(1, abs=0.01)


def test_joint_components_of_modalities_that_are_hardly_ever_there_together(scene):
    stack, train = scene
    sparse = np.ones((60, 70), np.bool_)
    sparse.flat[train[:1]] = False
    stack = stack_of(*(m.pixels for m in stack.modalities), invalid={1: sparse})
    features = scene_features([stack], [train], SIDES)
    assert all(np.isfinite(found).all() for found in joint_components([stack], [train], features))


def test_a_scene_narrower_than_the_distance_of_neighbours_has_features():
    stack = stack_of(np.random.default_rng(0).normal(0, 1, (2, 2, 2)))
    (found,) = scene_features([stack], [np.arange(4)], (11,))
    (seen,), _ = read_features(stack, [found], 0, 0, 2, 2)
    assert np.isfinite(seen).all()


def test_without_sides_bands_are_scaled_only(scene):
    stack, train = scene
    (found, _) = scene_features([stack], [train], ())
    pixels, valid = stack.read(0, 0, 60, 70)
    np.testing.assert_array_equal(
        read_features(stack, [found, found], 0, 0, 60, 70)[0][0],
        found.statistics.scale(pixels[0], valid[0]),
    )
    assert (found.count, found.reach) == (3, 0)


def test_constant_bands_stay_finite():
    stack = stack_of(np.full((2, 20, 20), 7.0))
    (found,) = scene_features([stack], [np.arange(200, 220)], SIDES)
    (seen,), _ = read_features(stack, [found], 0, 0, 20, 20)
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() < 1e-3


def test_no_valid_pixel_under_labels_is_an_error(scene):
    stack, train = scene
    with pytest.raises(AllNodataError):
        scene_features([stack], [train[:0]], SIDES)
