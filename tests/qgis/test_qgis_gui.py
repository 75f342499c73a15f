"""What a window shows: the page of settings, and the plugin in French."""

import pytest
from qgis.core import QgsApplication

from qgis_plugin import settings, translate
from qgis_plugin.algorithms.train import Train

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
