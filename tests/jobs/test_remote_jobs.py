"""Training and maps from archives, virtual rasters and servers, as from files."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from m3amba_geo.bundle import read_manifest
from m3amba_geo.cli import main
from m3amba_geo.config import ClassifyConfig, ModalityConfig
from m3amba_geo.errors import NetworkOffError
from m3amba_geo.events import ignore
from m3amba_geo.geo.access import reach
from m3amba_geo.geo.raster import open_raster
from m3amba_geo.jobs import classify, train
from m3amba_geo.jobs.contents import raster_content
from tests.jobs.conftest import quick
from tests.servers import serve


def moved(place, optical, height, labels=None):
    modalities = (ModalityConfig("optical", (optical,)), ModalityConfig("height", (height,)))
    scene = replace(place.scene, modalities=modalities)
    if labels is not None:
        scene = replace(scene, labels=replace(scene.labels, path=labels))
    return scene


def scores(model: Path):
    return read_manifest(model).scores


@pytest.fixture
def served(place, tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    for file in (place.optical, place.height):
        rasterio.shutil.copy(file, folder / file.name, driver="COG")
    (folder / place.labels.name).write_bytes(place.labels.read_bytes())
    return folder


def test_a_model_and_a_map_from_a_server_are_those_of_the_files(
    place, served, tmp_path, small_network
):
    config = quick(tmp_path, out=tmp_path / "files.m3amba", epochs=1)
    train.run([place.scene], config, ignore)
    with serve(served, failures=1) as server, reach(network=True):
        names = [Path(f"{server.url}/{n}") for n in ("optical.tif", "height.tif", "labels.gpkg")]
        there = moved(place, *names)
        out = tmp_path / "server.m3amba"
        train.run([there], replace(config, out=out), ignore)
        mapped = classify.run(out, there, ClassifyConfig(tmp_path / "server.tif"), ignore)
    assert scores(out) == scores(config.out)
    inputs = read_manifest(out).inputs
    assert len(inputs) == 3
    assert all(len(value) == 64 for value in inputs.values())
    here = classify.run(out, place.scene, ClassifyConfig(tmp_path / "files.tif"), ignore)
    with rasterio.open(mapped.map) as one, rasterio.open(here.map) as other:
        assert np.array_equal(one.read(), other.read())


def test_without_leave_nothing_is_asked(place, served, trained, tmp_path):
    with serve(served) as server:
        scene = moved(place, Path(f"{server.url}/optical.tif"), place.height)
        with pytest.raises(NetworkOffError):
            classify.run(trained.model, scene, ClassifyConfig(tmp_path / "a.tif"), ignore)
        assert not server.asked
    assert not [*tmp_path.glob("*a.tif*")]


def test_a_change_in_an_archive_or_on_a_server_is_noticed(place, served, tmp_path):
    def content(path):
        with reach(network=True), open_raster(path) as raster:
            return raster_content(raster)

    def change():
        with rasterio.open(place.optical, "r+") as file:
            file.write(file.read() * 2)

    found = set()
    for _ in range(2):
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.write(place.optical, "a.tif")
        rasterio.shutil.copy(place.optical, served / "optical.tif", driver="COG")
        found.add(content(Path(f"/vsizip/{archive}/a.tif")))
        with serve(served) as server:  # GDAL remembers what it has seen of a server
            found.add(content(Path(f"{server.url}/optical.tif")))
        change()
    assert len(found) == 4


def test_the_command_line_takes_a_server_if_told_to(trained, served, tmp_path, capsys):
    with serve(served) as server:
        command = ["classify", str(trained.model), f"optical={server.url}/optical.tif",
                   f"height={server.url}/height.tif", "--out", str(tmp_path / "a.tif")]  # fmt: skip
        assert main(command) == 3
        assert "network-off" in capsys.readouterr().err
        assert main([*command, "--allow-network"]) == 0
        assert main(["info", f"{server.url}/optical.tif"]) == 3
        assert main(["info", f"{server.url}/optical.tif", "--allow-network"]) == 0


def test_labels_and_rasters_of_one_archive(place, tmp_path, small_network):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (place.optical, place.height, place.labels):
            file.write(path, path.name)
    inside = [Path(f"/vsizip/{archive}/{n}") for n in ("optical.tif", "height.tif", "labels.gpkg")]
    trained = train.run([moved(place, *inside)], quick(tmp_path, epochs=1), ignore)
    assert trained.pixels["train"] > 0
