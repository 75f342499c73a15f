"""Values of some pixels of a grid, held without the others.

Labels cover a small part of a large raster: what is kept of them grows with the labelled pixels,
never with the raster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)
Positions = NDArray[np.int64]
"""Pixels as positions in the flattened grid (N,), ascending."""


@dataclass(frozen=True, eq=False)
class Marks(Generic[Value]):
    """Some pixels and their values.

    Attributes:
        shape: Height and width of the grid.
        pixels: Which pixels (N,).
        values: Their values (N,).
    """

    shape: tuple[int, int]
    pixels: Positions
    values: NDArray[Value]

    def window(self, top: int, left: int, height: int, width: int, fill: int) -> NDArray[Value]:
        """Returns a cut `(height, width)`, `fill` where there is no mark, or no grid."""
        cut = np.full((height, width), fill, self.values.dtype)
        low, high = max(left, 0), min(left + width, self.shape[1])
        rows = np.arange(max(top, 0), min(top + height, self.shape[0])) * self.shape[1]
        firsts, lasts = (np.searchsorted(self.pixels, rows + side) for side in (low, high))
        for row, first, last in zip(rows // self.shape[1] - top, firsts, lasts, strict=True):
            cut[row, self.pixels[first:last] % self.shape[1] - left] = self.values[first:last]
        return cut

    def places(self, rows: Positions, columns: Positions) -> Positions:
        """Returns where marked pixels stand in `pixels`."""
        found: Positions = np.searchsorted(self.pixels, rows * self.shape[1] + columns)
        return found

    def lines(self, top: int, height: int) -> tuple[Positions, Positions]:
        """Returns rows and columns of the marks within lines of the grid."""
        width = self.shape[1]
        first, last = np.searchsorted(self.pixels, [top * width, (top + height) * width])
        rows, columns = np.divmod(self.pixels[first:last], width)
        return rows, columns


def spread(shape: tuple[int, int], pixels: Positions, values: NDArray[Value]) -> NDArray[Value]:
    """Returns values as an array of the whole grid, 0 elsewhere: for small grids only."""
    dense = np.zeros(shape, values.dtype)
    dense.flat[pixels] = values
    return dense


def boxes_around(
    shape: tuple[int, int], pixels: Positions, height: int, width: int
) -> Iterator[tuple[int, int, int, int, Positions]]:
    """Yields `(top, left, height, width)` of boxes that hold all pixels, and which they hold.

    The boxes are parts of blocks of that size, each as wide as its pixels need.
    """
    rows, columns = np.divmod(pixels, shape[1])
    edges = np.searchsorted(rows, np.arange(0, shape[0] + height, height))
    for n, (first, last) in enumerate(pairwise(edges)):
        block = columns[first:last] // width
        top = n * height
        for number in np.unique(block):
            here: Positions = first + np.flatnonzero(block == number)
            left, right = int(columns[here].min()), int(columns[here].max()) + 1
            yield top, left, min(height, shape[0] - top), right - left, here


def inside(
    shape: tuple[int, int], pixels: Positions, top: int, left: int, height: int, width: int
) -> tuple[Positions, Positions, Positions]:
    """Returns which of the pixels (N,) lie in a window, and their rows and columns in it, (n,)."""
    first, last = np.searchsorted(pixels, [top * shape[1], (top + height) * shape[1]])
    rows, columns = np.divmod(pixels[first:last], shape[1])
    chosen = np.flatnonzero((columns >= left) & (columns < left + width))
    here: Positions = first + chosen
    return here, rows[chosen] - top, columns[chosen] - left
