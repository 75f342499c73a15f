"""Where a model has looked: the labelled pixels of its training, and their place.

The model file and every map made with it carry these, so that accuracy is never taken on pixels
that were used in training.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError

from m3amba_geo.geo.footprint import carry, in_degrees, middle, turned
from m3amba_geo.geo.marks import Positions, boxes_around
from m3amba_geo.geo.raster import SAME_PLACE, same_place
from m3amba_geo.geo.runs import Runs

_FEW = 1 << 18  # training pixels at a time, for the sake of memory
_BLOCK = 1024  # pixels; sides of what is looked at together


@dataclass(frozen=True)
class GridRecord:
    """A grid as JSON can hold it: WKT or None, the six affine coefficients, `(H, W)`."""

    crs: str | None
    affine: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]

    @staticmethod
    def of(grid: GeoBox) -> "GridRecord":
        """Returns the record of a grid."""
        a = grid.affine
        wkt = None if grid.crs is None else str(grid.crs.to_wkt())
        return GridRecord(wkt, (a.a, a.b, a.c, a.d, a.e, a.f), (grid.shape[0], grid.shape[1]))

    def grid(self) -> GeoBox:
        """Returns the grid.

        Raises:
            ValueError: There is no such grid.
        """
        affine = Affine(*self.affine)
        if min(self.shape) < 1 or not 0 < abs(affine.determinant) < math.inf:
            raise ValueError(f"{self.shape} pixels with {self.affine} are no grid.")
        try:
            return GeoBox(self.shape, affine, self.crs)
        except ProjError as error:
            raise ValueError(f"{self.crs!r:.80} is no CRS.") from error


@dataclass(frozen=True)
class TrainingArea:
    """Labelled pixels of one scene: those of training and those of validation."""

    grid: GeoBox
    train: Runs
    validation: Runs

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its grid."""
        return self.grid.shape[0], self.grid.shape[1]


def leaves_trace(areas: Sequence[TrainingArea], grid: GeoBox) -> bool:
    """Whether any training pixel reaches a grid; see `reached`."""
    return any(boxes.size for area in areas for boxes in _boxes_on(area, grid))


def reached(
    areas: Sequence[TrainingArea], grid: GeoBox, pixels: Positions, margin: int = 0
) -> NDArray[np.bool_]:
    """Says which pixels of `grid` any training pixel falls into, or comes so near (Chebyshev).

    On another grid a pixel counts as used where any part of a training pixel reaches it, so that
    doubt goes against the score; grids without a CRS are taken to share their numbers with others.
    Scenes elsewhere leave no trace.

    Args:
        areas: Where training was.
        grid: Where the pixels lie.
        pixels: Which are asked for (N,), ascending.
        margin: Pixels that may lie between, and count all the same; those on the grid.

    Returns:
        Which of them are used (N,).
    """
    found = np.zeros(pixels.size, np.bool_)
    height, width = grid.shape
    for area in areas:
        for boxes in filter(np.size, _boxes_on(area, grid)):
            grown = boxes + np.array([[-margin], [-margin], [margin], [margin]])
            rows = max(int(grown[1].min()), 0), min(int(grown[3].max()), height)
            first, last = np.searchsorted(pixels, [row * width for row in rows])
            found[first:last] |= _covered(grown, (height, width), pixels[first:last])
    return found


def _covered(
    boxes: NDArray[np.int64], shape: tuple[int, int], pixels: Positions
) -> NDArray[np.bool_]:
    """Says which pixels (N,) lie in any of the boxes (4, n), block by block."""
    covered = np.zeros(pixels.size, np.bool_)
    for *_, here in boxes_around(shape, pixels, _BLOCK, _BLOCK):
        rows, columns = np.divmod(pixels[here], shape[1])
        start = np.array([columns.min(), rows.min()] * 2)[:, None]
        width, height = int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
        limits = np.array([width, height] * 2)[:, None]
        near = boxes - start
        near = near[:, ((near[:2] < limits[:2]) & (near[2:] > 0)).all(axis=0)]
        if not near.size:
            continue
        left, top, right, bottom = np.clip(near, 0, limits)
        edges = np.zeros((height + 1, width + 1), np.int32)  # +1 and -1 at the boxes' corners
        for y, x, sign in (
            (top, left, 1),
            (top, right, -1),
            (bottom, left, -1),
            (bottom, right, 1),
        ):
            np.add.at(edges, (y, x), sign)
        np.cumsum(edges, axis=0, out=edges)
        np.cumsum(edges, axis=1, out=edges)
        covered[here] = edges[rows - rows.min(), columns - columns.min()] > 0
    return covered


def _boxes_on(area: TrainingArea, grid: GeoBox) -> Iterator[NDArray[np.int64]]:
    """Yields `left, top, right, bottom` of the boxes around training pixels on a grid, (4, n)."""
    same = same_place(area.grid, grid)
    for runs in (area.train, area.validation):
        for pixels in runs.parts(_FEW):
            rows, columns = np.divmod(pixels, area.shape[1])
            if same:
                yield np.stack([columns, rows, columns + 1, rows + 1])
            else:
                boxes = _boxes(rows, columns, area.grid, grid)
                yield boxes[:, (boxes[:2] < boxes[2:]).all(axis=0)]


def _boxes(
    rows: NDArray[np.int64], columns: NDArray[np.int64], source: GeoBox, target: GeoBox
) -> NDArray[np.int64]:
    """Returns `left, top, right, bottom` of pixels on another grid, each `(n,)`, end exclusive.

    What can't be moved, or lies outside, has no extent.
    """
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    x, y = source.pix2wld((columns + corners[:, 1:]).ravel(), (rows + corners[:, :1]).ravel())
    x, y = carry(x, y, source, target)
    x, y = x.reshape(4, -1), y.reshape(4, -1)
    if in_degrees(target):  # the corners of a pixel stay together
        x = turned(x, turned(x[0], middle(target)))
    x, y = target.wld2pix(x, y)  # (4, n)
    lost = ~(np.isfinite(x) & np.isfinite(y)).all(axis=0)
    x[:, lost] = y[:, lost] = -1
    starts = [np.floor(axis.min(axis=0) + SAME_PLACE) for axis in (x, y)]
    ends = [np.ceil(axis.max(axis=0) - SAME_PLACE) for axis in (x, y)]
    height, width = target.shape
    limits = ((width,), (height,)) * 2
    boxes: NDArray[np.int64] = np.clip(np.stack([*starts, *ends]), 0, limits).astype(np.int64)
    return boxes
