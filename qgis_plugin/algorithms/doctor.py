"""Diagnose plugin and backend."""

from qgis.core import Qgis, QgsProcessingOutputBoolean

from .. import settings
from ..translate import tr
from ..version import plugin_version
from .base import BackendAlgorithm


class Doctor(BackendAlgorithm):
    """`m3amba:doctor`."""

    command = "doctor"
    title = "Diagnose M3amba"
    summary = (
        "Checks the backend: packages, devices, GDAL, weights, disk. Each thing that is not well "
        "is told with its remedy."
    )
    tag_words = "diagnose,check,installation,gpu,cuda,problem,help"

    def initAlgorithm(self, configuration=None):
        """There is nothing to choose."""
        self.addOutput(QgsProcessingOutputBoolean("HEALTHY", tr("Whether all is well")))

    def inputs(self, parameters, context, feedback):
        """Tells what the plugin itself knows."""
        feedback.pushInfo(f"QGIS {Qgis.QGIS_VERSION}, M3amba {plugin_version()}")
        feedback.pushInfo(tr("Python of the backend: {}").format(settings.backend_python()))
        feedback.pushInfo(tr("Logs: {}").format(settings.folder() / "logs"))
        return []

    def finish(self, told, course, results):
        """Says that it is well; where it is not, the backend has failed."""
        results["HEALTHY"] = bool(told.get("healthy"))
