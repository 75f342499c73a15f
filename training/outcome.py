"""What a method returns."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Outcome:
    """Classes of the test pixels, and how they came about.

    Attributes:
        predicted: `(n,)` uint16 codes of the test pixels, row by row.
        details: Chosen settings, steps and the like, as JSON can hold them.
        timed: Whether all of it was done in one go, so that its time tells something.
    """

    predicted: NDArray[np.uint16]
    details: dict[str, Any] = field(default_factory=dict)
    timed: bool = True
