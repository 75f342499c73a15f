"""What a probability sample says of a whole map: its accuracy and the areas of classes.

The strata are the classes of the map. That is the estimator of samples drawn by map class, and the
post-stratified one of samples drawn from all of the map, simple random or systematic. A sample
pixel stands for as much of the map as others of its map class; without that weight, classes that
were sampled more densely would count for more.

Below, `W_h` is the share of map class h in the mapped area, `n_h` the number of its sample pixels,
`p_hj` the share of these that are of reference class j, and `v_hj = p_hj (1 - p_hj) / (n_h - 1)`.

Sources: Olofsson et al., "Good practices for estimating area and assessing accuracy of land
change", Remote Sensing of Environment 148 (2014) 42-57, equations 4 to 11. Intervals are Wilson's,
with the number of pixels that would have such an error in a simple random sample: Franco et al.,
"Comparative study of confidence intervals for proportions in complex sample surveys", Journal of
Survey Statistics and Methodology 7 (2019) 334-364. The usual value -+ 1.96 errors is too narrow
near 0 and 1, and has no width where no pixel is wrong.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.errors import SampleError
from m3amba_geo.geo.legend import Legend

Z = 1.959963984540054  # of the normal distribution: 95 % lie within
_LEAST = 2  # sample pixels that a variance takes
_LARGE = 1e11  # m² from which on areas are shown in km²
_FEW = 20  # below, that is hardly known

Unit = Literal["m2", "pixels"]


@dataclass(frozen=True)
class Scale:
    """How areas are shown: in units of `size` m² (or pixels), with `digits` after the point."""

    unit: str
    size: float
    digits: int


@dataclass(frozen=True)
class Estimate:
    """A share as a sample tells it.

    Attributes:
        value: The share, 0..1.
        error: Its standard error.
        drawn: Sample pixels that it is taken from.
    """

    value: float
    error: float
    drawn: int

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval of 95 %, in 0..1."""
        spread = self.value * (1 - self.value)
        alike = spread / self.error**2 if self.error > 0 and spread > 0 else self.drawn
        middle = (self.value + Z**2 / (2 * alike)) / (1 + Z**2 / alike)
        half = Z * math.sqrt(spread / alike + (Z / (2 * alike)) ** 2) / (1 + Z**2 / alike)
        return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True, eq=False)
class Estimates:
    """Accuracy and areas of a whole map, as estimated from a probability sample.

    Attributes:
        legend: The classes, in the order of all that follows.
        mapped: `(Q,)` float64 area of each class in the map.
        unit: Of these areas.
        overall: Overall accuracy.
        users: User's accuracy of each class; None for those that the map lacks.
        producers: Producer's accuracy of each class; None for those that the sample lacks.
        shares: Share of each reference class in the mapped area.
        notes: What a reader must know before believing the intervals.
    """

    legend: Legend
    mapped: NDArray[np.float64]
    unit: Unit
    overall: Estimate
    users: tuple[Estimate | None, ...]
    producers: tuple[Estimate | None, ...]
    shares: tuple[Estimate, ...]
    notes: tuple[str, ...]

    @property
    def total(self) -> float:
        """The mapped area."""
        return float(self.mapped.sum())

    @property
    def scale(self) -> Scale:
        """How its areas are shown best."""
        if self.unit == "pixels":
            return Scale("pixels", 1, 0)
        if self.total < _LARGE:
            return Scale("ha", 1e4, 0 if self.total > _LARGE / 1e3 else 1)
        return Scale("km²", 1e6, 0)


def estimate(sample: Accuracy, mapped: NDArray[np.float64], unit: Unit) -> Estimates:
    """Estimates accuracy and areas of a map.

    Args:
        sample: Confusion matrix of the sample pixels.
        mapped: `(Q,)` area of each class of its legend in the map.
        unit: Of these areas.

    Raises:
        SampleError: A class of the map has too few sample pixels.
    """
    names, counts = [cover.name for cover in sample.legend], sample.mapped
    strata = mapped > 0
    poor = strata & (counts < _LEAST)
    if poor.any():
        listed = ", ".join(
            f"{names[n]} ({counts[n]}, {mapped[n] / mapped.sum():.2%} of the map)"
            for n in np.flatnonzero(poor)[:5]
        )
        raise SampleError(
            f"Nothing can be said of the whole map: classes that it shows have fewer than {_LEAST} "
            f"sample pixels: {listed}{', ...' if poor.sum() > 5 else ''}.",
            "Draw a sample by map class, with 50 points or more in each, or leave out "
            "--probability-sample.",
        )
    weights = mapped / mapped.sum()
    drawn = np.where(strata, counts, _LEAST)  # whatever, where the weight is 0
    p = sample.matrix.T / drawn[:, None]  # (h, j)
    v = weights[:, None] ** 2 * p * (1 - p) / (drawn[:, None] - 1)  # weighted
    right, spread = np.diagonal(p), np.diagonal(v)
    shares, variances = weights @ p, v.sum(axis=0)
    there = shares > 0
    found = _over(weights * right, shares, there)
    missed = variances - spread  # of class j, what other map classes hold
    of_found = _over((1 - found) ** 2 * spread + found**2 * missed, shares**2, there)
    total = sample.pixels
    few = [f"{names[n]} ({counts[n]})" for n in np.flatnonzero(strata & (counts < _FEW))]
    note = f"Map classes with few sample pixels: {', '.join(few)}. 50 a class or more are usual."
    return Estimates(
        sample.legend,
        mapped,
        unit,
        Estimate(float(weights @ right), math.sqrt(spread.sum()), total),
        _estimates(right, _over(spread, weights**2, strata), counts, strata),
        _estimates(found, of_found, sample.reference, there),
        tuple(
            Estimate(share, math.sqrt(variance), total)
            for share, variance in zip(shares.tolist(), variances.tolist(), strict=True)
        ),
        (note,) if few else (),
    )


def _over(
    part: NDArray[np.float64], whole: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=known)


def _estimates(
    values: NDArray[np.float64],
    variances: NDArray[np.float64],
    drawn: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> tuple[Estimate | None, ...]:
    rows = zip(values.tolist(), variances.tolist(), drawn.tolist(), known, strict=True)
    return tuple(
        Estimate(value, math.sqrt(variance), number) if there else None
        for value, variance, number, there in rows
    )
