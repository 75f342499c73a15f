"""The real backend, run by a QGIS application with an event loop."""

import functools
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QEventLoop, QTimer

pytestmark = pytest.mark.qgis

QUICK = {"EPOCHS": 1, "GUIDE": "none", "DEVICE": "cpu"}
FOREIGN = {"PYTHONPATH": "/nonsense", "GDAL_DATA": "/nonsense", "PROJ_LIB": "/nonsense"}


class Listening(QgsProcessingFeedback):
    """Keeps what it is told, and when."""

    def __init__(self):
        super().__init__(False)
        self.told, self.fractions = [], []
        self.progressChanged.connect(lambda value: self.fractions.append((time.monotonic(), value)))

    def pushInfo(self, info):
        self.told.append(info)

    def pushWarning(self, warning):
        self.told.append(f"warning: {warning}")

    def reportError(self, error, fatalError=False):
        self.told.append(f"error: {error}")


@pytest.fixture(autouse=True)
def backend(monkeypatch, real_python):
    """The real one, and what QGIS may put into the environment for itself."""
    monkeypatch.setenv("M3AMBA_PYTHON", real_python)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def start(processing):
    """Starts an algorithm in a thread; returns a function that waits for its end."""
    kept = []

    def start(algorithm, parameters):
        context, feedback = QgsProcessingContext(), Listening()
        context.setProject(QgsProject.instance())
        algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"m3amba:{algorithm}")
        fits, message = algorithm.checkParameterValues(parameters, context)
        assert fits, message
        task = QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback)
        loop, ended, ticks = QEventLoop(), [], []
        task.executed.connect(lambda succeeded, results: ended.append((succeeded, results)))
        task.executed.connect(loop.quit)
        timer = QTimer()
        timer.timeout.connect(lambda: ticks.append(time.monotonic()))
        timer.start(20)
        QgsApplication.taskManager().addTask(task)
        kept.append((context, feedback, algorithm, task, timer))  # the thread has no references

        def wait(until=lambda: False, seconds=90):
            """Lets the event loop run until the end, or until something has happened."""
            look = QTimer()
            look.timeout.connect(lambda: loop.quit() if until() else None)
            look.start(20)
            QTimer.singleShot(seconds * 1000, loop.quit)
            if not ended and not until():
                loop.exec()
            look.stop()
            return ended[0] if ended else None

        return feedback, wait, ticks

    yield start
    for *_, timer in kept:
        timer.stop()


def backends():
    """Returns the processes of backends that were started here."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if b"m3amba_geo" in command and parent == os.getpid():
            found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def trained(processing, scene, real_python, tmp_path_factory):
    """A model of the small scene."""
    os.environ["M3AMBA_PYTHON"] = real_python
    model = tmp_path_factory.mktemp("models") / "model.m3amba"
    parameters = {
        "RASTERS": [str(scene.optical), str(scene.height)],
        "LABELS": str(scene.labels),
        "MODEL": str(model),
        **QUICK,
    }
    processing.run("m3amba:train", parameters)
    return model


@pytest.fixture
def large(scene, tmp_path):
    """The scene, enlarged: to map it takes a while."""
    paths = []
    for path in (scene.optical, scene.height):
        paths.append(str(tmp_path / path.name))
        gdal.Translate(paths[-1], str(path), width=192, height=160)
    return paths


def test_qgis_stays_alive_and_hears_of_progress_while_it_runs(start, trained, large, tmp_path):
    out = tmp_path / "map.tif"
    feedback, wait, ticks = start(
        "classify",
        {"MODEL": str(trained), "RASTERS": large, "MAP": str(out), "DEVICE": "cpu"},
    )
    begun = time.monotonic()
    succeeded, results = wait()
    ended = time.monotonic()
    assert succeeded, feedback.told
    assert results == {"MAP": str(out)}
    arrived = [when for when, value in feedback.fractions if 0 < value < 100]
    assert len(set(arrived)) >= 2
    assert min(arrived) < ended - 0.05
    assert len(ticks) > (ended - begun) / 0.02 / 4  # the event loop was never held up for long
    assert max(b - a for a, b in itertools.pairwise(ticks)) < 1
    assert any("Device: cpu" in line for line in feedback.told)


@pytest.mark.parametrize("algorithm", ["train", "classify"])
def test_cancel_in_the_middle(start, scene, trained, large, tmp_path, algorithm):
    out = tmp_path / "out put"
    out.mkdir()
    if algorithm == "train":
        parameters = {
            "RASTERS": [str(scene.optical), str(scene.height)], "LABELS": str(scene.labels),
            "MODEL": str(out / "m.m3amba"), **QUICK, "EPOCHS": 2000,
        }  # fmt: skip
    else:
        parameters = {
            "MODEL": str(trained), "RASTERS": large, "MAP": str(out / "map.tif"), "STRIDE": 1,
            "CONFIDENCE": str(out / "c.tif"), "DEVICE": "cpu",
        }  # fmt: skip
    feedback, wait, _ = start(algorithm, parameters)
    running = (lambda: feedback.fractions) if algorithm == "train" else (
        lambda: any(out.glob("*.m3amba-work"))
    )  # fmt: skip
    assert wait(until=running) is None, feedback.told
    children = backends()
    assert children
    asked = time.monotonic()
    feedback.cancel()
    succeeded, _ = wait()
    assert time.monotonic() - asked < 3
    assert not succeeded
    assert not backends()
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    # What an interrupted run goes on with is whole, and no output.
    kept = (".checkpoint", ".m3amba-work")
    assert [p.name for p in out.iterdir() if not p.name.endswith(kept)] == []


def test_a_killed_backend_is_probably_out_of_memory(start, scene, tmp_path):
    parameters = {
        "RASTERS": [str(scene.optical)], "LABELS": str(scene.labels),
        "MODEL": str(tmp_path / "m.m3amba"), **QUICK, "EPOCHS": 2000,
    }  # fmt: skip
    feedback, wait, _ = start("train", parameters)
    assert wait(until=lambda: feedback.fractions) is None
    for pid in backends():
        os.kill(pid, signal.SIGKILL)
    succeeded, _ = wait()
    assert not succeeded
    assert any("probably out of memory (signal SIGKILL)" in line for line in feedback.told)
    assert not (tmp_path / "m.m3amba").exists()


def chain(scene, folder):
    """Returns a model of the model designer: train, then classify with what came out."""
    static = QgsProcessingModelChildParameterSource.fromStaticValue
    rasters = [static([str(scene.optical), str(scene.height)])]
    model = QgsProcessingModelAlgorithm("Train and classify", "tests")
    train = QgsProcessingModelChildAlgorithm("m3amba:train")
    train.setChildId("train")
    train.addParameterSources("RASTERS", rasters)
    train.addParameterSources("LABELS", [static(str(scene.labels))])
    train.addParameterSources("MODEL", [static(str(folder / "chained.m3amba"))])
    for name, value in QUICK.items():
        train.addParameterSources(name, [static(value)])
    model.addChildAlgorithm(train)
    classify = QgsProcessingModelChildAlgorithm("m3amba:classify")
    classify.setChildId("classify")
    classify.addParameterSources("RASTERS", rasters)
    output = QgsProcessingModelChildParameterSource.fromChildOutput
    classify.addParameterSources("MODEL", [output("train", "MODEL")])
    map_output = QgsProcessingModelOutput("map", "map")
    map_output.setChildOutputName("MAP")
    map_output.setChildId("classify")
    classify.setModelOutputs({"map": map_output})
    model.addChildAlgorithm(classify)
    model.updateDestinationParameters()
    return model


def test_a_model_chains_training_and_map(processing, scene, tmp_path):
    out = tmp_path / "chained.tif"
    parameters = {"classify:map": str(out)}
    results = processing.run(chain(scene, tmp_path), parameters, feedback=Listening())
    assert results["classify:map"] == str(out)
    assert (tmp_path / "chained.m3amba").is_file()
    assert gdal.Open(str(out)).RasterXSize == 48


def test_a_model_stops_where_a_step_fails(processing, scene, tmp_path):
    model = chain(scene, tmp_path / "no folder")
    parameters = {"classify:map": str(tmp_path / "m.tif")}
    feedback = Listening()
    with pytest.raises(QgsProcessingException):
        processing.run(model, parameters, feedback=feedback)
    assert any("[output-folder;" in line for line in feedback.told)
    assert not (tmp_path / "m.tif").exists()


def test_a_batch_of_three_rasters(processing, scene, trained, tmp_path):
    """One model, three places: each its own map, on its own grid."""
    for number, size in enumerate(((48, 40), (40, 33), (60, 50))):
        rasters = [str(tmp_path / f"{number} {path.name}") for path in scene[:2]]
        for source, path in zip(scene[:2], rasters, strict=True):
            gdal.Translate(path, str(source), width=size[0], height=size[1])
        out = tmp_path / f"map {number}.tif"
        row = {"MODEL": str(trained), "RASTERS": rasters, "MAP": str(out), "DEVICE": "cpu"}
        assert processing.run("m3amba:classify", row)["MAP"] == str(out)
        made = gdal.Open(str(out))
        assert (made.RasterXSize, made.RasterYSize) == size
        assert made.GetGeoTransform() == gdal.Open(rasters[0]).GetGeoTransform()


def test_three_crss_odd_names_and_a_long_path(processing, scene, tmp_path):
    """Rasters in two CRSs, labels in a third, a project in a fourth."""
    folder = functools.reduce(
        lambda at, n: at / f"Straße 'ü' \"{n}\" {'x' * 50}", range(4), tmp_path
    )
    folder.mkdir(parents=True)
    assert len(str(folder)) > 200
    warped = folder / "Höhe & mehr.tif"
    gdal.Warp(str(warped), str(scene.height), dstSRS="EPSG:3035", xRes=10, yRes=10)
    layers = [
        QgsRasterLayer(str(scene.optical), "Bänder “optisch” = 3"),
        QgsRasterLayer(str(warped), "Höhe 'm'"),
        QgsVectorLayer(f"{scene.labels}|layername=Flächen", "Flächen; $HOME", "ogr"),
    ]
    project = QgsProject.instance()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    project.addMapLayers(layers)
    assert len({layer.crs().authid() for layer in layers}) == 3
    model, out = folder / "Modell 'ü'.m3amba", folder / 'Karte = "1".tif'
    processing.run(
        "m3amba:train",
        {"RASTERS": layers[:2], "LABELS": layers[2], "MODEL": str(model), **QUICK},
    )
    extent = "500100,500300,5000100,5000300 [EPSG:32633]"
    parameters = {"MODEL": str(model), "RASTERS": layers[:2], "EXTENT": extent, "DEVICE": "cpu"}
    processing.run("m3amba:classify", {**parameters, "MAP": str(out)})
    made = gdal.Open(str(out))
    assert made.GetGeoTransform() == (500100, 10, 0, 5000300, 0, -10)
    assert (made.RasterXSize, made.RasterYSize) == (20, 20)
    loaded = QgsRasterLayer(str(out), "Karte")
    assert loaded.crs().authid() == "EPSG:32633"
    assert [entry.label for entry in loaded.renderer().classes()] == ["forest", "water"]


def test_assessing_and_inspecting(processing, trained, scene, tmp_path):
    rasters = [str(scene.optical), str(scene.height)]
    out = str(tmp_path / "map.tif")
    processing.run("m3amba:classify", {"MODEL": str(trained), "RASTERS": rasters, "MAP": out})
    page = tmp_path / "page.html"
    assessed = processing.run(
        "m3amba:evaluate",
        {"MAP": out, "LABELS": str(scene.labels), "HTML": str(page), "ALLOW_TRAIN_OVERLAP": True},
    )
    assert 0 <= assessed["OVERALL_ACCURACY"] <= 1
    assert "<html" in page.read_text(encoding="utf-8")
    feedback = Listening()
    processing.run(
        "m3amba:info",
        {"MODEL": str(trained), "RASTERS": rasters, "LABELS": str(scene.labels)},
        feedback=feedback,
    )
    told = "\n".join(feedback.told)
    assert "model.m3amba" in told
    assert "EPSG:32633, 48 x 40 pixels of 10 x 10" in told
    assert "water" in told


def test_a_sample_is_labelled_from_a_list_and_tells_of_the_whole_map(
    processing, trained, scene, tmp_path
):
    rasters, out = [str(scene.optical), str(scene.height)], str(tmp_path / "map.tif")
    processing.run("m3amba:classify", {"MODEL": str(trained), "RASTERS": rasters, "MAP": out})
    drawn = processing.run(
        "m3amba:sample", {"MAP": out, "POINTS": 60, "LEAST": 20, "SAMPLE": "TEMPORARY_OUTPUT"}
    )["SAMPLE"]
    layer = QgsVectorLayer(drawn, "sample", "ogr")
    field = layer.fields().indexOf("class")
    widget = layer.editorWidgetSetup(field)
    assert widget.type() == "ValueMap"
    answers = {key for entry in widget.config()["map"] for key in entry}
    assert answers == {"forest", "water", "other"}
    map_layer = QgsRasterLayer(out, "map")
    layer.startEditing()
    for feature in layer.getFeatures():  # the map is taken at its word
        code, there = map_layer.dataProvider().sample(feature.geometry().asPoint(), 1)
        assert there
        layer.changeAttributeValue(feature.id(), field, {1: "forest", 2: "water"}[int(code)])
    assert layer.commitChanges()
    figures = tmp_path / "figures.json"
    processing.run(
        "m3amba:evaluate",
        {
            "MAP": out, "LABELS": layer, "FIELD": "class", "PROBABILITY_SAMPLE": True,
            "REPORT": str(figures),
        },
    )  # fmt: skip
    told = json.loads(figures.read_text(encoding="utf-8"))["estimates"]
    assert told["overall_accuracy"]["value"] == 1
    assert told["overall_accuracy"]["low"] < 1
    assert told["unit"] == "m2"


def test_nothing_of_the_backend_was_imported(processing, real_python):
    assert not {"torch", "rasterio", "m3amba_geo"} & set(sys.modules)
    environment = str(Path(real_python).absolute().parents[1])
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    assert not [file for file in files if file.startswith(environment)]
