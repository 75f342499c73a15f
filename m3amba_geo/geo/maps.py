"""The only file that writes rasters: maps, their colours, names and styles.

A GeoTIFF is written by one writer in pieces of whole tiles, in one order: its bytes depend on the
pixels alone, and memory does not follow its width.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from m3amba_geo.files import ScratchOf, library_error
from m3amba_geo.geo.legend import LandCover, Legend
from m3amba_geo.geo.region import Region

_TILE = 256
_WIDE = 8  # tiles that are written at a time
_PIECE = 32 * 2**20  # bytes of them, if more than one


def code_type(legend: Legend) -> str:
    """Returns the smallest unsigned type that holds every code and the nodata value 0."""
    return "uint8" if max(entry.code for entry in legend) <= np.iinfo(np.uint8).max else "uint16"


@dataclass(frozen=True)
class Layer:
    """A raster to be written.

    Attributes:
        path: Where.
        dtype: Pixel type.
        nodata: Declared nodata value; None declares none.
        names: Description of each band; their number is the number of bands.
        legend: For maps of codes: colours and names.
    """

    path: Path
    dtype: str
    nodata: float | None
    names: tuple[str, ...]
    legend: Legend = ()

    @property
    def pixel(self) -> int:
        """Bytes of a pixel in all bands."""
        return np.dtype(self.dtype).itemsize * len(self.names)


def pieces(shape: tuple[int, int], pixel: int = 1) -> Iterator[Region]:
    """Yields the windows in which maps of `(H, W)` are written: some whole tiles each.

    Args:
        shape: `(H, W)`.
        pixel: Bytes of a pixel in all maps that are written together.
    """
    height, width = shape
    wide = _TILE * max(1, min(_WIDE, _PIECE // (_TILE * _TILE * pixel)))
    for top in range(0, height, _TILE):
        for left in range(0, width, wide):
            yield Region(top, left, min(top + _TILE, height), min(left + wide, width))


class MapWriter:
    """Takes one of the `pieces` after the other."""

    def __init__(self, file: Any, pixel: int) -> None:  # noqa: ANN401 - rasterio has no types
        self._file = file
        self._pieces = pieces(file.shape, pixel)

    def write(self, pixels: NDArray[Any]) -> None:
        """Takes the next piece, `(h, w)` or `(bands, h, w)`.

        Raises:
            RasterioError: The disk is full or fails; `open_map` explains it.
            ValueError: It is not as large as the next piece, or there is none.
        """
        piece = next(self._pieces, None)
        if piece is None or pixels.shape[-2:] != piece.shape:
            raise ValueError(f"{pixels.shape} pixels came where the map wants {piece}.")
        height, width = piece.shape
        window = Window(piece.left, piece.top, width, height)
        self._file.write(pixels.reshape(self._file.count, height, width), window=window)

    def check_complete(self) -> None:
        """Makes sure that every piece has come.

        Raises:
            ValueError: One is missing.
        """
        if (piece := next(self._pieces, None)) is not None:
            raise ValueError(f"The map is not whole: it wants {piece}.")


@contextmanager
def open_map(
    layer: Layer, grid: GeoBox, scratch_of: ScratchOf, pixel: int = 1
) -> Iterator[MapWriter]:
    """Yields a writer for a GeoTIFF on `grid`; class names are written beside it.

    `pixel` is that of `pieces`.

    The files have temporary names from `files.together`, which makes them real or removes them.

    Raises:
        OutputError: The disk is full or fails.
    """
    height, width = grid.shape
    scratch = scratch_of(layer.path)
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": len(layer.names),
        "dtype": layer.dtype,
        "nodata": layer.nodata,
        "transform": grid.affine,
        "crs": None if grid.crs is None else str(grid.crs.to_wkt()),
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    try:
        with warnings.catch_warnings():
            # A grid without a place gives a map without one: `align.open_stack` has said so.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            opened = rasterio.open(scratch, "w", **profile)
        with opened as file:
            for index, name in enumerate(layer.names, 1):
                file.set_band_description(index, name)
            if layer.legend:
                file.write_colormap(1, color_table(layer.legend))
                file.update_tags(1, **class_tags(layer.legend))
            writer = MapWriter(file, pixel)
            yield writer
            writer.check_complete()
        _check_whole(scratch)
    except RasterioError as error:
        raise library_error(error, layer.path) from error
    if layer.legend:
        scratch = scratch_of(names_path(layer.path))
        scratch.write_text(_auxiliary(layer.legend), encoding="utf-8")


def drop_stale(layer: Layer) -> None:
    """Removes what GDAL and QGIS have kept of an older file of that name: overviews, statistics."""
    suffixes = (".ovr", ".msk") if layer.legend else (".ovr", ".msk", ".aux.xml")
    for suffix in suffixes:
        layer.path.with_name(layer.path.name + suffix).unlink(missing_ok=True)


def _check_whole(path: Path) -> None:
    # GDAL may report a full disk only in its log when the last blocks are flushed on closing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        opened = rasterio.open(path)
    with opened as file:
        for _, window in file.block_windows(1):
            file.read(window=window)


def color_table(legend: Legend) -> dict[int, tuple[int, int, int, int]]:
    """Returns the colours of codes; nodata is transparent."""
    table = {entry.code: (*_rgb(entry), 255) for entry in legend}
    return {0: (0, 0, 0, 0)} | table


def _rgb(entry: LandCover) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(entry.color.lstrip("#"))
    return red, green, blue


def _auxiliary(legend: Legend) -> str:
    """Returns class names as GDAL keeps them beside a file: its persistent auxiliary metadata."""
    root = Xml.Element("PAMDataset")
    Xml.SubElement(root, "PAMRasterBand", band="1").append(category_names(legend))
    return Xml.tostring(root, encoding="unicode")


def class_tags(legend: Legend) -> dict[str, str]:
    """Returns class names as metadata of a band, by which `geo.codes` knows them."""
    return {f"CLASS_{entry.code}": entry.name for entry in legend}


def category_names(legend: Legend) -> Xml.Element:
    """Returns class names as GDAL's XML has them, for all codes from 0."""
    names = Xml.Element("CategoryNames")
    by_code = {entry.code: xml_text(entry.name) for entry in legend}
    for code in range(max(by_code) + 1):
        Xml.SubElement(names, "Category").text = by_code.get(code, "")
    return names


def names_path(map_path: Path) -> Path:
    """Returns where GDAL looks for the class names of a map."""
    return map_path.with_name(map_path.name + ".aux.xml")


def used_path(map_path: Path) -> Path:
    """Returns where it lies, unless said otherwise, from which modalities a map's pixels are."""
    return map_path.with_name(f"{map_path.stem}.modalities{map_path.suffix}")


def style_path(map_path: Path) -> Path:
    """Returns where QGIS looks for the style of a map."""
    return map_path.with_suffix(".qml")


def style(legend: Legend) -> str:
    """Returns a QGIS style (QML) for a map of codes."""
    root = Xml.Element("qgis", version="3.22.0", styleCategories="AllStyleCategories")
    pipe = Xml.SubElement(root, "pipe")
    renderer = Xml.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = Xml.SubElement(renderer, "colorPalette")
    for entry in legend:
        Xml.SubElement(
            palette,
            "paletteEntry",
            value=str(entry.code),
            color=entry.color,
            alpha="255",
            label=xml_text(entry.name),
        )
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + Xml.tostring(root, encoding="unicode")


def xml_text(text: str) -> str:
    """Drops what XML can't hold: control characters and unpaired surrogates."""
    return re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", text)
