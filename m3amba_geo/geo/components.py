"""Three bands of any number: the first principal components of a modality's training pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.features import Features
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.stats import Spread, chosen_pixels

_IMAGE = 3  # bands of an image
_FLAT = 1e-6  # variance of scaled bands below which a component is rounding


@dataclass(frozen=True)
class Components:
    """From features to an image: `weights @ features + offset`.

    Attributes:
        weights: `(3, C)` float64.
        offset: `(3,)` float64.
    """

    weights: NDArray[np.float64]
    offset: NDArray[np.float64]


def principal_components(
    stacks: Sequence[Stack], chosen: Sequence[Positions], features: Sequence[Features]
) -> list[Components]:
    """Returns the first components of each modality over the valid pixels chosen in each scene.

    Each has mean 0 and deviation 1, and its largest weight is positive. Where there are fewer than
    three (one band makes one), they come again from the first: one band gives a grey image.
    Streams over strips, so that memory does not grow with the scene. Of means over
    neighbourhoods the first are components already, those of the smallest neighbourhoods.

    Args:
        stacks: The scenes.
        chosen: For each scene the training pixels, as positions in its flattened grid.
        features: What the network sees of each modality.
    """
    if all(f.neighbourhoods for f in features):
        return [_leading(f) for f in features]
    spreads = [Spread(len(f.statistics.mean)) for f in features]
    for values in chosen_pixels(stacks, chosen):
        for spread, own, part in zip(spreads, features, values, strict=True):
            everywhere = np.ones((1, part.shape[1]), np.bool_)
            spread.add(own.statistics.scale(part[:, None], everywhere)[:, 0])
    return [_components(spread) for spread in spreads]


def _leading(features: Features) -> Components:
    bands = len(features.statistics.mean)
    rows = np.resize(np.arange(min(bands, _IMAGE)), _IMAGE)
    return Components(np.eye(features.count)[rows], np.zeros(_IMAGE))


def _components(spread: Spread) -> Components:
    mean, covariance = spread.moments()
    variances, axes = np.linalg.eigh(covariance)
    largest = [n for n in range(len(mean))[::-1][:_IMAGE] if variances[n] > _FLAT]
    found = [_upright(axes[:, n]) / np.sqrt(variances[n]) for n in largest] or [0 * mean]
    weights = np.resize(np.stack(found), (_IMAGE, len(mean)))  # repeats rows
    return Components(weights, -weights @ mean)


def _upright(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns an axis or its opposite: whose largest weight, the first of equal ones, is > 0."""
    first = np.argmax(np.abs(axis).round(6))
    return axis if axis[first] > 0 else -axis
