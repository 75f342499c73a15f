"""Make a map with a trained model."""

from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ..model_file import NotAModelError, read_model
from ..translate import tr
from .base import BackendAlgorithm
from .layers import (
    absolute,
    model_problem,
    overlap,
    pair,
    raster_arguments,
    raster_problem,
    weights_filter,
)

OPTIONS = (
    "MASK", "RESAMPLING", "STRIDE", "BATCH", "MEMORY", "GUIDE_WEIGHTS", "RESTART", "ALLOW_NETWORK",
    "DEVICE",
)  # fmt: skip


class Classify(BackendAlgorithm):
    """`m3amba:classify`."""

    command = "classify"
    title = "Classify with M3amba"
    summary = (
        "Makes a land-cover map of rasters with a model that was trained on rasters of the same "
        "kind. The map has the grid of the first raster, and the names and colours of the classes."
    )
    tag_words = "land cover,classification,deep learning,machine learning,mamba,map,prediction"
    example = "-- MODEL=model.m3amba RASTERS=image.tif RASTERS=height.tif MAP=map.tif"

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
            tr(
                "As many as the model was trained on, with the same bands; in the same order, "
                "unless the layers have the names they had then. A model that was trained for it "
                "does with fewer; their layers must have those names."
            ),
        )
        self.add(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("Maps only what lies inside, on the pixels of the first raster; all if left out."),
        )
        self._add_advanced()
        self._add_outputs()

    def _add_advanced(self):
        self.add(
            QgsProcessingParameterString("GROUPS", tr("Groups of rasters"), optional=True),
            tr("As in training: a name for each raster, in order, such as vnir,vnir,vnir,height."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterLayer("MASK", tr("Mask"), optional=True),
            tr("Leaves out what is 0 or nodata in this raster on the same grid."),
            advanced=True,
        )
        self.add_choice(
            "RESAMPLING",
            tr("Resampling"),
            ["bilinear", "nearest", "cubic", "average"],
            tr("How rasters are warped onto the first one's grid."),
            advanced=True,
        )
        for name, description, text, least in (
            (
                "STRIDE",
                tr("Stride"),
                tr("Pixels between windows; smaller is smoother and slower."),
                1,
            ),
            ("BATCH", tr("Windows a step"), tr("Fewer need less memory."), 1),
            (
                "MEMORY",
                tr("Working memory (MiB)"),
                tr("For pixels; by free memory if left out."),
                16,
            ),
        ):
            self.add(
                QgsProcessingParameterNumber(name, description, optional=True, minValue=least),
                text,
                advanced=True,
            )
        self.add(
            QgsProcessingParameterFile(
                "GUIDE_WEIGHTS",
                tr("Weights of the guide"),
                optional=True,
                fileFilter=weights_filter(),
            ),
            tr("Local file with the weights of the image encoder that the model was trained with."),
            advanced=True,
        )
        self.add_flag(
            "RESTART",
            tr("Start anew"),
            tr("Drops what a cancelled run has left for this map, instead of going on from it."),
        )
        self.add_network()
        self.add_device()

    def _add_outputs(self):
        self.add(
            QgsProcessingParameterRasterDestination("MAP", tr("Map")),
            tr("GeoTIFF of class codes; 0 where data are missing. A style lies beside it."),
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                "CONFIDENCE", tr("Confidence"), optional=True, createByDefault=False
            ),
            tr("GeoTIFF of the probability of the mapped class, 0 to 1."),
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                "PROBABILITIES", tr("Probabilities"), optional=True, createByDefault=False
            ),
            tr("GeoTIFF with the probability of each class, a band each."),
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                "MODALITIES_USED", tr("Modalities used"), optional=True, createByDefault=False
            ),
            tr(
                "GeoTIFF of the modalities that each pixel is made from, for a model that does "
                "with fewer; beside the map if left out."
            ),
            advanced=True,
        )

    def preflight(self, parameters, context):
        """Checks rasters, model and extent."""
        layers = self.parameterAsLayerList(parameters, "RASTERS", context)
        groups = self.parameterAsString(parameters, "GROUPS", context)
        problem = raster_problem(layers, groups, context)
        if problem:
            return problem
        try:
            model = read_model(Path(self.parameterAsFile(parameters, "MODEL", context)))
        except NotAModelError as error:
            return str(error)
        extent = self._extent(parameters, context, layers[0])
        if extent is not None and not overlap(layers[0], extent, layers[0].crs(), context):
            return tr("The extent does not meet {}.").format(layers[0].name())
        return model_problem(model, layers, groups)

    def _extent(self, parameters, context, raster):
        extent = self.parameterAsExtent(parameters, "EXTENT", context, raster.crs())
        return None if extent.isNull() or parameters.get("EXTENT") is None else extent

    def inputs(self, parameters, context, feedback):
        """Returns model, rasters and options; tells which raster stands for which modality."""
        model = self.parameterAsFile(parameters, "MODEL", context)
        rasters = self.parameterAsLayerList(parameters, "RASTERS", context)
        groups = self.parameterAsString(parameters, "GROUPS", context)
        for name, count, given, bands in pair(read_model(Path(model)), rasters, groups):
            feedback.pushInfo(
                tr("{} ({} bands) stands for {} ({} bands) of the model.").format(
                    given, bands, name, count
                )
            )
        arguments = [absolute(model), *raster_arguments(rasters, groups)]
        extent = self._extent(parameters, context, rasters[0])
        if extent is not None:
            sides = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
            arguments += ["--bounds", *(repr(side) for side in sides)]
        return [*arguments, *self.options(parameters, context, OPTIONS)]

    def outputs(self, parameters, context):
        """Returns map and other rasters; asks for the map to be styled."""
        path = self.parameterAsOutputLayer(parameters, "MAP", context)
        arguments, results = ["--out", str(Path(path).absolute()), "--overwrite"], {"MAP": path}
        if context.willLoadLayerOnCompletion(path):
            context.layerToLoadOnCompletionDetails(path).setPostProcessor(Styler.shared())
        for name in ("CONFIDENCE", "PROBABILITIES", "MODALITIES_USED"):
            other = self.parameterAsOutputLayer(parameters, name, context)
            if other:
                option = name.lower().replace("_", "-")
                arguments += [f"--{option}", str(Path(other).absolute())]
                results[name] = other
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
