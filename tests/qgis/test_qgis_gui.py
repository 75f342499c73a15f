"""What a window shows: the page of settings, and the plugin in French."""

from types import SimpleNamespace

import pytest
from qgis.core import QgsApplication
from qgis.gui import QgsFileWidget, QgsMessageBar
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QLabel, QPushButton

from qgis_plugin import classFactory, settings, translate
from qgis_plugin.algorithms.train import Train
from qgis_plugin.options import OptionsFactory
from qgis_plugin.setup.folder import Made

pytestmark = pytest.mark.qgis


def test_french(processing):
    translate.install("fr_CA")
    try:
        algorithm = Train().create()
        assert algorithm.displayName() == "Entraîner un modèle avec M3amba"
        assert algorithm.parameterDefinition("GAP").description() == "Écart"
    finally:
        translate.install("en_GB")
    assert Train().create().displayName() == "Train a model with M3amba"


def test_the_settings_are_those_of_the_profile(processing):
    settings.put("scratch", " /scratch ")
    try:
        assert settings.child_variables()["TMPDIR"] == "/scratch"
        assert str(settings.folder()).startswith(QgsApplication.qgisSettingsDirPath())
    finally:
        settings.put("scratch", "")
    assert settings.child_variables() == {}


@pytest.fixture
def no_variable(monkeypatch):
    monkeypatch.delenv("M3AMBA_PYTHON", raising=False)


def test_the_page_keeps_what_is_entered(processing, no_variable, tmp_path):
    page = OptionsFactory().createWidget(None)
    assert "not set up yet" in page.findChild(QLabel).text()
    python, scratch, weights = page.findChildren(QgsFileWidget)
    for widget, path in ((python, "/a b/python"), (scratch, tmp_path), (weights, "/w")):
        widget.setFilePath(str(path))
    page.findChild(QComboBox).setCurrentText("cpu")
    page.apply()
    try:
        names = ("python", "device", "scratch", "weights")
        assert [settings.get(n) for n in names] == ["/a b/python", "cpu", str(tmp_path), "/w"]
        again = OptionsFactory().createWidget(None)
        assert again.findChildren(QgsFileWidget)[0].filePath() == "/a b/python"
        assert again.findChild(QComboBox).currentText() == "cpu"
    finally:
        for name in names:
            settings.put(name, "")


@pytest.mark.parametrize(("version", "said"), [("0.1.0", "build cpu"), ("0.0.1", "set-up again")])
def test_the_page_says_what_is_in_use(processing, no_variable, version, said):
    folder = settings.backend_folder()
    python = folder.path / "env-1" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch()
    folder.use(Made(python, version, "cpu", "2026-01-01"))
    try:
        page = OptionsFactory().createWidget(None)
        status = page.findChild(QLabel).text()
        assert f"m3amba-geo {version}" in status
        assert said in status
    finally:
        (folder.path / "current.json").unlink()


class Signals(QObject):
    initializationCompleted = pyqtSignal()


@pytest.fixture
def bar(processing):
    """A message bar that ends before its application does: left to Python it would crash there."""
    bar = QgsMessageBar()
    yield bar
    sip.delete(bar)


def test_a_window_offers_the_set_up_once(bar, no_variable, monkeypatch):
    signals, pages = Signals(), []
    iface = SimpleNamespace(
        initializationCompleted=signals.initializationCompleted,
        messageBar=lambda: bar,
        registerOptionsWidgetFactory=pages.append,
        unregisterOptionsWidgetFactory=pages.remove,
    )
    plugin = classFactory(iface)
    # The provider is there already.
    monkeypatch.setattr(plugin, "initProcessing", lambda: None)
    settings.put("offered", "")
    plugin.initGui()
    assert len(pages) == 1
    signals.initializationCompleted.emit()
    signals.initializationCompleted.emit()
    buttons = bar.findChildren(QPushButton)
    assert [button.text() for button in buttons if "Set up" in button.text()] == ["Set up…"]
    plugin.unload()
    assert pages == []
