"""Where a model has looked: the labelled pixels of its training, and their place.

The model file and every map made with it carry these, so that accuracy is never taken on pixels
that were used in training.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from m3amba_geo.geo.raster import Mask, same_place


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
        """Returns the grid."""
        return GeoBox(self.shape, Affine(*self.affine), self.crs)


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
    doubt goes against the score. Scenes elsewhere leave no trace.
    """
    used = np.zeros(grid.shape, np.bool_)
    for area in areas:
        if same_place(area.grid, grid):
            used |= area.used
        elif area.grid.crs is not None and grid.crs is not None:
            used |= _warped(area, grid, str(area.grid.crs.to_wkt()), str(grid.crs.to_wkt()))
    return used


def _warped(area: TrainingArea, grid: GeoBox, src_crs: str, dst_crs: str) -> Mask:
    warped, any_touch = np.zeros((2, *grid.shape), np.uint8)
    where = {
        "src_transform": area.grid.affine,
        "src_crs": src_crs,
        "dst_transform": grid.affine,
        "dst_crs": dst_crs,
    }
    source = area.used.astype(np.uint8)
    reproject(source, warped, resampling=Resampling.nearest, **where)
    reproject(source, any_touch, resampling=Resampling.max, **where)
    touched: Mask = (warped | any_touch) > 0
    return touched


def pack(mask: Mask) -> NDArray[np.uint8]:
    """Returns the mask with eight pixels a byte, `(ceil(H*W/8),)`."""
    return np.packbits(mask)


def unpack(bits: NDArray[np.uint8], shape: tuple[int, int]) -> Mask:
    """Returns the `(H, W)` mask of packed bits.

    Raises:
        ValueError: The number of bits does not fit the shape.
    """
    size = shape[0] * shape[1]
    if bits.size != -(-size // 8):
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
    size = -(-shape[0] * shape[1] // 8)
    try:
        # The bound keeps a forged sidecar from unpacking into all of memory.
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(f"the mask is damaged: {error}") from error
    return unpack(np.frombuffer(raw, np.uint8), shape)
