"""Bands find their counterparts, or are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3amba_geo.errors import BandMismatchError
from m3amba_geo.geo.bands import Band, crossed_names, match_bands


def match(trained, given):
    return match_bands("optical", trained, given)


def of(*wavelengths):
    return [Band("", wavelength) for wavelength in wavelengths]


def named(*names):
    return [Band(name) for name in names]


@given(st.lists(st.integers(10, 60), min_size=1, unique=True).flatmap(
    lambda tens: st.tuples(st.just(tens), st.permutations(tens))
), st.floats(-4, 4))  # fmt: skip
def test_wavelengths_find_their_bands_in_any_order(tens_and_order, shift):
    tens, order = tens_and_order
    trained, given_ = of(*(40 * t for t in tens)), of(*(40 * t + shift for t in order))
    assert match(trained, given_) == [order.index(t) for t in tens]


def test_extra_bands_are_left_out():
    assert match(of(665, 842), of(443, 490, 560, 664, 704, 835)) == [3, 5]
    assert match(named("nir", "red"), named("Red", "Green", "N_I.R")) == [2, 0]


def test_names_decide_where_wavelengths_are_missing():
    assert match([Band("red", 665), Band("nir", 842)], named("nir", "red")) == [1, 0]
    assert match(named("nir", "red"), [Band("red", 665), Band("nir", 842)]) == [1, 0]


def test_names_decide_where_wavelengths_are_equal():
    radar = [Band("VV", 5.5e7), Band("VH", 5.5e7)]
    assert match(radar, radar[::-1]) == [1, 0]


def test_order_decides_where_nothing_else_does():
    assert match(named("a", "b"), named("c", "d")) == [0, 1]
    assert match(named("", ""), named("", "")) == [0, 1]
    assert match(of(665, 842), named("", "")) == [0, 1]
    assert match(of(665, 842), [Band("", 664), Band("")]) == [0, 1]


@pytest.mark.parametrize(
    ("trained", "given_"),
    [
        (named("a", "b"), named("a")),
        (named("a", "b"), named("a", "c", "d")),
        (named("a", "b"), named("a", "a", "b")),  # which a?
        (of(665, 842), of(665, 900)),  # equal in number, but not the same
        (of(665, 842), of(842, 900, 1610)),
        (of(665, 842), [Band("", 842), Band("")]),
        (of(665, 668), of(666, 842)),  # one band can't stand for two
    ],
)
def test_doubt_is_refused(trained, given_):
    with pytest.raises(BandMismatchError) as caught:
        match(trained, given_)
    assert caught.value.code == "bands-mismatch"
    assert f"'optical' has {len(given_)} bands" in str(caught.value)
    assert f"trained on {len(trained)}" in str(caught.value)
    assert "order" in caught.value.hint


def test_messages_list_a_few_bands():
    with pytest.raises(BandMismatchError, match=r"b0, b1, b2, b3, b4, b5, \.\.\."):
        match(named("x"), named(*(f"b{n}" for n in range(200))))
    assert str(Band("red", 665)) == "red (665 nm)"
    assert str(Band("")) == "unnamed"


def test_names_that_order_has_crossed_are_told():
    trained = [Band(name) for name in ("blue", "green", "nir")]
    assert crossed_names(trained, [Band(n) for n in ("nir 08", "Green", "blue")]) == [
        "blue for nir"
    ]
    assert crossed_names(trained, [Band(n) for n in ("b1", "", "b3")]) == []
    waves = [Band(n, w) for n, w in (("a", 450.0), ("b", 550.0))]
    assert crossed_names(waves, [Band("b", 450.0), Band("a", 550.0)]) == []
