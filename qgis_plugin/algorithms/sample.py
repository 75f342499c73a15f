"""Draw places of a map at random, for people to say what is there."""

from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ..translate import tr
from .base import BackendAlgorithm
from .layers import raster_path, raster_problem

OPTIONS = ("POINTS", "LEAST", "SEED", "ALLOW_NETWORK")


class Sample(BackendAlgorithm):
    """`m3amba:sample`."""

    command = "sample"
    title = "Draw a sample of a map"
    summary = (
        "Draws points at random from each class of a land-cover map. Say what is there in their "
        "field “class”, which offers the classes in a list; then “Assess a map” tells the accuracy "
        "of the whole map and the true area of each class."
    )
    tag_words = "random,stratified,sampling,points,accuracy,area estimation,validation,land cover"
    example = "-- MAP=map.tif SAMPLE=sample.gpkg"

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        self.add(
            QgsProcessingParameterRasterLayer("MAP", tr("Map")),
            tr(
                "A map made by “Classify with M3amba”; where its sidecar lies beside it, no point "
                "falls on pixels that trained the model."
            ),
        )
        for name, description, usual, least, text in (
            (
                "POINTS", tr("Points"), 500, 1,
                tr("How many, more or less, shared out by the area of the classes."),
            ),
            (
                "LEAST", tr("Points a class, at least"), 50, 2,
                tr("Rare classes get so many, where they have so many pixels."),
            ),
            ("SEED", tr("Seed"), 0, 0, tr("Of the draw: the same seed, the same points.")),
        ):  # fmt: skip
            self.add(
                QgsProcessingParameterNumber(name, description, defaultValue=usual, minValue=least),
                text,
                advanced=name == "SEED",
            )
        self.add_network()
        self.add(
            QgsProcessingParameterVectorDestination(
                "SAMPLE", tr("Sample"), QgsProcessing.SourceType.TypeVectorPoint
            ),
            tr("A GeoPackage. Its points do not say what the map shows, lest it be believed."),
        )

    def preflight(self, parameters, context):
        """Checks the map."""
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        return raster_problem([] if layer is None else [layer], "", context)

    def inputs(self, parameters, context, feedback):
        """Returns map and options."""
        return [
            raster_path(self.parameterAsRasterLayer(parameters, "MAP", context)),
            *self.options(parameters, context, OPTIONS),
        ]

    def outputs(self, parameters, context):
        """Returns the points.

        Raises:
            QgsProcessingException: They would go into another format, or a file that holds more.
        """
        path = self.parameterAsOutputLayer(parameters, "SAMPLE", context)
        if Path(path).suffix.lower() != ".gpkg":
            raise QgsProcessingException(
                tr("{} is no name of a GeoPackage: let it end in .gpkg.").format(path)
            )
        return ["--out", str(Path(path).absolute()), "--overwrite"], {"SAMPLE": path}
