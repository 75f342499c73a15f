"""Maps from fewer modalities than a model was trained on: what is mapped, and how it is marked."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
from small import bundle_of, with_manifest

from m3amba_geo.bundle import load_bundle, read_manifest, save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, SceneConfig
from m3amba_geo.errors import (
    AllNodataError,
    BandMismatchError,
    ModalityMissingError,
    OutputExistsError,
    UsageError,
)
from m3amba_geo.events import Artifact, Warned, ignore
from m3amba_geo.jobs import classify, train
from m3amba_geo.jobs.sidecar import read_sidecar
from tests.conftest import TRANSFORM, write_raster
from tests.jobs.conftest import quick

SHAPE = (40, 50)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The same network, said to be trained with and without modality dropout."""
    folder = tmp_path_factory.mktemp("models")
    bundle = bundle_of({"a": 2, "b": 1}, patch=16)
    for name, dropout in (("with", 0.3), ("without", 0.1)):
        save_bundle(folder / f"{name}.m3amba", with_manifest(bundle, modality_dropout=dropout))
    return folder / "with.m3amba", folder / "without.m3amba"


def scene_of(folder, holes):
    """Two modalities of noise, nodata in places `(2, H, W)`."""
    rng = np.random.default_rng(0)
    files = []
    for name, bands, hole in zip("ab", (2, 1), holes, strict=True):
        pixels = rng.normal(0, 1, (bands, *SHAPE)).astype(np.float32)
        pixels[0, hole] = np.nan
        files.append(write_raster(folder / f"{name}.tif", pixels))
    return SceneConfig(
        tuple(ModalityConfig(name, (f,)) for name, f in zip("ab", files, strict=True))
    )


@pytest.fixture
def holes():
    return np.random.default_rng(1).random((2, *SHAPE)) < 0.3


def only(scene, *names):
    return replace(scene, modalities=tuple(m for m in scene.modalities if m.name in names))


def run(model, scene, out, emit=ignore, **options):
    return classify.run(model, scene, ClassifyConfig(out=out, **options), emit)


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_pixels_are_mapped_from_what_is_there_and_marked(tmp_path, models, holes):
    events = []
    results = run(models[0], scene_of(tmp_path, holes), tmp_path / "map.tif", events.append)
    nothing = holes.all(axis=0)
    assert np.array_equal(read(results.map) == 0, nothing)
    assert results.modalities == tmp_path / "map.modalities.tif"
    used = read(results.modalities)
    assert np.array_equal(used, np.where(nothing, 0, 1 + holes[0] + 2 * holes[1]))
    with rasterio.open(results.modalities) as file:
        assert (file.nodata, file.dtypes, file.transform) == (0, ("uint8",), TRANSFORM)
        assert {k: v for k, v in file.tags(1).items() if k.startswith("CLASS")} == {
            "CLASS_1": "a, b", "CLASS_2": "b", "CLASS_3": "a",
        }  # fmt: skip
        assert len({file.colormap(1)[code] for code in (0, 1, 2, 3)}) == 4
    names = ElementTree.parse(tmp_path / "map.modalities.tif.aux.xml").iter("Category")
    assert [name.text or "" for name in names] == ["", "a, b", "b", "a"]
    assert read_sidecar(results.map).modalities == "map.modalities.tif"
    assert {"map", "modalities"} == {e.role for e in events if isinstance(e, Artifact)}
    (warning,) = [e for e in events if isinstance(e, Warned)]
    assert warning.code == "modalities-incomplete"
    assert f"{(used > 1).sum() / (used > 0).sum():.1%}" in warning.message
    assert f"b: {(used == 2).sum() / (used > 0).sum():.1%}" in warning.message


def test_a_modality_that_is_not_given_is_one_that_is_nodata_everywhere(tmp_path, models, holes):
    holes[0] = True
    scene = scene_of(tmp_path, holes)
    empty = run(models[0], scene, tmp_path / "empty.tif", confidence=tmp_path / "1.tif")
    missing = run(
        models[0], only(scene, "b"), tmp_path / "missing.tif", confidence=tmp_path / "2.tif"
    )
    for one, other in (
        (empty.map, missing.map),
        (empty.modalities, missing.modalities),
        (empty.confidence, missing.confidence),
    ):
        assert np.array_equal(read(one), read(other))
    assert np.array_equal(read(missing.modalities), np.where(holes[1], 0, 2))
    assert len(np.unique(read(missing.map)[~holes[1]])) > 1


def test_what_lies_beyond_the_reach_of_a_hole_does_not_change(tmp_path, models):
    holes = np.zeros((2, *SHAPE), bool)
    whole = run(models[0], scene_of(tmp_path, holes), tmp_path / "whole.tif")
    holes[0, :, :8] = True
    part = run(models[0], scene_of(tmp_path, holes), tmp_path / "part.tif")
    assert np.array_equal(read(whole.map)[:, 30:], read(part.map)[:, 30:])
    assert not np.array_equal(read(whole.map)[:, :8], read(part.map)[:, :8])


def test_complete_pixels_are_marked_as_such_and_nothing_is_said(tmp_path, models):
    scene = scene_of(tmp_path, np.zeros((2, *SHAPE), bool))
    events = []
    marks = tmp_path / "used" / "marks.tif"
    marks.parent.mkdir()
    results = run(models[0], scene, tmp_path / "map.tif", events.append, modalities_used=marks)
    assert results.modalities == marks
    assert (read(marks) == 1).all()
    assert read_sidecar(results.map).modalities == str(marks.resolve())
    assert not [e for e in events if isinstance(e, Warned)]
    with pytest.raises(OutputExistsError, match="marks"):
        run(models[0], scene, tmp_path / "other.tif", modalities_used=marks)


def test_a_mask_holds_for_the_marks_too(tmp_path, models, holes):
    scene = scene_of(tmp_path, holes)
    mask = np.random.default_rng(2).integers(0, 2, (1, *SHAPE)).astype(np.uint8)
    path = write_raster(tmp_path / "mask.tif", mask)
    whole = run(models[0], scene, tmp_path / "whole.tif")
    part = run(models[0], scene, tmp_path / "part.tif", mask=path)
    assert np.array_equal(read(part.modalities), read(whole.modalities) * mask[0])


def test_a_model_that_needs_all_says_what_would_help(tmp_path, models, holes):
    scene = scene_of(tmp_path, holes)
    results = run(models[1], scene, tmp_path / "map.tif")
    assert results.modalities is None
    assert np.array_equal(read(results.map) == 0, holes.any(axis=0))
    assert read_sidecar(results.map).modalities is None
    assert not (tmp_path / "map.modalities.tif").exists()
    with pytest.raises(ModalityMissingError) as caught:
        run(models[1], only(scene, "b"), tmp_path / "other.tif")
    assert "modality_dropout" in caught.value.hint
    with pytest.raises(UsageError, match="all modalities"):
        run(models[1], scene, tmp_path / "other.tif", modalities_used=tmp_path / "marks.tif")


def test_a_modality_of_another_name_is_not_taken_for_a_missing_one(tmp_path, models, holes):
    scene = scene_of(tmp_path, holes)
    other = replace(scene, modalities=(ModalityConfig("c", scene.modalities[0].files),))
    with pytest.raises(BandMismatchError, match="takes 2 modalities"):
        run(models[0], other, tmp_path / "map.tif")


def test_without_any_valid_pixel_there_is_no_map(tmp_path, models):
    scene = scene_of(tmp_path, np.ones((2, *SHAPE), bool))
    with pytest.raises(AllNodataError):
        run(models[0], scene, tmp_path / "map.tif")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "b.tif"}


def test_training_learns_from_complete_pixels_whatever_the_dropout(place, tmp_path, small_network):
    """What is missing where may go with the classes, and must not be what tells them apart."""
    with rasterio.open(place.height, "r+") as file:
        pixels = file.read()
        pixels[:, :, : pixels.shape[2] // 2] = np.nan
        file.write(pixels)
    events, counts = [], {}
    for dropout in (0.3, 0.0):
        out = tmp_path / f"{dropout}"
        out.mkdir()
        config = quick(out, epochs=1, modality_dropout=dropout)
        counts[dropout] = train.run([place.scene], config, events.append).pixels
        assert read_manifest(out / "model.m3amba").modality_dropout == dropout
        assert read_manifest(out / "model.m3amba").coverage.fewer == (dropout > 0.2)
        assert "labels-nodata" in {getattr(e, "code", "") for e in events}
    assert counts[0.3] == counts[0.0]


def test_training_silences_modalities_as_often_as_asked(place, tmp_path, small_network):
    found = []
    for dropout in (0.0, 0.3):
        out = tmp_path / f"{dropout}"
        out.mkdir()
        model = train.run([place.scene], quick(out, epochs=1, modality_dropout=dropout), ignore)
        found.append(load_bundle(model.model).network.state_dict())
    assert any(not torch.equal(one, found[1][name]) for name, one in found[0].items())
