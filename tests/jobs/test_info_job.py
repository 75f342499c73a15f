"""`info`: what models, rasters and labels hold, before anything is done with them."""

import json

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine

from m3amba_geo.bundle import load_bundle
from m3amba_geo.errors import FileMissingError, ModelDamagedError, VectorUnreadableError
from m3amba_geo.events import Started, Warned, ignore
from m3amba_geo.files import checksum
from m3amba_geo.jobs import info
from tests.conftest import HEIGHT, NAMES, TRANSFORM, WIDTH, write_raster


def test_a_model(trained):
    events = []
    found = info.run([trained.model], events.append)
    assert events == [Started("info", events[0].version)]
    model = found.models[str(trained.model)]
    assert model["network"] == "a size of its own: width 16, depth 1, patch 16"
    assert [(m["name"], m["bands"]) for m in model["modalities"]] == [("optical", 4), ("height", 1)]
    assert [entry["name"] for entry in model["classes"]] == list(NAMES)
    assert model["modality_dropout"] == 0.2
    assert model["temperature"] == load_bundle(trained.model).manifest.temperature >= 1
    assert (model["guide"], model["crs"], model["resolution"]) == ("none", ["EPSG:32632"], [30, 30])
    assert model["sha256"] == checksum(trained.model)
    assert model["scores"] == trained.train_results.scores
    assert json.loads(json.dumps(found.to_json())).keys() == {"models"}


def test_the_preflight_table_of_rasters_and_labels(place, tmp_path):
    half = write_raster(
        tmp_path / "half.tif",
        np.ones((2, HEIGHT, WIDTH // 2), np.uint8),
        nodata=0,
        transform=TRANSFORM,
    )
    away = write_raster(
        tmp_path / "away.tif", np.ones((1, 5, 5), np.uint8), crs="EPSG:32633",
        transform=Affine(10, 0, 0, 0, -10, 0),
    )  # fmt: skip
    found = info.run([place.optical, half, away], ignore)
    optical, left, other = found.rasters
    assert (optical.crs, optical.width, optical.height) == ("EPSG:32632", WIDTH, HEIGHT)
    assert (optical.pixel, optical.bands, optical.type) == ("30 x 30", 4, "float32")
    assert (optical.nodata, optical.overlap, optical.same_grid) == ("none", 1, True)
    assert (left.nodata, left.overlap, left.same_grid) == ("0", pytest.approx(0.5), False)
    assert (other.overlap, other.same_grid) == (0, False)


def test_labels_are_counted_on_the_rasters_and_listed_without(place):
    found = info.run([place.optical, place.labels], ignore)
    assert [(entry.name, entry.pixels, entry.parts) for entry in found.classes] == [
        (name, 4 * 96, 4) for name in NAMES
    ]
    alone = info.run([place.labels], ignore)
    assert [(entry.name, entry.pixels) for entry in alone.classes] == [(n, None) for n in NAMES]
    json.dumps(found.to_json())


def test_what_is_not_there_or_can_not_be_read(trained, tmp_path):
    with pytest.raises(FileMissingError, match="absent"):
        info.run([tmp_path / "absent.tif"], ignore)
    (tmp_path / "text.txt").write_text("nothing of the kind")
    with pytest.raises(VectorUnreadableError):
        info.run([tmp_path / "text.txt"], ignore)
    (tmp_path / "cut.m3amba").write_bytes(trained.model.read_bytes()[:100])
    with pytest.raises(ModelDamagedError):
        info.run([tmp_path / "cut.m3amba"], ignore)


def test_labels_that_can_not_be_told_do_not_hide_the_rasters(place, tmp_path):
    frame = gpd.read_file(place.labels)
    path = tmp_path / "two.gpkg"
    frame.to_file(path, layer="one")
    frame.to_file(path, layer="two")
    events = []
    found = info.run([place.optical, path, place.labels], events.append)
    assert len(found.rasters) == 1
    assert {fact.labels for fact in found.classes} == {"labels.gpkg"}
    (told,) = (e for e in events if isinstance(e, Warned))
    assert told.code == "labels-unclear"
    assert "'one', 'two'" in told.message
    assert "--layer" in told.message
    with pytest.raises(VectorUnreadableError, match="several layers"):
        info.run([path], ignore)


def test_rasters_that_can_not_be_related_overlap_by_nothing(place, tmp_path):
    site = write_raster(
        tmp_path / "site.tif", np.ones((1, 9, 9), np.uint8),
        crs='LOCAL_CS["site grid",UNIT["metre",1]]',
    )  # fmt: skip
    found = info.run([place.optical, site], ignore)
    assert [raster.overlap for raster in found.rasters] == [1.0, 0.0]
