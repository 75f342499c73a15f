"""Make a map with a trained model."""

from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterDestination,
)

from ..translate import tr
from .base import DEVICE_HELP, DEVICES, BackendAlgorithm
from .layers import absolute, raster_arguments, raster_problem


class Classify(BackendAlgorithm):
    """`m3amba:classify`."""

    command = "classify"
    title = "Classify with M3amba"
    summary = (
        "Makes a land-cover map of rasters with a model that was trained on rasters of the same "
        "kind. The map has the grid of the first raster, and the names and colours of the classes."
    )
    tag_words = "land cover,classification,deep learning,machine learning,mamba,map,prediction"

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        self.add(
            QgsProcessingParameterFile("MODEL", tr("Model"), extension="m3amba"),
            tr("A model file written by “Train a model with M3amba”."),
        )
        self.add(
            QgsProcessingParameterMultipleLayers(
                "RASTERS", tr("Rasters"), QgsProcessing.SourceType.TypeRaster
            ),
            tr("As many as the model was trained on, in the same order, with the same bands."),
        )
        self.add(
            QgsProcessingParameterEnum(
                "DEVICE", tr("Device"), DEVICES, defaultValue=DEVICES[0], usesStaticStrings=True
            ),
            tr(DEVICE_HELP),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination("MAP", tr("Map")),
            tr("GeoTIFF of class codes; 0 where an input has no data. A style lies beside it."),
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                "CONFIDENCE", tr("Confidence"), optional=True, createByDefault=False
            ),
            tr("GeoTIFF of the probability of the mapped class, 0 to 1."),
        )

    def preflight(self, parameters, context):
        """Checks the rasters."""
        return raster_problem(self.parameterAsLayerList(parameters, "RASTERS", context), context)

    def inputs(self, parameters, context, feedback):
        """Returns model, rasters and options."""
        model = self.parameterAsFile(parameters, "MODEL", context)
        rasters = self.parameterAsLayerList(parameters, "RASTERS", context)
        device = self.parameterAsEnumString(parameters, "DEVICE", context)
        return [absolute(model), *raster_arguments(rasters), "--device", device]

    def outputs(self, parameters, context):
        """Returns the map and, if wanted, its confidence; asks for the map to be styled."""
        path = self.parameterAsOutputLayer(parameters, "MAP", context)
        arguments, results = ["--out", str(Path(path).absolute()), "--overwrite"], {"MAP": path}
        if context.willLoadLayerOnCompletion(path):
            context.layerToLoadOnCompletionDetails(path).setPostProcessor(Styler.shared())
        confidence = self.parameterAsOutputLayer(parameters, "CONFIDENCE", context)
        if confidence:
            arguments += ["--confidence", str(Path(confidence).absolute())]
            results["CONFIDENCE"] = confidence
        return arguments, results


class Styler(QgsProcessingLayerPostProcessorInterface):
    """Gives the loaded map the style that the backend wrote beside it (`map.tif`, `map.qml`)."""

    _shared = None

    @classmethod
    def shared(cls):
        """Returns the one styler; QGIS keeps no reference of its own, so it must not be freed."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def postProcessLayer(self, layer, context, feedback):
        """Called in the main thread once the layer is loaded."""
        style = Path(layer.source()).with_suffix(".qml")
        if not style.is_file():
            return
        message, loaded = layer.loadNamedStyle(str(style))
        if loaded:
            layer.triggerRepaint()
        else:
            feedback.pushWarning(message)
