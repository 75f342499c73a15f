"""The page of settings: Settings > Options > M3amba."""

from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from . import settings
from .backend import BackendMissingError
from .provider import ICON
from .translate import tr
from .version import plugin_version


class OptionsFactory(QgsOptionsWidgetFactory):
    """Makes the page each time that the options are opened."""

    def __init__(self):
        super().__init__("M3amba", QIcon(ICON))

    def createWidget(self, parent):
        """Returns the page."""
        return OptionsPage(parent)


class OptionsPage(QgsOptionsPageWidget):
    """Python, device, scratch folder, weights folder; and the way to the set-up."""

    def __init__(self, parent):
        super().__init__(parent)
        self.setObjectName("M3ambaOptions")
        mode = QgsFileWidget.StorageMode
        self._files = {
            "python": _file(mode.GetFile, tr("The one that set-up made")),
            "scratch": _file(mode.GetDirectory, tr("The system's own")),
            "weights": _file(mode.GetDirectory, tr("That of your account")),
        }
        self._device = QComboBox()
        self._device.addItems(settings.DEVICES)
        self._device.setCurrentText(settings.device())
        for name, widget in self._files.items():
            widget.setFilePath(settings.get(name))
        form = QFormLayout()
        form.addRow(tr("Python with m3amba-geo"), self._files["python"])
        form.addRow(tr("Device"), self._device)
        form.addRow(tr("Scratch folder"), self._files["scratch"])
        form.addRow(tr("Folder of the guide's weights"), self._files["weights"])
        status = QLabel(_status())
        status.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(status)
        layout.addLayout(_buttons())
        layout.addLayout(form)
        layout.addStretch()

    def apply(self):
        """Keeps what was entered."""
        for name, widget in self._files.items():
            settings.put(name, widget.filePath())
        settings.put("device", self._device.currentText())


def _file(mode, placeholder):
    widget = QgsFileWidget()
    widget.setStorageMode(mode)
    widget.lineEdit().setPlaceholderText(placeholder)
    return widget


def _status():
    """Returns which backend is in use, in words."""
    made = settings.backend_folder().current()
    try:
        python = settings.backend_python()
    except BackendMissingError as error:
        return str(error)
    if made is None or python != made.python:
        return tr("In use: {}").format(python)
    known = tr("In use: m3amba-geo {}, build {}, set up on {}").format(
        made.version, made.build, made.when
    )
    if made.version == plugin_version():
        return known
    return f"{known}. " + tr("The plugin is {}: run the set-up again.").format(plugin_version())


def _buttons():
    row = QHBoxLayout()
    for text, algorithm in ((tr("Set up or repair…"), "setup"), (tr("Diagnose…"), "doctor")):
        button = QPushButton(text)
        button.clicked.connect(lambda _=False, name=algorithm: _open(name))
        row.addWidget(button)
    row.addStretch()
    return row


def _open(algorithm):
    import processing

    processing.execAlgorithmDialog(f"m3amba:{algorithm}")
