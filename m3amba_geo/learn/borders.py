"""Pixels near borders of land cover, which labels seldom show.

Areas are drawn well inside a field, and what is learnt there from the mean over a neighbourhood
fails where that reaches across a border: on much of a map. Means are linear in the pixels, so what
they come to beside a straight border between two covers can be worked out from those inside of
both (the mixing of inputs is that of H. Zhang et al., "mixup", ICLR 2018; the label stays).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from m3amba_geo.geo.raster import Mask, Pixels


def near_borders(features: Pixels, sides: NDArray[np.int64], rng: np.random.Generator) -> Pixels:
    """Returns features `(n, C)` of the same pixels, each near a border drawn at random.

    Beyond the border lies what surrounds another of the pixels, which may be of the same class. It
    is up to one side of the largest neighbourhood away, so that about half of the pixels are
    farther from it than any neighbourhood reaches, and stay as they are.

    Args:
        features: `(n, C)`, taken for those of pixels amid their own kind.
        sides: `(C,)`, side in pixels of the neighbourhood that each feature is of, 1 for a pixel.
        rng: Draws borders and what lies beyond.
    """
    count = len(features)
    distance = rng.uniform(0.5, max(sides), (count, 1))  # from the middle of the pixel
    beyond = np.maximum(0, 0.5 - distance / sides).astype(np.float32)  # share of the neighbourhood
    other = features[rng.integers(count, size=count)]
    mixed: Pixels = features + beyond * (other - features)
    return mixed


def joined(first: Pixels, second: Pixels, sides: NDArray[np.int64], beyond: Mask) -> Pixels:
    """Returns features `(C, P, P)` of a patch whose pixels beyond a border are those of another.

    Args:
        first: `(C, P, P)`, features of the patch.
        second: `(C, P, P)`, features of the other.
        sides: `(C,)`, side in pixels of the neighbourhood that each feature is of.
        beyond: `(P, P)`, which pixels are of the second.
    """
    shares = {
        side: ndimage.uniform_filter(beyond.astype(np.float32), side, mode="nearest")
        for side in np.unique(sides).tolist()
    }
    share = np.stack([shares[side] for side in sides.tolist()])
    found: Pixels = first + share * (second - first)
    return found


def border(patch: int, rng: np.random.Generator) -> Mask:
    """Returns which pixels `(P, P)` of a patch lie beyond a straight border drawn at random."""
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35) * patch
    middle = np.arange(patch) - (patch - 1) / 2
    beyond: Mask = middle[:, None] * np.sin(angle) + middle * np.cos(angle) > offset
    return beyond
