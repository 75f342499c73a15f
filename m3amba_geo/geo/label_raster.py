"""Labels that are a raster of class codes: their values, and the pixels that they label."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.errors import RasterUnreadableError, VectorUnreadableError
from m3amba_geo.events import Listener, Note
from m3amba_geo.geo.codes import CodeRaster, open_codes
from m3amba_geo.geo.footprint import check_crs, crs_of, meet, nothing_there, outline
from m3amba_geo.geo.legend import LabelValue, Legend, match, match_all
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.raster import same_place


def values_of_raster(path: Path) -> list[LabelValue]:
    """Lists the values of a label raster, with the names and colours that come with it.

    Raises:
        VectorUnreadableError: It can't be read.
    """
    with _open_raster(path) as raster:
        codes: set[int] = set()
        for block in raster.blocks():
            values, valid = raster.read(*block)
            codes.update(np.unique(values[valid]).tolist())
        return [
            LabelValue(str(code), raster.names.get(code, ""), raster.colors.get(code, ""))
            for code in sorted(codes)
        ]


def pixels_of_raster(
    path: Path, grid: GeoBox, legend: Legend, emit: Listener
) -> tuple[Positions, NDArray[np.uint16]]:
    """Puts a label raster on a grid, a block at a time.

    Returns:
        Pixels that have a class of the legend (N,), ascending, and their codes (N,).

    Raises:
        VectorUnreadableError: It can't be read.
        CRSMissingError: Of raster and grid one has a CRS, the other none.
        NoOverlapError: It lies elsewhere.
        ClassMismatchError: No value is in the legend.
    """
    with _open_raster(path) as raster:
        if not same_place(raster.grid, grid):
            _warp(raster, grid, emit)
        names = {str(code): name for code, name in raster.names.items()}
        totals: Counter[int] = Counter()
        bands = []
        for _, blocks in groupby(raster.blocks(), key=itemgetter(0)):
            band = [_labelled(raster, block, legend, names, totals) for block in blocks]
            pixels, codes = map(np.concatenate, zip(*band, strict=True))
            order = np.argsort(pixels)
            bands.append((pixels[order], codes[order]))
    values = [str(value) for value in totals]
    counts = np.array([*totals.values()], np.int64)
    match_all(path, values, counts, "pixels", names, legend, emit)
    pixels, codes = map(np.concatenate, zip(*bands, strict=True))
    return pixels, codes


@contextmanager
def _open_raster(path: Path) -> Iterator[CodeRaster]:
    try:
        with open_codes(path) as raster:
            yield raster
    except RasterUnreadableError as error:
        raise VectorUnreadableError(
            f"{path} is neither a vector file nor a raster that can be read: {error}",
            "Give GeoPackage, Shapefile, GeoJSON, FlatGeobuf, or a GeoTIFF of class codes.",
        ) from error


def _labelled(
    raster: CodeRaster,
    block: tuple[int, int, int, int],
    legend: Legend,
    names: Mapping[str, str],
    totals: Counter[int],
) -> tuple[Positions, NDArray[np.uint16]]:
    """Returns pixels of a block that have a class (n,), and their codes; counts all values."""
    read, valid = raster.read(*block)
    rows, columns = np.nonzero(valid)
    values, index, counts = np.unique(read[valid], return_inverse=True, return_counts=True)
    totals.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    codes = match(legend, [str(value) for value in values.tolist()], names)[index]
    known = codes > 0
    top, left, *_ = block
    return (rows[known] + top) * raster.shape[1] + columns[known] + left, codes[known]


def _warp(raster: CodeRaster, grid: GeoBox, emit: Listener) -> None:
    crs = crs_of(raster.grid)
    check_crs(raster.path, crs, grid)
    if not meet(raster.grid, grid):
        raise nothing_there(raster.path, outline(raster.grid).bounds, crs, grid, 1)
    emit(Note(f"{raster.path} has another grid; it is warped by nearest neighbour."))
    raster.warp_onto(grid)
