"""Principal components of training pixels against scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from small import as_they_are, stack_of

from m3amba_geo.geo.components import principal_components
from m3amba_geo.geo.features import read_features, scene_features

SHAPE = (300, 20)  # more than two strips
EVERYWHERE = [np.arange(300 * 20)]


def correlated(bands, seed=0):
    rng = np.random.default_rng(seed)
    mixed = np.tensordot(rng.normal(0, 1, (bands, bands)), rng.normal(3, 1, (bands, *SHAPE)), 1)
    mixed[0, 0, 0] = 1e5  # a broken pixel: scaling clips it
    return mixed


def images(found, scaled):
    return np.tensordot(found.weights, scaled, 1) + found.offset[:, None, None]


def test_they_are_those_of_all_valid_training_pixels_scaled():
    rng = np.random.default_rng(1)
    holes = rng.random(SHAPE) < 0.2
    stacks = [
        stack_of(correlated(5, seed), correlated(4, seed + 9), invalid={0: holes})
        for seed in (0, 1)
    ]
    chosen = [rng.random(SHAPE) < 0.3 for _ in stacks]
    positions = [np.flatnonzero(mask) for mask in chosen]
    features = scene_features(stacks, positions, ())
    found = principal_components(stacks, positions, features)
    for n, components in enumerate(found):
        parts = []
        for stack, mask in zip(stacks, chosen, strict=True):
            pixels, valid = stack.read(0, 0, *SHAPE)
            parts.append(features[n].of(pixels[n], valid[n])[:, mask & valid[n]])
        scaled = np.concatenate(parts, axis=1)  # (C, n)
        seen = components.weights @ scaled + components.offset[:, None]  # (3, n)
        reference = PCA(3, whiten=True).fit_transform(scaled.T).T
        signs = np.sign((seen * reference).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(seen, signs * reference, atol=2e-3)
        np.testing.assert_allclose(seen.mean(axis=1), 0, atol=1e-6)
        np.testing.assert_allclose(seen.std(axis=1), 1, atol=1e-6)
        largest = np.abs(components.weights).argmax(axis=1)
        assert (components.weights[range(3), largest] > 0).all()


def test_signs_do_not_depend_on_the_order_of_pixels():
    pixels = correlated(6)
    one, other = (
        principal_components([stack_of(p)], EVERYWHERE, as_they_are(6))[0]
        for p in (pixels, pixels[:, ::-1, ::-1])
    )
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bands", [1, 2])
def test_fewer_than_three_come_again(bands):
    pixels = np.random.default_rng(0).normal(0, 1, (bands, *SHAPE))
    (found,) = principal_components([stack_of(pixels)], EVERYWHERE, as_they_are(bands))
    image = images(found, pixels)
    assert image.shape == (3, *SHAPE)
    np.testing.assert_allclose(image.std(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_array_equal(image[2], image[0])
    assert (image[1] == image[0]).all() == (bands == 1)


def test_bands_that_say_the_same_make_one_component():
    same = np.repeat(np.random.default_rng(0).normal(0, 1, (1, *SHAPE)), 4, axis=0)
    (found,) = principal_components([stack_of(same)], EVERYWHERE, as_they_are(4))
    np.testing.assert_allclose(images(found, same), np.stack([same[0]] * 3) / same.std(), atol=0.05)


def test_a_band_without_spread_makes_a_blank_image():
    flat = np.full((1, *SHAPE), 7.0)
    (found,) = principal_components([stack_of(flat)], EVERYWHERE, as_they_are(1))
    assert not images(found, flat).any()


@pytest.mark.parametrize("bands", [1, 5])
def test_decorrelated_means_are_components_already(bands):
    stack = stack_of(correlated(bands))
    features = scene_features([stack], EVERYWHERE, (5, 11))
    (found,) = principal_components([stack], EVERYWHERE, features)
    (seen,), _ = read_features(stack, features, 0, 0, *SHAPE)
    image = images(found, seen)
    np.testing.assert_array_equal(image, seen[[0, 1, 2] if bands > 2 else [0, 0, 0]])
