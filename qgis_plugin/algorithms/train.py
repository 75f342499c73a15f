"""Train a model on rasters and labelled places."""

from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ..report import training_page
from ..translate import tr
from .base import BackendAlgorithm
from .labels import label_arguments, label_problem
from .layers import raster_arguments, raster_problem, weights_filter

OPTIONS = (
    "SIZE", "GUIDE", "GUIDE_WEIGHTS", "EMBEDDING", "EPOCHS", "BATCH", "PATCH", "SEED", "SPLIT",
    "VALIDATION_SHARE", "TEST_SHARE", "GAP", "ALL_TOUCHED", "RESAMPLING", "INIT", "RESUME",
    "ALLOW_NETWORK", "DEVICE",
)  # fmt: skip


class Train(BackendAlgorithm):
    """`m3amba:train`."""

    command = "train"
    title = "Train a model with M3amba"
    summary = (
        "Learns land-cover classes from labelled places on one or several rasters of the same "
        "area, such as a multispectral image and a height model, and writes a model file."
    )
    tag_words = "land cover,classification,deep learning,machine learning,mamba,training,fusion"
    example = (
        "-- RASTERS=image.tif RASTERS=height.tif LABELS=labels.gpkg FIELD=class MODEL=model.m3amba"
    )

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        self._add_inputs()
        self._add_network()
        self._add_learning()
        self._add_split()
        self.add_network()
        self.add_device()
        self.add(
            QgsProcessingParameterFileDestination(
                "MODEL", tr("Model"), fileFilter=tr("M3amba model (*.m3amba)")
            ),
            tr("File with the trained network and all that classifying needs."),
        )
        self.add(
            QgsProcessingParameterFileDestination(
                "REPORT",
                tr("Report"),
                fileFilter=tr("HTML page (*.html)"),
                optional=True,
                createByDefault=True,
            ),
            tr("Page with scores, classes, warnings and all settings."),
        )

    def _add_inputs(self):
        source = QgsProcessing.SourceType
        self.add(
            QgsProcessingParameterMultipleLayers("RASTERS", tr("Rasters"), source.TypeRaster),
            tr(
                "Each is a modality of its own, named by its layer, unless groups are given. The "
                "first one's grid is used; the others are warped onto it."
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
            tr(
                "Text or integers. If left out: the field of the layer's categorised style, else "
                "the only field that fits."
            ),
        )
        self.add(
            QgsProcessingParameterString("GROUPS", tr("Groups of rasters"), optional=True),
            tr(
                "Puts files with one band each into one modality: a name for each raster, in "
                "order, such as vnir,vnir,vnir,height."
            ),
            advanced=True,
        )
        self.add_flag(
            "STYLE",
            tr("Names and colours from the layer's style"),
            tr("Classes are named and coloured as in the categorised style of the class field."),
            usual=True,
        )
        self.add_flag(
            "ALL_TOUCHED",
            tr("Label all touched pixels"),
            tr("Label every pixel that a polygon touches, not only those whose centre is inside."),
        )
        self.add_choice(
            "RESAMPLING",
            tr("Resampling"),
            ["bilinear", "nearest", "cubic", "average"],
            tr("How rasters are warped onto the first one's grid."),
            advanced=True,
        )

    def _add_network(self):
        self.add_choice(
            "SIZE",
            tr("Size of the network"),
            ["auto", "tiny", "small", "base"],
            tr(
                "tiny, small or base, the published one: larger ones need more labels, time and "
                "memory. auto chooses from the labels, bands and pixels."
            ),
        )
        self.add_choice(
            "GUIDE",
            tr("Guide"),
            ["auto", "clip", "none"],
            tr(
                "Image encoder that guides the fusion: auto uses its weights if they are on this "
                "machine, clip may download them, none works without."
            ),
            advanced=True,
        )
        self._file("GUIDE_WEIGHTS", tr("Weights of the guide"), fileFilter=weights_filter())
        self.add_choice(
            "EMBEDDING",
            tr("Image for the guide"),
            ["learned", "pca"],
            tr(
                "How bands become the image that the guide sees: learned with the network, or pca, "
                "principal components: each place is then encoded once, and kept for the next "
                "training."
            ),
            advanced=True,
        )
        self._file("INIT", tr("Model to start from"), extension="m3amba")

    def _file(self, name, description, **kind):
        texts = {
            "GUIDE_WEIGHTS": tr("Local file with the weights of the image encoder."),
            "INIT": tr("Fine-tunes this model; its size, scaling and guide are kept."),
        }
        self.add(
            QgsProcessingParameterFile(name, description, optional=True, **kind),
            texts[name],
            advanced=True,
        )

    def _add_learning(self):
        self._number(
            "EPOCHS",
            tr("Epochs"),
            tr(
                "How often training visits each square of 8 x 8 pixels that holds a label; chosen "
                "by the number of these squares if left out."
            ),
            1,
        )
        self._number("BATCH", tr("Patches a step"), tr("Fewer need less memory."), 1)
        self._number(
            "PATCH",
            tr("Side of the patches"),
            tr("In pixels, a multiple of 4; 32 if left out."),
            8,
            128,
        )
        self._number(
            "SEED", tr("Seed"), tr("Of everything random: the same seed, the same model."), 0
        )
        self.add_flag(
            "RESUME",
            tr("Go on with an interrupted training"),
            tr("Takes up a training of the same data and settings that was cancelled."),
        )

    def _add_split(self):
        self.add_choice(
            "SPLIT",
            tr("Split by"),
            ["auto", "polygon", "block", "none"],
            tr(
                "What is never torn between training and validation: polygons or blocks; none "
                "trains on every label."
            ),
            advanced=True,
        )
        share = tr("0 to 1; whole polygons or blocks are kept.")
        self._share("VALIDATION_SHARE", tr("Share for validation"), share)
        self._share("TEST_SHARE", tr("Share that training never sees"), share)
        self._number(
            "GAP", tr("Gap"), tr("Pixels between training and held-out labels; 16 if left out."), 0
        )

    def _number(self, name, description, text, least, most=2**31 - 1):
        self.add(
            QgsProcessingParameterNumber(
                name, description, optional=True, minValue=least, maxValue=most
            ),
            text,
            advanced=True,
        )

    def _share(self, name, description, text):
        number = QgsProcessingParameterNumber.Type.Double
        self.add(
            QgsProcessingParameterNumber(
                name, description, number, optional=True, minValue=0, maxValue=0.99
            ),
            text,
            advanced=True,
        )

    def preflight(self, parameters, context):
        """Checks rasters and labels."""
        layers = self.parameterAsLayerList(parameters, "RASTERS", context)
        groups = self.parameterAsString(parameters, "GROUPS", context)
        return raster_problem(layers, groups, context) or label_problem(
            self, parameters, context, layers[0]
        )

    def inputs(self, parameters, context, feedback):
        """Returns rasters, labels and options."""
        rasters = self.parameterAsLayerList(parameters, "RASTERS", context)
        groups = self.parameterAsString(parameters, "GROUPS", context)
        return [
            *raster_arguments(rasters, groups),
            *label_arguments(self, parameters, context, feedback),
            *self.options(parameters, context, OPTIONS),
        ]

    def outputs(self, parameters, context):
        """Returns the model file; the report is the plugin's own."""
        model = str(Path(self.parameterAsFileOutput(parameters, "MODEL", context)).absolute())
        results = {"MODEL": model}
        report = self.parameterAsFileOutput(parameters, "REPORT", context)
        if report:
            results["REPORT"] = str(Path(report).absolute())
        return ["--out", model, "--overwrite"], results

    def finish(self, told, course, results):
        """Writes the report."""
        if "REPORT" in results:
            page = training_page(told, course, self._described)
            Path(results["REPORT"]).write_text(page, encoding="utf-8")
