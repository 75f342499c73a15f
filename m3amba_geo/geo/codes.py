"""Rasters of class codes, read a block at a time."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from m3amba_geo.errors import ClassMismatchError, CRSMissingError, RasterUnreadableError
from m3amba_geo.events import Listener, Progress, ignore
from m3amba_geo.geo.legend import MAX_CODE
from m3amba_geo.geo.raster import (
    DAMAGE,
    Mask,
    opened,
    read_masks,
    unreadable,
)
from m3amba_geo.geo.warp import Warp

_BLOCK = 1 << 21  # pixels that are read at a time
_LARGEST = 2**53  # whole numbers up to here are exact in any type


class CodeRaster:
    """An open raster of class codes, its first band, read on its own grid or on another.

    Attributes:
        path: The file.
        grid: Its place.
        names: Class names by code, where the file carries them.
        colors: Colours `#rrggbb` by code, from the file's colour table.
        files: All files that it is made from, those that a virtual raster names among them.
    """

    def __init__(self, path: Path, handles: ExitStack) -> None:
        self.path = path
        self._handles = handles
        self._file, files = handles.enter_context(opened(path))
        self.files = tuple(map(Path, files))
        _check_bands(self._file, path)
        self._warped: Warp | None = None
        self._zero_is_none = MaskFlags.all_valid in self._file.mask_flag_enums[0]
        self.grid = GeoBox(self._file.shape, self._file.transform, self._file.crs)
        self.names = _category_names(self._file)
        self.colors = _colors(self._file)

    def warp_onto(self, grid: GeoBox) -> None:
        """Makes `read` and `blocks` answer on another grid, by nearest neighbour.

        Raises:
            CRSMissingError: One of the two grids has no CRS.
        """
        if self.grid.crs is None or grid.crs is None:
            raise CRSMissingError(
                "The label raster and the reference grid differ, and one of them has no CRS.",
                "Assign the CRS, or give labels of the same size and geotransform.",
            )
        nodata = math.nan if self._file.nodata is None else self._file.nodata
        self._warped = Warp(self._file, grid, "nearest", nodata, "float64", self._handles)
        self.grid = grid

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.grid.shape[0], self.grid.shape[1]

    def read(self, top: int, left: int, height: int, width: int) -> tuple[NDArray[np.int64], Mask]:
        """Returns codes `(height, width)` and their validity; the window lies inside the grid.

        Invalid is nodata, and 0 where the file declares no nodata.

        Raises:
            RasterUnreadableError: It can't be read there, or holds fractions.
        """
        try:
            raw, valid = self._read(Window(left, top, width, height))
        except DAMAGE as error:
            raise unreadable(self.path, error) from error
        valid &= np.isfinite(raw)
        raw = np.where(valid, raw, 0)
        if raw.dtype.kind == "f" and ((raw % 1 != 0) | (np.abs(raw) > _LARGEST)).any():
            raise RasterUnreadableError(
                f"{self.path} holds fractions or huge numbers, not class codes.",
                "Give a raster of whole numbers; declare what stands for no class as nodata.",
            )
        values = raw.astype(np.int64)
        if self._zero_is_none:
            valid &= values != 0
        return values, valid

    def read_classes(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint16]:
        """Returns the codes of a window of a map; 0 where it has none.

        Raises:
            ClassMismatchError: It holds values that are no codes of classes.
            RasterUnreadableError: It can't be read there, or holds fractions.
        """
        values, valid = self.read(top, left, height, width)
        if (valid & (values == 0)).any():  # where 0 is nodata, or none is declared, it is not valid
            raise ClassMismatchError(
                f"{self.path} holds 0 and declares another value as nodata; class codes lie in "
                f"1..{MAX_CODE}.",
                "If 0 stands for no class, declare it: gdal_edit.py -a_nodata 0 FILE. If it is a "
                "class, give it another code.",
            )
        codes = np.where(valid, values, 0)
        if codes.min() < 0 or codes.max() > MAX_CODE:
            raise ClassMismatchError(
                f"{self.path} holds values from {codes.min()} to {codes.max()}; class codes lie in "
                f"1..{MAX_CODE}.",
                "Give a map of class codes; declare the value of pixels without a class as nodata.",
            )
        return codes.astype(np.uint16)

    def _read(self, window: Window) -> tuple[NDArray[Any], Mask]:
        if self._warped is not None:
            raw = self._warped.read([1], window)[0]
            return raw, np.ones(raw.shape, np.bool_)
        return self._file.read(1, window=window), read_masks(self._file, [1], window)[0]

    def blocks(
        self, emit: Listener = ignore, phase: str = "reading"
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yields `(top, left, height, width)` of windows that cover the grid, from the top.

        They are made of whole tiles of the file, so that none is read twice, unless a single tile
        is larger.

        Args:
            emit: Told how far it is, once the caller is done with a window.
            phase: What the caller does with them.
        """
        rows, columns = self.shape
        tall, wide = self._warped.block if self._warped else self._file.block_shapes[0]
        width = min(columns, max(1, _BLOCK // tall // wide) * wide)
        height = max(1, _BLOCK // width // tall) * tall
        height = min(height, max(1, _BLOCK // width))
        done = 0
        for top in range(0, rows, height):
            for left in range(0, columns, width):
                tall, wide = min(height, rows - top), min(width, columns - left)
                yield top, left, tall, wide
                done += tall * wide
                emit(Progress(phase, done, rows * columns, "pixels"))


@contextmanager
def open_codes(path: Path) -> Iterator[CodeRaster]:
    """Opens a raster of class codes for the time of a `with` block.

    Raises:
        FileMissingError: It is not there.
        NetworkOffError: It lies on a network, or points there.
        RasterUnreadableError: It is no raster of a format that is read.
    """
    with ExitStack() as handles:
        yield CodeRaster(path, handles)


@dataclass(frozen=True)
class LabelRaster:
    """A raster of class codes, read whole.

    Attributes:
        values: `(H, W)` int64 codes.
        valid: `(H, W)`; false at nodata, and at 0 where the file declares no nodata.
        grid: Its place.
        names: Class names by code, where the file carries them.
        colors: Colours `#rrggbb` by code, from the file's colour table.
    """

    values: NDArray[np.int64]
    valid: Mask
    grid: GeoBox
    names: dict[int, str]
    colors: dict[int, str]


def read_label_raster(path: Path) -> LabelRaster:
    """Returns the first band of a small raster as class codes.

    Raises:
        FileMissingError: It is not there.
        NetworkOffError: It lies on a network, or points there.
        RasterUnreadableError: It can't be read, or holds fractions.
    """
    with open_codes(path) as raster:
        values, valid = raster.read(0, 0, *raster.shape)
        return LabelRaster(values, valid, raster.grid, raster.names, raster.colors)


def _check_bands(file: Any, path: Path) -> None:  # noqa: ANN401 - rasterio has no types
    """Refuses an image: class codes are one band of real numbers, beside which may be an alpha."""
    bands = sum(kind != ColorInterp.alpha for kind in file.colorinterp)
    if bands != 1:
        raise RasterUnreadableError(
            f"{path} has {bands} bands; class codes are a single one.",
            "Give a raster with one band of codes: gdal_translate -b N takes one out.",
        )
    if file.dtypes[0].startswith("complex"):
        raise RasterUnreadableError(
            f"{path} holds complex numbers, not class codes.", "Give a raster of whole numbers."
        )


def _colors(file: Any) -> dict[int, str]:  # noqa: ANN401 - rasterio has no types
    try:
        table = file.colormap(1)
    except ValueError:
        return {}
    black = [code for code, (*rgb, _) in table.items() if rgb == [0, 0, 0]]
    # A TIFF's palette has no gaps: entries that nobody set are black.
    unset = set(black) if len(black) > 1 else set()
    return {
        code: f"#{r:02x}{g:02x}{b:02x}"
        for code, (r, g, b, alpha) in table.items()
        if alpha and code not in unset
    }


def _category_names(file: Any) -> dict[int, str]:  # noqa: ANN401 - rasterio has no types
    names = {}
    for key, value in file.tags(1).items():
        prefix, _, code = key.rpartition("_")
        if prefix == "CLASS" and code.isdigit():
            names[int(code)] = value.strip()
    return names
