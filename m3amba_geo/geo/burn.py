"""Features become pixels, and pixels become patches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import mapping

LINE, POLYGON = 1, 2  # dimensions
_FIRST_COLLECTION = 4  # shapely's type ids from here on are collections of others


def make_valid(
    geometries: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Mends polygons that cross themselves.

    Returns:
        All geometries (N,), and which of them were mended (N,).
    """
    bad = (shapely.get_dimensions(geometries) == POLYGON) & ~shapely.is_valid(geometries)
    mended = geometries.copy()
    mended[bad] = shapely.make_valid(geometries[bad], method="structure", keep_collapsed=False)
    return mended, bad


@dataclass(frozen=True, eq=False)
class Burned:
    """Features as pixels.

    Attributes:
        codes: Class of each pixel (H,W) uint16; 0 = none, or more than one.
        groups: Which feature it belongs to (H,W) uint32, from 1; 0 where `codes` is.
        overlapping: Pixels that features of different classes claim.
        without_pixel: Polygons that are to be found in no pixel.
    """

    codes: NDArray[np.uint16]
    groups: NDArray[np.uint32]
    overlapping: int
    without_pixel: int


def burn(
    geometries: NDArray[np.object_], codes: NDArray[np.uint16], grid: GeoBox, all_touched: bool
) -> Burned:
    """Burns features, all their classes in two passes.

    Features are ranked by class and burned in both directions: a pixel then keeps its highest and
    its lowest rank, and more than one class claims it if and only if those two differ in class.

    Args:
        geometries: Valid ones (N,) in the grid's coordinates.
        codes: Their classes (N,).
        grid: Where the pixels lie.
        all_touched: Whether polygons take all pixels they touch; else those whose centre they hold.
    """
    order = np.argsort(codes, kind="stable")
    parts, ranks = _simple_parts(geometries[order])
    # Lines by all pixels they pass; GDAL takes one rule for a whole pass.
    touched = (shapely.get_dimensions(parts) == LINE) | all_touched
    highest = np.zeros((), dtype=np.uint32)  # 0 where nothing is burned
    lowest = ~highest  # less one: largest where nothing is burned
    for rule in (False, True):
        chosen = touched == rule
        shapes = [*zip(map(mapping, parts[chosen]), ranks[chosen].tolist(), strict=True)]
        if shapes:
            up, down = (_rasterize(s, grid, rule) for s in (shapes, shapes[::-1]))
            down -= 1
            # In place: rasters are large.
            highest = np.maximum(highest, up, out=up)
            lowest = np.minimum(lowest, down, out=down)
    highest, lowest = (np.broadcast_to(ranks, grid.shape) for ranks in (highest, lowest))
    pixels = np.flatnonzero(highest)
    top, bottom = highest.ravel()[pixels], lowest.ravel()[pixels] + 1
    ranked_codes = np.concatenate([[0], codes[order]]).astype(np.uint16)
    agree = ranked_codes[top] == ranked_codes[bottom]

    labels = np.zeros(grid.shape, dtype=np.uint16)
    groups = np.zeros(grid.shape, dtype=np.uint32)
    labels.ravel()[pixels[agree]] = ranked_codes[top[agree]]
    groups.ravel()[pixels[agree]] = order[top[agree] - 1] + 1
    seen = np.bincount(np.concatenate([top, bottom]), minlength=len(order) + 1)[1:] > 0
    is_polygon = shapely.get_dimensions(geometries[order]) == POLYGON
    return Burned(labels, groups, int((~agree).sum()), int((is_polygon & ~seen).sum()))


def _rasterize(
    shapes: list[tuple[dict[str, Any], int]], grid: GeoBox, all_touched: bool
) -> NDArray[np.uint32]:
    burned: NDArray[np.uint32] = rasterize(
        shapes,
        out_shape=grid.shape,
        transform=grid.affine,
        all_touched=all_touched,
        dtype=np.uint32,
    )
    return burned


def _simple_parts(
    geometries: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.uint32]]:
    """Takes collections apart; returns their parts and the position of the owner, from 1."""
    owners = np.arange(1, len(geometries) + 1, dtype=np.uint32)
    while (shapely.get_type_id(geometries) >= _FIRST_COLLECTION).any():
        geometries, index = shapely.get_parts(geometries, return_index=True)
        owners = owners[index]
    return geometries, owners


def patches(codes: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """Numbers the connected patches (8 neighbours) of equal code (H,W) from 1."""
    groups = np.zeros(codes.shape, dtype=np.uint32)
    last = 0
    # A box around each class first: a class seldom spreads over the whole raster.
    for code, box in enumerate(ndimage.find_objects(codes), start=1):
        if box is None:
            continue
        found, count = ndimage.label(codes[box] == code, structure=np.ones((3, 3)))
        inside = found > 0
        groups[box][inside] = found[inside] + last
        last += count
    return groups
