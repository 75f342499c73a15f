"""Parts of a grid."""

from dataclasses import dataclass

from odc.geo.geobox import GeoBox

from m3amba_geo.errors import NoOverlapError


@dataclass(frozen=True)
class Region:
    """Part of a grid: pixels from `top`, `left` (inclusive) to `bottom`, `right` (exclusive)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """What takes it from an array of the grid."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left


def region_of(grid: GeoBox, bounds: tuple[float, float, float, float] | None) -> Region:
    """Returns the pixels of a grid within `(left, bottom, right, top)` in its CRS.

    Raises:
        NoOverlapError: The bounds lie outside the grid.
    """
    height, width = grid.shape
    if bounds is None:
        return Region(0, 0, height, width)
    left, bottom, right, top = bounds
    corners = [grid.wld2pix(x, y) for x in (left, right) for y in (bottom, top)]
    columns, rows = zip(*corners, strict=True)
    region = Region(
        max(0, round(min(rows))),
        max(0, round(min(columns))),
        min(height, round(max(rows))),
        min(width, round(max(columns))),
    )
    if region.bottom <= region.top or region.right <= region.left:
        raise NoOverlapError(
            f"The bounds {bounds} do not meet the raster, or hold less than half of a pixel.",
            "Give left, bottom, right, top in the CRS of the reference raster, farther apart.",
        )
    return region
