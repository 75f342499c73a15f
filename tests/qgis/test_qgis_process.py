"""The packed plugin in a clean profile, run without a window by `qgis_process`."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from osgeo import gdal

pytestmark = pytest.mark.qgis

ROOT = Path(__file__).resolve().parents[2]
# Debian's wrapper passes an option that the program does not know.
PROGRAM = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
NONSENSE = {"PYTHONPATH": "/nonsense", "GDAL_DRIVER_PATH": "/nonsense"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The zip file, built."""
    out = tmp_path_factory.mktemp("dist") / "m3amba.zip"
    script = ROOT / "scripts" / "build_plugin.py"
    subprocess.run([sys.executable, str(script), "--out", str(out)], check=True)
    return out


@pytest.fixture(scope="module")
def qgis_process(packed, real_python, tmp_path_factory):
    """Runs `qgis_process` in a clean profile where the zip is installed and enabled."""
    home = tmp_path_factory.mktemp("home")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(home / "profiles" / "default" / "python" / "plugins")
    environment = {
        **os.environ,
        **NONSENSE,
        "HOME": str(home),
        "QGIS_CUSTOM_CONFIG_PATH": str(home),
        "QT_QPA_PLATFORM": "offscreen",
        "M3AMBA_PYTHON": str(real_python),
    }

    def run(*arguments):
        command = [PROGRAM, "--json", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=300, check=False
        )

    enabled = run("plugins", "enable", "m3amba")
    assert enabled.returncode == 0, enabled.stdout + enabled.stderr
    return run


def result(process):
    """Returns the results of an algorithm, or fails with all that was said."""
    assert process.returncode == 0, process.stdout + process.stderr
    return json.loads(process.stdout)["results"]


@pytest.fixture(scope="module")
def mapped(qgis_process, scene, tmp_path_factory):
    """The outputs of a short training and the map made with it."""
    folder = tmp_path_factory.mktemp("out put")
    rasters = [f"RASTERS={scene.optical}", f"RASTERS={scene.height}"]
    model = folder / "model.m3amba"
    trained = qgis_process(
        "run", "m3amba:train", "--", *rasters, f"LABELS={scene.labels}", "FIELD=class",
        "EPOCHS=1", "GUIDE=none", "DEVICE=cpu", f"MODEL={model}",
    )  # fmt: skip
    assert result(trained) == {"MODEL": str(model)}
    classified = qgis_process(
        "run", "m3amba:classify", "--", f"MODEL={model}", *rasters, "DEVICE=cpu",
        f"MAP={folder / 'map.tif'}", f"CONFIDENCE={folder / 'confidence.tif'}",
    )  # fmt: skip
    return result(classified)


def test_the_zip_holds_one_folder_and_no_more_than_it_needs(packed):
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"m3amba"}
    assert {"m3amba/metadata.txt", "m3amba/LICENSE", "m3amba/__init__.py"} <= set(names)
    assert not [name for name in names if "test" in name or "__pycache__" in name]
    assert packed.stat().st_size < 1_000_000


def test_list_shows_the_algorithms(qgis_process):
    listed = json.loads(qgis_process("list").stdout)["providers"]["m3amba"]
    assert sorted(listed["algorithms"]) == ["m3amba:classify", "m3amba:train"]


def test_help_is_complete(qgis_process):
    told = json.loads(qgis_process("help", "m3amba:classify").stdout)
    assert told["algorithm_details"]["name"] == "Classify with M3amba"
    assert set(told["parameters"]) == {"MODEL", "RASTERS", "DEVICE", "MAP", "CONFIDENCE"}
    assert all(parameter["help"] for parameter in told["parameters"].values())


def test_a_failure_is_one_of_the_process_too(qgis_process, scene, tmp_path):
    failed = qgis_process(
        "run", "m3amba:train", "--", f"RASTERS={scene.optical}", f"LABELS={scene.labels}",
        "FIELD=class", "EPOCHS=1", "GUIDE=none", f"MODEL={tmp_path / 'no folder' / 'm.m3amba'}",
    )  # fmt: skip
    assert failed.returncode != 0
    assert "output-folder" in failed.stdout + failed.stderr


def test_the_map_lies_on_the_raster(mapped, scene):
    reference = gdal.Open(str(scene.optical))
    for path in (mapped["MAP"], mapped["CONFIDENCE"]):
        raster = gdal.Open(path)
        assert (raster.RasterXSize, raster.RasterYSize) == (48, 40)
        assert raster.GetGeoTransform() == reference.GetGeoTransform()
        assert raster.GetSpatialRef().IsSame(reference.GetSpatialRef())
    codes = gdal.Open(mapped["MAP"]).ReadAsArray()
    assert set(codes.ravel()) <= {1, 2}


def test_the_style_names_the_classes(mapped):
    style = Path(mapped["MAP"]).with_suffix(".qml").read_text(encoding="utf-8")
    assert "water" in style
    assert "forest" in style


def test_the_map_is_that_of_the_command_line(mapped, scene, real_python, tmp_path):
    model = Path(mapped["MAP"]).with_name("model.m3amba")
    rasters = [f"optical_3_bands={scene.optical}", f"height={scene.height}"]
    out = tmp_path / "map.tif"
    command = [real_python, "-m", "m3amba_geo", "classify", model, *rasters, "--out", out]
    subprocess.run(list(map(str, [*command, "--device", "cpu"])), check=True)
    by_hand, by_qgis = (gdal.Open(str(path)).ReadAsArray() for path in (out, mapped["MAP"]))
    assert (by_hand == by_qgis).all()
