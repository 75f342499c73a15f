"""What is worked out beside a border is what averaging over a scene with that border gives."""

import numpy as np
import pytest

from m3amba_geo.geo.features import means_around
from m3amba_geo.learn.borders import border, joined, near_borders

SIDES = np.array([1, 3, 7, 15])
WIDTH = 64


def means(image):
    """Means `(4, H, W)` of an image of one band over neighbourhoods of these sides."""
    valid = np.ones(image.shape, np.bool_)
    return np.concatenate([means_around(image[None], valid, int(side)) for side in SIDES])


class Drawn:
    """Draws what it was told to: a distance for each pixel, and which pixel lies beyond."""

    def __init__(self, distance, other):
        self.distance, self.other = distance, other

    def uniform(self, low, high, size):
        assert (low, high) == (0.5, max(SIDES))
        return np.array(self.distance).reshape(size)

    def integers(self, high, size):
        assert (high, size) == (len(self.other),) * 2
        return np.array(self.other)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 10])
def test_a_pixel_near_a_border_sees_both_sides_by_their_shares(steps):
    image = np.full((WIDTH, WIDTH), 2, np.float32)
    image[:, WIDTH // 2 :] = 5
    amid = np.array([[2] * 4, [5] * 4], np.float32)
    near = near_borders(amid, SIDES, Drawn([steps + 0.5] * 2, [1, 0]))
    seen = means(image)[:, WIDTH // 2]
    np.testing.assert_allclose(near[0], seen[:, WIDTH // 2 - 1 - steps], rtol=1e-5)
    np.testing.assert_allclose(near[1], seen[:, WIDTH // 2 + steps], rtol=1e-5)


def test_half_of_the_pixels_stay_as_they_are_and_most_see_their_own_kind():
    features = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    near = near_borders(features, SIDES, np.random.default_rng(1))
    assert 0.4 < (near == features).all(axis=1).mean() < 0.6
    np.testing.assert_array_equal(near[:, 0], features[:, 0])
    kept = [np.corrcoef(near[:, n], features[:, n])[0, 1] for n in range(4)]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] > 0.5


def test_joined_patches_are_those_of_a_joined_scene():
    beyond = border(WIDTH, np.random.default_rng(3))
    assert 0 < beyond.mean() < 1
    first, second = (np.full((4, WIDTH, WIDTH), value, np.float32) for value in (2, 5))
    wanted = means(np.where(beyond, 5, 2).astype(np.float32))
    inner = slice(7, -7)  # beyond the edge of a patch its own pixels go on
    found = joined(first, second, SIDES, beyond)
    np.testing.assert_allclose(found[:, inner, inner], wanted[:, inner, inner], rtol=1e-5)


def test_borders_run_in_every_direction_and_leave_something_of_both():
    rng = np.random.default_rng(0)
    shares = [border(32, rng).mean() for _ in range(200)]
    assert 0.05 < min(shares) < max(shares) < 0.95
    assert 0.4 < np.mean(shares) < 0.6
