"""The Processing provider: which algorithms there are."""

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from . import settings
from .algorithms.classify import Classify
from .algorithms.train import Train

ICON = str(Path(__file__).with_name("icon.svg"))


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
        return "M3amba land-cover classification"

    def icon(self):
        """Returns the icon in the toolbox."""
        return QIcon(ICON)

    def svgIconPath(self):
        """Returns the icon's file, for model diagrams."""
        return ICON

    def load(self):
        """Registers settings and algorithms."""
        settings.register(self)
        return super().load()

    def unload(self):
        """Takes the settings away."""
        settings.unregister()
        super().unload()

    def loadAlgorithms(self):
        """Adds one of each."""
        for algorithm in (Train, Classify):
            self.addAlgorithm(algorithm())

    def supportedOutputRasterLayerExtensions(self):
        """Returns the only format that the backend writes."""
        return ["tif"]
