"""Differences on the same cases, beside numbers computed by hand."""

import math

import pytest

from training.paired import difference, spread

OURS = [0.80, 0.84, 0.86, 0.90]
OTHERS = [0.78, 0.80, 0.80, 0.82]  # differences 2, 4, 6, 8 points: mean 5, variance 20 / 3
T3 = 3.182446305284263  # 97.5 % quantile of Student's t with 3 degrees of freedom, from a table


def test_partings_that_overlap():
    found = difference(OURS, OTHERS, overlap=1 / 4)  # five folds
    error = math.sqrt((1 / 4 + 1 / 4) * 20 / 3) / 100
    assert found.mean == pytest.approx(0.05)
    assert found.error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx((0.05 - T3 * error, 0.05 + T3 * error))
    assert found.pairs == 4


def test_seeds_of_one_parting_are_not_corrected():
    assert difference(OURS, OTHERS, overlap=0).error == pytest.approx(math.sqrt(20 / 3 / 4) / 100)


def test_one_pair_has_no_spread():
    found = difference([0.9], [0.8], 0.5)
    assert found.mean == pytest.approx(0.1)
    assert (found.error, found.low, found.high) == (None, None, None)
    assert spread([0.9]) is None
    assert spread([1, 3]) == pytest.approx(math.sqrt(2))
