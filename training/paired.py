"""Mean, spread, and differences of two methods on the same cases."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another on the same pixels, in shares of 1.

    Attributes:
        mean: Mean difference.
        error: Its standard error; None from one pair.
        low: Lower end of the 95 % interval; None from one pair.
        high: Upper end.
        pairs: Number of cases.
    """

    mean: float
    error: float | None
    low: float | None
    high: float | None
    pairs: int

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return asdict(self)


def difference(ours: Sequence[float], others: Sequence[float], overlap: float) -> Difference:
    """Compares two methods, case by case.

    Training sets of repeated partings overlap, so the usual standard error is too small. The
    corrected resampled t-test puts `1/n + n_test/n_train` in the place of `1/n` (C. Nadeau and
    Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003) 239-281). Where
    all cases share one parting, the interval speaks of the seeds alone, and nothing is corrected.

    Args:
        ours: Accuracy of one method in each case.
        others: Of the other, in the same order.
        overlap: `n_test / n_train` of repeated partings; 0 where there is one parting.
    """
    d = np.subtract(ours, others)
    n = len(d)
    mean = float(d.mean())
    if n < 2:
        return Difference(mean, None, None, None, n)
    error = float(np.sqrt((1 / n + overlap) * d.var(ddof=1)))
    reach = float(student.ppf(0.975, n - 1)) * error
    return Difference(mean, error, mean - reach, mean + reach, n)


def spread(values: Sequence[float]) -> float | None:
    """Returns the standard deviation; None of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
