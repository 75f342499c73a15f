"""What pixels need to be mapped, and the codes of what they have."""

from itertools import product

import numpy as np
import pytest

from m3amba_geo.geo.coverage import COMPLETE, ENOUGH, Coverage


def subsets(count):
    """Every way in which modalities may be valid, a pixel each."""
    return [np.array(row)[None] for row in zip(*product([False, True], repeat=count), strict=True)]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_with_little_dropout_all_are_needed(count):
    coverage = Coverage.of([f"m{n}" for n in range(count)], ENOUGH - 0.01)
    used = coverage.used(subsets(count))
    assert used.dtype == np.uint8
    assert used[0].tolist() == [0] * (2**count - 1) + [COMPLETE]
    assert [entry.code for entry in coverage.legend()] == [COMPLETE]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_with_dropout_one_is_enough_and_every_subset_has_a_code(count):
    names = [f"m{n}" for n in range(count)]
    coverage = Coverage.of(names, ENOUGH)
    valid = subsets(count)
    used = coverage.used(valid)[0]
    assert used.dtype == np.uint8
    assert used[0] == 0
    assert used[-1] == COMPLETE
    assert sorted(used) == [*range(2**count)]
    by_code = {entry.code: entry.name for entry in coverage.legend()}
    for pixel in range(1, 2**count):
        there = [name for name, where in zip(names, valid, strict=True) if where[0, pixel]]
        assert by_code[used[pixel]] == ", ".join(there)
    assert len({entry.color for entry in coverage.legend()}) == 2**count - 1


def test_one_modality_can_t_be_missing_and_of_many_none():
    assert not Coverage.of(["a"], 0.5).fewer
    assert Coverage.of("abcdefgh", 0.5).fewer
    assert not Coverage.of("abcdefghi", 0.5).fewer


def test_a_single_pixel_is_a_position():
    """As labelled pixels are read: `(n,)`, not `(h, w)`."""
    coverage = Coverage.of(["a", "b"], ENOUGH)
    valid = [np.array([True, False, True, False]), np.array([True, True, False, False])]
    assert coverage.used(valid).tolist() == [1, 2, 3, 0]
