"""Masks as the places where they turn: what arrays would say, and what files hold."""

import base64
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from small import mask_of, runs_of

from m3amba_geo.geo import runs as runs_module
from m3amba_geo.geo.runs import Runs, from_text, to_text

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(masks, st.sampled_from([8, 64, 1 << 22]), st.integers(1, 50))
def test_masks_survive_turning_and_text(mask, piece, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_module, "_PIECE", piece)
        runs = runs_of(mask)
        found = [
            runs,
            Runs.checked(runs.numbers(mask.shape), mask.shape),
            from_text(to_text(runs, mask.shape), mask.shape),
        ]
        assert all(np.array_equal(mask_of(one, mask.shape), mask) for one in found)
    assert runs.count == mask.sum()
    parts = [*runs.parts(most), np.zeros(0, int)]
    assert np.array_equal(np.concatenate(parts), np.flatnonzero(mask))
    assert max(map(len, parts)) <= most


@pytest.mark.parametrize("shape", [(0, 0), (-1, 8), (-3, -5), (3, -1), (2, 7), (3, 6)])
def test_another_shape_is_refused(shape):
    runs = runs_of(np.ones((3, 5), bool))
    with pytest.raises(ValueError, match="not runs of"):
        Runs.checked(runs.numbers((3, 5)), shape)
    with pytest.raises(ValueError, match="not runs of"):
        from_text(to_text(runs, (3, 5)), shape)


@pytest.mark.parametrize(
    "numbers",
    [[], [3, 15], [3, 3, 15], [5, 4, 15], [-1, 4, 15], [3, 16, 15], [[1, 2, 15]], [1.0, 2.0, 15.0]],
)
def test_what_are_no_runs_is_refused(numbers):
    with pytest.raises((ValueError, TypeError)):
        Runs.checked(np.array(numbers), (3, 5))


@pytest.mark.parametrize("text", ["", "!", "ä", "AAAA", base64.b64encode(b"junk").decode()])
def test_damaged_text_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - base64 has its own words
        from_text(text, (3, 5))


@pytest.mark.parametrize("shape", [(8, 8), (10**6, 10**6), (0, 8)])
def test_forged_text_does_not_fill_memory(shape):
    """A thousandth of what it unpacks to; only a piece of it is unpacked."""
    bomb = base64.b64encode(zlib.compress(bytes(100_000_000), 9)).decode()
    tracemalloc.start()
    with pytest.raises(ValueError, match="out of order"):
        from_text(bomb, shape)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_mask_takes_as_much_memory_as_it_has_runs():
    size = 1 << 26
    tracemalloc.start()
    everything = Runs(np.array([0, size]))
    assert from_text(to_text(everything, (1, size)), (1, size)).count == size
    assert tracemalloc.get_traced_memory()[1] < size // 100
    tracemalloc.stop()
