"""Fixtures of the plugin's tests; loaded by the project's Python and by the one of QGIS.

Files named `test_qgis_*` need PyQGIS, so only the latter collects them (`make test` runs both).
"""

import importlib.util
import json
import os
import shlex
import struct
import sys
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_backend.py")
Scene = namedtuple("Scene", "optical height labels")
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]


def has_qgis():
    try:
        return importlib.util.find_spec("qgis.core") is not None
    except ModuleNotFoundError:
        return False


collect_ignore_glob = [] if has_qgis() else ["test_qgis_*.py"]


def pytest_configure(config):
    # QGIS's Python runs these tests without the project's pytest settings.
    config.addinivalue_line("markers", "qgis: needs PyQGIS")


@pytest.fixture
def fake_python(tmp_path):
    """Makes programs that take a Python's place, and play one scene of the fake backend."""

    def make(scene):
        program = tmp_path / f"python-{scene}"
        command = shlex.join([sys.executable, str(FAKE), scene])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
        return program

    return make


@pytest.fixture(scope="session")
def processing(tmp_path_factory):
    """Processing with the provider, in a QGIS application with a clean profile."""
    from osgeo import gdal
    from qgis.core import QgsApplication

    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application = QgsApplication([], True, str(tmp_path_factory.mktemp("profile")))
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


@pytest.fixture(scope="session")
def model_file():
    """Writes a model file with a manifest and no weights, as far as the plugin reads it."""

    def write(path, modalities, classes=("forest", "water"), model_format=2, dropout=0.0):
        manifest = {
            "format": model_format,
            "modalities": [
                {"name": name, "bands": [{"name": "", "wavelength": None}] * count}
                for name, count in modalities
            ],
            "legend": [{"code": n, "name": name} for n, name in enumerate(classes, 1)],
            "modality_dropout": dropout,
        }
        header = json.dumps({"__metadata__": {"m3amba": json.dumps(manifest)}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        return path

    return write


@pytest.fixture(scope="session")
def real_python():
    """The Python that has `m3amba_geo`."""
    return os.environ.get("M3AMBA_PYTHON") or str(ROOT / ".venv" / "bin" / "python")


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """Two rasters of 48 by 40 pixels, and polygons of two classes in another CRS.

    Names and folder hold what users' do: spaces, umlauts, quotes, an equals sign.
    """
    import numpy as np

    folder = tmp_path_factory.mktemp("Gelände 'Süd' = 1")
    rng = np.random.default_rng(0)
    west = np.arange(48) < 24
    bands = np.where(west, 200, 900) + rng.integers(0, 100, (3, 40, 48))
    height = np.where(west, 1.0, 20.0) + rng.random((1, 40, 48))
    scene = Scene(folder / "optical = 3 bands.tif", folder / "height.tif", folder / "labels.gpkg")
    _write_raster(scene.optical, bands.astype("uint16"))
    _write_raster(scene.height, height.astype("float32"))
    _write_labels(scene.labels)
    return scene


def _write_raster(path, bands):
    from osgeo import gdal, gdal_array, osr

    count, height, width = bands.shape
    data_type = gdal_array.NumericTypeCodeToGDALTypeCode(bands.dtype.type)
    raster = gdal.GetDriverByName("GTiff").Create(str(path), width, height, count, data_type)
    raster.SetGeoTransform((500000, 10, 0, 5000400, 0, -10))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32633)
    raster.SetProjection(crs.ExportToWkt())
    raster.WriteArray(bands)
    raster.FlushCache()


def _write_labels(path):
    """Writes four squares a class, in degrees."""
    from osgeo import ogr, osr

    metres, degrees = osr.SpatialReference(), osr.SpatialReference()
    metres.ImportFromEPSG(32633)
    degrees.ImportFromEPSG(4326)
    for crs in (metres, degrees):
        crs.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    to_degrees = osr.CoordinateTransformation(metres, degrees)
    source = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = source.CreateLayer("Flächen", degrees, ogr.wkbPolygon)
    layer.CreateField(ogr.FieldDefn("class", ogr.OFTString))
    for name, left in (("water", 500020), ("forest", 500260)):
        for row in range(4):
            top = 5000380 - 100 * row
            x, y = (left, left + 180), (top, top - 60)
            corners = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])]
            text = ", ".join(f"{a} {b}" for a, b in corners)
            square = ogr.CreateGeometryFromWkt(f"POLYGON (({text}))")
            square.Transform(to_degrees)
            feature = ogr.Feature(layer.GetLayerDefn())
            feature.SetField("class", name)
            feature.SetGeometry(square)
            layer.CreateFeature(feature)
