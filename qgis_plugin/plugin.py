"""The plugin as QGIS sees it: a Processing provider, and in a window a page of settings."""

from qgis.core import Qgis, QgsApplication
from qgis.PyQt.QtWidgets import QPushButton

from . import settings, translate
from .backend import BackendMissingError
from .provider import M3ambaProvider
from .translate import tr


class M3ambaPlugin:
    """Registers the provider, with a window (`initGui`) or without (`initProcessing`)."""

    def __init__(self, iface):
        self._iface = iface
        self._provider = None
        self._options = None
        translate.install(QgsApplication.instance().locale())

    def initProcessing(self):
        """Called by `qgis_process`, and by `initGui`."""
        self._provider = M3ambaProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self):
        """Called by QGIS Desktop."""
        from .options import OptionsFactory  # widgets, which no process without a window has

        self.initProcessing()
        self._options = OptionsFactory()
        self._iface.registerOptionsWidgetFactory(self._options)
        self._iface.initializationCompleted.connect(self._offer_setup)

    def unload(self):
        """Called when the plugin is turned off, and when QGIS ends."""
        if self._options is not None:
            self._iface.initializationCompleted.disconnect(self._offer_setup)
            self._iface.unregisterOptionsWidgetFactory(self._options)
            self._options = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        translate.install("")

    def _offer_setup(self):
        """Says once what is to be done first, with the button that does it."""
        if settings.get("offered"):
            return
        try:
            settings.backend_python()
        except BackendMissingError:
            settings.put("offered", "1")
            bar = self._iface.messageBar()
            message = bar.createMessage("M3amba", tr("The backend is not set up yet."))
            button = QPushButton(tr("Set up…"))
            button.clicked.connect(open_setup)
            button.clicked.connect(message.dismiss)
            message.layout().addWidget(button)
            bar.pushWidget(message, Qgis.MessageLevel.Info)


def open_setup():
    """Opens the dialog of the set-up."""
    import processing

    processing.execAlgorithmDialog("m3amba:setup")
