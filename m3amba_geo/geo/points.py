"""Points for people to label: a GeoPackage, and how QGIS is to show it.

The only file that writes vectors.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pyogrio.raw
import shapely
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from m3amba_geo.files import ScratchOf, library_error
from m3amba_geo.geo.footprint import crs_of
from m3amba_geo.geo.maps import style_path, xml_text
from m3amba_geo.geo.marks import Positions

FIELD = "class"


def write_points(
    path: Path, grid: GeoBox, pixels: Positions, answers: Sequence[str], scratch_of: ScratchOf
) -> None:
    """Writes the centres of pixels, numbered in the order given, with an empty field `class`.

    A style lies beside them by which QGIS offers the answers in a list.

    Args:
        path: A GeoPackage.
        grid: Where the pixels lie.
        pixels: Which (N,), positions in the flattened grid.
        answers: What the field may come to hold.
        scratch_of: Names the outputs.

    Raises:
        OutputError: It can't be written.
    """
    rows, columns = np.divmod(pixels, grid.shape[1])
    x, y = grid.pix2wld(columns + 0.5, rows + 0.5)
    if grid.crs is None and grid.affine.is_identity:
        y = -y  # where QGIS shows a raster without a place, and `geo.drawn` looks for its labels
    crs = crs_of(grid)
    numbers = np.arange(1, len(pixels) + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # nor has the map one
            pyogrio.raw.write(
                scratch_of(path), shapely.to_wkb(shapely.points(x, y)),
                [numbers, np.full(len(pixels), None, np.object_)], ["number", FIELD],
                layer="sample", driver="GPKG", geometry_type="Point", VERSION="1.2",
                crs=None if crs is None else crs.to_wkt(),
            )  # fmt: skip
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise library_error(error, path) from error
    scratch_of(style_path(path)).write_text(_style(answers), encoding="utf-8")


def _style(answers: Sequence[str]) -> str:
    """Returns a QGIS style (QML) by which the field is filled in from a list."""
    root = Xml.Element("qgis", version="3.22.0", styleCategories="Fields|Forms")
    field = Xml.SubElement(Xml.SubElement(root, "fieldConfiguration"), "field", name=FIELD)
    config = Xml.SubElement(Xml.SubElement(field, "editWidget", type="ValueMap"), "config")
    options = Xml.SubElement(config, "Option", type="Map")
    listed = Xml.SubElement(options, "Option", type="List", name="map")
    for answer in map(xml_text, answers):
        entry = Xml.SubElement(listed, "Option", type="Map")
        Xml.SubElement(entry, "Option", type="QString", name=answer, value=answer)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + Xml.tostring(root, encoding="unicode")
