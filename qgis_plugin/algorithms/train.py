"""Train a model on rasters and labelled places."""

from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
)

from ..translate import tr
from .base import DEVICE_HELP, DEVICES, BackendAlgorithm
from .layers import absolute, raster_arguments, raster_problem

LABEL_FORMATS = ["gpkg", "shp", "geojson", "json", "fgb"]


class Train(BackendAlgorithm):
    """`m3amba:train`."""

    command = "train"
    title = "Train a model with M3amba"
    summary = (
        "Learns land-cover classes from labelled places on one or several rasters of the same "
        "area, such as a multispectral image and a height model, and writes a model file."
    )
    tag_words = "land cover,classification,deep learning,machine learning,mamba,training,fusion"

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        source = QgsProcessing.SourceType
        self.add(
            QgsProcessingParameterMultipleLayers("RASTERS", tr("Rasters"), source.TypeRaster),
            tr(
                "Each is a modality of its own, named by its layer. The first one's grid is used; "
                "the others are warped onto it."
            ),
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                "LABELS", tr("Labelled places"), [source.TypeVectorAnyGeometry]
            ),
            tr("Polygons, lines or points with a class; any coordinate reference system."),
        )
        self.add(
            QgsProcessingParameterField(
                "FIELD", tr("Class field"), parentLayerParameterName="LABELS", optional=True
            ),
            tr("Text or integers. May be left out where exactly one field fits."),
        )
        self.add(
            _enum("SIZE", tr("Size of the network"), ["tiny", "small", "base"]),
            tr(
                "tiny, small or base: larger ones may be more accurate, "
                "and take more time and memory."
            ),
        )
        self.add(
            _enum("GUIDE", tr("Guide"), ["auto", "clip", "none"]),
            tr(
                "Image encoder that guides the fusion: auto uses its weights if they are on this "
                "machine, clip may download them, none works without."
            ),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber("EPOCHS", tr("Epochs"), optional=True, minValue=1),
            tr("Visits of every labelled cell; chosen by their number where left out."),
            advanced=True,
        )
        self.add(
            _enum("DEVICE", tr("Device"), DEVICES),
            tr(DEVICE_HELP),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFileDestination(
                "MODEL", tr("Model"), fileFilter=tr("M3amba model (*.m3amba)")
            ),
            tr("File with the trained network and all that classifying needs."),
        )

    def preflight(self, parameters, context):
        """Checks the rasters."""
        return raster_problem(self.parameterAsLayerList(parameters, "RASTERS", context), context)

    def inputs(self, parameters, context, feedback):
        """Returns rasters, labels and options; labels that are no file are written to one."""
        labels, layer = self.parameterAsCompatibleSourceLayerPathAndLayerName(
            parameters, "LABELS", context, LABEL_FORMATS, "gpkg", feedback
        )
        rasters = self.parameterAsLayerList(parameters, "RASTERS", context)
        arguments = [*raster_arguments(rasters), "--labels", absolute(labels)]
        if layer:
            arguments += ["--layer", layer]
        for name in self.parameterAsFields(parameters, "FIELD", context)[:1]:
            arguments += ["--field", name]
        for option in ("SIZE", "GUIDE", "DEVICE"):
            arguments += [
                f"--{option.lower()}",
                self.parameterAsEnumString(parameters, option, context),
            ]
        if parameters.get("EPOCHS") is not None:
            arguments += ["--epochs", str(self.parameterAsInt(parameters, "EPOCHS", context))]
        return arguments

    def outputs(self, parameters, context):
        """Returns the model file."""
        model = str(Path(self.parameterAsFileOutput(parameters, "MODEL", context)).absolute())
        return ["--out", model, "--overwrite"], {"MODEL": model}


def _enum(name, description, options):
    return QgsProcessingParameterEnum(
        name, description, options, defaultValue=options[0], usesStaticStrings=True
    )
