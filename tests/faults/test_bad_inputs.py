"""Inputs that are not fit, disks that fill, users that interrupt: each ends in words that help.

Every error is asserted by class, code and message; nothing half-written may be left, and what was
there before survives.
"""

import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from disks import nearly_full, read_only, small_disk
from safetensors.numpy import save_file
from shapely.geometry import Point

from m3amba_geo import errors
from m3amba_geo.bundle import read_manifest
from m3amba_geo.config import (
    WIDTH_AND_DEPTH,
    ClassifyConfig,
    EvaluateConfig,
    GuideConfig,
    LabelConfig,
    SplitConfig,
    TrainConfig,
)
from m3amba_geo.events import Progress, Warned, ignore
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.jobs import classify, evaluate, train
from m3amba_geo.jobs.sidecar import sidecar_path
from tests.conftest import HEIGHT, TRANSFORM, WIDTH, Place, make_place, write_raster

OLD = b"what was there before"


@pytest.fixture(autouse=True, scope="module")
def _small_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WIDTH_AND_DEPTH, "tiny", (16, 1))
        yield


@dataclass(frozen=True)
class Made:
    """A place, a model of it, and its map."""

    place: Place
    model: Path
    map: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory, _small_network) -> Made:
    folder = tmp_path_factory.mktemp("made")
    place = make_place(folder)
    model = train_on(place.scene, folder / "model.m3amba").model
    return Made(place, model, map_with(model, place.scene, folder / "map.tif").map)


def train_on(scene, out, emit=ignore, **options):
    config = TrainConfig(
        out=out,
        size="tiny",
        epochs=1,
        patch=16,
        batch=4,
        threads=1,
        split=SplitConfig(validation=0.25, test=0.25, gap=4),
        guide=GuideConfig(mode="none"),
    )
    return train.run([scene], config, emit, **options)


def map_with(model, scene, out, emit=ignore, **options):
    return classify.run(model, scene, ClassifyConfig(out=out, **options), emit)


def score(map_path, labels, emit=ignore, **options):
    config = EvaluateConfig(LabelConfig(labels, field="class"), **options)
    return evaluate.run(map_path, config, emit)


def with_files(scene, **files):
    """Returns the scene with other files for some modalities."""
    modalities = (replace(m, files=(files.get(m.name, m.files[0]),)) for m in scene.modalities)
    return replace(scene, modalities=tuple(modalities))


def with_labels(scene, path, **options):
    return replace(scene, labels=LabelConfig(path, **({"field": "class"} | options)))


def refused(kind, code, work, *arguments, **options):
    """Runs a job that must fail; returns message and hint."""
    with pytest.raises(kind) as caught:
        work(*arguments, **options)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.hint
    return f"{caught.value} {caught.value.hint}"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def out(tmp_path):
    """A folder for outputs that must be as empty after a failure as before."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    assert not list(folder.iterdir())


# --- files that are missing or damaged


def test_a_missing_raster(made, out):
    scene = with_files(made.place.scene, height=Path("nothing.tif"))
    for job in (
        lambda: train_on(scene, out / "model.m3amba"),
        lambda: map_with(made.model, scene, out / "map.tif"),
    ):
        message = refused(errors.FileMissingError, "file-missing", job)
        assert "nothing.tif is missing" in message


def test_missing_labels(made, out):
    scene = with_labels(made.place.scene, Path("nothing.shp"))
    message = refused(
        errors.FileMissingError, "file-missing", train_on, scene, out / "model.m3amba"
    )
    assert "nothing.shp is missing" in message
    refused(errors.FileMissingError, "file-missing", score, made.map, Path("nothing.shp"))


def test_a_missing_model_and_a_missing_map(made, out):
    nothing = Path("nothing.m3amba")
    message = refused(
        errors.FileMissingError,
        "file-missing",
        map_with,
        nothing,
        made.place.scene,
        out / "map.tif",
    )
    assert "nothing.m3amba is missing" in message
    message = refused(
        errors.FileMissingError, "file-missing", score, Path("nothing.tif"), made.place.labels
    )
    assert "nothing.tif is missing" in message


def cut_off(path):
    """Loses the last third, as a copy that was interrupted."""
    os.truncate(path, path.stat().st_size * 2 // 3)


def spoil_a_tile(path):
    """Overwrites a compressed tile in the middle of the raster."""
    with rasterio.open(path) as file:
        offset, size = (
            int(file.get_tag_item(f"BLOCK_{what}_2_2", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    with path.open("rb+") as handle:
        handle.seek(offset)
        handle.write(bytes(size))


TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}


@pytest.mark.parametrize(
    ("layout", "damage"),
    [({}, cut_off), (TILED, cut_off), (TILED, spoil_a_tile)],
    ids=["striped, cut off", "tiled, cut off", "tiled, a tile spoilt"],
)
@pytest.mark.parametrize("step", [30, 60], ids=["own grid", "warped"])
def test_a_damaged_tiff(made, out, tmp_path, layout, damage, step):
    with rasterio.open(made.place.height) as file:
        bands = file.read()
    if step == 60:
        bands = bands.repeat(2, axis=1).repeat(2, axis=2)
    path = write_raster(
        tmp_path / "height.tif",
        bands,
        transform=TRANSFORM @ Affine.scale(30 / step),
        **layout,
    )
    damage(path)
    scene = with_files(made.place.scene, height=path)
    for job in (
        lambda: train_on(scene, out / "model.m3amba"),
        lambda: map_with(made.model, scene, out / "map.tif", confidence=out / "sure.tif"),
    ):
        message = refused(errors.RasterUnreadableError, "raster-unreadable", job)
        assert "height.tif can't be read" in message
        assert "truncated" in message


def test_a_text_is_no_raster(made, out, tmp_path):
    (tmp_path / "height.tif").write_text("hello")
    scene = with_files(made.place.scene, height=tmp_path / "height.tif")
    message = refused(
        errors.RasterUnreadableError, "raster-unreadable", train_on, scene, out / "model.m3amba"
    )
    assert "height.tif can't be read" in message


def test_a_text_is_no_label_file(made, out, tmp_path):
    (tmp_path / "labels.shp").write_text("hello")
    (tmp_path / "labels.gpkg").write_text("hello")
    for name in ("labels.shp", "labels.gpkg"):
        scene = with_labels(made.place.scene, tmp_path / name)
        message = refused(
            errors.VectorUnreadableError, "vector-unreadable", train_on, scene, out / "model.m3amba"
        )
        assert name in message


# --- places that do not meet


def test_rasters_that_do_not_overlap(made, out, tmp_path):
    away = write_raster(
        tmp_path / "height.tif",
        np.ones((1, 9, 9), np.float32),
        transform=TRANSFORM @ Affine.translation(5000, 0),
    )
    scene = with_files(made.place.scene, height=away)
    for job in (
        lambda: train_on(scene, out / "model.m3amba"),
        lambda: map_with(made.model, scene, out / "map.tif"),
    ):
        message = refused(errors.NoOverlapError, "no-overlap", job)
        assert "height.tif" in message
        assert "does not overlap the reference grid" in message
        assert "x 750000 to 750270" in message


def points(path, *places, crs="EPSG:32632", **fields):
    """Writes points at `(row, column)`."""
    xy = [Point(*(TRANSFORM @ (column + 0.5, row + 0.5))) for row, column in places]
    gpd.GeoDataFrame(fields, geometry=xy, crs=crs).to_file(path)
    return path


def test_labels_that_all_lie_outside(made, out, tmp_path):
    path = points(tmp_path / "far.gpkg", (500, 500), (510, 510), **{"class": ["a", "b"]})
    scene = with_labels(made.place.scene, path)
    message = refused(errors.NoOverlapError, "no-overlap", train_on, scene, out / "model.m3amba")
    assert "far.gpkg" in message
    assert "does not overlap the raster" in message
    message = refused(errors.NoOverlapError, "no-overlap", score, made.map, path)
    assert "far.gpkg" in message


def test_a_label_that_lies_outside_is_counted_and_left_out(made, tmp_path):
    frame = gpd.read_file(made.place.labels).to_crs("EPSG:32632")
    shifted = frame.iloc[:1].translate(1e6, 0)
    frame = gpd.GeoDataFrame(
        {"class": [*frame["class"], "forest"]}, geometry=[*frame.geometry, *shifted], crs=frame.crs
    )
    frame.to_file(tmp_path / "labels.gpkg")
    told = []
    scene = with_labels(made.place.scene, tmp_path / "labels.gpkg")
    train_on(scene, tmp_path / "model.m3amba", told.append)
    warned = {event.code: event.message for event in told if isinstance(event, Warned)}
    assert "1 of 13 features" in warned["labels-outside"]


def test_labels_without_a_crs(made, out, tmp_path):
    with pytest.warns(UserWarning, match="crs"):
        path = points(tmp_path / "bare.shp", (5, 5), (6, 60), crs=None, **{"class": ["a", "b"]})
    scene = with_labels(made.place.scene, path)
    message = refused(errors.CRSMissingError, "crs-missing", train_on, scene, out / "model.m3amba")
    assert "bare.shp has no CRS, the raster has EPSG:32632" in message
    assert ".prj" in message
    message = refused(errors.CRSMissingError, "crs-missing", score, made.map, path)
    assert "bare.shp has no CRS" in message


# --- labels without use


def test_an_unknown_field(made, out):
    scene = with_labels(made.place.scene, made.place.labels, field="klass")
    message = refused(
        errors.UnknownFieldError, "field-unknown", train_on, scene, out / "model.m3amba"
    )
    assert "klass" in message
    assert "class" in message.replace("klass", "")  # what there is


def test_fields_that_all_could_hold_classes(made, out, tmp_path):
    path = points(
        tmp_path / "two.gpkg",
        *((row, column) for row in (5, 15) for column in (5, 90)),
        **{"cover": ["a", "b", "a", "b"], "use": ["x", "y", "y", "x"]},
    )
    scene = with_labels(made.place.scene, path, field=None)
    message = refused(
        errors.UnknownFieldError, "field-unknown", train_on, scene, out / "model.m3amba"
    )
    assert "cover" in message
    assert "use" in message


def test_one_class_only(made, out, tmp_path):
    path = points(tmp_path / "one.gpkg", (5, 5), (40, 60), **{"class": ["forest", "forest"]})
    scene = with_labels(made.place.scene, path)
    message = refused(
        errors.TooFewClassesError, "too-few-classes", train_on, scene, out / "model.m3amba"
    )
    assert "Only one class has training pixels: forest" in message


def test_a_class_with_one_pixel_trains_and_is_said_to_be_untested(made, tmp_path):
    polygons = gpd.read_file(made.place.labels).to_crs("EPSG:32632")
    lone = points(tmp_path / "lone.gpkg", (70, 2), **{"class": ["rock"]})
    both = gpd.GeoDataFrame(
        {"class": [*polygons["class"], "rock"]},
        geometry=[*polygons.geometry, *gpd.read_file(lone).geometry],
        crs=polygons.crs,
    )
    both.to_file(tmp_path / "labels.gpkg")
    told = []
    scene = with_labels(made.place.scene, tmp_path / "labels.gpkg")
    results = train_on(scene, tmp_path / "model.m3amba", told.append)
    assert "rock" in results.classes
    assert any(
        isinstance(event, Warned) and event.code == "split" and "rock" in event.message
        for event in told
    )
    assert any("rock" in line for line in read_manifest(results.model).split)


def test_empty_labels(made, out, tmp_path):
    frame = gpd.read_file(made.place.labels)
    frame.iloc[:0].to_file(tmp_path / "empty.gpkg")
    scene = with_labels(made.place.scene, tmp_path / "empty.gpkg")
    message = refused(errors.NoLabelsError, "no-labels", train_on, scene, out / "model.m3amba")
    assert "empty.gpkg" in message


# --- pixels without use


@pytest.mark.parametrize("value", [np.nan, -9999.0], ids=["NaN", "nodata"])
def test_a_raster_without_a_valid_pixel(made, out, tmp_path, value):
    path = write_raster(
        tmp_path / "height.tif", np.full((1, HEIGHT, WIDTH), value, np.float32), nodata=-9999
    )
    scene = with_files(made.place.scene, height=path)
    message = refused(errors.AllNodataError, "all-nodata", train_on, scene, out / "model.m3amba")
    assert "nodata" in message
    message = refused(
        errors.AllNodataError, "all-nodata", map_with, made.model, scene, out / "map.tif"
    )
    assert "The map would be empty" in message


def test_a_band_that_is_nan_everywhere(made, out, tmp_path):
    """One band of four is enough: all bands of a modality must be valid."""
    with rasterio.open(made.place.optical) as file:
        bands = file.read()
    bands[2] = np.nan
    scene = with_files(made.place.scene, optical=write_raster(tmp_path / "optical.tif", bands))
    refused(errors.AllNodataError, "all-nodata", train_on, scene, out / "model.m3amba")
    refused(errors.AllNodataError, "all-nodata", map_with, made.model, scene, out / "map.tif")


def test_nan_here_and_there_is_left_out_of_training_and_map(made, tmp_path):
    rng = np.random.default_rng(3)
    with rasterio.open(made.place.optical) as file:
        bands = file.read()
    bands[
        rng.integers(4, size=400), rng.integers(HEIGHT, size=400), rng.integers(WIDTH, size=400)
    ] = np.nan
    scene = with_files(made.place.scene, optical=write_raster(tmp_path / "optical.tif", bands))
    results = train_on(scene, tmp_path / "model.m3amba")
    assert all(np.isfinite(list(results.scores.values())))
    path = map_with(results.model, scene, tmp_path / "map.tif").map
    hole = np.isnan(bands).any(axis=0)
    with rasterio.open(path) as file:
        assert np.array_equal(file.read(1) == 0, hole)


@pytest.mark.parametrize("code", [-1, 65537])
def test_a_map_of_other_numbers_is_no_map_of_codes(made, tmp_path, code):
    """Cut to sixteen bits, 65537 would be class 1."""
    codes = made.place.truth.astype(np.int32)
    codes[codes == 1] = code
    path = write_raster(tmp_path / "map.tif", codes[None])
    message = refused(
        errors.ClassMismatchError, "classes-mismatch", score, path, made.place.labels,
        model=made.model,
    )  # fmt: skip
    assert f"{code}" in message


# --- models that do not fit, or are none


def test_the_wrong_number_of_bands(made, out, tmp_path):
    with rasterio.open(made.place.optical) as file:
        three = write_raster(tmp_path / "optical.tif", file.read()[:3])
    scene = with_files(made.place.scene, optical=three)
    message = refused(
        errors.BandMismatchError, "bands-mismatch", map_with, made.model, scene, out / "map.tif"
    )
    assert "'optical' has 3 bands" in message
    assert "trained on 4" in message


def test_the_wrong_number_of_modalities(made, out):
    given = made.place.scene.modalities
    scene = replace(made.place.scene, modalities=(*given, replace(given[0], name="more")))
    message = refused(
        errors.BandMismatchError, "bands-mismatch", map_with, made.model, scene, out / "map.tif"
    )
    assert "takes 2 modalities (optical, height)" in message


def random_bytes(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def a_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", bytes(5000))


def foreign_safetensors(path):
    save_file({"a": np.ones(3)}, path, {"format": "pt"})


def without_metadata(path):
    save_file({"a": np.ones(3)}, path)


@pytest.mark.parametrize(
    "make",
    [
        random_bytes,
        a_zip,
        foreign_safetensors,
        without_metadata,
        lambda path: path.write_text("hello"),
        lambda path: path.write_text("{" * 5000),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\0" * 8),
        lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
        lambda path: path.mkdir(),
    ],
    ids=["random", "zip", "foreign", "bare", "text", "braces", "empty", "zeros", "huge", "folder"],
)
def test_a_file_that_is_no_model_of_ours(made, out, tmp_path, make):
    path = tmp_path / "other.m3amba"
    make(path)
    message = refused(
        errors.NotAModelError, "not-a-model", map_with, path, made.place.scene, out / "map.tif"
    )
    assert "other.m3amba" in message
    assert "m3amba-geo train" in message


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_model(made, out, tmp_path, share):
    whole = made.model.read_bytes()
    path = tmp_path / "cut.m3amba"
    path.write_bytes(whole[: int(len(whole) * share)])
    message = refused(
        errors.ModelDamagedError,
        "model-damaged",
        map_with,
        path,
        made.place.scene,
        out / "map.tif",
    )
    assert "cut.m3amba is damaged" in message


def test_a_model_with_any_flipped_bit_is_not_used(made, out, tmp_path):
    whole = made.model.read_bytes()
    path = tmp_path / "flipped.m3amba"
    header = int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    places = [0, 3, 7, 8, 9, *rng.integers(8, 8 + header, 25), *rng.integers(header, len(whole), 8)]
    for place in map(int, places):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises((errors.ModelDamagedError, errors.NotAModelError)) as caught:
            map_with(path, made.place.scene, out / "map.tif")
        assert "flipped.m3amba" in str(caught.value), place


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file of Linux")
def test_a_model_that_cant_be_read(made, out, tmp_path):
    """Even root can't read the first page of memory."""
    path = tmp_path / "broken.m3amba"
    path.symlink_to("/proc/self/mem")
    message = refused(
        errors.NotAModelError, "not-a-model", map_with, path, made.place.scene, out / "map.tif"
    )
    assert "broken.m3amba can't be read: Input/output error" in message


# --- outputs that can't be written


def jobs_into(made, folder):
    """All three jobs, writing into a folder."""
    scene, labels = made.place.scene, made.place.labels
    return [
        lambda: train_on(scene, folder / "model.m3amba", overwrite=True),
        lambda: map_with(made.model, scene, folder / "map.tif", overwrite=True),
        lambda: map_with(
            made.model,
            scene,
            folder.parent / "map.tif",
            probabilities=folder / "p.tif",
            overwrite=True,
        ),
        lambda: score(made.map, labels, report=folder / "report.json", overwrite=True),
        lambda: score(made.map, labels, html=folder / "report.html", overwrite=True),
    ]


def test_a_missing_output_folder(made, out):
    for job in jobs_into(made, out / "nowhere"):
        message = refused(errors.OutputFolderError, "output-folder", job)
        assert f"{out / 'nowhere'} of the output" in message
        assert "does not exist" in message


def test_a_read_only_output_folder(made, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    for name in ("model.m3amba", "map.tif", "report.json", "report.html"):
        (folder / name).write_bytes(OLD)
    before = contents(folder)
    with read_only(folder):
        for job in jobs_into(made, folder):
            message = refused(errors.OutputFolderError, "output-folder", job)
            assert f"{folder} is not writable" in message
    assert contents(folder) == before


def test_outputs_that_exist_are_kept(made, tmp_path):
    for name in ("model.m3amba", "map.tif", "report.json"):
        (tmp_path / name).write_bytes(OLD)
    before = contents(tmp_path)
    for job in (
        lambda: train_on(made.place.scene, tmp_path / "model.m3amba"),
        lambda: map_with(made.model, made.place.scene, tmp_path / "map.tif"),
        lambda: score(made.map, made.place.labels, report=tmp_path / "report.json"),
    ):
        assert "--overwrite" in refused(errors.OutputExistsError, "output-exists", job)
    assert contents(tmp_path) == before


class FillsTheDisk:
    """A listener that fills a disk once a job is under way."""

    def __init__(self, disk, pages, when):
        self.disk, self.pages, self.when = disk, pages, when
        self.filled = None

    def __call__(self, event):
        if self.filled is None and isinstance(event, Progress) and self.when(event):
            self.filled = nearly_full(self.disk, self.pages)
            self.filled.__enter__()

    def free(self):
        self.filled.__exit__(None, None, None)


def test_a_disk_that_is_full_before_the_first_checkpoint(made, tmp_path):
    with small_disk(tmp_path / "disk", 512) as disk:
        (disk / "model.m3amba").write_bytes(OLD)
        with nearly_full(disk, 3):
            message = refused(
                errors.DiskFullError,
                "disk-full",
                train_on,
                made.place.scene,
                disk / "model.m3amba",
                overwrite=True,
            )
            assert "The disk is full" in message
        assert contents(disk) == {"model.m3amba": OLD}


def test_a_disk_that_fills_while_training_and_training_goes_on_with_more_room(made, tmp_path):
    with small_disk(tmp_path / "disk", 1024) as disk:
        model = disk / "model.m3amba"
        model.write_bytes(OLD)
        fills = FillsTheDisk(disk, 3, lambda event: event.done == event.total)
        options = {"emit": fills, "overwrite": True}
        message = refused(
            errors.DiskFullError, "disk-full", train_on, made.place.scene, model, **options
        )
        assert "model.m3amba could not be written" in message
        fills.free()
        left = contents(disk)
        assert set(left) == {"model.m3amba", "model.m3amba.checkpoint"}
        assert left["model.m3amba"] == OLD
        train_on(made.place.scene, model, overwrite=True, resume=True)
        assert read_manifest(model).legend
        assert set(contents(disk)) == {"model.m3amba"}


@pytest.mark.parametrize("pages", [0, 1, 2, 4, 8, 16])
def test_a_disk_that_fills_while_mapping(made, tmp_path, pages):
    """The outputs of one run come together or not at all."""
    with small_disk(tmp_path / "disk", 64) as disk:
        outputs = {"confidence": disk / "sure.tif", "probabilities": disk / "shares.tif"}
        beside = [disk / f"map{suffix}" for suffix in (".tif.m3amba.json", ".qml", ".tif.aux.xml")]
        for path in (disk / "map.tif", *outputs.values(), *beside):
            path.write_bytes(OLD)
        before = contents(disk)
        fills = FillsTheDisk(disk, pages, lambda event: event.phase == "mapping")
        message = refused(
            errors.DiskFullError,
            "disk-full",
            map_with,
            made.model,
            made.place.scene,
            disk / "map.tif",
            emit=fills,
            overwrite=True,
            **outputs,
        )
        assert "The disk is full" in message
        fills.free()
        assert contents(disk) == before


def test_a_disk_without_room_for_a_report(made, tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        for name, option in (("report.json", "report"), ("report.html", "html")):
            (disk / name).write_bytes(OLD)
            with nearly_full(disk, 0):
                message = refused(
                    errors.DiskFullError,
                    "disk-full",
                    score,
                    made.map,
                    made.place.labels,
                    overwrite=True,
                    **{option: disk / name},
                )
            assert f"{name} could not be written" in message
            assert (disk / name).read_bytes() == OLD
        assert set(contents(disk)) == {"report.json", "report.html"}


def test_a_new_map_never_keeps_the_sidecar_of_an_old_one(made, tmp_path):
    """It would name the wrong training pixels, and accuracy would be taken on the right ones."""
    path = tmp_path / "map.tif"
    path.write_bytes(OLD)
    sidecar_path(path).write_bytes(OLD)
    map_with(made.model, made.place.scene, path, overwrite=True)
    assert json.loads(sidecar_path(path).read_text())["model_name"] == made.model.name
    assert read_label_raster(path).valid.all()


def test_a_stride_that_leaves_gaps(made, out):
    message = refused(
        errors.UsageError,
        "usage",
        map_with,
        made.model,
        made.place.scene,
        out / "map.tif",
        stride=17,
    )
    assert "leaves gaps" in message


# --- Ctrl-C, through the real command line

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def command_line(*arguments, cwd):
    return [sys.executable, "-m", "m3amba_geo", *map(str, arguments), "--json"], {"cwd": cwd}


def interrupt(arguments, cwd, ready):
    """Runs a command, sends SIGINT once `ready` says so of an event; returns its last event."""
    command, place = command_line(*arguments, cwd=cwd)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **place
    ) as process:
        for line in process.stdout:
            if ready(json.loads(line)):
                break
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=10)
    assert process.returncode == 130, complaints
    assert "Traceback" not in complaints
    return json.loads(rest.splitlines()[-1])


TRAIN = [
    "--patch",
    "16",
    "--epochs",
    "1",
    "--batch",
    "4",
    "--guide",
    "none",
    "--gap",
    "4",
    "--threads",
    "1",
]


@POSIX
@pytest.mark.slow
def test_ctrl_c_while_training_and_resume(made, tmp_path):
    files = [f"optical={made.place.optical}", f"height={made.place.height}"]
    labels = ["--labels", made.place.labels, "--field", "class"]
    arguments = ["train", *files, *labels, "--out", "model.m3amba", *TRAIN]
    saved = tmp_path / "model.m3amba.checkpoint"
    last = interrupt(arguments, tmp_path, lambda _: saved.exists())
    assert (last["event"], last["code"]) == ("failed", "cancelled")
    assert "--resume" in last["hint"]
    assert set(contents(tmp_path)) == {"model.m3amba.checkpoint"}
    command, place = command_line(*arguments, "--resume", cwd=tmp_path)
    process = subprocess.run(command, capture_output=True, text=True, check=True, **place)
    told = [json.loads(line) for line in process.stdout.splitlines()]
    assert any("goes on after step" in e.get("message", "") for e in told)
    assert told[-1]["event"] == "done"
    assert set(contents(tmp_path)) == {"model.m3amba"}


@POSIX
@pytest.mark.slow
def test_ctrl_c_while_mapping(made, tmp_path):
    (tmp_path / "map.tif").write_bytes(OLD)
    files = [f"optical={made.place.optical}", f"height={made.place.height}"]
    arguments = ["classify", made.model, *files, "--out", "map.tif", "--overwrite"]
    arguments += ["--confidence", "sure.tif", "--stride", "1", "--batch", "1"]
    last = interrupt(arguments, tmp_path, lambda event: event.get("phase") == "mapping")
    assert (last["event"], last["code"]) == ("failed", "cancelled")
    assert contents(tmp_path) == {"map.tif": OLD}
