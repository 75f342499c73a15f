"""Estimates from a probability sample: the published example, and what repeated samples do."""

from dataclasses import replace

import numpy as np
import pytest

from m3amba_geo.assess.accuracy import Accuracy, assess
from m3amba_geo.assess.estimates import Estimate, estimate
from m3amba_geo.errors import SampleError
from tests.assess.conftest import legend_of

# Olofsson et al. 2014, section 5: rows are the map there.
NAMES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000.0])
HECTARES = PIXELS * 0.09


def published() -> Accuracy:
    return Accuracy(legend_of(*NAMES), COUNTS.T)


def halves(found):
    """Value and 1.96 standard errors, as the paper has them."""
    return [(each.value, 1.96 * each.error) for each in found]


def test_the_published_example():
    found = estimate(published(), HECTARES, "m2")
    assert np.allclose(halves([found.overall]), [(0.95, 0.02)], atol=0.0051)
    users = [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    assert np.allclose(halves(found.users), users, atol=0.0051)
    # Printed are 0.23 and 0.01 for the second and the fourth: the paper's equation 7 gives these.
    producers = [(0.75, 0.21), (0.85, 0.254), (0.93, 0.03), (0.96, 0.018)]
    assert np.allclose(halves(found.producers), producers, atol=0.0051)
    areas = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    assert np.allclose(np.array(halves(found.shares)) * found.total, areas, rtol=0, atol=1)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of samples drawn from a known map, by class and from all of it, some 95 % of intervals do."""
    rng = np.random.default_rng(0)
    legend = legend_of("water", "forest", "urban")
    truth = rng.choice([1, 2, 3], 40_000, p=[0.1, 0.6, 0.3]).astype(np.uint16)
    wrong = rng.random(truth.size) < 0.2
    shown = np.where(wrong, rng.choice([1, 2, 3], truth.size), truth).astype(np.uint16)
    mapped = np.bincount(shown, minlength=4)[1:].astype(float)
    whole = assess(truth, shown, legend)
    known = [whole.overall, *whole.users, *whole.producers, *(whole.reference / whole.pixels)]
    pools = [np.flatnonzero(shown == code) for code in (1, 2, 3)]

    def by_class():
        return np.concatenate([rng.choice(pool, 80, replace=False) for pool in pools])

    def anywhere():
        return rng.choice(truth.size, 300, replace=False)

    for draw in (by_class, anywhere):
        held, values = [], []
        for _ in range(400):
            places = draw()
            found = estimate(assess(truth[places], shown[places], legend), mapped, "pixels")
            told = [found.overall, *found.users, *found.producers, *found.shares]
            ends = np.array([e.interval for e in told]).T
            held.append((ends[0] <= known) & (known <= ends[1]))
            values.append([e.value for e in told])
        assert np.abs(np.mean(values, 0) - known).max() < 0.01  # unbiased
        assert np.mean(held, 0).min() > 0.88  # what is missed of a rare class is seen seldom
        assert 0.93 < np.mean(held) < 0.97


def test_an_interval_where_no_pixel_is_wrong_has_a_width():
    low, high = Estimate(1.0, 0.0, 30).interval
    assert (low, high) == pytest.approx((30 / (30 + 1.959964**2), 1.0))
    assert Estimate(0.0, 0.0, 30).interval == pytest.approx((0.0, 1 - low))


def test_a_sample_by_class_needs_its_weights():
    """Counted plainly, a rare class that was sampled densely would pull the accuracy down."""
    matrix = np.array([[40, 10], [60, 90]])  # of the first map class 40 % are right
    sample = Accuracy(legend_of("fire", "forest"), matrix)
    found = estimate(sample, np.array([1.0, 99.0]), "pixels")
    assert sample.overall == pytest.approx(0.65)
    assert found.overall.value == pytest.approx(0.01 * 0.4 + 0.99 * 0.9)


def test_classes_that_the_map_or_the_sample_lacks():
    matrix = np.array([[30, 2, 0], [0, 20, 0], [5, 0, 0]])  # the third is in the reference alone
    sample = Accuracy(legend_of("water", "forest", "ice"), matrix)
    found = estimate(sample, np.array([500.0, 500.0, 0.0]), "pixels")
    assert (found.users[2], found.producers[2]) == (None, Estimate(0.0, 0.0, 5))
    assert found.shares[2].value == pytest.approx(0.5 * 5 / 35)
    absent = replace(sample, matrix=np.array([[30, 2, 0], [0, 20, 0], [0, 0, 0]]))
    assert estimate(absent, np.array([500.0, 500.0, 0.0]), "pixels").producers[2] is None


@pytest.mark.parametrize("drawn", [0, 1])
def test_a_map_class_without_a_sample_is_named(drawn):
    matrix = np.diag([30, 30, drawn])
    sample = Accuracy(legend_of("water", "forest", "ice"), matrix)
    with pytest.raises(SampleError, match=rf"ice \({drawn}, 20.00% of the map\)"):
        estimate(sample, np.array([40.0, 40.0, 20.0]), "pixels")


def test_classes_with_few_sample_pixels_are_named():
    matrix = np.array([[60, 0], [0, 10]])
    (note,) = estimate(Accuracy(legend_of("water", "ice"), matrix), np.ones(2), "pixels").notes
    assert "ice (10)" in note
    assert "water" not in note
    assert estimate(published(), PIXELS, "pixels").notes == ()
