"""Where a model has looked: the labelled pixels of its training, and their place.

The model file and every map made with it carry these, so that accuracy is never taken on pixels
that were used in training.
"""

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError

from m3amba_geo.geo.footprint import crs_of
from m3amba_geo.geo.raster import SAME_PLACE, Mask, same_place

_FEW = 1 << 18  # pixels moved at a time, for the sake of memory


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
    """Labelled pixels of one scene: `(H, W)` masks of training and of validation."""

    grid: GeoBox
    train: Mask
    validation: Mask

    @property
    def used(self) -> Mask:
        """Pixels that training has seen in either way, `(H, W)`."""
        return self.train | self.validation


def used_on(areas: Sequence[TrainingArea], grid: GeoBox) -> Mask:
    """Returns the pixels of `grid` that any training pixel falls into, `(H, W)`.

    On another grid a pixel counts as used where any part of a training pixel reaches it, so that
    doubt goes against the score; grids without a CRS are taken to share their numbers with others.
    Scenes elsewhere leave no trace.
    """
    used = np.zeros(grid.shape, np.bool_)
    for area in areas:
        used |= area.used if same_place(area.grid, grid) else _touched(area, grid)
    return used


def _touched(area: TrainingArea, grid: GeoBox) -> Mask:
    """Returns the pixels of `grid` that the boxes around training pixels meet, `(H, W)`."""
    height, width = grid.shape
    edges = np.zeros((height + 1, width + 1), np.int32)  # +1 and -1 at the boxes' corners
    rows, columns = np.nonzero(area.used)
    for first in range(0, rows.size, _FEW):
        some = slice(first, first + _FEW)
        left, top, right, bottom = _boxes(rows[some], columns[some], area.grid, grid)
        inside = (right > left) & (bottom > top)
        left, top, right, bottom = (side[inside] for side in (left, top, right, bottom))
        for y, x, sign in (
            (top, left, 1),
            (top, right, -1),
            (bottom, left, -1),
            (bottom, right, 1),
        ):
            np.add.at(edges, (y, x), sign)
    touched: Mask = edges.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    return touched


def _boxes(
    rows: NDArray[np.int64], columns: NDArray[np.int64], source: GeoBox, target: GeoBox
) -> NDArray[np.int64]:
    """Returns `left, top, right, bottom` of pixels on another grid, each `(n,)`, end exclusive.

    What can't be moved, or lies outside, has no extent.
    """
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    x, y = source.pix2wld((columns + corners[:, 1:]).ravel(), (rows + corners[:, :1]).ravel())
    if source.crs is not None and target.crs is not None:
        x, y = Transformer.from_crs(crs_of(source), crs_of(target), always_xy=True).transform(x, y)
    x, y = (axis.reshape(4, -1) for axis in target.wld2pix(x, y))  # (4, n)
    lost = ~(np.isfinite(x) & np.isfinite(y)).all(axis=0)
    x[:, lost] = y[:, lost] = -1
    starts = [np.floor(axis.min(axis=0) + SAME_PLACE) for axis in (x, y)]
    ends = [np.ceil(axis.max(axis=0) - SAME_PLACE) for axis in (x, y)]
    height, width = target.shape
    limits = ((width,), (height,)) * 2
    boxes: NDArray[np.int64] = np.clip(np.stack([*starts, *ends]), 0, limits).astype(np.int64)
    return boxes


def pack(mask: Mask) -> NDArray[np.uint8]:
    """Returns the mask with eight pixels a byte, `(ceil(H*W/8),)`."""
    return np.packbits(mask)


def unpack(bits: NDArray[np.uint8], shape: tuple[int, int]) -> Mask:
    """Returns the `(H, W)` mask of packed bits.

    Raises:
        ValueError: The number of bits does not fit the shape.
    """
    size = shape[0] * shape[1]
    if min(shape) < 1 or bits.size != -(-size // 8):
        raise ValueError(f"{bits.size} bytes can't be a mask of {shape[0]} x {shape[1]} pixels.")
    return np.unpackbits(bits, count=size).astype(np.bool_).reshape(shape)


def to_text(mask: Mask) -> str:
    """Returns the packed mask, compressed, as base64 for JSON."""
    return base64.b64encode(zlib.compress(pack(mask).tobytes(), 9)).decode("ascii")


def from_text(text: str, shape: tuple[int, int]) -> Mask:
    """Returns the mask of `to_text`.

    Raises:
        ValueError: The text is damaged or of another shape.
    """
    size = max(0, -(-shape[0] * shape[1] // 8))
    try:
        # The bound (0 would be none) keeps a forged sidecar from unpacking into all of memory.
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(f"the mask is damaged: {error}") from error
    return unpack(np.frombuffer(raw, np.uint8), shape)
