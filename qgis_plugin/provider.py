"""The Processing provider: which algorithms there are."""

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.classify import Classify
from .algorithms.doctor import Doctor
from .algorithms.evaluate import Evaluate
from .algorithms.info import Info
from .algorithms.sample import Sample
from .algorithms.setup import SetUp
from .algorithms.train import Train
from .translate import tr
from .version import plugin_version

ICON = str(Path(__file__).with_name("icon.svg"))
ALGORITHMS = (Train, Classify, Sample, Evaluate, Info, SetUp, Doctor)


class M3ambaProvider(QgsProcessingProvider):
    """`m3amba` in the toolbox, in models, in batch and in `qgis_process`."""

    def id(self):
        """Returns the prefix of the algorithms' ids; never translated."""
        return "m3amba"

    def name(self):
        """Returns the name in the toolbox."""
        return "M3amba"

    def longName(self):
        """Returns the name where there is room."""
        return tr("M3amba land-cover classification")

    def versionInfo(self):
        """Returns the version of the plugin."""
        return plugin_version()

    def icon(self):
        """Returns the icon in the toolbox."""
        return QIcon(ICON)

    def svgIconPath(self):
        """Returns the icon's file, for model diagrams."""
        return ICON

    def loadAlgorithms(self):
        """Adds one of each."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def supportedOutputRasterLayerExtensions(self):
        """Returns the only format that the backend writes."""
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self):
        """Returns the only format that the backend writes."""
        return ["gpkg"]
