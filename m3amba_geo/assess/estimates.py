"""What a probability sample says of a whole map: its accuracy and the areas of classes.

The strata are the classes of the map. That is the estimator of samples drawn by map class, and the
post-stratified one of samples drawn from all of the map, simple random or systematic. A sample
pixel stands for as much of the map as others of its map class; without that weight, classes that
were sampled more densely would count for more.

Below, `W_h` is the share of map class h in the mapped area, `N_h` the number of its pixels, `n_h`
that of its sample pixels, `p_hj` the share of these that are of reference class j, and
`v_hj = W_h^2 (1 - n_h / N_h) p_hj (1 - p_hj) / (n_h - 1)`.

Sources: Olofsson et al., "Good practices for estimating area and assessing accuracy of land
change", Remote Sensing of Environment 148 (2014) 42-57, equations 4 to 11, with the correction for
finite populations. Intervals are Wilson's, with the number of pixels that would have such an error
in a simple random sample: Franco et al., "Comparative study of confidence intervals for proportions
in complex sample surveys", Journal of Survey Statistics and Methodology 7 (2019) 334-364.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.errors import SampleError
from m3amba_geo.geo.legend import Legend

Floats = NDArray[np.float64]
Unit = Literal["m2", "pixels"]

Z = 1.959963984540054  # of the normal distribution: 95 % lie within
_LEAST = 2  # sample pixels that a variance takes
_FEW = 20  # below, that is hardly known
_NEGLIGIBLE = 0.01  # of the map, may be left out for want of sample pixels
_LARGE = 1e11  # m² from which on areas are shown in km²


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
        alike: Pixels of a simple random sample that would tell it as well.
    """

    value: float
    error: float
    alike: float

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval of 95 %, in 0..1 (Wilson)."""
        z2 = Z**2 / self.alike
        middle = self.value + z2 / 2
        half = Z * math.sqrt(self.value * (1 - self.value) / self.alike + z2 / self.alike / 4)
        return max((middle - half) / (1 + z2), 0.0), min((middle + half) / (1 + z2), 1.0)


@dataclass(frozen=True, eq=False)
class Estimates:
    """Accuracy and areas of a whole map, as estimated from a probability sample.

    Attributes:
        legend: The classes, in the order of all that follows.
        mapped: `(Q,)` float64 area of each class in the map.
        total: Area that all estimates are of.
        unit: Of these areas.
        overall: Overall accuracy.
        users: User's accuracy of each class; None for those that the map lacks.
        producers: Producer's accuracy of each class; None for those that the sample lacks.
        shares: Share of each reference class in the total.
        notes: What a reader must know before believing them.
    """

    legend: Legend
    mapped: Floats
    total: float
    unit: Unit
    overall: Estimate
    users: tuple[Estimate | None, ...]
    producers: tuple[Estimate | None, ...]
    shares: tuple[Estimate, ...]
    notes: tuple[str, ...]

    @property
    def scale(self) -> Scale:
        """How its areas are shown best."""
        if self.unit == "pixels":
            return Scale("pixels", 1, 0)
        if self.total < _LARGE:
            return Scale("ha", 1e4, 0 if self.total > _LARGE / 1e3 else 1)
        return Scale("km²", 1e6, 0)


def estimate(sample: Accuracy, pixels: NDArray[np.int64], mapped: Floats, unit: Unit) -> Estimates:
    """Estimates accuracy and areas of a map.

    Args:
        sample: Confusion matrix of the sample pixels.
        pixels: `(Q,)` pixels of each class of its legend in the map.
        mapped: `(Q,)` their area.
        unit: Of the areas.

    Raises:
        SampleError: Classes of the map have too few sample pixels.
    """
    n = sample.mapped
    strata, notes = _strata(sample, pixels, mapped)
    total = float(mapped[strata].sum())
    weights = np.where(strata, mapped, 0) / total
    n = np.where(strata, n, 1)  # whatever, where the weight is 0
    unseen = np.where(strata, 1 - n / np.maximum(pixels, n), 0)
    p = sample.matrix.T / n[:, None]  # (h, j)
    q = np.where((p == 0) | (p == 1), (sample.matrix.T + 0.5) / (n[:, None] + 1), p)
    shares, right = weights @ p, weights * np.diagonal(p)
    found = _over(right, shares)
    scale = (weights**2 * unseen / np.maximum(n - 1, 1))[:, None]

    def variances(p: Floats) -> tuple[Floats, ...]:
        """Returns those of overall accuracy, user's and producer's accuracies, and shares."""
        v = scale * p * (1 - p)
        own, all_ = np.diagonal(v), v.sum(axis=0)
        missed = (1 - found) ** 2 * own + found**2 * (all_ - own)
        return own.sum(keepdims=True), _over(own, weights**2), _over(missed, shares**2), all_

    # Where all sample pixels of a map class agree, they tell of no variance, however few they are.
    # Intervals must not believe that: they take half a pixel more for the one and the other.
    exact, careful = variances(p), variances(q)
    each = weights**2 * unseen / n
    alone = (
        np.full(1, 1 / each.sum() if each.any() else math.inf),
        _over(n.astype(float), unseen, math.inf),
        _over(shares**2, _over(weights, n.astype(float)) ** 2 * unseen @ sample.matrix.T, math.inf),
        np.full(len(n), 1 / each.sum() if each.any() else math.inf),
    )
    values = (right.sum(keepdims=True), np.diagonal(p), found, shares)
    told = [_estimates(*rows) for rows in zip(values, exact, careful, alone, strict=True)]
    overall, users, producers, areas = told
    return Estimates(
        sample.legend,
        mapped,
        total,
        unit,
        overall[0],
        tuple(e if there else None for e, there in zip(users, strata, strict=True)),
        tuple(e if there else None for e, there in zip(producers, shares > 0, strict=True)),
        tuple(areas),
        tuple(notes),
    )


def _strata(
    sample: Accuracy, pixels: NDArray[np.int64], mapped: Floats
) -> tuple[NDArray[np.bool_], list[str]]:
    """Returns which map classes can be told of (Q,), and what is to be noted of the others.

    Raises:
        SampleError: Too much of the map would be left out.
    """
    n = sample.mapped
    there = (pixels > 0) & (mapped > 0)
    poor = there & (n < np.minimum(_LEAST, pixels))
    few = there & ~poor & (n < np.minimum(_FEW, pixels))
    left_out = float(mapped[poor].sum() / mapped[there].sum()) if there.any() else 1.0
    names = [f"{cover.name} ({count})" for cover, count in zip(sample.legend, n, strict=True)]
    poor_names, few_names = (
        ", ".join(name for name, chosen in zip(names, mask, strict=True) if chosen)
        for mask in (poor, few)
    )
    if left_out > _NEGLIGIBLE:
        raise SampleError(
            f"{left_out:.1%} of the map have classes with fewer than {_LEAST} sample pixels: "
            f"{poor_names or 'there are none'}. Nothing can be said of the whole.",
            "Draw a sample by map class, with 50 points or more in each (m3amba-geo sample), or "
            "leave out --probability-sample.",
        )
    notes = []
    if poor_names:
        notes.append(
            f"Map classes with fewer than {_LEAST} sample pixels are no part of the estimates, "
            f"{left_out:.2%} of the map: {poor_names}."
        )
    if few_names:
        notes.append(
            f"Map classes with few sample pixels: {few_names}. 50 a class or more are usual."
        )
    return there & ~poor, notes


def _over(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 0)


def _estimates(values: Floats, exact: Floats, careful: Floats, alone: Floats) -> list[Estimate]:
    """Puts values together with their variances, exact and careful ones.

    `alone` says how many pixels would tell as well where the value is 0 or 1 and has no variance.
    """
    spread = values * (1 - values)
    alike = np.where(spread > 0, _over(spread, careful, math.inf), alone)
    rows = zip(values.tolist(), np.sqrt(exact).tolist(), alike.tolist(), strict=True)
    return [Estimate(*row) for row in rows]
