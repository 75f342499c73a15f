"""What the network sees of a modality: its bands, scaled, or what they are around each pixel.

A pixel of a hyperspectral sensor is noisy, and its bands say much the same: what tells crops apart
lies far below the spread of single bands, and a network learns pixels by heart before it finds it.
So bands are averaged over neighbourhoods, which lowers the noise, and weighed against what differs
between pixels near each other, most of which are of one class: what varies within a field comes
down to one size, and what tells fields apart stands out. This is the minimum noise fraction of
Green et al. (1988), with differences of neighbours for noise; no label enters.

Letters: C bands, h, w rows and columns of a window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import eigh

from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.raster import Mask, Pixels
from m3amba_geo.geo.stats import BandStatistics, Spread, scene_statistics

_FLOOR = 0.01  # of the mean variance: a component of much less stays small
_CELL = 32  # side in pixels of the cells that components are estimated from
_MOST = 2048  # cells: two million pixels tell enough
_LIMIT = 10.0  # standard deviations of a component


@dataclass(frozen=True)
class Neighbourhood:
    """Components of the means over the pixels around each: `matrix @ (means - center)`.

    They are decorrelated, of variance 1 in the mean, and so are their differences between pixels
    near each other: the more a component varies, the less of that is between neighbours.

    Attributes:
        side: Rows and columns of the neighbourhood, odd.
        center: `(C,)` float64, mean of the means, in standard deviations of the bands.
        matrix: `(C, C)` float64, the component of most variance first.
    """

    side: int
    center: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def of(self, scaled: Pixels, valid: Mask) -> Pixels:
        """Returns `(C, h, w)` float32 of scaled bands, 0 where invalid.

        Only valid pixels are averaged; beyond the edges of the array nothing is.
        """
        means = means_around(scaled, valid, self.side)
        bands = means.reshape(len(means), -1)
        offset = (self.matrix @ self.center).astype(np.float32)
        found: Pixels = self.matrix.astype(np.float32) @ bands
        found -= offset[:, None]
        np.clip(found, -_LIMIT, _LIMIT, out=found)
        found = found.reshape(means.shape)
        found *= valid
        return found


@dataclass(frozen=True)
class Features:
    """What the network sees of one modality.

    Attributes:
        statistics: Scaling of the bands.
        neighbourhoods: What is made of the scaled bands; without any they are taken as they are,
            as in the published network.
    """

    statistics: BandStatistics
    neighbourhoods: tuple[Neighbourhood, ...] = ()

    @property
    def count(self) -> int:
        """Number of features."""
        return len(self.statistics.mean) * max(1, len(self.neighbourhoods))

    @property
    def sides(self) -> NDArray[np.int64]:
        """Side in pixels `(C',)` of the neighbourhood that each feature is of, 1 for a pixel."""
        sides = [n.side for n in self.neighbourhoods] or [1]
        return np.repeat(sides, len(self.statistics.mean))

    @property
    def reach(self) -> int:
        """How far beyond a pixel its features look, in pixels."""
        return max((n.side // 2 for n in self.neighbourhoods), default=0)

    def of(self, pixels: Pixels, valid: Mask) -> Pixels:
        """Returns `(C', h, w)` float32 of `(C, h, w)`, 0 where invalid."""
        scaled = self.statistics.scale(pixels, valid)
        if not self.neighbourhoods:
            return scaled
        return np.concatenate([n.of(scaled, valid) for n in self.neighbourhoods])


def means_around(scaled: Pixels, valid: Mask, side: int) -> Pixels:
    """Returns the means `(C, h, w)` of valid pixels around each; `scaled` is 0 where invalid."""
    size = (side, side)
    share = ndimage.uniform_filter(valid.astype(np.float32), size, mode="constant")
    means = ndimage.uniform_filter(scaled, size, mode="constant", axes=(1, 2))
    # A share is a multiple of 1 / side² but for rounding.
    found: Pixels = np.divide(means, share, out=np.zeros_like(means), where=share > 0.5 / side**2)
    return found


def read_features(
    stack: Stack, features: Sequence[Features], top: int, left: int, height: int, width: int
) -> tuple[list[Pixels], list[Mask]]:
    """Returns features `(C'_n, h, w)` and validity `(h, w)` of each modality in a window.

    They do not depend on the window that they are read in: it is read with a margin.
    """
    margin = max(f.reach for f in features)
    pixels, valid = stack.read(top - margin, left - margin, height + 2 * margin, width + 2 * margin)
    inner = (slice(margin, margin + height), slice(margin, margin + width))
    found = [
        f.of(p, v)[(slice(None), *inner)] for f, p, v in zip(features, pixels, valid, strict=True)
    ]
    return found, [v[inner] for v in valid]


def scene_features(
    stacks: Sequence[Stack], chosen: Sequence[Positions], sides: Sequence[int]
) -> list[Features]:
    """Returns the features of each modality: scaling by chosen pixels, components around them.

    Components need more pixels than there may be labels, and no classes: they are those of all
    pixels in cells with training pixels. Streams over these, so that memory does not grow with the
    scene.

    Args:
        stacks: The scenes.
        chosen: For each scene the training pixels, as positions in its flattened grid.
        sides: Of the neighbourhoods, odd; none takes the scaled bands as they are.

    Raises:
        AllNodataError: A modality has no valid pixel among those chosen.
    """
    scaling = scene_statistics(stacks, chosen)
    spreads = [[(Spread(len(s.mean)), Spread(len(s.mean))) for _ in sides] for s in scaling]
    if sides:
        for pixels, valid, wanted in _surroundings(stacks, chosen, max(sides) // 2):
            for n, statistics in enumerate(scaling):
                scaled, used = statistics.scale(pixels[n], valid[n]), wanted & valid[n]
                for (levels, contrasts), side in zip(spreads[n], sides, strict=True):
                    means = means_around(scaled, valid[n], side)
                    levels.add(means[:, used])
                    contrasts.add(_differences(means, used, side // 2 + 1))
    return [
        Features(
            statistics,
            tuple(_neighbourhood(side, *both) for side, both in zip(sides, own, strict=True)),
        )
        for statistics, own in zip(scaling, spreads, strict=True)
    ]


def joint_components(
    stacks: Sequence[Stack], chosen: Sequence[Positions], features: Sequence[Features]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns what makes components of all modalities together from those of each.

    They are `matrix @ (features - center)`, with features and components `(C,)` of all modalities;
    those of one neighbourhood come from the same neighbourhood, where every modality is valid.

    Args:
        stacks: The scenes.
        chosen: For each scene the training pixels, as positions in its flattened grid.
        features: Of each modality, on the same neighbourhoods.
    """
    sides = np.concatenate([f.sides for f in features])
    places = {side: np.flatnonzero(sides == side) for side in np.unique(sides).tolist()}
    spreads = {side: (Spread(len(at)), Spread(len(at))) for side, at in places.items()}
    for scene, top, left in _cells(stacks, chosen):
        found, valid = read_features(stacks[scene], features, top, left, _CELL, _CELL)
        together, used = np.concatenate(found), np.all(valid, axis=0)
        for side, (levels, contrasts) in spreads.items():
            means = together[places[side]]
            levels.add(means[:, used])
            contrasts.add(_differences(means, used, side // 2 + 1))
    center, matrix = np.zeros(len(sides)), np.zeros((len(sides), len(sides)))
    for side, at in places.items():
        own = _neighbourhood(side, *spreads[side])
        center[at], matrix[np.ix_(at, at)] = own.center, own.matrix
    return center, matrix


def _surroundings(
    stacks: Sequence[Stack], chosen: Sequence[Positions], margin: int
) -> Iterator[tuple[list[Pixels], list[Mask], Mask]]:
    """Yields pixels, validity and which pixels count, of cells with training pixels in them.

    A margin around each cell does not count, so that what counts has its whole neighbourhood.
    """
    inner = np.pad(np.ones((_CELL, _CELL), np.bool_), margin)
    side = _CELL + 2 * margin
    for scene, top, left in _cells(stacks, chosen):
        yield *stacks[scene].read(top - margin, left - margin, side, side), inner


def _cells(stacks: Sequence[Stack], chosen: Sequence[Positions]) -> list[list[int]]:
    """Returns scene, top and left pixel of the cells that chosen pixels lie in, or of some."""
    found = []
    for scene, (stack, pixels) in enumerate(zip(stacks, chosen, strict=True)):
        rows, columns = np.divmod(pixels, stack.grid.shape[1])
        corners = np.stack([rows // _CELL, columns // _CELL], 1) * _CELL
        found.append(np.insert(np.unique(corners, axis=0), 0, scene, axis=1))
    cells = np.concatenate(found)
    if len(cells) > _MOST:
        cells = np.random.default_rng(0).permutation(cells)[:_MOST]
        cells = cells[np.lexsort(cells.T[::-1])]  # files are read from their beginning to their end
    places: list[list[int]] = cells.tolist()
    return places


def _differences(means: Pixels, used: Mask, lag: int) -> Pixels:
    """Returns differences `(C, n)` of means `(C, h, w)` between used pixels so far apart.

    It is the smaller half of them: the others may lie across a border between classes.
    """
    found = []
    for axis in (0, 1):
        first, second = ([slice(None)] * 2 for _ in range(2))
        first[axis], second[axis] = slice(None, -lag), slice(lag, None)
        both = used[tuple(first)] & used[tuple(second)]
        pair = (means[(slice(None), *part)][:, both] for part in (first, second))
        found.append(np.subtract(*pair))
    differences = np.concatenate(found, axis=1)
    sizes = np.square(differences).sum(axis=0)
    order = np.argsort(sizes, kind="stable")
    kept: Pixels = differences[:, order[: (len(order) + 1) // 2]]
    return kept


def _neighbourhood(side: int, levels: Spread, contrasts: Spread) -> Neighbourhood:
    center, covariance = levels.moments()
    # A scene narrower than the lag has no differences: its means are weighed against themselves.
    near = contrasts.moments()[1] if contrasts.count else covariance
    smallest = np.finfo(np.float32).eps
    floor = _FLOOR * max(near.trace() / len(near), smallest)
    # On these axes what differs between neighbours has variance 1; the most varied comes last.
    variances, axes = eigh(covariance, near + floor * np.eye(len(near)))
    matrix = axes.T[::-1] / np.sqrt(max(variances.mean(), smallest))
    matrix *= np.where(matrix.sum(axis=1) < 0, -1, 1)[:, None]  # either sign would do
    return Neighbourhood(side, center, matrix)
