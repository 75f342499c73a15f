"""Look into a model, or at rasters and labels before a training."""

import json
from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
)

from ..translate import tr
from .base import BackendAlgorithm
from .labels import label_file
from .layers import absolute, raster_path


class Info(BackendAlgorithm):
    """`m3amba:info`."""

    command = "info"
    title = "Inspect a model or inputs"
    summary = (
        "Says what a model holds, or whether rasters and labels fit together: coordinate reference "
        "system, pixel size, overlap, nodata, and the labelled pixels of each class."
    )
    tag_words = "preflight,check,metadata,model,classes,bands,land cover"
    example = "-- RASTERS=image.tif RASTERS=height.tif LABELS=labels.gpkg"

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        source = QgsProcessing.SourceType
        self.add(
            QgsProcessingParameterFile("MODEL", tr("Model"), extension="m3amba", optional=True),
            tr("A model file: its classes, bands, scores and settings are told."),
        )
        self.add(
            QgsProcessingParameterMultipleLayers(
                "RASTERS", tr("Rasters"), source.TypeRaster, optional=True
            ),
            tr("They are compared with the first one."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                "LABELS", tr("Labelled places"), [source.TypeVectorAnyGeometry], optional=True
            ),
            tr("Their pixels on the first raster are counted, class by class."),
        )
        self.add_network()
        self.add(
            QgsProcessingParameterFileDestination(
                "REPORT",
                tr("Findings"),
                fileFilter=tr("JSON file (*.json)"),
                optional=True,
                createByDefault=False,
            ),
            tr("All that was found, for programs."),
        )

    def preflight(self, parameters, context):
        """Wants something to look at, and nothing more: to find what is wrong is its purpose."""
        if any(parameters.get(name) for name in ("MODEL", "RASTERS", "LABELS")):
            return ""
        return tr("Name a model, rasters or labelled places.")

    def inputs(self, parameters, context, feedback):
        """Returns the files."""
        self._feedback = feedback
        files = []
        if parameters.get("MODEL"):
            files.append(absolute(self.parameterAsFile(parameters, "MODEL", context)))
        layers = self.parameterAsLayerList(parameters, "RASTERS", context) or []
        files += [raster_path(layer) for layer in layers]
        if parameters.get("LABELS"):
            path, layer = label_file(self, parameters, context, feedback)
            files += [path, *(["--layer", layer] if layer else [])]
        return [*files, *self.options(parameters, context, ("ALLOW_NETWORK",))]

    def outputs(self, parameters, context):
        """Returns the file of findings, which is the plugin's own."""
        report = self.parameterAsFileOutput(parameters, "REPORT", context)
        return [], {"REPORT": str(Path(report).absolute())} if report else {}

    def finish(self, told, course, results):
        """Tells the findings, a line each."""
        for line in lines(told):
            self._feedback.pushInfo(line)
        if "REPORT" in results:
            text = json.dumps(told, indent=1, ensure_ascii=False)
            Path(results["REPORT"]).write_text(text + "\n", encoding="utf-8")


def lines(told):
    """Yields what was found, in words."""
    for name, model in (told.get("models") or {}).items():
        yield f"{Path(name).name}"
        for key, value in model.items():
            yield f"    {key}: {_words(value)}"
    for raster in told.get("rasters") or []:
        same = tr("on the grid of the first") if raster["same_grid"] else tr("on another grid")
        yield tr(
            "{}: {}, {} x {} pixels of {}, {} bands ({}), nodata: {}, covers {:.0%} of the first "
            "raster, {}"
        ).format(
            raster["file"], raster["crs"], raster["width"], raster["height"], raster["pixel"],
            raster["bands"], raster["type"], raster["nodata"], raster["overlap"], same,
        )  # fmt: skip
    for entry in told.get("classes") or []:
        counted = tr("{} pixels in {} places").format(entry["pixels"], entry["parts"])
        pixels = "" if entry["pixels"] is None else f": {counted}"
        yield f"{entry['labels']}: {entry['code']} {entry['name']} ({entry['color']}){pixels}"


def _words(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_words(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
