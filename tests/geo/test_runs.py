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
from m3amba_geo.geo.runs import Runs, from_text, pack, to_text, unpack

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(masks, st.sampled_from([8, 64, 1 << 22]), st.integers(1, 50))
def test_masks_survive_turning_packing_and_text(mask, strip, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_module, "_STRIP", strip)
        runs = runs_of(mask)
        found = [
            runs,
            Runs.joined(mask.ravel()[n : n + strip] for n in range(0, mask.size, strip)),
            unpack(pack(runs, mask.shape), mask.shape),
            from_text(to_text(runs, mask.shape), mask.shape),
        ]
        assert all(np.array_equal(mask_of(one, mask.shape), mask) for one in found)
        assert np.array_equal(pack(runs, mask.shape), np.packbits(mask))
    assert runs.count == mask.sum()
    parts = [*runs.parts(most), np.zeros(0, int)]
    assert np.array_equal(np.concatenate(parts), np.flatnonzero(mask))
    assert max(map(len, parts)) <= most


def test_text_is_what_sidecars_of_earlier_versions_hold():
    mask = np.random.default_rng(0).random((300, 500)) < 0.1
    text = base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()
    assert np.array_equal(mask_of(from_text(text, mask.shape), mask.shape), mask)
    assert to_text(runs_of(mask), mask.shape) == text


@pytest.mark.parametrize("shape", [(0, 0), (-1, 8), (-1, -8), (3, -1), (4, 5), (10**6, 10**6)])
def test_another_shape_is_refused(shape):
    runs = runs_of(np.ones((3, 5), bool))
    with pytest.raises(ValueError, match="can't be a mask"):
        unpack(pack(runs, (3, 5)), shape)
    with pytest.raises(ValueError, match="can't be a mask"):
        from_text(to_text(runs, (3, 5)), shape)


@pytest.mark.parametrize("text", ["", "!", "ä", "AAAA", base64.b64encode(b"junk").decode()])
def test_damaged_text_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - base64 has its own words
        from_text(text, (3, 5))


@pytest.mark.parametrize("shape", [(8, 8), (-1, 8), (0, 8)])
def test_forged_text_does_not_fill_memory(shape):
    """A thousandth of what it unpacks to; only a strip of it is unpacked."""
    bomb = base64.b64encode(zlib.compress(bytes(100_000_000), 9)).decode()
    tracemalloc.start()
    with pytest.raises(ValueError, match="can't be a mask"):
        from_text(bomb, shape)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_mask_takes_as_much_memory_as_it_has_runs():
    size = 1 << 26
    tracemalloc.start()
    everything = Runs(np.array([0, size]))
    assert from_text(to_text(everything, (1, size)), (1, size)).count == size
    assert unpack(pack(everything, (1, size)), (1, size)).count == size
    assert tracemalloc.get_traced_memory()[1] < size
    tracemalloc.stop()
