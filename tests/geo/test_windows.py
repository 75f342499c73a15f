"""The lattice of windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from m3amba_geo.geo.windows import blend_weights, default_stride, starts

sides = st.tuples(st.integers(1, 2000), st.integers(4, 128)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(1, pair[1]))
)


@given(sides)
def test_windows_cover_every_pixel_and_lie_inside(sizes):
    length, patch, stride = sizes
    firsts = starts(length, patch, stride)
    assert firsts[0] == 0
    assert (np.diff(firsts) > 0).all()
    assert (np.diff(firsts) <= stride).all()  # no gap, as no stride is longer than a patch
    assert firsts[-1] + patch == max(length, patch)


@given(sides, st.integers(1, 500))
def test_a_larger_raster_has_the_same_windows_but_for_the_last(sizes, more):
    """Windows are anchored to the first pixel: they do not move with what is mapped."""
    length, patch, stride = sizes
    regular = [x for x in starts(length, patch, stride) if x % stride == 0]
    larger = starts(length + more, patch, stride)
    assert set(regular[:-1]) <= set(larger)


@given(st.integers(4, 256))
def test_weights_fall_towards_the_border_and_never_vanish(patch):
    weights = blend_weights(patch)
    assert weights.shape == (patch, patch)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, weights.T, rtol=1e-6)
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-4)
    middle = weights[patch // 2]
    assert (np.diff(middle[: patch // 2]) > 0).all()


@given(st.integers(4, 256))
def test_the_default_stride_overlaps(patch):
    assert 1 <= default_stride(patch) < patch
