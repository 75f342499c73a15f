"""The algorithms in a QGIS application, with a fake backend: what QGIS hands over and shows."""

import json
import shutil
import time
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsField,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsSymbol,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate, QVariant
from qgis.PyQt.QtGui import QColor

from qgis_plugin import settings
from qgis_plugin.algorithms.labels import _text as spelled

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


@pytest.fixture
def mapping(scene, tmp_path, model_file):
    model = model_file(tmp_path / "m.m3amba", [("height", 1)])
    return {
        "MODEL": str(model),
        "RASTERS": [str(scene.height)],
        "MAP": str(tmp_path / "map.tif"),
    }


def test_all_is_explained(processing):
    provider = QgsApplication.processingRegistry().providerById("m3amba")
    assert provider.name() == "M3amba"
    assert sorted(a.name() for a in provider.algorithms()) == [
        "classify", "doctor", "evaluate", "info", "sample", "setup", "train",
    ]  # fmt: skip
    icons = set()
    for algorithm in provider.algorithms():
        assert algorithm.shortDescription()
        assert not algorithm.icon().isNull()
        icons.add(algorithm.svgIconPath())
        assert len(algorithm.tags()) > 3
        assert f"qgis_process run m3amba:{algorithm.name()}" in algorithm.shortHelpString()
        for parameter in algorithm.parameterDefinitions():
            assert parameter.help()
            assert parameter.help() in algorithm.shortHelpString()
    assert len(icons) == 7


def test_what_few_need_is_folded_away(processing):
    provider = QgsApplication.processingRegistry().providerById("m3amba")
    for name, open_ones in (
        ("train", ["RASTERS", "LABELS", "FIELD", "SIZE", "MODEL", "REPORT"]),
        ("classify", ["MODEL", "RASTERS", "EXTENT", "MAP", "CONFIDENCE", "PROBABILITIES"]),
    ):
        advanced = QgsProcessingParameterDefinition.Flag.FlagAdvanced
        parameters = provider.algorithm(name).parameterDefinitions()
        assert [p.name() for p in parameters if not p.flags() & advanced] == open_ones


def test_training_is_handed_over_and_told(run, training, scene, tmp_path):
    told = run(
        "train",
        {
            **training,
            "LABELS": f"{scene.labels}|layername=Flächen",
            "FIELD": "class",
            "SIZE": "small",
            "EPOCHS": 3,
            "GUIDE": "none",
            "VALIDATION_SHARE": 0,
            "TEST_SHARE": 0.25,
            "ALL_TOUCHED": True,
            "REPORT": str(tmp_path / "report.html"),
        },
    )
    assert told.arguments() == [
        "train", f"optical_3_bands={scene.optical}", f"height={scene.height}",
        "--labels", str(scene.labels), "--layer", "Flächen", "--field", "class",
        "--size", "small", "--guide", "none", "--embedding", "learned", "--epochs", "3",
        "--split", "auto",
        "--validation-share", "0", "--test-share", "0.25", "--all-touched",
        "--resampling", "bilinear", "--device", "auto",
        "--out", training["MODEL"], "--overwrite",
    ]  # fmt: skip
    assert told.results == {
        "MODEL": training["MODEL"],
        "REPORT": str(tmp_path / "report.html"),
    }
    assert 25 in told.fractions
    assert "validation_accuracy (1): 0.75" in told.told
    assert "warning: a warning [no-guide]" in told.told
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a warning [no-guide]" in page
    assert "Flächen" in page


def test_a_report_that_can_not_be_written_is_a_failure(run, training, tmp_path):
    report = tmp_path / "no folder" / "report.html"
    assert "No such file" in run("train", {**training, "REPORT": str(report)}).failure


@pytest.mark.parametrize("name", ["train", "classify", "evaluate", "info", "sample"])
def test_the_network_is_off_unless_asked_for(run, training, mapping, scene, name):
    parameters = {
        "train": training,
        "classify": mapping,
        "evaluate": {"MAP": str(scene.height), "LABELS": str(scene.labels)},
        "info": {"RASTERS": [str(scene.height)]},
        "sample": {"MAP": str(scene.height), "SAMPLE": "TEMPORARY_OUTPUT"},
    }[name]
    assert "--allow-network" not in run(name, parameters).arguments()
    assert "--allow-network" in run(name, {**parameters, "ALLOW_NETWORK": True}).arguments()


def test_what_is_left_out_is_left_to_the_backend(run, training):
    arguments = run("train", training).arguments()
    assert not {"--epochs", "--field", "--seed", "--legend", "--gap"} & set(arguments)


def test_groups_make_modalities(run, training, scene):
    arguments = run("train", {**training, "GROUPS": "all, all"}).arguments()
    assert arguments[1:3] == [f"all={scene.optical}", f"all={scene.height}"]
    assert "2 rasters" in run("train", {**training, "GROUPS": "one"}).failure


def test_the_settings_reach_the_backend(run, training, tmp_path):
    settings.put("scratch", str(tmp_path))
    settings.put("weights", "/weights")
    settings.put("device", "cpu")
    try:
        told = run("train", training)
        variables = next(line for line in told.told if line.startswith("variables"))
    finally:
        for name in ("scratch", "weights", "device"):
            settings.put(name, "")
    assert f"TMPDIR={tmp_path}" in variables
    assert "M3AMBA_WEIGHTS=/weights" in variables
    arguments = told.arguments()
    assert arguments[arguments.index("--device") + 1] == "cpu"


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (QDate(2020, 1, 2), "2020-01-02"), (3.0, "3"), (None, ""), ("a b", "a b")],
)
def test_values_of_a_style_are_spelled_as_the_backend_does(value, text):
    assert spelled(value) == text


def categorised(path, entries):
    """Returns the label layer with a categorised style of `(value, name, colour)`."""
    layer = QgsVectorLayer(f"{path}|layername=Flächen", "labels", "ogr")
    categories = []
    for value, name, color in entries:
        symbol = QgsSymbol.defaultSymbol(layer.geometryType())
        symbol.setColor(QColor(color))
        categories.append(QgsRendererCategory(value, symbol, name))
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", categories))
    return layer


def test_classes_and_colours_come_from_the_style(run, training, scene):
    entries = [("water", "Gewässer, still", "#0000ff"), ("forest", "", "#006400")]
    layer = categorised(scene.labels, [*entries, ("", "all other values", "#123456")])
    QgsProject.instance().addMapLayer(layer)
    arguments = run("train", {**training, "LABELS": layer}).arguments()
    assert arguments[arguments.index("--field") + 1] == "class"
    legend = Path(arguments[arguments.index("--legend") + 1]).read_text(encoding="utf-8")
    assert legend.splitlines() == [
        "code,name,color",
        'water,"Gewässer, still",#0000ff',
        "forest,forest,#006400",
    ]
    assert "--legend" not in run("train", {**training, "LABELS": layer, "STYLE": False}).arguments()


def test_relative_paths_become_absolute(run, scene, mapping, monkeypatch):
    monkeypatch.chdir(scene.height.parent)
    arguments = run("classify", {**mapping, "RASTERS": ["height.tif"], "MAP": "a.tif"}).arguments()
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


def written_labels(told):
    """The labels that were handed over, which no layer is named in."""
    arguments = told.arguments()
    assert "--layer" not in arguments
    return QgsVectorLayer(arguments[arguments.index("--labels") + 1], "labels", "ogr")


def test_labels_are_those_that_qgis_shows_not_those_of_the_file(run, training, scene, tmp_path):
    def layer():
        return QgsVectorLayer(f"{scene.labels}|layername=Flächen", "labels", "ogr")

    edited = layer()
    edited.startEditing()
    first = next(edited.getFeatures())
    edited.deleteFeature(first.id())
    for _ in range(2):  # QGIS gives a new one no number of its own before it is saved
        drawn = QgsFeature(edited.fields())
        drawn.setGeometry(first.geometry())
        drawn.setAttributes(["Autogenerate", *["drawn"] * (len(edited.fields()) - 1)])
        drawn["class"] = "drawn"
        assert edited.addFeature(drawn)
    count = edited.featureCount()
    found = written_labels(run("train", {**training, "LABELS": edited}))
    edited.rollBack()
    assert found.featureCount() == count == layer().featureCount() + 1
    assert [feature["class"] for feature in found.getFeatures()].count("drawn") == 2
    moved = layer()
    moved.setCrs(QgsCoordinateReferenceSystem("EPSG:4258"))
    found = written_labels(run("train", {**training, "LABELS": moved}))
    assert found.crs().authid() == "EPSG:4258"
    joined = layer()
    joined.addExpressionField('upper("class")', QgsField("kind", QVariant.String))
    told = run("train", {**training, "LABELS": joined, "FIELD": "kind"})
    assert "WATER" in {feature["kind"] for feature in written_labels(told).getFeatures()}
    assert "kind" in told.arguments()


def test_a_layer_of_another_format_becomes_a_file_without_its_name(run, training, scene, tmp_path):
    path = tmp_path / "places.sqlite"
    source = gdal.OpenEx(str(scene.labels))
    gdal.VectorTranslate(str(path), source, format="SQLite", layerName="places")
    layer = QgsVectorLayer(f"{path}|layername=places", "places", "ogr")
    assert layer.isValid()
    assert written_labels(run("train", {**training, "LABELS": layer})).isValid()


def test_rasters_in_archives_keep_their_names(run, training, scene, tmp_path):
    file = scene.height
    archive = shutil.make_archive(str(tmp_path / "z"), "zip", file.parent, file.name)
    name = f"/vsizip/{archive}/{file.name}"
    layer = QgsRasterLayer(name, "height")
    assert layer.isValid()
    assert f"height={name}" in run("train", {**training, "RASTERS": [layer]}).arguments()


def test_large_numbers_keep_all_their_digits(run, training):
    arguments = run("train", {**training, "SEED": 20240115}).arguments()
    assert arguments[arguments.index("--seed") + 1] == "20240115"


def test_weights_of_every_kind_may_be_named():
    for algorithm in ("train", "classify"):
        found = QgsApplication.processingRegistry().algorithmById(f"m3amba:{algorithm}")
        weights = found.parameterDefinition("GUIDE_WEIGHTS")
        assert all(weights.checkValueIsAcceptable(f"/x/w{end}") for end in (".pt", ".safetensors"))


def test_classifying_is_handed_over(run, scene, mapping, tmp_path):
    told = run("classify", mapping)
    assert told.arguments() == [
        "classify", mapping["MODEL"], f"height={scene.height}", "--resampling", "bilinear",
        "--device", "auto", "--out", mapping["MAP"], "--overwrite",
    ]  # fmt: skip
    assert told.results == {"MAP": mapping["MAP"]}
    assert "height (1 bands) stands for height (1 bands) of the model." in told.told
    others = ("CONFIDENCE", "PROBABILITIES", "MODALITIES_USED")
    wanted = {name: str(tmp_path / f"{name} ü.tif") for name in others}
    told = run("classify", {**mapping, **wanted, "STRIDE": 8, "MASK": str(scene.height)})
    assert told.arguments()[3:] == [
        "--mask", str(scene.height), "--resampling", "bilinear", "--stride", "8",
        "--device", "auto", "--out", mapping["MAP"], "--overwrite",
        "--confidence", wanted["CONFIDENCE"], "--probabilities", wanted["PROBABILITIES"],
        "--modalities-used", wanted["MODALITIES_USED"],
    ]  # fmt: skip
    assert told.results == {"MAP": mapping["MAP"], **wanted}


def test_an_extent_in_any_crs_becomes_bounds(run, mapping):
    told = run("classify", {**mapping, "EXTENT": "500100,500200,5000100,5000300 [EPSG:32633]"})
    at = told.arguments().index("--bounds")
    assert [float(x) for x in told.arguments()[at + 1 : at + 5]] == [
        500100, 5000100, 500200, 5000300,
    ]  # fmt: skip
    told = run("classify", {**mapping, "EXTENT": "15.001,15.004,45.154,45.156 [EPSG:4326]"})
    at = told.arguments().index("--bounds")
    left, bottom, right, top = (float(x) for x in told.arguments()[at + 1 : at + 5])
    assert 500000 < left < right < 500480
    assert 5000000 < bottom < top < 5000400
    told = run("classify", {**mapping, "EXTENT": "0,1,0,1 [EPSG:4326]"})
    assert "does not meet" in told.failure


@pytest.mark.parametrize(
    ("modalities", "said"),
    [
        ([("height", 2)], "height has 1 bands; the model was trained with 2"),
        ([("a", 1), ("b", 1)], "The model takes a (1 bands), b (1 bands)"),
    ],
)
def test_bands_are_compared_with_the_model(run, mapping, model_file, modalities, said):
    model_file(Path(mapping["MODEL"]), modalities)
    told = run("classify", mapping)
    assert said in told.failure
    assert not told.fractions


def test_a_model_may_do_with_fewer_modalities_of_its_names(run, mapping, model_file):
    model_file(Path(mapping["MODEL"]), [("optical", 4), ("height", 1)], dropout=0.3)
    told = run("classify", mapping)
    assert "height (1 bands) stands for height (1 bands) of the model." in told.told
    model_file(Path(mapping["MODEL"]), [("optical", 4), ("other", 1)], dropout=0.3)
    assert "The model takes optical (4 bands)" in run("classify", mapping).failure


def test_groups_that_would_fit_are_named(run, mapping, model_file, scene):
    model_file(Path(mapping["MODEL"]), [("all", 4)])
    rasters = [str(scene.optical), str(scene.height)]
    assert "enter as groups: all,all" in run("classify", {**mapping, "RASTERS": rasters}).failure
    told = run("classify", {**mapping, "RASTERS": rasters, "GROUPS": "all,all"})
    assert told.arguments()[2:4] == [f"all={scene.optical}", f"all={scene.height}"]


@pytest.mark.parametrize("content", [b"", b"no model", b"\xff" * 100])
def test_what_is_no_model_is_refused(run, mapping, content):
    Path(mapping["MODEL"]).write_bytes(content)
    assert "is no model of m3amba-geo" in run("classify", mapping).failure


def test_a_model_of_a_later_format_is_refused(run, mapping, model_file):
    model_file(Path(mapping["MODEL"]), [("height", 1)], model_format=3)
    assert "has format 3" in run("classify", mapping).failure


def test_assessing_is_handed_over(run, scene, tmp_path):
    page, figures = str(tmp_path / "a.html"), str(tmp_path / "a.json")
    parameters = {"MAP": str(scene.height), "LABELS": str(scene.labels), "HTML": page}
    told = run("evaluate", {**parameters, "REPORT": figures, "FIELD": "class"})
    assert told.arguments() == [
        "evaluate", str(scene.height), "--labels", str(scene.labels), "--field", "class",
        "--overwrite", "--html", page, "--report", figures,
    ]  # fmt: skip
    assert told.results == {
        "HTML": page, "REPORT": figures, "OVERALL_ACCURACY": 0.5, "KAPPA": 0.25,
    }  # fmt: skip


def test_a_probability_sample_is_handed_over(run, scene):
    parameters = {"MAP": str(scene.height), "LABELS": str(scene.labels)}
    assert "--probability-sample" not in run("evaluate", parameters).arguments()
    told = run("evaluate", {**parameters, "PROBABILITY_SAMPLE": True})
    assert "--probability-sample" in told.arguments()


def test_drawing_a_sample_is_handed_over(run, scene, tmp_path):
    out = str(tmp_path / "sample.gpkg")
    told = run("sample", {"MAP": str(scene.height), "POINTS": 300, "SAMPLE": out})
    assert told.arguments() == [
        "sample", str(scene.height), "--points", "300", "--least", "50", "--seed", "0",
        "--out", out, "--overwrite",
    ]  # fmt: skip
    assert told.results == {"SAMPLE": out}
    told = run("sample", {"MAP": str(scene.height), "SAMPLE": str(tmp_path / "sample.shp")})
    assert "let it end in .gpkg" in told.failure


def test_inspecting_tells_a_line_for_each_finding(run, scene, tmp_path):
    findings = tmp_path / "found.json"
    told = run("info", {"RASTERS": [str(scene.height)], "REPORT": str(findings)})
    assert told.arguments() == ["info", str(scene.height)]
    assert any("covers 50% of the first raster, on another grid" in line for line in told.told)
    assert json.loads(findings.read_text(encoding="utf-8"))["rasters"]
    labels = f"{scene.labels}|layername=Flächen"
    told = run("info", {"RASTERS": [str(scene.height)], "LABELS": labels})
    assert told.arguments()[1:] == [str(scene.height), str(scene.labels), "--layer", "Flächen"]
    assert "Name a model" in run("info", {}).failure


def test_diagnosis_tells_what_is_in_use(run):
    told = run("doctor", {})
    assert told.results == {"HEALTHY": True}
    assert any("Python of the backend" in line for line in told.told)


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
    assert "Set up M3amba" in run("train", training, scene_played).failure


def test_a_backend_of_another_version_is_refused(run, training):
    told = run("train", training, "later_version")
    assert "the plugin is" in told.failure
    assert "Set up M3amba" in told.failure


def test_the_setting_names_the_backend(run, training, fake_python):
    settings.put("python", str(fake_python("success")))
    try:
        assert run("train", training, play=None).results
    finally:
        settings.put("python", "")


@pytest.mark.parametrize("scene_played", ["patient", "stubborn"])
def test_cancel_ends_the_job_within_three_seconds(run, training, scene_played):
    start = time.monotonic()
    told = run("train", training, scene_played, cancel=True)
    assert "Cancelled" in told.failure
    assert time.monotonic() - start < 3


def test_rasters_apart_are_refused_before_anything_runs(run, training, scene, tmp_path):
    apart = tmp_path / "apart.tif"
    gdal.Translate(str(apart), str(scene.height), outputSRS="EPSG:32610")
    told = run("train", {**training, "RASTERS": [str(scene.optical), str(apart)]})
    assert "do not overlap" in told.failure
    assert not told.fractions


def test_labels_apart_are_refused(run, training, scene):
    elsewhere = QgsVectorLayer("Point?crs=EPSG:4326&field=class:string", "elsewhere", "memory")
    told = run("train", {**training, "LABELS": elsewhere})
    assert "holds no features" in told.failure
    feature = QgsFeature(elsewhere.fields())
    feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(80, 10)))
    elsewhere.dataProvider().addFeature(feature)
    elsewhere.updateExtents()
    told = run("train", {**training, "LABELS": elsewhere})
    assert "do not overlap" in told.failure


def test_a_crs_that_only_the_project_knows_is_refused(run, training, scene, tmp_path):
    layer = QgsRasterLayer(str(scene.height), "height")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32610"))
    told = run("train", {**training, "RASTERS": [layer]})
    assert "but its file says EPSG:32633" in told.failure
    bare = tmp_path / "bare.tif"
    gdal.Translate(str(bare), str(scene.height))
    gdal.Open(str(bare), gdal.GA_Update).SetProjection("")
    told = run("train", {**training, "RASTERS": [str(scene.optical), str(bare)]})
    assert "bare has no CRS" in told.failure


def test_only_raster_files_are_taken(run, training):
    web = QgsRasterLayer("type=xyz&url=file:///nowhere/{z}/{x}/{y}.png", "web map", "wms")
    QgsProject.instance().addMapLayer(web)
    assert "is not a raster file" in run("train", {**training, "RASTERS": [web]}).failure
