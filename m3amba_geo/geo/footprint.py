"""Where a grid lies, in its own coordinates and in those of labels, and whether the two meet."""

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from m3amba_geo.errors import CRSMissingError, NoLabelsError, NoOverlapError

Bounds = tuple[float, float, float, float]
"""`(left, bottom, right, top)`."""


def crs_of(grid: GeoBox) -> CRS | None:
    """Returns the grid's CRS as pyproj's."""
    return None if grid.crs is None else CRS.from_wkt(grid.crs.to_wkt())


def describe(crs: CRS | None, bounds: Bounds) -> str:
    """Says where something lies, for messages."""
    left, bottom, right, top = bounds
    return f"{name_of(crs)}, x {left:.8g} to {right:.8g}, y {bottom:.8g} to {top:.8g}"


def name_of(crs: CRS | None) -> str:
    """Returns `EPSG:...` where there is such a code, else the name."""
    if crs is None:
        return "no CRS"
    return crs.to_string() if crs.to_authority() else crs.name


def outline(grid: GeoBox) -> shapely.Polygon:
    """The edge of a grid in its own coordinates; a rotated grid's is no upright box."""
    height, width = grid.shape
    x, y = _to_world(grid, np.array([0, width, width, 0]), np.array([0, 0, height, height]))
    return shapely.Polygon(np.stack([x, y], axis=1))


def _to_world(
    grid: GeoBox, columns: NDArray[Any], rows: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moves pixel coordinates to the grid's; affine 2 and 3 each have their own way to write it."""
    a, b, c, d, e, f = grid.affine[:6]
    return a * columns + b * rows + c, d * columns + e * rows + f


def way(source: CRS | None, target: CRS | None) -> Transformer:
    """Returns what moves coordinates from one CRS to another.

    Between engineering CRSs of one name nothing moves; PROJ knows no way between any two of them.

    Raises:
        CRSMissingError: No way leads there.
    """
    both = [crs for crs in (source, target) if crs is not None and "Engineering" in crs.type_name]
    if len(both) == 2 and both[0].name == both[1].name:
        return Transformer.from_pipeline("+proj=noop")
    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise CRSMissingError(
            f"No transformation between {name_of(source)} and {name_of(target)} is known.",
            "One of the two CRSs is a mere name: assign the right one.",
        ) from error


def bounds_in(crs: CRS | None, grid: GeoBox) -> Bounds | None:
    """Bounds of the grid in another CRS, with a margin; None where they can't be told.

    Points inside are moved too, as the edge alone misses a pole in the middle.
    """
    height, width = grid.shape
    columns, rows = np.meshgrid(np.linspace(0, width, 33), np.linspace(0, height, 33))
    x, y = _to_world(grid, columns, rows)
    if crs is not None:
        x, y = way(crs_of(grid), crs).transform(x, y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    dx, dy = 0.05 * np.ptp(x), 0.05 * np.ptp(y)
    return float(x.min() - dx), float(y.min() - dy), float(x.max() + dx), float(y.max() + dy)


def reproject(
    geometries: NDArray[np.object_], crs: CRS | None, grid: GeoBox
) -> NDArray[np.object_]:
    """Moves vertices to the grid's CRS; empties what that CRS can't hold."""
    if crs is not None:
        move = way(crs, crs_of(grid)).transform
        geometries = shapely.transform(geometries, move, interleaved=False)
    finite = np.isfinite(shapely.bounds(geometries)).all(axis=1)
    return np.where(finite, geometries, shapely.Point())


def meet(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids overlap, as far as that can be told; without a CRS in their own numbers.

    Either is moved to the other's CRS: far from home, one of the two ways may lead nowhere.

    Raises:
        CRSMissingError: No way leads from one CRS to the other.
    """
    edge = outline(other)
    if one.crs is None or other.crs is None:
        return bool(shapely.intersects(outline(one), edge))
    there, back = outline_in(one, other), outline_in(other, one)
    return bool(shapely.intersects(there, edge) or shapely.intersects(back, outline(one)))


def outline_in(grid: GeoBox, target: GeoBox) -> shapely.Geometry:
    """The edge of a grid in another grid's CRS, empty where that can't hold it."""
    edge = outline(grid)  # straight edges bend on the way: more corners follow the bend
    dense = np.array([shapely.segmentize(edge, edge.length / 200)])
    moved: shapely.Geometry = reproject(dense, crs_of(grid), target)[0]
    return moved


def check_crs(path: Path, crs: CRS | None, grid: GeoBox) -> None:
    """Sees to it that labels (in `crs`) and grid can be related.

    Raises:
        CRSMissingError: One of the two has a CRS, the other none.
    """
    if (crs is None) == (grid.crs is None):
        return
    if crs is None:
        prj = " (a shapefile's is in its .prj)" if path.suffix.lower() == ".shp" else ""
        raise CRSMissingError(
            f"{path} has no CRS, the raster has {name_of(crs_of(grid))}.",
            f"Give the labels the CRS they were drawn in{prj}: in QGIS, Assign projection.",
        )
    raise CRSMissingError(
        f"{path} is in {name_of(crs)}, but the raster has no CRS.",
        "Give the raster its CRS (gdal_edit.py -a_srs), or draw labels in its pixel space, "
        "without a CRS.",
    )


def nothing_there(
    path: Path, bounds: Bounds, crs: CRS | None, grid: GeoBox, features: int
) -> NoOverlapError | NoLabelsError:
    """Makes the error for labels of which nothing lies on the grid."""
    if not features:
        return NoLabelsError(f"{path} holds no features.", "Draw some, or name another layer.")
    return NoOverlapError(
        f"{path} ({describe(crs, bounds)}) does not overlap the raster "
        f"({describe(crs_of(grid), outline(grid).bounds)}).",
        "Check that both show the same place and that their CRSs are stated rightly.",
    )
