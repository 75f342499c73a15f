"""How sure a network may be: its probabilities, tempered by what it got wrong elsewhere.

A network that knows its training pixels by heart may be near certain everywhere. One number, the
temperature, fitted on validation pixels, takes that back (C. Guo et al., "On calibration of modern
neural networks", ICML 2017): classes and their order stay as they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_HOTTEST = 20.0
_LEAST = 1e-12  # a probability below counts as this one


def tempered(shares: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Returns probabilities `p^(1/T)`, scaled to sum up to 1 again.

    Args:
        shares: `(Q, ...)` probabilities of the classes; where all are 0 they stay so.
        temperature: T; 1 leaves them as they are, more brings them nearer to each other.
    """
    if temperature == 1:
        return shares
    raised = shares ** (1 / temperature)
    total = raised.sum(axis=0)
    return np.divide(raised, total, out=np.zeros_like(raised), where=total > 0)


def fit_temperature(shares: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the temperature, 1 to 20, by which the true classes are likeliest.

    Never below 1: few validation pixels, all right, are no reason to be surer than the network.

    Args:
        shares: `(Q, n)` probabilities of n validation pixels.
        truth: `(n,)` their class index.
    """
    logs = np.log(np.maximum(shares, _LEAST))

    def surprise(inverse: float) -> float:
        scaled = inverse * logs
        true = np.take_along_axis(scaled, truth[None], axis=0)[0]
        return float((np.logaddexp.reduce(scaled, axis=0) - true).mean())

    # Convex in 1 / T, so that there is but one minimum.
    found = minimize_scalar(surprise, bounds=(1 / _HOTTEST, 1), method="bounded")
    inverse = 1.0 if surprise(1.0) <= found.fun else float(found.x)
    return round(1 / inverse, 3)
