"""A small sample of `python -m training.bench.corrupt`."""

import numpy as np
import pytest

pytest.importorskip(
    "resource",
    reason="each input is read in a forked child whose processor time is limited by setrlimit and "
    "whose memory is told by getrusage: Windows has none of these",
)
from corrupting import make_inputs, outcome

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["bundle", "raster", "vector"])
def test_damaged_inputs_end_in_a_coded_error_or_are_read(tmp_path, kind):
    inputs = make_inputs(tmp_path / "inputs")
    rng = np.random.default_rng(0)
    found = {outcome(inputs, kind, tmp_path / str(n), rng) for n in range(6)}
    assert found - {"read"}
