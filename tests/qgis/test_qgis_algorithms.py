"""The algorithms in a QGIS application, with a fake backend: what QGIS hands over and shows."""

import json
import shutil
import sys
import time

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

pytestmark = pytest.mark.qgis


class Listening(QgsProcessingFeedback):
    """Keeps what it is told; cancels at the first word if it is to."""

    def __init__(self, cancel=False):
        super().__init__(False)
        self.told, self.fractions, self._cancel = [], [], cancel
        self.progressChanged.connect(self.fractions.append)

    def pushInfo(self, info):
        self.told.append(info)
        if self._cancel:
            self.cancel()

    def pushWarning(self, warning):
        self.told.append(f"warning: {warning}")

    def reportError(self, error, fatalError=False):
        self.told.append(f"error: {error}")

    def arguments(self):
        """Returns the command line that the fake backend was given."""
        return next(json.loads(line) for line in self.told if line.startswith("["))


@pytest.fixture(scope="module")
def processing(tmp_path_factory):
    """Processing with the provider, in a clean profile."""
    application = QgsApplication([], False, str(tmp_path_factory.mktemp("profile")))
    application.initQgis()
    sys.path.append(QgsApplication.pkgDataPath() + "/python/plugins")
    from processing.core.Processing import Processing

    from qgis_plugin import classFactory

    Processing.initialize()
    plugin = classFactory(None)
    plugin.initProcessing()
    import processing

    yield processing
    plugin.unload()
    application.exitQgis()
    gdal.AllRegister()  # QGIS took the drivers with it, and other tests read rasters


@pytest.fixture
def run(processing, fake_python, monkeypatch):
    """Runs an algorithm with one scene of the fake backend; returns what the user is told."""

    def run(algorithm, parameters, play="success", cancel=False, context=None):
        monkeypatch.setenv("M3AMBA_PYTHON", str(fake_python(play)) if play else "")
        feedback = Listening(cancel)
        try:
            feedback.results = processing.run(
                f"m3amba:{algorithm}", parameters, feedback=feedback, context=context
            )
        except QgsProcessingException as error:
            feedback.failure = str(error)
        return feedback

    return run


@pytest.fixture
def training(scene, tmp_path):
    return {
        "RASTERS": [str(scene.optical), str(scene.height)],
        "LABELS": str(scene.labels),
        "MODEL": str(tmp_path / "m.m3amba"),
    }


def test_all_is_explained(processing):
    provider = QgsApplication.processingRegistry().providerById("m3amba")
    assert provider.name() == "M3amba"
    assert sorted(a.name() for a in provider.algorithms()) == ["classify", "train"]
    for algorithm in provider.algorithms():
        assert algorithm.shortDescription()
        assert not algorithm.icon().isNull()
        assert all(p.help() for p in algorithm.parameterDefinitions())


def test_training_is_handed_over_and_told(run, training, scene):
    told = run(
        "train",
        {
            **training,
            "LABELS": f"{scene.labels}|layername=Flächen",
            "FIELD": "class",
            "SIZE": "small",
            "EPOCHS": 3,
            "GUIDE": "none",
        },
    )
    assert told.arguments() == [
        "train", f"optical_3_bands={scene.optical}", f"height={scene.height}",
        "--labels", str(scene.labels), "--layer", "Flächen", "--field", "class",
        "--size", "small", "--guide", "none", "--device", "auto", "--epochs", "3",
        "--out", training["MODEL"], "--overwrite",
    ]  # fmt: skip
    assert told.results == {"MODEL": training["MODEL"]}
    assert 25 in told.fractions
    assert "validation_accuracy (1): 0.75" in told.told
    assert "warning: a warning [no-guide]" in told.told


def test_what_is_left_out_is_left_to_the_backend(run, training):
    arguments = run("train", training).arguments()
    assert "--epochs" not in arguments
    assert "--field" not in arguments


def test_relative_paths_become_absolute(run, scene, tmp_path, monkeypatch):
    monkeypatch.chdir(scene.height.parent)
    shutil.copy(scene.height, tmp_path / "m.m3amba")
    arguments = run(
        "classify", {"MODEL": str(tmp_path / "m.m3amba"), "RASTERS": ["height.tif"], "MAP": "a.tif"}
    ).arguments()
    assert f"height={scene.height}" in arguments
    assert str(scene.height.parent / "a.tif") in arguments


def test_layers_of_one_name_are_told_apart(run, training, scene):
    layers = [QgsRasterLayer(str(path), "Höhe = 'm'") for path in (scene.optical, scene.height)]
    arguments = run("train", {**training, "RASTERS": layers}).arguments()
    assert arguments[1:3] == [f"Höhe_m={scene.optical}", f"Höhe_m_2={scene.height}"]


def test_labels_in_memory_and_filtered_ones_become_files(run, training, scene):
    memory = QgsVectorLayer("Point?crs=EPSG:4326&field=class:string", "points", "memory")
    filtered = QgsVectorLayer(f"{scene.labels}|layername=Flächen", "labels", "ogr")
    filtered.setSubsetString("class = 'water'")
    memory.dataProvider().addFeature(QgsFeature(memory.fields()))
    for layer, count in ((memory, 1), (filtered, 4)):
        arguments = run("train", {**training, "LABELS": layer}).arguments()
        path = arguments[arguments.index("--labels") + 1]
        assert path != str(scene.labels)
        assert QgsVectorLayer(path, "labels", "ogr").featureCount() == count


def test_classifying_is_handed_over(run, scene, tmp_path):
    model = tmp_path / "m.m3amba"
    model.touch()
    parameters = {
        "MODEL": str(model),
        "RASTERS": [str(scene.height)],
        "MAP": str(tmp_path / "map.tif"),
    }
    told = run("classify", parameters)
    assert told.arguments() == [
        "classify", str(model), f"height={scene.height}", "--device", "auto",
        "--out", str(tmp_path / "map.tif"), "--overwrite",
    ]  # fmt: skip
    assert told.results == {"MAP": parameters["MAP"]}
    told = run("classify", {**parameters, "CONFIDENCE": str(tmp_path / "c.tif")})
    assert told.arguments()[-2:] == ["--confidence", str(tmp_path / "c.tif")]
    assert told.results["CONFIDENCE"] == str(tmp_path / "c.tif")


def test_the_map_is_styled_from_the_file_beside_it(processing, scene, tmp_path):
    from qgis_plugin.algorithms.classify import Styler

    shutil.copy(scene.height, tmp_path / "map.tif")
    styled = QgsRasterLayer(str(tmp_path / "map.tif"), "map")
    styled.setOpacity(0.25)
    styled.saveNamedStyle(str(tmp_path / "map.qml"))
    loaded = QgsRasterLayer(str(tmp_path / "map.tif"), "map")
    loaded.setOpacity(1)
    Styler.shared().postProcessLayer(loaded, QgsProcessingContext(), QgsProcessingFeedback())
    assert loaded.opacity() == 0.25


def test_failure_brings_code_hint_and_the_last_lines(run, training):
    told = run("train", training, "failed")
    assert "Rasters do not overlap. Check their CRS. [no-overlap; log: " in told.failure
    assert "error: Traceback of the failure" in told.told


@pytest.mark.parametrize("scene_played", ["killed", "truncated"])
def test_a_sudden_end_is_probably_out_of_memory(run, training, scene_played):
    assert "probably out of memory" in run("train", training, scene_played).failure


@pytest.mark.parametrize("scene_played", [None, "missing"])
def test_a_missing_backend_brings_the_remedy(run, training, scene_played):
    assert "Options > Processing" in run("train", training, scene_played).failure


def test_the_setting_names_the_backend(run, training, fake_python):
    from processing.core.ProcessingConfig import ProcessingConfig

    ProcessingConfig.setSettingValue("M3AMBA_PYTHON", str(fake_python("success")))
    try:
        assert run("train", training, play=None).results
    finally:
        ProcessingConfig.setSettingValue("M3AMBA_PYTHON", "")


@pytest.mark.parametrize("scene_played", ["patient", "stubborn"])
def test_cancel_ends_the_job_within_three_seconds(run, training, scene_played):
    start = time.monotonic()
    told = run("train", training, scene_played, cancel=True)
    assert "Cancelled" in told.failure
    assert time.monotonic() - start < 3


def test_rasters_apart_are_refused_before_anything_runs(run, training, scene, tmp_path):
    elsewhere = QgsRasterLayer(str(scene.height), "elsewhere")
    elsewhere.setCrs(QgsCoordinateReferenceSystem("EPSG:32610"))
    told = run("train", {**training, "RASTERS": [str(scene.optical), elsewhere]})
    assert "do not overlap" in told.failure
    assert not told.fractions


def test_only_raster_files_are_taken(run, training):
    web = QgsRasterLayer("type=xyz&url=file:///nowhere/{z}/{x}/{y}.png", "web map", "wms")
    QgsProject.instance().addMapLayer(web)
    assert "is not a raster file" in run("train", {**training, "RASTERS": [web]}).failure


def test_nothing_of_the_backend_was_imported():
    assert not {"torch", "rasterio", "m3amba_geo"} & set(sys.modules)
