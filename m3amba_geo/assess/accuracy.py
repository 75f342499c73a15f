"""Agreement of a map with reference labels, counted pixel by pixel.

Rows of every confusion matrix are the reference (truth), columns the map. A measure whose
denominator is 0 is undefined and None, never 0.

Sources: Congalton and Green, "Assessing the Accuracy of Remotely Sensed Data", 3rd ed. 2019,
chapter 5 (overall, user's and producer's accuracy, kappa); Cohen, "A coefficient of agreement for
nominal scales", Educational and Psychological Measurement 20 (1960) 37-46.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.errors import ClassMismatchError
from m3amba_geo.geo.legend import Legend

Shares = tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class Accuracy:
    """A confusion matrix and the measures taken from it; all shares lie in 0..1.

    Below, `n_ij` is the number of pixels of reference class i that the map gives class j, `n_i+` a
    row sum, `n_+j` a column sum, `n` the sum of all.

    Attributes:
        legend: The classes, in the order of rows and columns.
        matrix: `(Q, Q)` int64; rows are the reference, columns the map.
        unmapped: Reference pixels where the map has nodata; they are not in the matrix.
    """

    legend: Legend
    matrix: NDArray[np.int64]
    unmapped: int = 0

    @cached_property
    def pixels(self) -> int:
        """Pixels scored, `n`."""
        return int(self.matrix.sum())

    @cached_property
    def reference(self) -> NDArray[np.int64]:
        """`(Q,)` pixels of each class in the reference, `n_i+`."""
        return self.matrix.sum(axis=1)  # type: ignore[no-any-return]

    @cached_property
    def mapped(self) -> NDArray[np.int64]:
        """`(Q,)` pixels of each class in the map, `n_+j`."""
        return self.matrix.sum(axis=0)  # type: ignore[no-any-return]

    @cached_property
    def agreeing(self) -> NDArray[np.int64]:
        """`(Q,)` pixels of each class where reference and map agree, `n_ii`."""
        return np.diagonal(self.matrix)

    @cached_property
    def overall(self) -> float | None:
        """Overall accuracy, `sum(n_ii) / n` (Congalton and Green)."""
        return _ratio(int(self.agreeing.sum()), self.pixels)

    @cached_property
    def average(self) -> float | None:
        """Average accuracy: mean producer's accuracy of the classes present in the reference."""
        present = [share for share in self.producers if share is not None]
        return sum(present) / len(present) if present else None

    @cached_property
    def kappa(self) -> float | None:
        """Cohen's kappa, `(n sum(n_ii) - c) / (n^2 - c)` with `c = sum(n_i+ n_+i)` (Cohen 1960).

        Undefined where chance alone agrees everywhere: reference and map hold one and the same
        class. In Python's integers, which do not overflow.
        """
        chance = sum(r * m for r, m in zip(_ints(self.reference), _ints(self.mapped), strict=True))
        return _ratio(self.pixels * int(self.agreeing.sum()) - chance, self.pixels**2 - chance)

    @cached_property
    def producers(self) -> Shares:
        """Producer's accuracy `n_ii / n_i+` (recall); undefined where the reference has none."""
        return _ratios(self.agreeing, self.reference)

    @cached_property
    def users(self) -> Shares:
        """User's accuracy `n_jj / n_+j` (precision); undefined where the map has none."""
        return _ratios(self.agreeing, self.mapped)

    @cached_property
    def f1(self) -> Shares:
        """F1 `2 n_ii / (n_i+ + n_+i)`, the harmonic mean of user's and producer's accuracy.

        Undefined only for classes in neither: one that the map misses altogether, or holds though
        the reference has none, has 0.
        """
        return _ratios(2 * self.agreeing, self.reference + self.mapped)

    @cached_property
    def iou(self) -> Shares:
        """Intersection over union `n_ii / (n_i+ + n_+i - n_ii)` (Jaccard); undefined as F1 is."""
        return _ratios(self.agreeing, self.reference + self.mapped - self.agreeing)


def assess(truth: NDArray[np.uint16], predicted: NDArray[np.uint16], legend: Legend) -> Accuracy:
    """Compares a map with reference labels.

    Args:
        truth: `(n,)` codes of the legend.
        predicted: `(n,)` codes of the legend, or 0 where the map has nodata; those pixels are
            counted as unmapped and left out of the matrix.
        legend: All classes of reference and map.

    Raises:
        ValueError: Shapes differ.
        ClassMismatchError: A code is not in the legend.
    """
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise ValueError(f"Expected two arrays (n,), not {truth.shape} and {predicted.shape}.")
    mapped = predicted != 0
    rows = _positions(truth, legend, "reference")[mapped]
    columns = _positions(predicted[mapped], legend, "map")
    size = len(legend)
    # scikit-learn's confusion_matrix refuses empty input and is far slower on whole maps.
    cells = np.bincount(rows * size + columns, minlength=size * size)
    return Accuracy(legend, cells.reshape(size, size), int(np.count_nonzero(~mapped)))


def _positions(codes: NDArray[np.uint16], legend: Legend, whose: str) -> NDArray[np.int64]:
    """Returns the place of each code in the legend, `(n,)`."""
    table = np.full(2**16, -1, dtype=np.int64)
    table[[cover.code for cover in legend]] = np.arange(len(legend))
    positions: NDArray[np.int64] = table[codes]
    if positions.size and positions.min() < 0:
        strange = np.unique(codes[positions < 0])
        known = ", ".join(str(cover.code) for cover in legend)
        raise ClassMismatchError(
            f"The {whose} holds the class codes {', '.join(map(str, strange[:10]))}; "
            f"the legend has {known or 'none'}.",
            "Take labels and map of the same classes, or name the field that holds the codes.",
        )
    return positions


def _ints(counts: NDArray[np.int64]) -> list[int]:
    return [int(count) for count in counts]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _ratios(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> Shares:
    return tuple(_ratio(p, w) for p, w in zip(_ints(parts), _ints(wholes), strict=True))
