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
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS * 0.09


def published() -> Accuracy:
    return Accuracy(legend_of(*NAMES), COUNTS.T)


def halves(found):
    """Value and 1.96 standard errors, as the paper has them."""
    return [(each.value, 1.96 * each.error) for each in found]


def test_the_published_example():
    found = estimate(published(), PIXELS, HECTARES, "m2")
    assert np.allclose(halves([found.overall]), [(0.95, 0.02)], atol=0.0051)
    users = [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    assert np.allclose(halves(found.users), users, atol=0.0051)
    # Printed are 0.23 and 0.01 for the second and the fourth: the paper's equation 7 gives these.
    producers = [(0.75, 0.21), (0.85, 0.254), (0.93, 0.03), (0.96, 0.018)]
    assert np.allclose(halves(found.producers), producers, atol=0.0051)
    areas = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    assert np.allclose(
        np.array(halves(found.shares)) * found.total, areas, rtol=0, atol=1.5
    )  # they have no finite population


LEGEND = legend_of("water", "forest", "urban")


def coverage(truth, shown, draw, draws=300):
    """How often intervals hold the truth: of overall accuracy, users', producers', and shares."""
    pixels = np.bincount(shown, minlength=4)[1:]
    whole = assess(truth, shown, LEGEND)
    known = [whole.overall, *whole.users, *whole.producers, *(whole.reference / whole.pixels)]
    held, values = [], []
    for _ in range(draws):
        places = draw()
        sample = assess(truth[places], shown[places], LEGEND)
        found = estimate(sample, pixels, pixels.astype(float), "pixels")
        told = [found.overall, *found.users, *found.producers, *found.shares]
        ends = np.array([e.interval for e in told]).T
        held.append((ends[0] <= known) & (known <= ends[1]))
        values.append([e.value for e in told])
    bias = np.abs(np.mean(values, 0) - known)
    assert bias[[0, 1, 2, 3, 7, 8, 9]].max() < 0.01
    assert bias[4:7].max() < 0.05  # ratios are so, of few points
    return np.mean(held, 0)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of samples drawn from a known map, by class and from all of it, some 95 % of intervals do."""
    rng = np.random.default_rng(0)
    truth = rng.choice([1, 2, 3], 40_000, p=[0.1, 0.6, 0.3]).astype(np.uint16)
    wrong = rng.random(truth.size) < 0.2
    shown = np.where(wrong, rng.choice([1, 2, 3], truth.size), truth).astype(np.uint16)
    pools = [np.flatnonzero(shown == code) for code in (1, 2, 3)]

    def by_class():
        return np.concatenate([rng.choice(pool, 80, replace=False) for pool in pools])

    for draw in (by_class, lambda: rng.choice(truth.size, 300, replace=False)):
        held = coverage(truth, shown, draw)
        assert held.min() > 0.88
        assert 0.93 < held.mean() < 0.98


def test_intervals_hold_where_the_large_class_is_nearly_right_and_others_are_rare():
    """A sample that misses the few errors of a large class must not claim to know all."""
    rng = np.random.default_rng(1)
    shown = np.repeat([1, 2, 3], [96_000, 2_000, 2_000]).astype(np.uint16)
    wrong = rng.random(shown.size) < np.where(shown == 1, 0.005, 0.05)
    truth = np.where(wrong, shown % 3 + 1, shown).astype(np.uint16)
    pools = [np.flatnonzero(shown == code) for code in (1, 2, 3)]

    def by_class():
        sizes = zip(pools, (250, 50, 50), strict=True)
        return np.concatenate([rng.choice(pool, size, replace=False) for pool, size in sizes])

    held = coverage(truth, shown, by_class)
    assert held[[0, 7, 8, 9]].min() > 0.92
    assert held[4:7].min() > 0.88  # what a large class hides of a rare one


def test_an_interval_where_no_pixel_is_wrong_has_a_width():
    low, high = Estimate(1.0, 0.0, 30).interval
    assert (low, high) == pytest.approx((30 / (30 + 1.959964**2), 1.0))
    assert Estimate(0.0, 0.0, 30).interval == pytest.approx((0.0, 1 - low))


@pytest.mark.parametrize("seed", range(20))
def test_a_flawless_sample_is_told_so_whatever_the_weights(seed):
    areas = np.random.default_rng(seed).random(7) + 0.01
    sample = Accuracy(legend_of(*"abcdefg"), 50 * np.eye(7, dtype=int))
    found = estimate(sample, np.full(7, 10**6), areas, "pixels")
    for each in (found.overall, *found.users, *found.producers):
        assert each.value == pytest.approx(1)
        assert 0.5 < each.interval[0] < 1 == pytest.approx(each.interval[1])


def test_more_errors_make_no_interval_narrower():
    def width(errors):
        sample = Accuracy(legend_of("a", "b"), np.array([[250 - errors, 0], [errors, 250]]))
        found = estimate(sample, np.full(2, 10**6), np.ones(2), "pixels").shares[0].interval
        return found[1] - found[0]

    assert width(0) <= width(1) <= width(2) <= width(9)


def test_what_was_looked_at_whole_is_known():
    sample = Accuracy(legend_of("a", "b"), np.array([[1, 1], [0, 5]]))
    found = estimate(sample, np.array([1, 6]), np.array([1.0, 6.0]), "pixels")
    assert found.overall.interval == pytest.approx((6 / 7, 6 / 7))
    assert found.users[0].interval == (1, 1)
    assert (found.overall.error, found.notes) == (0, ())


def test_a_sample_by_class_needs_its_weights():
    """Counted plainly, a rare class that was sampled densely would pull the accuracy down."""
    matrix = np.array([[40, 10], [60, 90]])  # of the first map class 40 % are right
    sample = Accuracy(legend_of("fire", "forest"), matrix)
    found = estimate(sample, np.array([100, 9900]), np.array([1.0, 99.0]), "pixels")
    assert sample.overall == pytest.approx(0.65)
    assert found.overall.value == pytest.approx(0.01 * 0.4 + 0.99 * 0.9)


def test_classes_that_the_map_or_the_sample_lacks():
    matrix = np.array([[30, 2, 0], [0, 20, 0], [5, 0, 0]])  # the third is in the reference alone
    sample = Accuracy(legend_of("water", "forest", "ice"), matrix)
    pixels = np.array([5000, 5000, 0])
    found = estimate(sample, pixels, pixels.astype(float), "pixels")
    assert found.users[2] is None
    assert found.producers[2].value == 0
    assert found.shares[2].value == pytest.approx(0.5 * 5 / 35)
    absent = replace(sample, matrix=np.array([[30, 2, 0], [0, 20, 0], [0, 0, 0]]))
    assert estimate(absent, pixels, pixels.astype(float), "pixels").producers[2] is None


@pytest.mark.parametrize("drawn", [0, 1])
def test_a_map_class_without_a_sample_is_named(drawn):
    sample = Accuracy(legend_of("water", "forest", "ice"), np.diag([30, 30, drawn]))
    pixels = np.array([4000, 4000, 2000])
    with pytest.raises(SampleError, match=rf"20\.0% of the map .* ice \({drawn}\)"):
        estimate(sample, pixels, pixels.astype(float), "pixels")


def test_stray_pixels_of_a_class_without_a_sample_are_left_out_and_noted():
    sample = Accuracy(legend_of("water", "forest", "ice"), np.diag([30, 30, 0]))
    found = estimate(sample, np.array([500, 500, 3]), np.array([500.0, 500.0, 3.0]), "pixels")
    assert (found.total, found.users[2]) == (1000, None)
    assert "ice (0)" in found.notes[0]


def test_classes_with_few_sample_pixels_are_named():
    sample = Accuracy(legend_of("water", "ice"), np.array([[60, 0], [0, 10]]))
    (note,) = estimate(sample, np.array([500, 500]), np.ones(2), "pixels").notes
    assert "ice (10)" in note
    assert "water" not in note
    assert estimate(published(), PIXELS, HECTARES, "m2").notes == ()
