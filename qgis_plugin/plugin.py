"""The plugin as QGIS sees it: something that brings one Processing provider."""

from qgis.core import QgsApplication

from .provider import M3ambaProvider


class M3ambaPlugin:
    """Registers the provider, with a window (`initGui`) or without (`initProcessing`)."""

    def __init__(self, iface):
        self._iface = iface
        self._provider = None

    def initProcessing(self):
        """Called by `qgis_process`, and by `initGui`."""
        self._provider = M3ambaProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self):
        """Called by QGIS Desktop."""
        self.initProcessing()

    def unload(self):
        """Called when the plugin is turned off, and when QGIS ends."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
