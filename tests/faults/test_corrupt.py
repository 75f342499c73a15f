"""A small sample of `python -m training.bench.corrupt`."""

import os

import numpy as np
import pytest
from corrupting import make_inputs, outcome

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the harness forks, which Windows can not"),
]


@pytest.mark.parametrize("kind", ["bundle", "raster", "vector"])
def test_damaged_inputs_end_in_a_coded_error_or_are_read(tmp_path, kind):
    inputs = make_inputs(tmp_path / "inputs")
    rng = np.random.default_rng(0)
    found = {outcome(inputs, kind, tmp_path / str(n), rng) for n in range(6)}
    assert found - {"read"}
