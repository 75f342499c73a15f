"""Features become pixels, and pixels become patches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy import sparse
from scipy.sparse.csgraph import connected_components
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
class VectorFeatures:
    """Features that are to be burned, their points already as pixels.

    Attributes:
        dimensions: Dimension of each feature (N,).
        points: Pixels that points fall in (K,), in the flattened grid.
        point_owners: Feature that each of them belongs to (K,), 0..N-1.
        shapes: Lines and polygons (M,), in the grid's coordinates.
        shape_owners: Feature that each of them belongs to (M,).
    """

    dimensions: NDArray[np.uint8]
    points: Positions
    point_owners: NDArray[np.int32]
    shapes: NDArray[np.object_]
    shape_owners: NDArray[np.int32]

    @property
    def count(self) -> int:
        """The number of features."""
        return len(self.dimensions)

    @property
    def lost(self) -> int:
        """The number of points on the far edges of the grid, which no pixel holds."""
        points = np.flatnonzero(self.dimensions == POINT)
        return int((~np.isin(points, self.point_owners)).sum())

    @classmethod
    def of(cls, geometries: NDArray[np.object_], grid: GeoBox) -> Self:
        """Takes valid geometries (N,) in the grid's coordinates apart."""
        parts, owners = _simple_parts(geometries)
        points = shapely.get_dimensions(parts) == POINT
        pixels, inside = _pixels_of(parts[points], grid)
        dimensions = shapely.get_dimensions(geometries).astype(np.uint8)
        return cls(dimensions, pixels, owners[points][inside], parts[~points], owners[~points])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Puts features of several batches after each other."""
        firsts = np.cumsum([0, *(part.count for part in parts)], dtype=np.int32)
        joined = [
            (part.dimensions, part.points, part.point_owners + first, part.shapes,
             part.shape_owners + first)
            for part, first in zip(parts, firsts, strict=False)
        ]  # fmt: skip
        return cls(*map(np.concatenate, zip(*joined, strict=True)))


@dataclass(frozen=True, eq=False)
class Burned:
    """Features as pixels.

    Attributes:
        pixels: Pixels of one class (N,), ascending positions in the flattened grid.
        codes: Their classes (N,) uint16.
        groups: Which feature each of them belongs to (N,) uint32, from 1; those without a class
            are not counted.
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
    features: VectorFeatures, codes: NDArray[np.uint16], grid: GeoBox, all_touched: bool
) -> Burned:
    """Burns features, all their classes in two passes, strip by strip.

    Features are ranked by class and burned in both directions: a pixel then keeps its highest and
    its lowest rank, and more than one class claims it if and only if those two differ in class.

    Args:
        features: What is burned.
        codes: Their classes (N,); those of 0 are left out.
        grid: Where the pixels lie.
        all_touched: Whether polygons take all pixels they touch; else those whose centre they hold.
    """
    known = np.flatnonzero(codes)
    order = known[np.argsort(codes[known], kind="stable")]
    ranks = np.zeros(codes.size, np.uint32)
    ranks[order] = np.arange(1, order.size + 1)
    of_points, of_shapes = ranks[features.point_owners], ranks[features.shape_owners]
    known_points = of_points > 0
    points, of_points = features.points[known_points], of_points[known_points]
    by_rank = np.argsort(of_shapes, kind="stable")[np.count_nonzero(of_shapes == 0) :]
    shapes, of_shapes = features.shapes[by_rank], of_shapes[by_rank]
    found = [_Claims.merged([_Claims(points, of_points, of_points)])]
    found += _claims_of_shapes(shapes, of_shapes, grid, all_touched)
    claims = _Claims.merged(found)
    ranked_codes = np.concatenate([[0], codes[order]]).astype(np.uint16)
    labels = ranked_codes[claims.highest]
    agree = labels == ranked_codes[claims.lowest]
    seen = np.zeros(len(order) + 1, np.bool_)
    seen[claims.highest] = seen[claims.lowest] = True
    numbers = np.cumsum(codes > 0, dtype=np.uint32)[order]
    return Burned(
        claims.pixels[agree],
        labels[agree],
        numbers[claims.highest[agree].astype(np.int64) - 1],
        int((~agree).sum()),
        int(((features.dimensions[order] == POLYGON) & ~seen[1:]).sum()),
    )


def _pixels_of(points: NDArray[np.object_], grid: GeoBox) -> tuple[Positions, NDArray[np.bool_]]:
    """Finds the pixels that points (N,) fall in, as GDAL would, and which lie on the grid (N,)."""
    x, y = shapely.get_x(points), shapely.get_y(points)
    a, b, c, d, e, f = (~grid.affine)[:6]
    columns, rows = np.floor(a * x + b * y + c), np.floor(d * x + e * y + f)
    height, width = grid.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return (rows[inside] * width + columns[inside]).astype(np.int64), inside


def _claims_of_shapes(
    shapes: NDArray[np.object_], ranks: NDArray[np.uint32], grid: GeoBox, all_touched: bool
) -> Iterator[_Claims]:
    """Burns lines and polygons, by rank, into one strip of the grid after the other."""
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
) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Takes collections apart; returns their parts and the position of the owner."""
    owners = np.arange(len(geometries), dtype=np.int32)
    while (shapely.get_type_id(geometries) >= _FIRST_COLLECTION).any():
        geometries, index = shapely.get_parts(geometries, return_index=True)
        owners = owners[index]
    return geometries, owners


def patches(pixels: Positions, codes: NDArray[np.uint16], width: int) -> NDArray[np.uint32]:
    """Numbers connected patches (8 neighbours) of equal code from 1, class by class.

    Runs along rows are joined where they touch, so that no array of the grid is needed.

    Args:
        pixels: Which pixels have a code (N,), ascending.
        codes: Their codes (N,).
        width: Pixels of a row of the grid.

    Returns:
        Which patch each of them belongs to (N,).
    """
    starts = np.ones(pixels.size, np.bool_)
    starts[1:] = (np.diff(pixels) != 1) | (np.diff(codes) != 0) | (pixels[1:] % width == 0)
    run = np.cumsum(starts, dtype=np.int32) - 1
    count = int(starts.sum())
    found = [_touching(pixels, codes, run, width, n) for n in range(0, pixels.size, _STRIP)]
    above, below = np.concatenate([np.zeros((2, 0), np.int32), *found], axis=1)
    graph = sparse.coo_array((np.ones(above.size, np.bool_), (above, below)), (count, count))
    _, patch = connected_components(graph, directed=False)
    _, first = np.unique(patch, return_index=True)
    ranks = np.empty(first.size, np.uint32)
    ranks[np.lexsort((first, codes[starts][first]))] = np.arange(1, first.size + 1)
    groups: NDArray[np.uint32] = ranks[patch][run]
    return groups


def _touching(
    pixels: Positions, codes: NDArray[np.uint16], run: NDArray[np.int32], width: int, first: int
) -> NDArray[np.int32]:
    """Returns which runs of equal code touch in the row below (2, n), for some of the pixels."""
    part = slice(first, first + _STRIP)
    pairs = []
    for aside in (-1, 0, 1):
        column = pixels[part] % width + aside
        inside = (column >= 0) & (column < width)
        upper = first + np.flatnonzero(inside)
        wanted = pixels[upper] + width + aside
        lower = np.minimum(np.searchsorted(pixels, wanted), pixels.size - 1)
        same = (pixels[lower] == wanted) & (codes[lower] == codes[upper])
        pair = np.stack([run[upper[same]], run[lower[same]]])
        pairs.append(pair[:, np.diff(pair, prepend=-1).any(axis=0)])  # mostly of the same runs
    return np.concatenate(pairs, axis=1)
