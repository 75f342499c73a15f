"""Where a grid lies, in its own coordinates and in those of labels, and whether the two meet."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS as GeoCRS
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from m3amba_geo.errors import CRSMissingError, NoLabelsError, NoOverlapError

Bounds = tuple[float, float, float, float]
"""`(left, bottom, right, top)`."""

_EDGE = 33  # points along each side of a grid that stand for its edge
_MESH = 256  # and for its area
_TURN = 360.0  # degrees
_POLE = 90.0
_NODES = 65  # rows and columns of a window whose pixels are measured, at most


def crs_of(grid: GeoBox) -> CRS | None:
    """Returns the grid's CRS as pyproj's."""
    return _pyproj(grid.crs)


def _pyproj(crs: GeoCRS | None) -> CRS | None:
    return None if crs is None else CRS.from_wkt(crs.to_wkt())


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
    x, y = grid.pix2wld(np.array([0, width, width, 0]), np.array([0, 0, height, height]))
    return shapely.Polygon(np.stack([x, y], axis=1))


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


def carry(
    x: NDArray[np.float64], y: NDArray[np.float64], source: GeoBox, target: GeoBox
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moves points of one grid's coordinates to another's: NaN where that can't hold them.

    A missing CRS agrees with any.

    Raises:
        CRSMissingError: No way leads there.
    """
    if source.crs is None or target.crs is None:
        return x, y
    x, y = way(crs_of(source), crs_of(target)).transform(x, y)
    there = np.isfinite(x) & np.isfinite(y)
    return np.where(there, x, np.nan), np.where(there, y, np.nan)


def pixel_size(grid: GeoBox) -> tuple[float, float]:
    """Returns width and height of a pixel, in units of the grid's CRS."""
    affine = grid.affine
    return float(np.hypot(affine.a, affine.d)), float(np.hypot(affine.b, affine.e))


def ground_size(grid: GeoBox) -> tuple[float, float] | None:
    """Returns width and height of the pixel in the middle, in metres; None where nothing tells."""
    row, column = grid.shape[0] / 2, grid.shape[1] / 2
    x, y = grid.pix2wld(column + np.array([0, 1, 0]), row + np.array([0, 0, 1]))
    try:
        x, y = way(crs_of(grid), CRS.from_epsg(4326)).transform(x, y)
    except CRSMissingError:
        return None
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    *_, sides = Geod(ellps="WGS84").inv(x[[0, 0]], y[[0, 0]], x[1:], y[1:])
    return float(sides[0]), float(sides[1])


def ground_areas(
    grid: GeoBox, top: int, left: int, height: int, width: int
) -> NDArray[np.float64] | None:
    """Returns the areas of a window's pixels on the ellipsoid, `(height, width)`, in square metres.

    Those of some rows and columns are measured, as flat figures between their four corners; those
    between follow in a straight line.

    Returns:
        None where nothing tells; 0 for pixels that lie beside the earth.
    """
    move = _to_degrees(grid.crs)
    if move is None:
        return None
    rows, columns = (np.unique(np.linspace(0, n - 1, _NODES).round()) for n in (height, width))
    areas = _measured(grid, move, top + rows, left + columns)
    if areas.any() and not areas.all():  # the edge of the earth is no straight line
        return _measured(grid, move, top + np.arange(height), left + np.arange(width))
    return _between(rows, height).T @ areas @ _between(columns, width)


def _measured(
    grid: GeoBox, move: Transformer, rows: NDArray[Any], columns: NDArray[Any]
) -> NDArray[np.float64]:
    """Returns the areas of the pixels of rows (h,) and columns (w,), `(h, w)`."""
    right, down = np.meshgrid(columns, rows)
    x, y = grid.pix2wld(
        right[..., None] + np.array([0.0, 1, 1, 0]), down[..., None] + np.array([0.0, 0, 1, 1])
    )
    longitude, latitude = move.transform(x, np.clip(y, -_POLE, _POLE) if in_degrees(grid) else y)
    there = np.isfinite(longitude + latitude).all(axis=-1)
    corners = _in_space(longitude[there], latitude[there])  # (n, 4, 3)
    across = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    areas = np.zeros(there.shape)
    areas[there] = np.linalg.norm(across, axis=-1) / 2
    return areas


@lru_cache(maxsize=8)
def _to_degrees(crs: GeoCRS | None) -> Transformer | None:
    """Returns what moves coordinates to longitudes and latitudes; None where there is no way."""
    try:
        return way(_pyproj(crs), CRS.from_epsg(4326))
    except CRSMissingError:
        return None


def _in_space(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns x, y and z (..., 3) of points of the WGS84 ellipsoid, in metres from its centre."""
    wgs84, along, up = Geod(ellps="WGS84"), np.radians(longitude), np.radians(latitude)
    normal = wgs84.a / np.sqrt(1 - wgs84.es * np.sin(up) ** 2)
    flat = normal * np.cos(up)
    z = normal * (1 - wgs84.es) * np.sin(up)
    return np.stack([flat * np.cos(along), flat * np.sin(along), z], axis=-1)


def _between(nodes: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Returns the weights (k, count) of nodes (k,) for each of 0..count-1 between them."""
    return np.stack([np.interp(np.arange(count), nodes, own) for own in np.eye(len(nodes))])


def bounds_in(crs: CRS | None, grid: GeoBox) -> Bounds | None:
    """Bounds of the grid in another CRS, with a margin; None where they can't be told.

    Points inside are moved too, as the edge alone misses a pole in the middle.
    """
    height, width = grid.shape
    columns, rows = np.meshgrid(np.linspace(0, width, _EDGE), np.linspace(0, height, _EDGE))
    x, y = grid.pix2wld(columns, rows)
    if crs is not None:
        x, y = way(crs_of(grid), crs).transform(x, y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if crs is not None and crs.is_geographic and np.abs(x).max() > _TURN / 2:
        return None  # beyond 180 degrees what is drawn there may be called otherwise
    dx, dy = 0.05 * np.ptp(x), 0.05 * np.ptp(y)
    return float(x.min() - dx), float(y.min() - dy), float(x.max() + dx), float(y.max() + dy)


def reproject(
    geometries: NDArray[np.object_], crs: CRS | None, grid: GeoBox
) -> NDArray[np.object_]:
    """Moves vertices to the grid's CRS; empties what that CRS can't hold."""
    if crs is None:
        moved = geometries
    else:
        move = way(crs, crs_of(grid)).transform
        moved = shapely.transform(geometries, move, interleaved=False)
    finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
    moved = np.where(finite, moved, shapely.Point())
    if crs is None or not in_degrees(grid):
        return moved
    left, _, right, _ = shapely.bounds(moved).T
    torn = (right - left > _TURN / 2) & (shapely.length(moved) > 0) & (not crs.is_geographic)
    moved = _turned(moved, grid)
    for n in np.flatnonzero(torn):
        moved[n] = _cut(geometries[n], crs, grid)
    return moved


def in_degrees(grid: GeoBox) -> bool:
    """Whether x of the grid is a longitude, where 181 is the same as -179."""
    crs = crs_of(grid)
    return crs is not None and crs.is_geographic


def turned(x: NDArray[np.float64], near: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Moves longitudes by whole turns to within half a turn of `near`."""
    return x - _TURN * np.round((x - near) / _TURN)


def middle(grid: GeoBox) -> float:
    """Returns the x of the grid's centre."""
    return float(grid.pix2wld(grid.shape[1] / 2, grid.shape[0] / 2)[0])


def _cut(geometry: shapely.Geometry, crs: CRS, grid: GeoBox) -> shapely.Geometry:
    """Moves a geometry across the seam of longitudes, or around a pole: it is cut at the seam.

    The seam lies opposite of the grid, not at 180 degrees, where PROJ has it.
    """
    latitudes = np.linspace(-90, 90, 3601)
    seams = []
    for end in (-_TURN / 2, _TURN / 2):  # one place, but not in every projection
        longitudes = np.full_like(latitudes, middle(grid) + end)
        x, y = way(crs_of(grid), crs).transform(longitudes, latitudes)
        there = np.isfinite(x) & np.isfinite(y)
        if there.sum() > 1:
            seams.append(shapely.LineString(np.stack([x[there], y[there]], axis=1)))
    width = geometry.length * 1e-7
    knife = shapely.union_all([seam.buffer(width, cap_style="flat") for seam in seams])
    dense = shapely.segmentize(shapely.make_valid(geometry), geometry.length / 1000)
    move = way(crs, crs_of(grid)).transform

    def beside(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        x, y = move(x, y)
        return turned(x, middle(grid)), y

    moved: shapely.Geometry = shapely.transform(
        shapely.difference(dense, knife), beside, interleaved=False
    )
    return moved


def _turned(geometries: NDArray[np.object_], grid: GeoBox) -> NDArray[np.object_]:
    """Moves each part of geometries by whole turns to where the grid lies."""
    parts, whole = shapely.get_parts(geometries, return_index=True)
    left, _, right, _ = shapely.bounds(parts).T
    center = (left + right) / 2
    shift = turned(center, middle(grid)) - center
    points, part = shapely.get_coordinates(parts, return_index=True)
    points[:, 0] += shift[part]
    parts = shapely.set_coordinates(parts, points)
    first = np.searchsorted(whole, np.arange(len(geometries) + 1))
    single = np.diff(first) == 1
    geometries[single] = parts[first[:-1][single]]
    for n in np.unique(whole[np.abs(shift) > 1]):
        if not single[n]:
            geometries[n] = type(geometries[n])(list(parts[first[n] : first[n + 1]]))
    return geometries


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
    if shapely.intersects(there, edge) or shapely.intersects(back, outline(one)):
        return True
    return covered(one, other) > 0 or covered(other, one) > 0  # the edge of a full disk leads off


def covered(grid: GeoBox, other: GeoBox) -> float:
    """Returns the share of a grid that another one covers, by a mesh of points.

    Raises:
        CRSMissingError: No way leads from one CRS to the other.
    """
    height, width = grid.shape
    steps = (np.arange(_MESH) + 0.5) / _MESH
    x, y = grid.pix2wld(*np.meshgrid(width * steps, height * steps))
    x, y = carry(x, y, grid, other)
    x = turned(x, middle(other)) if in_degrees(other) else x
    columns, rows = other.wld2pix(x, y)
    height, width = other.shape
    inside = (columns >= 0) & (columns <= width) & (rows >= 0) & (rows <= height)
    return float(inside.mean())


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
