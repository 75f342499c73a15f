"""From a QGIS label layer to a file, a field, and the classes of its style."""

from __future__ import annotations

import csv
from pathlib import Path

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsFields,
    QgsProcessingException,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsVectorFileWriter,
)
from qgis.PyQt.QtCore import QDate

from ..translate import tr
from .layers import absolute, overlap

FORMATS = ["gpkg", "shp", "geojson", "json", "fgb"]


def label_problem(algorithm, parameters, context, raster):
    """Returns what is wrong with the labels, empty where nothing is."""
    source = algorithm.parameterAsSource(parameters, "LABELS", context)
    if source is None:
        return tr("The labelled places can't be read.")
    if source.featureCount() == 0:
        return tr("{} holds no features.").format(source.sourceName())
    if raster is None:
        return ""
    if raster.crs().isValid() and not source.sourceCrs().isValid():
        return tr("{} has no CRS: give it one with “Assign projection”.").format(
            source.sourceName()
        )
    if not overlap(raster, source.sourceExtent(), source.sourceCrs(), context):
        return tr("{} and {} do not overlap.").format(raster.name(), source.sourceName())
    return ""


def label_arguments(algorithm, parameters, context, feedback):
    """Returns the arguments that name labels; those that no file holds are written to one."""
    fields = algorithm.parameterAsFields(parameters, "FIELD", context)[:1]
    layer = algorithm.parameterAsVectorLayer(parameters, "LABELS", context)
    styled, classes = style_classes(layer)
    field = fields[0] if fields else styled
    path, layer_name = label_file(algorithm, parameters, context, feedback, field)
    arguments = ["--labels", path]
    if layer_name:
        arguments += ["--layer", layer_name]
    if field:
        arguments += ["--field", field]
    if classes and field == styled and algorithm.parameterAsBool(parameters, "STYLE", context):
        legend = QgsProcessingUtils.generateTempFilename("legend.csv")
        write_legend(Path(legend), classes)
        arguments += ["--legend", legend]
        feedback.pushInfo(tr("Classes of the style: {}").format(", ".join(c[1] for c in classes)))
    return arguments


def label_file(algorithm, parameters, context, feedback, field=""):
    """Returns a file with the labels as QGIS shows them, that field too, and the layer in it.

    The layer is empty where the file holds no other.
    """
    layer = algorithm.parameterAsVectorLayer(parameters, "LABELS", context)
    if layer is not None and _differs_from_its_file(layer, field):
        return _written(algorithm, parameters, context, layer), ""
    path, name = algorithm.parameterAsCompatibleSourceLayerPathAndLayerName(
        parameters, "LABELS", context, FORMATS, "gpkg", feedback
    )
    # QGIS keeps the name for a file that it has written itself, whose layer is called otherwise.
    return absolute(path), name if _is_source(path, layer) else ""


def _differs_from_its_file(layer, field):
    """Whether QGIS shows what the layer's file does not hold: edits, another CRS, such a field."""
    number = layer.fields().lookupField(field)
    of_file = number < 0 or layer.fields().fieldOrigin(number) == QgsFields.OriginProvider
    return layer.isModified() or layer.crs() != layer.dataProvider().crs() or not of_file


def _written(algorithm, parameters, context, layer):
    """Writes labels as QGIS shows them, the chosen features alone; returns the file.

    Keys stay behind: what is not saved yet has none, or a word in its place.
    """
    source = algorithm.parameterAsSource(parameters, "LABELS", context)
    kept = [i for i in range(source.fields().count()) if i not in layer.primaryKeyAttributes()]
    fields = QgsFields()
    for i in kept:
        fields.append(source.fields().at(i))
    path = QgsProcessingUtils.generateTempFilename("labels.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "labels"
    writer = QgsVectorFileWriter.create(
        path, fields, source.wkbType(), source.sourceCrs(), context.transformContext(), options
    )
    for feature in source.getFeatures():
        written = QgsFeature(fields)
        written.setGeometry(feature.geometry())
        written.setAttributes([feature.attribute(i) for i in kept])
        writer.addFeature(written)
    if writer.hasError():
        raise QgsProcessingException(
            tr("The labelled places can't be written to {}: {}").format(path, writer.errorMessage())
        )
    del writer  # closes the file
    return path


def _is_source(path, layer):
    """Whether a path is the layer's own file, not one that QGIS has written for it."""
    if layer is None:
        return True
    own = QgsProviderRegistry.instance().decodeUri("ogr", layer.source()).get("path", "")
    return Path(path) == Path(own)


def style_classes(layer):
    """Returns the field of a layer's categorised style, and its `(value, name, colour)`.

    A style by an expression names no field, and is passed over.
    """
    renderer = layer.renderer() if layer is not None else None
    if not isinstance(renderer, QgsCategorizedSymbolRenderer):
        return "", []
    field = renderer.classAttribute().strip('"')
    if layer.fields().lookupField(field) < 0:
        return "", []
    classes = {}
    for category in renderer.categories():
        values = category.value()
        for value in values if isinstance(values, list) else [values]:
            text = _text(value)
            if text:  # the category of all other values has none
                color = category.symbol().color().name()
                classes[text] = (text, category.label() or text, color)
    return field, list(classes.values())


def write_legend(path, classes):
    """Writes classes as the backend's `--legend` reads them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["code", "name", "color"])
        rows.writerows(classes)


def _text(value):
    if value is None or str(value) in ("", "NULL"):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, QDate):
        return value.toString("yyyy-MM-dd")
    return str(value)
