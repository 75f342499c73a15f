"""Assess a map with labelled places."""

from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterLayer,
)

from ..translate import tr
from .base import BackendAlgorithm
from .labels import label_arguments, label_problem
from .layers import raster_path, raster_problem

OPTIONS = (
    "ALL_TOUCHED", "PROBABILITY_SAMPLE", "MODEL", "ALLOW_TRAIN_OVERLAP", "ALLOW_NETWORK",
)  # fmt: skip


class Evaluate(BackendAlgorithm):
    """`m3amba:evaluate`."""

    command = "evaluate"
    title = "Assess a map"
    summary = (
        "Compares a land-cover map with labelled places: confusion matrix, overall accuracy, and "
        "the accuracy of every class. Pixels that trained the model are left out and counted."
    )
    tag_words = "accuracy,confusion matrix,kappa,validation,land cover,evaluation,assessment"
    example = "-- MAP=map.tif LABELS=check.gpkg FIELD=class HTML=accuracy.html"

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        self.add(
            QgsProcessingParameterRasterLayer("MAP", tr("Map")),
            tr("A map made by “Classify with M3amba”, its sidecar beside it."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                "LABELS",
                tr("Labelled places"),
                [QgsProcessing.SourceType.TypeVectorAnyGeometry],
            ),
            tr("Best are places that training has never seen."),
        )
        self.add(
            QgsProcessingParameterField(
                "FIELD", tr("Class field"), parentLayerParameterName="LABELS", optional=True
            ),
            tr(
                "Text or integers. If left out: the field of the layer's categorised style, else "
                "the only field that fits."
            ),
        )
        self.add_flag(
            "STYLE",
            tr("Names and colours from the layer's style"),
            tr(
                "Matches classes by the names in the layer's style. For labels that have other "
                "values than those of the training, but the same class names."
            ),
        )
        self.add_flag(
            "ALL_TOUCHED",
            tr("Label all touched pixels"),
            tr("Label every pixel that a polygon touches, not only those whose centre is inside."),
        )
        self.add(
            QgsProcessingParameterBoolean(
                "PROBABILITY_SAMPLE", tr("Labels are a random sample of the map"), False
            ),
            tr(
                "The labelled places are points that were drawn at random, from all of the map or "
                "from each of its classes, and nobody chose where they lie: accuracy and areas of "
                "the whole map are estimated, with intervals of 95 %."
            ),
        )
        self.add(
            QgsProcessingParameterFile("MODEL", tr("Model"), extension="m3amba", optional=True),
            tr("The model that made the map, where its sidecar is lost."),
            advanced=True,
        )
        self.add_flag(
            "ALLOW_TRAIN_OVERLAP",
            tr("Score training pixels, too"),
            tr("Makes the figures too good. For labels that are known to be independent."),
        )
        self.add_network()
        self.add(
            QgsProcessingParameterFileDestination(
                "HTML", tr("Report"), fileFilter=tr("HTML page (*.html)"), optional=True
            ),
            tr("Page with picture, confusion matrix and classes; one file, to read or to send."),
        )
        self.add(
            QgsProcessingParameterFileDestination(
                "REPORT",
                tr("Figures"),
                fileFilter=tr("JSON file (*.json)"),
                optional=True,
                createByDefault=False,
            ),
            tr("All figures, for programs."),
        )
        self.addOutput(QgsProcessingOutputNumber("OVERALL_ACCURACY", tr("Overall accuracy")))
        self.addOutput(QgsProcessingOutputNumber("KAPPA", tr("Kappa")))

    def preflight(self, parameters, context):
        """Checks map and labels."""
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        layers = [] if layer is None else [layer]
        return raster_problem(layers, "", context) or label_problem(
            self, parameters, context, layer
        )

    def inputs(self, parameters, context, feedback):
        """Returns map, labels and options."""
        return [
            raster_path(self.parameterAsRasterLayer(parameters, "MAP", context)),
            *label_arguments(self, parameters, context, feedback),
            *self.options(parameters, context, OPTIONS),
        ]

    def outputs(self, parameters, context):
        """Returns the reports."""
        arguments, results = ["--overwrite"], {}
        for name in ("HTML", "REPORT"):
            path = self.parameterAsFileOutput(parameters, name, context)
            if path:
                results[name] = str(Path(path).absolute())
                arguments += [f"--{name.lower()}", results[name]]
        return arguments, results

    def finish(self, told, course, results):
        """Hands the two figures on, so that a model may use them."""
        for key in ("overall_accuracy", "kappa"):
            if told.get(key) is not None:
                results[key.upper()] = told[key]
