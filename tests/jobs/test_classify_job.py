"""Classification: where a map lies, what is in it, and what it must not depend on."""

import json
import shutil
import sys
import threading
from dataclasses import replace
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS as RasterioCRS
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from small import bundle_of, mask_of, runs_of, used_by

from m3amba_geo.bundle import load_bundle, save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, SceneConfig
from m3amba_geo.errors import (
    AllNodataError,
    BandMismatchError,
    ExtraMissingError,
    ModalityMissingError,
    NoOverlapError,
    OutputError,
    OutputExistsError,
    OutputFolderError,
    UsageError,
)
from m3amba_geo.events import Artifact, Progress, Started, Warned, ignore
from m3amba_geo.files import checksum
from m3amba_geo.geo.area import TrainingArea
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.infer.journal import Journal
from m3amba_geo.jobs import classify, mapper
from m3amba_geo.jobs.mapping import named_pixels
from m3amba_geo.jobs.sidecar import read_sidecar, sidecar_path
from tests.conftest import CRS, NAMES, TRANSFORM, write_raster

PATCH = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.m3amba"
    save_bundle(path, bundle_of({"a": 2, "b": 1}, patch=PATCH))
    return path


def rasters(folder, shape, *, seed=0, holes=0.0, **options):
    """Two modalities of noise; the pixels that are nodata in the first come second."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    second = rng.normal(0, 1, (1, *shape)).astype(np.float32)
    invalid = rng.random(shape) < holes
    first[0, invalid] = -9999
    files = (
        write_raster(folder / "a.tif", first, **{"nodata": -9999} | options),
        write_raster(folder / "b.tif", second, **options),
    )
    scene = SceneConfig(
        tuple(ModalityConfig(name, (f,)) for name, f in zip("ab", files, strict=True))
    )
    return scene, invalid


def run(model, scene, out, emit=ignore, **options):
    return classify.run(model, scene, ClassifyConfig(out=out, **options), emit)


def read(path):
    with rasterio.open(path) as file:
        values = file.read()
        return values[0] if file.count == 1 else values


def place_of(path):
    with rasterio.open(path) as file:
        return file.crs, file.transform, file.shape


# Where it lies


ROTATED = Affine.translation(600_000, 5_400_000) @ Affine.rotation(25) @ Affine.scale(30, -30)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32119", Affine(28.5, 0, 630_000.25, 0, -28.5, 228_500.75)),
        ("EPSG:32622", TRANSFORM),
        ("EPSG:4326", Affine(0.001, 0, 8.1, 0, -0.001, 48.7)),
        ("EPSG:32632", ROTATED),
        ("EPSG:32632", Affine(30, 0, 600_000, 0, 30, 5_400_000)),  # rows from south to north
        (None, TRANSFORM),
    ],
)
def test_every_output_lies_exactly_where_the_reference_raster_lies(tmp_path, model, crs, transform):
    scene, _ = rasters(tmp_path, (21, 34), crs=crs, transform=transform)
    events = []
    extra = {k: tmp_path / f"{k}.tif" for k in ("confidence", "probabilities")}
    run(model, scene, tmp_path / "map.tif", events.append, **extra)
    for name in ("map", *extra):
        found_crs, found_transform, shape = place_of(tmp_path / f"{name}.tif")
        assert found_crs == (None if crs is None else RasterioCRS.from_string(crs))
        assert found_transform == transform
        assert shape == (21, 34)
    warned = {event.code for event in events if isinstance(event, Warned)}
    assert ("crs-none" in warned) == (crs is None)


def test_a_raster_without_any_place_is_mapped_in_its_pixels(tmp_path, model):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        scene, _ = rasters(tmp_path, (20, 20), crs=None, transform=None)
    run(model, scene, tmp_path / "map.tif")
    assert place_of(tmp_path / "map.tif") == (None, Affine.identity(), (20, 20))


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (1, 60), (60, 1), (16, 16), (17, 200)])
def test_rasters_of_any_size(tmp_path, model, shape):
    scene, _ = rasters(tmp_path, shape)
    results = run(model, scene, tmp_path / "map.tif")
    codes = read(tmp_path / "map.tif")
    assert codes.shape == shape
    assert set(np.unique(codes)) <= {1, 2, 3}
    assert sum(results.pixels.values()) == codes.size


def test_the_grid_may_be_that_of_another_raster(tmp_path, model):
    scene, _ = rasters(tmp_path, (40, 40))
    coarse = write_raster(
        tmp_path / "grid.tif", np.ones((1, 20, 20), np.uint8), transform=TRANSFORM * Affine.scale(2)
    )
    events = []
    run(model, replace(scene, grid=coarse), tmp_path / "map.tif", events.append)
    assert place_of(tmp_path / "map.tif")[1:] == (TRANSFORM * Affine.scale(2), (20, 20))
    assert {e.code for e in events if isinstance(e, Warned)} == {"resolution"}


@pytest.mark.parametrize(
    ("crs", "corner", "size", "told"),
    [
        ("EPSG:32632", (600_000, 5_400_000), (30, 30), ""),
        ("EPSG:32632", (600_000, 5_400_000), (30, 60), "x 60 m large; the model was trained on 30"),
        ("EPSG:2264", (2_000_000, 700_000), (30, 30), "9.14"),  # feet
        ("EPSG:2264", (2_000_000, 700_000), (98.4, 98.4), ""),
        ("EPSG:4326", (10, 48), (0.0004, 0.00027), ""),
        (None, (0, 0), (60, 60), "60 x 60 units large; the model was trained on 30 x 30"),
    ],
)
def test_pixels_are_compared_with_those_of_training_on_the_ground(
    tmp_path, crs, corner, size, told
):
    none = runs_of(np.zeros((20, 20), bool))
    area = TrainingArea(GeoBox((20, 20), TRANSFORM, CRS), none, none)
    save_bundle(tmp_path / "m.m3amba", bundle_of({"a": 2, "b": 1}, patch=PATCH, areas=[area]))
    place = Affine(size[0], 0, corner[0], 0, -size[1], corner[1])
    scene, _ = rasters(tmp_path, (20, 20), crs=crs, transform=place)
    events = []
    run(tmp_path / "m.m3amba", scene, tmp_path / "map.tif", events.append)
    said = [e.message for e in events if isinstance(e, Warned) and e.code == "resolution"]
    assert len(said) == bool(told)
    assert all(told in text for text in said)


# What is in it


@pytest.fixture
def full(tmp_path, model):
    """A map with everything beside it, of rasters with holes."""
    scene, invalid = rasters(tmp_path, (50, 70), holes=0.1)
    config = ClassifyConfig(
        out=tmp_path / "map.tif",
        confidence=tmp_path / "confidence.tif",
        probabilities=tmp_path / "probabilities.tif",
    )
    events = []
    results = classify.run(model, scene, config, events.append)
    return results, invalid, events


def test_nodata_is_0_where_a_needed_band_is_invalid_and_nowhere_else(full):
    results, invalid, _ = full
    codes = read(results.map)
    assert np.array_equal(codes == 0, invalid)
    with rasterio.open(results.map) as file:
        assert (file.nodata, file.dtypes) == (0, ("uint8",))
    counts = {f"class {code}": int((codes == code).sum()) for code in (1, 2, 3)}
    assert results.pixels == counts | {"nodata": int(invalid.sum())}
    assert min(counts.values()) > 0


@pytest.mark.parametrize("kind", ["nan", "integer", "mask", "alpha"])
def test_every_way_to_say_nodata(tmp_path, model, kind):
    shape = (30, 30)
    rng = np.random.default_rng(1)
    invalid = rng.random(shape) < 0.2
    scene, _ = rasters(tmp_path, shape)
    options, alpha = {}, ()
    bands = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    if kind == "nan":
        bands[1, invalid] = np.nan
    elif kind == "integer":
        bands = rng.integers(1, 5, (2, *shape)).astype(np.uint16)
        bands[0, invalid] = 0
        options = {"nodata": 0}
    elif kind == "alpha":
        alpha = (np.where(invalid, 0, 255).astype(np.float32),)
    path = write_raster(tmp_path / "a.tif", np.stack([*bands, *alpha]), **options)
    with rasterio.open(path, "r+") as file:
        if kind == "alpha":
            file.colorinterp = [*file.colorinterp[:2], rasterio.enums.ColorInterp.alpha]
        if kind == "mask":
            file.write_mask(~invalid)
    run(model, scene, tmp_path / "map.tif")
    assert np.array_equal(read(tmp_path / "map.tif") == 0, invalid)


def test_confidence_and_probabilities_fit_the_map(full):
    results, invalid, _ = full
    codes, confidence = read(results.map), read(results.confidence)
    shares = read(results.probabilities)
    assert confidence.dtype == shares.dtype == np.float32
    assert np.array_equal(confidence == 0, invalid)
    assert (confidence <= 1).all()
    assert (shares[:, invalid] == -1).all()
    assert (shares[:, ~invalid] >= 0).all()
    assert np.allclose(shares[:, ~invalid].sum(axis=0), 1, atol=1e-6)
    assert np.array_equal(shares.argmax(axis=0)[~invalid] + 1, codes[~invalid])
    assert np.array_equal(shares.max(axis=0)[~invalid], confidence[~invalid])
    with rasterio.open(results.probabilities) as file:
        assert file.descriptions == ("class 1", "class 2", "class 3")
        assert file.nodata == -1
    with rasterio.open(results.confidence) as file:
        assert file.nodata == 0


def test_a_temperature_changes_how_sure_the_map_is_and_nothing_else(tmp_path, full, model):
    before, invalid, _ = full
    bundle = load_bundle(model)
    hot = tmp_path / "hot.m3amba"
    save_bundle(hot, replace(bundle, manifest=replace(bundle.manifest, temperature=3.0)))
    scene, _ = rasters(tmp_path, (50, 70), holes=0.1)
    extra = {k: tmp_path / f"hot_{k}.tif" for k in ("confidence", "probabilities")}
    after = run(hot, scene, tmp_path / "hot.tif", **extra)
    assert np.array_equal(read(after.map), read(before.map))
    shares = np.cbrt(read(before.probabilities)[:, ~invalid])
    found = read(after.probabilities)
    assert found[:, ~invalid] == pytest.approx(shares / shares.sum(axis=0), rel=1e-5)
    assert (found[:, invalid] == -1).all()
    assert np.array_equal(read(after.confidence), np.where(invalid, 0, found.max(axis=0)))
    assert read(after.confidence).mean() < read(before.confidence).mean()


def test_colours_and_names_travel_with_the_map(full, model):
    results, _, _ = full
    with rasterio.open(results.map) as file:
        table, tags = file.colormap(1), file.tags(1)
    assert [table[code][:3] for code in (1, 2, 3)] == [(1, 128, 64), (2, 128, 64), (3, 128, 64)]
    assert table[0][3] == 0
    assert {tags[f"CLASS_{code}"] for code in (1, 2, 3)} == {"class 1", "class 2", "class 3"}
    entries = ElementTree.parse(results.style).iter("paletteEntry")
    assert [(e.get("value"), e.get("color"), e.get("label")) for e in entries] == [
        (str(code), f"#{code:02x}8040", f"class {code}") for code in (1, 2, 3)
    ]
    sidecar = read_sidecar(results.map)
    assert sidecar.model == checksum(model)
    assert (sidecar.model_name, sidecar.patch, sidecar.areas) == ("model.m3amba", PATCH, ())


def test_events_begin_with_the_job_count_what_is_done_and_name_the_files(full):
    results, _, events = full
    assert events[0] == Started("classify", events[0].version)
    for phase, unit in (("mapping", "rows"), ("writing", "pixels")):
        told = [e for e in events if isinstance(e, Progress) and e.phase == phase]
        done = [e.done for e in told]
        assert done == sorted(set(done))
        assert done[-1] == told[0].total
        assert {e.unit for e in told} == {unit}
    artifacts = {event.role: event.path for event in events if isinstance(event, Artifact)}
    assert artifacts == {
        "map": str(results.map),
        "confidence": str(results.confidence),
        "probabilities": str(results.probabilities),
    }
    assert json.loads(json.dumps(results.to_json()))["map"] == str(results.map)


def test_a_mask_leaves_pixels_out(tmp_path, model):
    scene, invalid = rasters(tmp_path, (40, 40), holes=0.05)
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, 5:30, 10:35] = 7
    mask[0, 10, 10:20] = 255
    path = write_raster(tmp_path / "mask.tif", mask, nodata=255)
    run(model, scene, tmp_path / "whole.tif")
    extra = {"confidence": tmp_path / "c.tif"}
    run(model, scene, tmp_path / "map.tif", mask=path, **extra)
    wanted = (mask[0] == 7) & ~invalid
    assert np.array_equal(read(tmp_path / "map.tif"), read(tmp_path / "whole.tif") * wanted)
    assert np.array_equal(read(tmp_path / "c.tif") > 0, wanted)
    bounds = (TRANSFORM.c + 8 * 30, TRANSFORM.f - 32 * 30, TRANSFORM.c + 38 * 30, TRANSFORM.f - 90)
    run(model, scene, tmp_path / "part.tif", mask=path, bounds=bounds)
    assert np.array_equal(read(tmp_path / "part.tif") > 0, wanted[3:32, 8:38])


def test_a_mask_must_lie_on_the_grid(tmp_path, model):
    scene, _ = rasters(tmp_path, (40, 40))
    path = write_raster(tmp_path / "mask.tif", np.ones((1, 39, 40), np.uint8))
    with pytest.raises(NoOverlapError, match="does not lie on the reference grid"):
        run(model, scene, tmp_path / "map.tif", mask=path)


def test_a_map_without_a_pixel_is_an_error_and_leaves_nothing(tmp_path, model):
    scene, _ = rasters(tmp_path, (20, 20), holes=1.1)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(AllNodataError, match="no pixel is valid"):
        run(model, scene, tmp_path / "map.tif")
    scene, _ = rasters(tmp_path, (20, 20))
    mask = write_raster(tmp_path / "mask.tif", np.zeros((1, 20, 20), np.uint8))
    with pytest.raises(AllNodataError, match="within the mask"):
        run(model, scene, tmp_path / "map.tif", mask=mask)
    assert {path.name for path in tmp_path.iterdir()} == before | {"mask.tif"}


@pytest.mark.parametrize(
    ("codes", "dtype"), [((1, 255), "uint8"), ((3, 256), "uint16"), ((1, 65535), "uint16")]
)
def test_codes_are_kept_in_the_smallest_type_that_holds_them(tmp_path, codes, dtype):
    save_bundle(tmp_path / "m.m3amba", bundle_of({"a": 2, "b": 1}, codes, patch=PATCH))
    scene, invalid = rasters(tmp_path, (20, 20), holes=0.1)
    run(tmp_path / "m.m3amba", scene, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.dtypes == (dtype,)
        table = file.colormap(1)
        assert all(table[code][3] == 255 for code in codes)
        found = set(np.unique(file.read(1)))
    assert found <= {0, *codes}
    assert len(found) > 1
    assert np.array_equal(read(tmp_path / "map.tif") == 0, invalid)


# What it must not depend on


def test_the_files_are_the_same_byte_for_byte_for_any_memory(tmp_path, model):
    """Memory decides how many blocks GDAL keeps: here fewer than a row of tiles, some, or all."""
    scene, _ = rasters(tmp_path, (600, 70), holes=0.02)
    names = ("map.tif", "map.tif.aux.xml", "map.qml", "confidence.tif", "probabilities.tif")
    found = []
    for memory in (16, 64, 4096):
        folder = tmp_path / str(memory)
        folder.mkdir()
        extra = {k: folder / f"{k}.tif" for k in ("confidence", "probabilities")}
        run(model, scene, folder / "map.tif", memory=memory, **extra)
        found.append({name: (folder / name).read_bytes() for name in names})
    assert found[0] == found[1] == found[2]


def bounds_of(top, left, bottom, right):
    (west, north), (east, south) = TRANSFORM @ (left, top), TRANSFORM @ (right, bottom)
    return west, south, east, north


def test_parts_put_together_are_the_whole(tmp_path, model):
    """Strips of whole rows to the last bit, tiles class for class."""
    shape = (90, 80)
    scene, _ = rasters(tmp_path, shape, holes=0.05)
    kinds = ("map", "confidence", "probabilities")

    def mapped(name, **options):
        files = {kind: tmp_path / f"{name}-{kind}.tif" for kind in kinds}
        run(model, scene, files.pop("map"), **files, **options)
        return [read(tmp_path / f"{name}-{kind}.tif") for kind in kinds]

    codes, confidence, shares = mapped("whole")
    for tile in ((37, 80), (1000, 33)):
        parts = [np.zeros_like(x) for x in (codes, confidence, shares)]
        for top in range(0, shape[0], tile[0]):
            for left in range(0, shape[1], tile[1]):
                bottom, right = min(top + tile[0], shape[0]), min(left + tile[1], shape[1])
                here = mapped("part", bounds=bounds_of(top, left, bottom, right), overwrite=True)
                for whole, part in zip(parts, here, strict=True):
                    whole[..., top:bottom, left:right] = part
                crs, transform, _ = place_of(tmp_path / "part-map.tif")
                assert transform == TRANSFORM @ Affine.translation(left, top)
                assert crs == RasterioCRS.from_epsg(32632)
        if tile[1] >= shape[1]:
            for whole, part in zip((codes, confidence, shares), parts, strict=True):
                assert np.array_equal(part, whole)
        else:
            assert np.abs(parts[2] - shares).max() < 1e-5
            assert_agree(codes, parts[0], shares)


def assert_agree(codes, others, shares):
    """Class for class, but for pixels that hang in the balance, at most ten in a million."""
    second, first = np.sort(shares, axis=0)[-2:]
    differ = codes != others
    assert not (differ & (first - second >= 1e-5)).any()
    assert differ.sum() <= 10 * differ.size / 1e6


@pytest.mark.slow
def test_two_batch_sizes_agree_on_a_large_map(tmp_path, model):
    scene, _ = rasters(tmp_path, (320, 400), holes=0.01)
    shares = tmp_path / "shares.tif"
    run(model, scene, tmp_path / "map.tif", probabilities=shares)
    for batch in (1, 5):
        run(model, scene, tmp_path / f"{batch}.tif", batch=batch)
        assert_agree(read(tmp_path / "map.tif"), read(tmp_path / f"{batch}.tif"), read(shares))


def test_the_order_of_modalities_does_not_matter_where_they_have_their_names(tmp_path, model):
    scene, _ = rasters(tmp_path, (30, 30))
    run(model, scene, tmp_path / "map.tif")
    turned = replace(scene, modalities=scene.modalities[::-1])
    run(model, turned, tmp_path / "turned.tif")
    assert np.array_equal(read(tmp_path / "map.tif"), read(tmp_path / "turned.tif"))


# What is refused


def test_other_bands_are_refused(tmp_path, model):
    scene, _ = rasters(tmp_path, (20, 20))
    three = write_raster(tmp_path / "three.tif", np.ones((3, 20, 20), np.float32))
    wrong = replace(scene, modalities=(ModalityConfig("a", (three,)), scene.modalities[1]))
    with pytest.raises(BandMismatchError, match=r"'a' has 3 bands.*trained on 2"):
        run(model, wrong, tmp_path / "map.tif")
    with pytest.raises(ModalityMissingError, match="Missing: b"):
        run(model, replace(scene, modalities=scene.modalities[:1]), tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()


def test_outputs_are_checked_before_work(tmp_path, model):
    scene, _ = rasters(tmp_path, (20, 20))
    out = tmp_path / "map.tif"
    with pytest.raises(OutputFolderError, match="does not exist"):
        run(model, scene, tmp_path / "absent" / "map.tif")
    with pytest.raises(UsageError, match="same name"):
        run(model, scene, out, confidence=out)
    out.write_text("mine")
    with pytest.raises(OutputExistsError):
        run(model, scene, out)
    assert out.read_text() == "mine"
    run(model, scene, out, overwrite=True)
    assert read(out).shape == (20, 20)


def test_a_stride_that_leaves_gaps_is_refused(tmp_path, model):
    scene, _ = rasters(tmp_path, (40, 40))
    with pytest.raises(UsageError, match="leaves gaps"):
        run(model, scene, tmp_path / "map.tif", stride=PATCH + 1)
    run(model, scene, tmp_path / "map.tif", stride=PATCH)
    assert (read(tmp_path / "map.tif") > 0).all()


def test_a_precision_that_changes_the_map_is_given_up_loudly(tmp_path, model, monkeypatch):
    scene, _ = rasters(tmp_path, (40, 40))
    run(model, scene, tmp_path / "map.tif")
    monkeypatch.setattr(mapper, "choose_precision", lambda *_: torch.bfloat16)
    monkeypatch.setattr(mapper, "agreement", lambda *_: 0.9)
    events = []
    run(model, scene, tmp_path / "again.tif", events.append)
    assert "precision" in {event.code for event in events if isinstance(event, Warned)}
    assert (tmp_path / "again.tif").read_bytes() == (tmp_path / "map.tif").read_bytes()


def test_memory_that_can_not_do_is_refused_with_what_would_do(tmp_path, model):
    scene, _ = rasters(tmp_path, (16, 30_000))
    with pytest.raises(UsageError, match="--memory allows 16") as caught:
        run(model, scene, tmp_path / "map.tif", memory=16)
    assert "--bounds" in caught.value.hint


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_map_leaves_nothing_or_the_map_that_was_there(tmp_path, model, kind):
    scene, _ = rasters(tmp_path, (60, 60))

    def stop(event):
        if isinstance(event, Progress) and event.done > 20:
            raise kind

    before = {path.name for path in tmp_path.iterdir()}
    extra = {"confidence": tmp_path / "confidence.tif"}
    with pytest.raises(kind):
        run(model, scene, tmp_path / "map.tif", stop, **extra)
    assert {path.name for path in tmp_path.iterdir()} == before
    run(model, scene, tmp_path / "map.tif", **extra)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(kind):
        run(model, scene, tmp_path / "map.tif", stop, overwrite=True, **extra)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_threads_end_with_the_map_that_can_not_be_written(tmp_path, model, monkeypatch):
    """What an error still holds on to is for the garbage collector, and may not wait for it."""
    scene, _ = rasters(tmp_path, (60, 60))
    held = []

    def fail(journal, block, rows):
        held.append((rows, next(iter(rows))))
        raise OutputError("no room", "Make some.")

    monkeypatch.setattr(Journal, "write", fail)
    with pytest.raises(OutputError):
        run(model, scene, tmp_path / "map.tif")
    assert held
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("predict", "read"))]


@pytest.mark.parametrize("victim", ["model", "a.tif", "b.tif", "mask.tif"])
@pytest.mark.parametrize("role", ["out", "confidence"])
def test_an_input_is_never_an_output(tmp_path, model, victim, role):
    scene, _ = rasters(tmp_path, (20, 20))
    shutil.copy(model, tmp_path / "model")
    mask = write_raster(tmp_path / "mask.tif", np.ones((1, 20, 20), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    outputs = {"out": tmp_path / "map.tif", "overwrite": True, "mask": mask}
    with pytest.raises(UsageError, match="is an input"):
        run(tmp_path / "model", scene, **outputs | {role: tmp_path / victim})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_behind_a_virtual_raster_is_an_input(tmp_path, model):
    scene, _ = rasters(tmp_path, (20, 20))
    with rasterio.open(tmp_path / "a.tif") as file, WarpedVRT(file) as virtual:
        copy(virtual, tmp_path / "a.vrt", driver="VRT")
    first, second = scene.modalities
    scene = replace(scene, modalities=(replace(first, files=(tmp_path / "a.vrt",)), second))
    before = (tmp_path / "a.tif").read_bytes()
    with pytest.raises(UsageError, match="is an input"):
        run(model, scene, tmp_path / "a.tif", overwrite=True)
    assert (tmp_path / "a.tif").read_bytes() == before


def test_a_map_is_not_its_own_style(tmp_path, model):
    scene, _ = rasters(tmp_path, (20, 20))
    with pytest.raises(UsageError, match="same name"):
        run(model, scene, tmp_path / "map.qml")


@pytest.mark.parametrize("name", ["map.qml", "map.tif.m3amba.json"])
def test_what_lies_beside_the_map_is_not_replaced_unasked(tmp_path, model, name):
    scene, _ = rasters(tmp_path, (20, 20))
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=name):
        run(model, scene, tmp_path / "map.tif")
    assert (tmp_path / name).read_text() == "mine"
    run(model, scene, tmp_path / "map.tif", overwrite=True)
    assert (tmp_path / name).read_text() != "mine"


def test_values_unlike_those_of_the_training_are_told(tmp_path, model):
    scene, _ = rasters(tmp_path, (40, 40))
    assert warned_of(run_for_events(model, scene, tmp_path / "map.tif")) == []
    with rasterio.open(tmp_path / "b.tif", "r+") as file:
        pixels = file.read()
        pixels[:, :, :20] = -3.4e38  # nodata that nobody declared
        file.write(pixels)
    events = run_for_events(model, scene, tmp_path / "map.tif", overwrite=True)
    assert warned_of(events) == ["values-unlike"]
    (told,) = (event.message for event in events if isinstance(event, Warned))
    assert "band 1 of b" in told


def run_for_events(*given, **options):
    events = []
    run(*given, emit=events.append, **options)
    return events


def warned_of(events):
    return [event.code for event in events if isinstance(event, Warned)]


# With a trained model


def test_the_map_of_a_trained_model_is_far_better_than_chance(trained):
    assert (read(trained.map) == trained.place.truth).mean() > 0.9
    assert trained.classify_results.pixels.keys() == {*NAMES, "nodata"}


def test_the_sidecar_tells_which_pixels_trained(trained):
    sidecar = read_sidecar(trained.map)
    (area,) = sidecar.training_areas()
    frame = gpd.read_file(trained.place.labels).to_crs("EPSG:32632")
    polygons = rasterio.features.rasterize(
        frame.geometry, out_shape=trained.place.truth.shape, transform=TRANSFORM
    ).astype(bool)
    assert not (used_by(area) & ~polygons).any()
    train, validation = (mask_of(runs, area.shape) for runs in (area.train, area.validation))
    assert not (train & validation).any()
    pixels = trained.train_results.pixels
    assert (train.sum(), validation.sum()) == (pixels["train"], pixels["validation"])
    assert sidecar_path(trained.map).name == "map.tif.m3amba.json"
    assert [entry.name for entry in sidecar.legend] == list(NAMES)


def test_several_processes_need_packages_that_may_be_missing(model, place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "m3amba_geo.jobs.cluster", raising=False)
    monkeypatch.delattr("m3amba_geo.jobs.cluster", raising=False)
    config = ClassifyConfig(out=tmp_path / "map.tif", workers=2)
    with pytest.raises(ExtraMissingError) as caught:
        classify.run(model, place.scene, config, ignore)
    assert "pip install cryptography dask distributed" in caught.value.hint
    assert not config.out.exists()


def test_processes_here_and_elsewhere_are_not_both_wanted(model, place, tmp_path):
    config = ClassifyConfig(out=tmp_path / "map.tif", workers=2, scheduler="tcp://host:8786")
    with pytest.raises(UsageError, match="--scheduler"):
        classify.run(model, place.scene, config, ignore)


def test_pixels_are_told_of_each_class_though_names_are_the_same():
    legend = tuple(
        LandCover(code, name, "#000000", str(code))
        for code, name in ((1, "forest"), (2, "forest"), (3, "water"), (4, "nodata"))
    )
    told = named_pixels(np.array([5, 1, 2, 3, 4]), legend, masked=False)
    assert told == {"forest (1)": 1, "forest (2)": 2, "water": 3, "nodata (4)": 4, "nodata": 5}


def test_weights_of_a_guide_are_refused_by_a_model_that_has_none(trained, tmp_path):
    config = ClassifyConfig(out=tmp_path / "map.tif", guide_weights=trained.model)
    with pytest.raises(UsageError, match="has no guide"):
        classify.run(trained.model, trained.place.scene, config, ignore)
