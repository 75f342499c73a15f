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
_ROUNDING = 1e-12
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
    strata, notes = _strata(sample, pixels, mapped)
    total = float(mapped[strata].sum())
    weights = np.where(strata, mapped, 0) / total
    counts = sample.matrix.T  # (h, j)
    n = np.where(strata, sample.mapped, 1)[:, None]  # whatever, where the weight is 0
    unseen = 1 - n / np.maximum(pixels[:, None], n)
    scale = weights[:, None] ** 2 * unseen / np.maximum(n - 1, 1)
    p = counts / n
    # Where all sample pixels of a map class agree, they tell of no variance, however few they are.
    # Intervals must not believe that: they take half a pixel more for the one and the other.
    careful = np.where(((p == 0) | (p == 1)) & (unseen > 0), (counts + 0.5) / (n + 1), p)
    values, variances = _told(p, weights, scale)
    beside, wider = _told(careful, weights, scale)
    edge = np.minimum(values, 1 - values) < _ROUNDING
    spread = np.where(edge, beside * (1 - beside), values * (1 - values))
    alike = _over(spread, wider, math.inf)
    rows = zip(values.tolist(), np.sqrt(variances).tolist(), alike.tolist(), strict=True)
    overall, *others = (Estimate(*row) for row in rows)
    size = len(sample.legend)
    users, producers, shares = (others[i * size : (i + 1) * size] for i in range(3))
    return Estimates(
        sample.legend,
        mapped,
        total,
        unit,
        overall,
        tuple(each if there else None for each, there in zip(users, strata, strict=True)),
        tuple(e if s.value > 0 else None for e, s in zip(producers, shares, strict=True)),
        tuple(shares),
        tuple(notes),
    )


def _told(p: Floats, weights: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Returns overall, user's and producer's accuracies and shares, and variances (1 + 3 Q,).

    Args:
        p: `(Q, Q)` shares of reference classes (columns) in map classes (rows).
        weights: `(Q,)` of map classes.
        scale: `(Q, 1)` what p (1 - p) is multiplied by for its weighted variance.
    """
    right, shares = np.diagonal(p), weights @ p
    found = _over(weights * right, shares)
    v = scale * p * (1 - p)
    own, all_ = np.diagonal(v), v.sum(axis=0)
    missed = (1 - found) ** 2 * own + found**2 * (all_ - own)
    values = np.concatenate([[weights @ right], right, found, shares])
    variances = [[own.sum()], _over(own, weights**2), _over(missed, shares**2), all_]
    return np.clip(values, 0, 1), np.concatenate(variances)


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
