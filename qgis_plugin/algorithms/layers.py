"""From QGIS raster layers to the paths and names that the backend takes."""

from __future__ import annotations

import re
from pathlib import Path

from qgis.core import QgsCoordinateTransform, QgsCsException, QgsProviderRegistry

from ..translate import tr


def raster_arguments(layers, groups):
    """Returns `NAME=PATH` for each raster layer; rasters of one name are one modality."""
    names = group_names(groups) or layer_names(layers)
    return [f"{name}={raster_path(layer)}" for name, layer in zip(names, layers)]


def group_names(text):
    """Returns the names in `vnir,vnir,swir`; empty where none are given."""
    return [_plain(name) for name in text.split(",")] if text.strip() else []


def layer_names(layers):
    """Returns the names of layers, without the characters that mean something to the backend.

    They are told apart by a number: rasters of one name would be one modality.
    """
    names, taken = [], set()
    for layer in layers:
        name = base = _plain(layer.name())
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _plain(name):
    return re.sub(r"[^\w-]+", "_", name).strip("_-") or "raster"


def raster_path(layer):
    """Returns the file of a GDAL layer, or GDAL's name of what is in an archive, or remote."""
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    if parts.get("layerName") or parts.get("vsiPrefix"):
        return layer.source()
    return absolute(parts.get("path") or layer.source())


def weights_filter():
    """Returns the kinds of files that weights of an image encoder come in."""
    return tr("Weights (*.safetensors *.pt *.pth *.bin)")


def absolute(path):
    """Returns a local file's absolute path; GDAL's names of other things stay as they are."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


def raster_problem(layers, groups, context):
    """Returns what is wrong with rasters that are to be stacked, empty where nothing is."""
    if not layers:
        return tr("No raster was given that can be read.")
    named = group_names(groups)
    if named and len(named) != len(layers):
        return tr("There are {} groups for {} rasters: name one group for each raster.").format(
            len(named), len(layers)
        )
    first = layers[0]
    for layer in layers:
        problem = _own_problem(layer) or _problem_beside(first, layer, context)
        if problem:
            return problem
    return ""


def _own_problem(layer):
    if layer.providerType() != "gdal":
        return tr("{} is not a raster file: save it as one first.").format(layer.name())
    # The backend opens the file: a CRS that only the project knows does not reach it.
    of_file = layer.dataProvider().crs()
    if layer.crs().isValid() and layer.crs() != of_file:
        return tr(
            "QGIS shows {} in {}, but its file says {}. Write the right CRS into the file with "
            "“Assign projection”."
        ).format(layer.name(), layer.crs().authid(), of_file.authid() or tr("nothing"))
    return ""


def _problem_beside(first, other, context):
    if first.crs().isValid() != other.crs().isValid():
        lacking = other if first.crs().isValid() else first
        return tr("{} has no CRS: write it into the file with “Assign projection”.").format(
            lacking.name()
        )
    if not overlap(first, other.extent(), other.crs(), context):
        return tr("{} and {} do not overlap.").format(first.name(), other.name())
    return ""


def overlap(raster, extent, crs, context):
    """Whether an extent in a CRS meets a raster; true where that can't be told."""
    if not (raster.crs().isValid() and crs.isValid()):
        return raster.extent().intersects(extent)
    to_raster = QgsCoordinateTransform(crs, raster.crs(), context.transformContext())
    try:
        return raster.extent().intersects(to_raster.transformBoundingBox(extent))
    except QgsCsException:
        return True  # not for this check to decide: the backend warps pixel by pixel


def bands_of(layers, groups):
    """Returns names and numbers of bands of the modalities that layers make up, in order."""
    names = group_names(groups) or layer_names(layers)
    bands = {}
    for name, layer in zip(names, layers):
        bands[name] = bands.get(name, 0) + layer.bandCount()
    return bands


def pair(model, layers, groups):
    """Returns `(name in the model, its bands, name given, bands given)` of each modality.

    As the backend does it: by name where the model knows all names, else in the order given.
    """
    given = bands_of(layers, groups)
    if set(given) <= {name for name, _ in model.modalities}:
        return [(name, n, name, given[name]) for name, n in model.modalities if name in given]
    return [(*trained, *item) for trained, item in zip(model.modalities, given.items())]


def model_problem(model, layers, groups):
    """Returns why rasters can't be those of a model, empty where they may."""
    given = bands_of(layers, groups)
    enough = model.fewer and set(given) <= {name for name, _ in model.modalities}
    if len(given) != len(model.modalities) and not enough:
        return tr("The model takes {}; {} were given. {}").format(
            model, ", ".join(given), _group_hint(model, layers)
        )
    for name, wanted, given_name, count in pair(model, layers, groups):
        # More bands may do: the backend finds those of the training by wavelength or name.
        if count < wanted:
            return tr("{} has {} bands; the model was trained with {} for {}.").format(
                given_name, count, wanted, name
            )
    return ""


def _group_hint(model, layers):
    """Returns the groups that would fit, where the numbers of bands leave no other choice."""
    names, rest = [], list(model.modalities)
    counts = [layer.bandCount() for layer in layers]
    filled = 0
    for count in counts:
        if not rest:
            return ""
        names.append(rest[0][0])
        filled += count
        if filled > rest[0][1]:
            return ""
        if filled == rest[0][1]:
            rest.pop(0)
            filled = 0
    if rest:
        return ""
    return tr("If these rasters are in that order, enter as groups: {}").format(",".join(names))
