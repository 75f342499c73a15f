"""An open file laid onto another grid, a window at a time."""

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.enums import Resampling as GdalResampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from m3amba_geo.config import Resampling

_TOLERANCE = 0.01  # pixels that a warp may be off


class Warp:
    """A file on another grid; NaN where it has nothing to say: nodata, masked, transparent.

    Attributes:
        height: Of the grid, in pixels.
        block: Height and width of the blocks in which it is best read.

    Args:
        file: The open file.
        grid: Where to; it has a CRS.
        resampling: How.
        nodata: What stands for nothing in the bands that will be read; NaN for none.
        dtype: Type of what is read, one that has NaN.
        handles: Closes it.
    """

    def __init__(
        self,
        file: Any,  # noqa: ANN401 - rasterio has no types
        grid: GeoBox,
        resampling: Resampling,
        nodata: float,
        dtype: str,
        handles: ExitStack,
    ) -> None:
        values = _onto(file, grid, resampling, src_nodata=nodata, nodata=math.nan, dtype=dtype)
        self._values = handles.enter_context(values)
        self._mask = None
        if _has_mask(file):  # of nodata and a mask GDAL warps by the first alone
            mask = _onto(file, grid, "nearest", src_nodata=None, nodata=None, add_alpha=True)
            self._mask = handles.enter_context(mask)
        self.height: int = self._values.height
        self.block: tuple[int, int] = self._values.block_shapes[0]

    def read(self, indexes: list[int], window: Window) -> NDArray[Any]:
        """Returns bands `(C, h, w)` of a window, the same pixels whatever the window."""
        pixels = _read(self._values, indexes, window)
        if self._mask is not None:
            opaque = _read(self._mask, [self._mask.count], window)[0] > 0
            pixels[:, ~opaque] = math.nan
        return pixels


def _has_mask(file: Any) -> bool:  # noqa: ANN401 - rasterio has no types
    flags = file.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and ColorInterp.alpha not in file.colorinterp


def _onto(
    file: Any,  # noqa: ANN401 - rasterio has no types
    grid: GeoBox,
    resampling: Resampling,
    **how: Any,  # noqa: ANN401
) -> WarpedVRT:
    assert grid.crs is not None
    return WarpedVRT(
        file,
        crs=str(grid.crs.to_wkt()),
        transform=grid.affine,
        height=grid.shape[0] + 1,  # see `_read`
        width=grid.shape[1],
        resampling=GdalResampling[resampling],
        tolerance=_TOLERANCE,
        UNIFIED_SRC_NODATA="NO",  # else a value that other bands lack counts as data
        SRC_ALPHA_MAX="1",  # what is not wholly transparent counts, as where nothing is warped
        **how,
    )


def _read(warped: WarpedVRT, indexes: list[int], window: Window) -> NDArray[Any]:
    # GDAL warps a large window, or the whole image, in one go. Coordinates are interpolated
    # on the way, so the same pixel would differ from window to window. Up to the height of a
    # block, and short of the whole, it warps the blocks that windows share.
    height, few = int(window.height), warped.block_shapes[0][0]
    shape = (len(indexes), height, int(window.width))
    pixels = np.empty(shape, warped.dtypes[0])
    for first in range(0, height, few):
        rows = min(few, height - first)
        strip = Window(window.col_off, window.row_off + first, window.width, rows)
        pixels[:, first : first + rows] = warped.read(indexes, window=strip)
    return pixels
