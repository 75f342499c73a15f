"""Features become pixels, and pixels become patches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import mapping

from m3amba_geo.geo.footprint import outline
from m3amba_geo.geo.marks import Positions

POINT, LINE, POLYGON = 0, 1, 2  # dimensions
_STRIP = 1 << 22  # pixels that are burned at a time
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
        pixels: Pixels of one class (N,), ascending positions in the flattened grid.
        codes: Their classes (N,) uint16.
        groups: Which feature each of them belongs to (N,) uint32, from 1.
        overlapping: Pixels that features of different classes claim.
        without_pixel: Polygons that are to be found in no pixel.
    """

    pixels: Positions
    codes: NDArray[np.uint16]
    groups: NDArray[np.uint32]
    overlapping: int
    without_pixel: int


@dataclass(frozen=True, eq=False)
class _Claims:
    """Pixels (N,), ascending, with the highest and the lowest rank of the features on them."""

    pixels: Positions
    highest: NDArray[np.uint32]
    lowest: NDArray[np.uint32]

    @staticmethod
    def merged(parts: Sequence["_Claims"]) -> "_Claims":
        pixels = np.concatenate([part.pixels for part in parts])
        if not pixels.size:
            none = np.zeros(0, np.uint32)
            return _Claims(pixels, none, none)
        order = np.argsort(pixels, kind="stable")
        first = np.flatnonzero(np.diff(pixels[order], prepend=-1))
        highest = np.concatenate([part.highest for part in parts])[order]
        lowest = np.concatenate([part.lowest for part in parts])[order]
        return _Claims(
            pixels[order][first],
            np.maximum.reduceat(highest, first),
            np.minimum.reduceat(lowest, first),
        )


def burn(
    geometries: NDArray[np.object_], codes: NDArray[np.uint16], grid: GeoBox, all_touched: bool
) -> Burned:
    """Burns features, all their classes in two passes, strip by strip.

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
    points = shapely.get_dimensions(parts) == POINT
    found = [_claims_of_points(parts[points], ranks[points], grid)]
    found += _claims_of_shapes(parts[~points], ranks[~points], grid, all_touched)
    claims = _Claims.merged(found)
    ranked_codes = np.concatenate([[0], codes[order]]).astype(np.uint16)
    labels = ranked_codes[claims.highest]
    agree = labels == ranked_codes[claims.lowest]
    seen = np.zeros(len(order) + 1, np.bool_)
    seen[claims.highest] = seen[claims.lowest] = True
    is_polygon = shapely.get_dimensions(geometries[order]) == POLYGON
    return Burned(
        claims.pixels[agree],
        labels[agree],
        (order[claims.highest[agree].astype(np.int64) - 1] + 1).astype(np.uint32),
        int((~agree).sum()),
        int((is_polygon & ~seen[1:]).sum()),
    )


def _claims_of_points(
    points: NDArray[np.object_], ranks: NDArray[np.uint32], grid: GeoBox
) -> _Claims:
    """Finds the pixels that points fall in; as GDAL would, without an object for each point."""
    x, y = shapely.get_x(points), shapely.get_y(points)
    a, b, c, d, e, f = (~grid.affine)[:6]
    columns, rows = np.floor(a * x + b * y + c), np.floor(d * x + e * y + f)
    height, width = grid.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = (rows[inside] * width + columns[inside]).astype(np.int64)
    return _Claims.merged([_Claims(pixels, ranks[inside], ranks[inside])])


def _claims_of_shapes(
    shapes: NDArray[np.object_], ranks: NDArray[np.uint32], grid: GeoBox, all_touched: bool
) -> Iterator[_Claims]:
    """Burns lines and polygons into one strip of the grid after the other."""
    # Lines by all pixels they pass; GDAL takes one rule for a whole pass.
    touched = (shapely.get_dimensions(shapes) == LINE) | all_touched
    index = shapely.STRtree(shapes)
    height, width = grid.shape
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = GeoBox(
            (min(rows, height - top), width),
            grid.affine * Affine.translation(0, top),
            grid.crs,
        )
        near = np.sort(index.query(shapely.buffer(outline(strip), _margin(grid))))
        for rule in (False, True):
            chosen = near[touched[near] == rule]
            if chosen.size:
                yield _burnt(shapes[chosen], ranks[chosen], strip, rule, top * width)


def _margin(grid: GeoBox) -> float:
    """A pixel, in the grid's units."""
    return float(np.hypot(*grid.affine[:2]) + np.hypot(*grid.affine[3:5]))


def _burnt(
    shapes: NDArray[np.object_], ranks: NDArray[np.uint32], strip: GeoBox, rule: bool, start: int
) -> _Claims:
    pairs = [*zip(map(mapping, shapes), ranks.tolist(), strict=True)]
    up, down = (_rasterize(p, strip, rule).ravel() for p in (pairs, pairs[::-1]))
    pixels = np.flatnonzero(up)
    return _Claims(pixels + start, up[pixels], down[pixels])


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
