"""Map tiles side by side, and the virtual raster (VRT) that shows them as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from odc.geo.geobox import GeoBox

from m3amba_geo.errors import CRSMissingError, GridsDifferError
from m3amba_geo.geo.footprint import crs_of, name_of
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.maps import category_names, class_tags, color_table, xml_text

_SAME_SIZE = 1e-6  # of a pixel's size
_TYPES = {"uint8": "Byte", "uint16": "UInt16"}


@dataclass(frozen=True)
class Tile:
    """A map on disk.

    Attributes:
        name: How the VRT names it, relative to its own folder.
        grid: Its place.
    """

    name: str
    grid: GeoBox


def check_grids(tiles: Sequence[Tile]) -> None:
    """Makes sure that tiles fit into one raster: one CRS, one size of pixels, upright.

    Where their pixels begin need not fit: a tile is shown at the nearest whole pixel.

    Raises:
        CRSMissingError: A tile has no CRS.
        GridsDifferError: They do not fit.
    """
    first = tiles[0]
    for tile in tiles:
        if tile.grid.crs is None:
            raise CRSMissingError(f"The scene {tile.name} has no CRS.", "Assign the one it is in.")
        if tile.grid.crs != first.grid.crs:
            raise GridsDifferError(
                f"The scenes {first.name} and {tile.name} have different CRS: "
                f"{name_of(crs_of(first.grid))} and {name_of(crs_of(tile.grid))}.",
                "Make a mosaic for each CRS, or bring the scenes into one with gdalwarp.",
            )
        width, slant, _, tilt, height, _ = tile.grid.affine[:6]
        if slant or tilt or width <= 0 or height >= 0:
            raise GridsDifferError(
                f"The scene {tile.name} is rotated, or not north up.",
                "Bring it north up with gdalwarp.",
            )
        ours, theirs = (width, height), (first.grid.affine.a, first.grid.affine.e)
        if any(abs(a / b - 1) > _SAME_SIZE for a, b in zip(ours, theirs, strict=True)):
            raise GridsDifferError(
                f"Pixels of {first.name} have the size {theirs[0]:g} x {-theirs[1]:g}, those of "
                f"{tile.name} {width:g} x {-height:g}.",
                "Bring the scenes to one size of pixels with gdalwarp -tr.",
            )


def vrt_of(tiles: Sequence[Tile], dtype: str, name: str, legend: Legend) -> str:
    """Returns a VRT over tiles that fit, see `check_grids`; later ones lie on top.

    Its grid is that of the first tile, grown to hold them all. Where a tile is nodata, those below
    it show through.

    Args:
        tiles: What it shows.
        dtype: Their pixel type.
        name: What their band is called.
        legend: Their colours and names.
    """
    origin = tiles[0].grid.affine
    crs = tiles[0].grid.crs
    places = []
    for tile in tiles:
        left, top = ~origin * (tile.grid.affine.c, tile.grid.affine.f)
        places.append((round(left), round(top), tile.grid.shape[1], tile.grid.shape[0]))
    west, north = min(p[0] for p in places), min(p[1] for p in places)
    width = max(p[0] + p[2] for p in places) - west
    height = max(p[1] + p[3] for p in places) - north
    root = Xml.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    Xml.SubElement(root, "SRS").text = "" if crs is None else crs.to_wkt()
    x, y = origin * (west, north)
    transform = (x, origin.a, 0.0, y, 0.0, origin.e)
    Xml.SubElement(root, "GeoTransform").text = ", ".join(map(repr, transform))
    band = Xml.SubElement(root, "VRTRasterBand", dataType=_TYPES[dtype], band="1")
    metadata = Xml.SubElement(band, "Metadata")
    for key, value in class_tags(legend).items():
        Xml.SubElement(metadata, "MDI", key=key).text = xml_text(value)
    Xml.SubElement(band, "Description").text = name
    Xml.SubElement(band, "NoDataValue").text = "0"
    Xml.SubElement(band, "ColorInterp").text = "Palette"
    colors = Xml.SubElement(band, "ColorTable")
    table = color_table(legend)
    for code in range(max(table) + 1):
        rgba = map(str, table.get(code, (0, 0, 0, 255)))
        Xml.SubElement(colors, "Entry", dict(zip(("c1", "c2", "c3", "c4"), rgba, strict=True)))
    band.append(category_names(legend))
    for tile, (left, top, columns, rows) in zip(tiles, places, strict=True):
        source = Xml.SubElement(band, "ComplexSource")
        Xml.SubElement(source, "SourceFilename", relativeToVRT="1").text = tile.name
        Xml.SubElement(source, "SourceBand").text = "1"
        size = {"xSize": str(columns), "ySize": str(rows)}
        Xml.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | size)
        place = {"xOff": str(left - west), "yOff": str(top - north)}
        Xml.SubElement(source, "DstRect", place | size)
        Xml.SubElement(source, "NODATA").text = "0"
    return Xml.tostring(root, encoding="unicode")
