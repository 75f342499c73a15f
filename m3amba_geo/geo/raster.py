"""The only file that opens rasters for reading.

A `Raster` is a file as it lies on disk: its place, its bands, windows of its pixels with their
validity. A pixel of a band is invalid where it is nodata, masked, transparent or not finite.
"""

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import DatasetReader, Env
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.env import defenv, getenv, hasenv
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from m3amba_geo.config import Resampling
from m3amba_geo.errors import CRSMissingError, RasterUnreadableError
from m3amba_geo.geo.access import RASTER_DRIVERS, check_reach, gdal_options
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.footprint import carry
from m3amba_geo.geo.virtual import sources_of
from m3amba_geo.geo.warp import Warp
from m3amba_geo.sources import gdal_name, on_network

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]

_UNITS = {
    unit: factor
    for units, factor in (
        ("nanometers nanometer nanometres nanometre nm", 1.0),
        ("micrometers micrometer micrometres micrometre microns micron um \u00b5m \u03bcm", 1000.0),
    )
    for unit in units.split()
}
_LEAST_NANOMETRES = 100.0
_NOT_PIXELS = (".aux.xml", ".ovr")  # programs that show a raster write them beside it
# A damaged file makes GDAL complain in bytes that are no text, and rasterio stumbles over those.
DAMAGE = (RasterioError, UnicodeDecodeError)
SAME_PLACE = 1e-3  # pixels
_MESH = 9  # points along a side that are compared


class Raster:
    """An open raster, read on its own grid or on another through a warp made on the fly.

    Attributes:
        path: The file.
        grid: Its place.
        bands: Its bands, transparency left out.
        transparency: Whether a band says which pixels are transparent.
        control_points: Whether its place is told by ground control points alone.
        dtype: Its pixel type, as numpy names it.
        nodata: Declared nodata value of each band.
        scaling: Declared scale and offset of each band, None where they change nothing.
        files: All files that its pixels come from, those that a virtual raster names among them.
    """

    def __init__(self, path: Path, handles: ExitStack, *, scaled: bool = True) -> None:
        self.path = path
        self._handles = handles
        self._file, files = handles.enter_context(opened(path))
        roles = dict(enumerate(self._file.colorinterp, 1))
        self._indexes = [i for i, role in roles.items() if role is not ColorInterp.alpha]
        self._check_bands()
        self.grid = GeoBox(self._file.shape, self._file.transform, self._file.crs)
        self.bands = tuple(
            _band(self._file, i, alone=len(self._indexes) == 1) for i in self._indexes
        )
        self.transparency = ColorInterp.alpha in roles.values()
        self.control_points = self._file.crs is None and bool(self._file.gcps[0])
        self.dtype = str(self._file.dtypes[0])
        self.nodata = tuple(self._file.nodatavals[i - 1] for i in self._indexes)
        self.files = tuple(name for name in files if not name.endswith(_NOT_PIXELS))
        self.scaling = _scaling(self._file, self._indexes) if scaled else None
        self._warps: list[tuple[Warp, list[int]]] = []
        self._try_last_pixel()

    def warp_onto(self, grid: GeoBox, resampling: Resampling) -> None:
        """Makes `read` answer on another grid.

        A file may declare another nodata value for each band while a warp knows one, so bands are
        warped in groups of equal nodata. What the file does not cover, and what is invalid in it,
        becomes NaN, whatever the type.

        Raises:
            CRSMissingError: The raster or the grid has no CRS, and they are not the same place.
        """
        if same_place(self.grid, grid):
            return
        if self.grid.crs is None or grid.crs is None:
            raise CRSMissingError(
                f"{self.path} can't be brought onto the reference grid: "
                f"{'it' if self.grid.crs is None else 'the reference raster'} has no CRS, and "
                "size and geotransform differ.",
                "Assign the CRS (for example with `gdal_edit.py -a_srs EPSG:...`), or give rasters "
                "of the same size and geotransform.",
            )
        values = [math.nan if value is None else value for value in self.nodata]
        for text in dict.fromkeys(map(repr, values)):  # NaN does not equal itself
            group = [k for k, value in enumerate(values) if repr(value) == text]
            nodata = values[group[0]]
            warped = Warp(self._file, grid, resampling, nodata, "float32", self._handles)
            self._warps.append((warped, group))

    def read(self, window: Window) -> tuple[Pixels, NDArray[np.bool_]]:
        """Returns `(C, h, w)` float32 pixels and their validity; the window lies inside the grid.

        Where bands declare a scale and an offset, pixels are what these make of them: files that
        keep one quantity in different numbers, as products before and after a change do, agree.

        Raises:
            RasterUnreadableError: The file is truncated or damaged there.
        """
        try:
            pixels = self._read_warped(window) if self._warps else self._read_own(window)
        except DAMAGE as error:
            raise unreadable(self.path, error) from error
        if self.scaling is not None:
            scale, offset = np.array(self.scaling, np.float32).T[..., None, None]  # (C, 1, 1)
            pixels = pixels * scale + offset
        valid = np.isfinite(pixels)
        pixels[~valid] = 0
        return pixels, valid

    def strip_bytes(self, rows: int) -> int:
        """Returns the size of the blocks of the file that so many rows of its grid lie in."""
        height, width = self._file.shape
        finer = max(1.0, height / self._warps[0][0].height) if self._warps else 1.0
        tall = self._file.block_shapes[0][0]
        blocks = math.ceil(rows * finer / tall) + 1  # rows may begin within one
        pixel = sum(np.dtype(kind).itemsize for kind in self._file.dtypes)
        return int(blocks * tall * width * pixel)

    def sample(self) -> str:
        """Returns a name for the content where it is no file here: SHA-256 of header and pixels.

        Of the pixels it takes three blocks: the first, the one in the middle and the last.
        """
        file = self._file
        header = (
            file.shape, file.transform, file.crs, file.dtypes, file.nodatavals, file.tags(),
            self.scaling,
        )  # fmt: skip
        digest = hashlib.sha256(repr(header).encode())
        height, width = file.block_shapes[0]
        rows, columns = self.grid.shape
        for down, right in ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
            window = file.block_window(1, down // height, right // width)
            digest.update(file.read(window=window).tobytes())
        return digest.hexdigest()

    def _read_own(self, window: Window) -> Pixels:
        pixels: Pixels = self._file.read(self._indexes, window=window, out_dtype=np.float32)
        pixels[~read_masks(self._file, self._indexes, window)] = np.nan
        return pixels

    def _read_warped(self, window: Window) -> Pixels:
        shape = (len(self._indexes), int(window.height), int(window.width))
        pixels = np.empty(shape, np.float32)
        for warped, group in self._warps:
            pixels[group] = warped.read([self._indexes[k] for k in group], window)
        return pixels

    def _check_bands(self) -> None:
        if not self._indexes:
            raise RasterUnreadableError(
                f"{self.path} holds no band of its own.",
                "Of a file with several datasets, export the one wanted as GeoTIFF.",
            )
        if any(self._file.dtypes[i - 1].startswith("complex") for i in self._indexes):
            raise RasterUnreadableError(
                f"{self.path} holds complex numbers.",
                "Give amplitude or intensity, for example calibrated backscatter, as real numbers.",
            )

    def _try_last_pixel(self) -> None:
        # A truncated copy usually opens well and lacks its end: better said now than in an hour.
        height, width = self.grid.shape
        self.read(Window(width - 1, height - 1, 1, 1))


@contextmanager
def open_raster(path: Path, *, scaled: bool = True) -> Iterator[Raster]:
    """Opens a raster for the time of a `with` block.

    Args:
        path: The file.
        scaled: Whether pixels are what scale and offset make of them; those of a mask are not.

    Raises:
        FileMissingError: It is not there.
        NetworkOffError: It lies on a network, or points there.
        RasterUnreadableError: It is no raster of a format that is read, or damaged.
    """
    with ExitStack() as handles:
        try:
            raster = Raster(path, handles, scaled=scaled)
        except DAMAGE as error:
            raise unreadable(path, error) from error
        yield raster


def _scaling(file: Any, indexes: Sequence[int]) -> list[tuple[float, float]] | None:  # noqa: ANN401
    """Returns scale and offset of each band, None where they change nothing."""
    pairs = [(file.scales[i - 1], file.offsets[i - 1]) for i in indexes]
    pairs = [pair if pair[0] and np.isfinite(pair).all() else (1.0, 0.0) for pair in pairs]
    return None if set(pairs) == {(1.0, 0.0)} else pairs


def same_place(one: GeoBox, other: GeoBox) -> bool:
    """Whether pixels of two grids coincide; a missing CRS agrees with any.

    Rasters exported side by side often differ in whether the CRS was kept, in how it is spelled and
    in the last digits of the geotransform, so a mesh is compared to a thousandth of a pixel.
    """
    if one.shape != other.shape:
        return False
    height, width = one.shape
    # Two projections may agree at all corners, and not within.
    columns, rows = np.meshgrid(np.linspace(0, width, _MESH), np.linspace(0, height, _MESH))
    x, y = other.pix2wld(columns, rows)
    if one.crs != other.crs:
        try:
            x, y = carry(x, y, other, one)
        except CRSMissingError:
            return False
    found = one.wld2pix(x, y)
    return bool(np.allclose(found, (columns, rows), rtol=0, atol=SAME_PLACE))


def read_masks(file: Any, indexes: list[int], window: Window) -> NDArray[np.bool_]:  # noqa: ANN401
    """Returns where bands of a file are valid, `(bands, h, w)`: no nodata, not masked, opaque.

    Of these GDAL heeds one alone: a mask or transparency hides nodata, or the other way round.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NodataShadowWarning)  # rasterio's word for it
        masks: NDArray[np.bool_] = file.read_masks(indexes, window=window) > 0
    nodata = [file.nodatavals[i - 1] for i in indexes]
    by_value = all(MaskFlags.nodata in file.mask_flag_enums[i - 1] for i in indexes)
    if not by_value and any(value is not None for value in nodata):
        for mask, band, value in zip(masks, file.read(indexes, window=window), nodata, strict=True):
            mask &= band != value
    alphas = [i for i, role in enumerate(file.colorinterp, 1) if role is ColorInterp.alpha]
    if alphas:
        masks &= (file.read(alphas, window=window) != 0).all(axis=0)
    return masks


def as_here() -> Callable[[], None]:
    """Returns what gives another thread, for good, the settings that GDAL has in this one.

    They hold for threads, not for open files (but those of the main thread hold for all).
    """
    return partial(defenv, **(getenv() if hasenv() else {}))


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, list[str]]]:
    """Opens a file with the drivers that are allowed; they and the network stay so till it closes.

    Yields:
        The dataset, and all files that it is made from, those behind virtual rasters among them.

    Raises:
        FileMissingError: It is not there.
        NetworkOffError: It is on a network, or a virtual raster with a source there.
        RasterUnreadableError: It is no raster of a format that is read.
    """
    check_reach(path)
    with Env(**gdal_options()), _dataset(gdal_name(path), path) as file:
        files = dict.fromkeys(file.files)
        if file.driver == "VRT":
            files |= _check_sources(file, path, {gdal_name(path)})
        yield file, [*files]


def _dataset(name: str, path: Path) -> Any:  # noqa: ANN401 - rasterio has no types
    try:
        with warnings.catch_warnings():
            # Rasters without a place are welcome; `align.open_stack` says so in our own words.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return DatasetReader(name, driver=list(RASTER_DRIVERS))  # `rasterio.open` takes one
    except DAMAGE as error:
        raise unreadable(path, error) from error


def _check_sources(file: Any, path: Path, seen: set[str]) -> dict[str, None]:  # noqa: ANN401
    """Opens what a virtual raster points at: GDAL itself would take any driver for it, later.

    Returns:
        The files of all that it points at, which GDAL tells of the first level only.
    """
    files: dict[str, None] = {}
    for source in sources_of(file.tags(ns="xml:VRT")["xml:VRT"], file.name):
        if on_network(source):
            check_reach(source)
        elif source not in seen:
            seen.add(source)
            with _dataset(source, path) as inner:
                files |= dict.fromkeys(inner.files)
                if inner.driver == "VRT":
                    files |= _check_sources(inner, path, seen)
    return files


def unreadable(path: Path, error: Exception) -> RasterUnreadableError:
    """Makes the error for what GDAL can't read."""
    return RasterUnreadableError(
        f"{path} can't be read as a raster: {error.__cause__ or error}",
        "It may be truncated, damaged or of a format that is not read; try `gdalinfo -checksum` on "
        "it, copy it again, or save it as GeoTIFF.",
    )


def _band(file: Any, index: int, *, alone: bool) -> Band:  # noqa: ANN401 - rasterio has no types
    name = file.descriptions[index - 1] or (Path(file.name).stem if alone else "")
    imagery, tags = _lower(file.tags(index, ns="IMAGERY")), _lower(file.tags(index))
    if "central_wavelength_um" in imagery:
        return Band(name, _nanometres(imagery["central_wavelength_um"], "um"))
    unit = tags.get("wavelength_units", tags.get("wavelength_unit", ""))
    return Band(name, _nanometres(tags.get("wavelength", ""), unit))


def _nanometres(number: str, unit: str) -> float | None:
    """Returns a wavelength, None where there is none or its unit is none of light."""
    try:
        value = float(number)
    except ValueError:
        return None
    if not 0 < value < math.inf:
        return None
    if not unit:  # light is measured in hundreds of nanometres, or in a few micrometres
        unit = "um" if value < _LEAST_NANOMETRES else "nm"
    factor = _UNITS.get(unit.strip().casefold())
    return None if factor is None else value * factor


def _lower(tags: dict[str, str]) -> dict[str, str]:
    return {key.casefold(): value for key, value in tags.items()}
