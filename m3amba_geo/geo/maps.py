"""The only file that writes rasters: maps, their colours, names and styles.

A GeoTIFF is written top to bottom in whole rows of tiles, by one writer: its bytes depend on the
pixels alone, not on how many rows came at a time.
"""

import shutil
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

from m3amba_geo.errors import OutputError
from m3amba_geo.files import disk_full, whole, write_text
from m3amba_geo.geo.labels import LandCover, Legend

_TILE = 256


def code_type(legend: Legend) -> str:
    """Returns the smallest unsigned type that holds every code and the nodata value 0."""
    return "uint8" if max(entry.code for entry in legend) <= np.iinfo(np.uint8).max else "uint16"


@dataclass(frozen=True)
class Layer:
    """A raster to be written.

    Attributes:
        path: Where.
        dtype: Pixel type.
        nodata: Declared nodata value.
        names: Description of each band; their number is the number of bands.
        legend: For maps of codes: colours and names.
    """

    path: Path
    dtype: str
    nodata: float
    names: tuple[str, ...]
    legend: Legend = ()


class RowWriter:
    """Takes rows from the top and writes them in whole rows of tiles."""

    def __init__(self, file: Any, layer: Layer) -> None:  # noqa: ANN401 - rasterio has no types
        self._file = file
        self._layer = layer
        self._pending: list[NDArray[Any]] = []
        self._written = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Takes the next rows, `(h, W)` or `(bands, h, W)`.

        Raises:
            OutputError: The disk is full or fails.
        """
        rows = rows.reshape(len(self._layer.names), -1, self._file.width)
        self._pending.append(rows.astype(self._layer.dtype, copy=False))
        waiting = sum(part.shape[1] for part in self._pending)
        last = self._written + waiting == self._file.height
        if waiting < _TILE and not last:
            return
        block = np.concatenate(self._pending, axis=1)  # (bands, waiting, W)
        ready = waiting if last else waiting // _TILE * _TILE
        window = Window(0, self._written, self._file.width, ready)
        self._file.write(block[:, :ready], window=window)
        self._written += ready
        self._pending = [block[:, ready:].copy()] if ready < waiting else []


@contextmanager
def open_map(layer: Layer, grid: GeoBox) -> Iterator[RowWriter]:
    """Yields a writer for a GeoTIFF on `grid`; the file gets its name when all rows are in.

    Raises:
        OutputError: The disk is full or fails; nothing is left behind.
    """
    height, width = grid.shape
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
    with whole(layer.path) as scratch:
        try:
            with warnings.catch_warnings():
                # A grid without a place gives a map without one: `align.open_stack` has said so.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                opened = rasterio.open(scratch, "w", **profile)
            with opened as file:
                for index, name in enumerate(layer.names, 1):
                    file.set_band_description(index, name)
                if layer.legend:
                    file.write_colormap(1, _color_table(layer.legend))
                    file.update_tags(1, **{f"CLASS_{e.code}": e.name for e in layer.legend})
                yield RowWriter(file, layer)
            _check_whole(scratch)
        except RasterioError as error:
            raise _write_error(error, layer.path) from error
    if layer.legend:
        _write_names(layer.path, layer.legend)


def _check_whole(path: Path) -> None:
    # GDAL may report a full disk only in its log when the last blocks are flushed on closing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        opened = rasterio.open(path)
    with opened as file:
        for _, window in file.block_windows(1):
            file.read(window=window)


def _write_error(error: RasterioError, path: Path) -> OutputError:
    if shutil.disk_usage(path.resolve().parent).free < 1 << 16:
        return disk_full(path)
    return OutputError(
        f"{path} can't be written: {error.__cause__ or error}.", "Check the disk and the path."
    )


def _color_table(legend: Legend) -> dict[int, tuple[int, int, int, int]]:
    table = {entry.code: (*_rgb(entry), 255) for entry in legend}
    return {0: (0, 0, 0, 0)} | table


def _rgb(entry: LandCover) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(entry.color.lstrip("#"))
    return red, green, blue


def colorize(codes: NDArray[np.uint16], legend: Legend) -> NDArray[np.uint8]:
    """Returns `(H, W, 3)` uint8 colours of codes; unlabelled is white."""
    table = np.full((65536, 3), 255, np.uint8)
    for entry in legend:
        table[entry.code] = _rgb(entry)
    return table[codes]


def _write_names(path: Path, legend: Legend) -> None:
    """Writes class names where GDAL looks for them: the persistent auxiliary metadata."""
    root = Xml.Element("PAMDataset")
    band = Xml.SubElement(root, "PAMRasterBand", band="1")
    names = Xml.SubElement(band, "CategoryNames")
    by_code = {entry.code: entry.name for entry in legend}
    for code in range(max(by_code) + 1):
        Xml.SubElement(names, "Category").text = by_code.get(code, "")
    write_text(path.with_name(path.name + ".aux.xml"), Xml.tostring(root, encoding="unicode"))


def write_style(path: Path, legend: Legend) -> Path:
    """Writes a QGIS style (QML) beside a map of codes and returns its path."""
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
            label=entry.name,
        )
    style = path.with_suffix(".qml")
    write_text(
        style,
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        + Xml.tostring(root, encoding="unicode"),
    )
    return style
