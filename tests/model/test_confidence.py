"""Probabilities as sure as validation pixels allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m3amba_geo.model.confidence import fit_temperature, tempered


def surprise(shares, truth):
    return -np.log(shares[truth, np.arange(len(truth))]).mean()


def overconfident(temperature, seed=0, count=20_000):
    """Probabilities of 4 classes, raised to a power, and truth drawn from them as they were."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet([0.7] * 4, count).T  # (4, n)
    truth = (rng.random(count) > honest.cumsum(axis=0)).sum(axis=0)
    raised = honest**temperature
    return raised / raised.sum(axis=0), truth, honest


@pytest.mark.parametrize("temperature", [1.0, 1.7, 4.0])
def test_the_temperature_that_made_them_too_sure_is_found(temperature):
    shares, truth, honest = overconfident(temperature)
    found = fit_temperature(shares, truth)
    assert found == pytest.approx(temperature, rel=0.05)
    assert tempered(shares, found) == pytest.approx(honest, abs=0.03)


def test_none_is_better_in_the_neighbourhood():
    shares, truth, _ = overconfident(2.5, count=300)
    found = fit_temperature(shares, truth)
    best = surprise(tempered(shares, found), truth)
    assert all(surprise(tempered(shares, found * f), truth) >= best - 1e-9 for f in (0.9, 1.1))


def test_it_never_makes_surer():
    shares, truth, _ = overconfident(0.5)
    assert fit_temperature(shares, truth) == 1
    certain = np.eye(3)[:, [0, 1, 2]]
    assert fit_temperature(certain, np.array([0, 1, 2])) == 1


def test_certain_and_always_wrong_is_as_hot_as_it_gets():
    certain = np.eye(3)[:, [0, 1, 2]]
    assert fit_temperature(certain, np.array([1, 2, 0])) == pytest.approx(20, rel=0.01)


@given(
    arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32)),
    st.floats(1, 20),
)
def test_classes_keep_their_order_and_sums_are_one(raw, temperature):
    total = raw.sum(axis=0)
    shares = np.divide(raw, total, out=np.zeros_like(raw), where=total > 0)
    found = tempered(shares, temperature)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.sum(axis=0) == pytest.approx((total > 0).astype(float), abs=1e-5)
    order = np.argsort(shares, axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(found, order, axis=0), axis=0) >= 0).all()
