"""From QGIS layers to the paths and names that the backend takes."""

import re
from pathlib import Path

from qgis.core import QgsCoordinateTransform, QgsCsException, QgsProviderRegistry

from ..translate import tr


def raster_arguments(layers):
    """Returns `NAME=PATH` for each raster layer.

    Names are the layers', without the characters that have a meaning on the command line, and
    told apart by a number: rasters of one name would be one modality.
    """
    arguments, taken = [], set()
    for layer in layers:
        name = base = re.sub(r"[^\w-]+", "_", layer.name()).strip("_-") or "raster"
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        arguments.append(f"{name}={raster_path(layer)}")
    return arguments


def raster_path(layer):
    """Returns the file of a GDAL layer, or GDAL's name of a subdataset or remote file."""
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    if parts.get("layerName"):
        return layer.source()
    return absolute(parts.get("path") or layer.source())


def absolute(path):
    """Returns a local file's absolute path; GDAL's names of other things stay as they are."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def raster_problem(layers, context):
    """Returns what is wrong with rasters that are to be stacked, empty where nothing is."""
    for layer in layers:
        if layer.providerType() != "gdal":
            return tr("{} is not a raster file: save it as one first.").format(layer.name())
    if not layers:
        return tr("No raster was given that can be read.")
    first = layers[0]
    for layer in layers[1:]:
        if not _overlap(first, layer, context):
            return tr("{} and {} do not overlap.").format(first.name(), layer.name())
    return ""


def _overlap(first, other, context):
    if not (first.crs().isValid() and other.crs().isValid()):
        return first.extent().intersects(other.extent())
    to_first = QgsCoordinateTransform(other.crs(), first.crs(), context.transformContext())
    try:
        return first.extent().intersects(to_first.transformBoundingBox(other.extent()))
    except QgsCsException:
        return True  # not for this check to decide: the backend warps pixel by pixel
