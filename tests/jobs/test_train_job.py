"""Training: from rasters and labels to a model file that says what it is."""

import json
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from safetensors import safe_open
from small import Interrupted, mask_of, stop_after, used_by

from m3amba_geo.bundle import load_bundle, read_manifest
from m3amba_geo.config import ClassifyConfig, LabelConfig, ModalityConfig, SceneConfig, SplitConfig
from m3amba_geo.errors import (
    AllNodataError,
    BandMismatchError,
    CheckpointError,
    NoLabelsError,
    OutputExistsError,
    TooFewClassesError,
    UsageError,
)
from m3amba_geo.events import Artifact, Metric, Note, Progress, Started, Warned, ignore
from m3amba_geo.jobs import classify, train
from tests.conftest import CRS, HEIGHT, NAMES, TRANSFORM, WIDTH, make_place, write_raster
from tests.jobs.conftest import quick

pytestmark = pytest.mark.usefixtures("small_network")
EVERYTHING = SplitConfig(by="none")


def brief(folder, **changes):
    """One visit of each label: for tests of what surrounds the learning."""
    return quick(folder, **{"epochs": 1, "split": EVERYTHING} | changes)


def weights(path):
    return load_bundle(path).network.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def files(folder):
    return {path.name for path in folder.iterdir()}


# The model file


def test_the_manifest_says_how_the_model_was_made(trained):
    manifest = read_manifest(trained.model)
    assert [(m.name, len(m.bands)) for m in manifest.modalities] == [("optical", 4), ("height", 1)]
    assert [entry.name for entry in manifest.legend] == list(NAMES)
    assert manifest.neighbourhoods == (3, 7, 15)
    assert manifest.network.bands == (3 * 4, 3 * 1)
    assert (manifest.network.classes, manifest.network.patch) == (3, 16)
    assert manifest.guide is None
    assert manifest.resolution == (30.0, 30.0)
    assert manifest.grids[0].shape == (HEIGHT, WIDTH)
    assert manifest.scores == trained.train_results.scores
    assert manifest.scores["validation_overall_accuracy"] > 0.9
    assert manifest.split[0].startswith("by polygon, gap 4 pixels")
    assert {name.rpartition("/")[2] for name in manifest.inputs} == {
        "optical.tif", "height.tif", "labels.gpkg",
    }  # fmt: skip
    assert {"m3amba-geo", "torch", "python"} <= manifest.versions.keys()


def test_nothing_in_the_model_tells_where_it_was_made(trained):
    with safe_open(trained.model, "pt") as file:
        assert str(trained.model.parent) not in json.dumps(file.metadata())


def test_labelled_pixels_are_parted_as_asked(trained):
    pixels = trained.train_results.pixels
    assert pixels == {"train": 576, "validation": 288, "test": 288, "gap": 0}
    (area,) = load_bundle(trained.model).areas
    assert (area.train.count, area.validation.count) == (576, 288)


def test_statistics_come_from_valid_training_pixels_alone(trained):
    bundle = load_bundle(trained.model)
    (area,) = bundle.areas
    with rasterio.open(trained.place.optical) as file:
        pixels = file.read()[:, mask_of(area.train, area.shape)].astype(float)
    scaling = bundle.manifest.scaling[0]
    assert scaling.mean == pytest.approx(pixels.mean(axis=1))
    assert scaling.deviation == pytest.approx(pixels.std(axis=1))


def test_events_tell_the_way(trained):
    events = trained.train_events
    assert events[0] == Started("train", events[0].version)
    assert events[-1] == Artifact(str(trained.model), "model")
    steps = [event.done for event in events if isinstance(event, Progress)]
    assert steps == list(range(1, trained.train_results.steps + 1))
    scores = {e.metric: e.value for e in events if isinstance(e, Metric) and e.step is None}
    assert scores == trained.train_results.scores
    assert json.loads(json.dumps(trained.train_results.to_json()))["model"] == str(trained.model)


def test_points_count_alike_and_drawn_areas_by_their_classes(trained, tmp_path):
    assert read_manifest(trained.model).settings["class_balance"] == 0.5
    place = make_place(tmp_path)
    frame = gpd.read_file(place.labels)
    frame.set_geometry(frame.representative_point()).to_file(tmp_path / "points.gpkg")
    scene = replace(place.scene, labels=LabelConfig(tmp_path / "points.gpkg"))

    def chosen(*scenes, **changes):
        config, events = brief(tmp_path, **changes), []
        train.run(scenes, config, events.append, overwrite=True)
        told = any("Labels are points" in e.message for e in events if isinstance(e, Note))
        return read_manifest(config.out).settings["class_balance"], told

    assert chosen(scene) == (0, True)
    assert chosen(scene, class_balance=0.3) == (0.3, False)
    assert chosen(scene, place.scene) == (0.5, False)


def test_only_the_model_is_left(trained):
    assert not [name for name in files(trained.model.parent) if "checkpoint" in name]


# Interruption


def test_an_interrupted_run_is_taken_up_and_ends_the_same(trained, tmp_path):
    place = make_place(tmp_path)
    before = files(tmp_path)
    with pytest.raises(Interrupted):
        train.run([place.scene], quick(tmp_path), stop_after(9))
    assert files(tmp_path) == before | {"model.m3amba.checkpoint"}
    with pytest.raises(CheckpointError, match="other data, labels or settings"):
        train.run([place.scene], quick(tmp_path, seed=1), ignore, resume=True)
    labels = place.labels.read_bytes()
    gpd.read_file(place.labels).to_file(place.labels, layer="labels")
    assert place.labels.read_bytes() != labels  # the same labels, as when a GIS has shown them
    results = train.run([place.scene], quick(tmp_path), ignore, resume=True)
    assert same(weights(results.model), weights(trained.model))
    assert results.scores == trained.train_results.scores
    assert files(tmp_path) == before | {"model.m3amba"}


def test_with_other_labels_an_interrupted_run_is_not_taken_up(tmp_path):
    place = make_place(tmp_path)
    with pytest.raises(Interrupted):
        train.run([place.scene], quick(tmp_path), stop_after(9))
    frame = gpd.read_file(place.labels)
    frame.iloc[1:].to_file(place.labels, layer="labels")
    with pytest.raises(CheckpointError, match="other data, labels or settings"):
        train.run([place.scene], quick(tmp_path), ignore, resume=True)


def test_a_run_that_began_with_a_model_is_not_taken_up_without_it(trained, tmp_path):
    place = make_place(tmp_path, seed=3)
    config = quick(tmp_path)
    with pytest.raises(Interrupted):
        train.run([place.scene], config, stop_after(9), init=trained.model)
    with pytest.raises(CheckpointError, match="other data, labels or settings"):
        train.run([place.scene], config, ignore, resume=True)  # its scaling would be another
    train.run([place.scene], config, ignore, resume=True, init=trained.model)


def test_without_an_interruption_there_is_nothing_to_resume(place, tmp_path):
    with pytest.raises(CheckpointError, match="no unfinished"):
        train.run([place.scene], brief(tmp_path), ignore, resume=True)


def test_an_older_model_is_not_replaced_unasked(place, tmp_path):
    (tmp_path / "model.m3amba").write_text("mine")
    with pytest.raises(OutputExistsError):
        train.run([place.scene], brief(tmp_path), ignore)
    assert (tmp_path / "model.m3amba").read_text() == "mine"


# Scenes and labels


def test_several_scenes_train_one_model(tmp_path):
    places = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        places.append(make_place(tmp_path / str(seed), seed))
    # Water is labelled in the second scene alone.
    frame = gpd.read_file(places[0].labels)
    frame[frame["class"] != "water"].to_file(places[0].labels, layer="labels")
    results = train.run([place.scene for place in places], brief(tmp_path), ignore)
    bundle = load_bundle(results.model)
    assert results.classes == NAMES
    assert [area.train.count for area in bundle.areas] == [768, 1152]
    assert results.pixels["train"] == 768 + 1152
    assert len(bundle.manifest.inputs) == 6  # files of one name are kept apart


def two_dates(tmp_path):
    places = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        places.append(make_place(tmp_path / str(seed), seed))
    return places


def test_dates_of_one_place_are_parted_alike(tmp_path):
    scenes = [place.scene for place in two_dates(tmp_path)]
    split = SplitConfig(by="polygon", validation=0.25, test=0.25, gap=2)
    bundle = load_bundle(train.run(scenes, brief(tmp_path, split=split), ignore).model)
    one, two = bundle.areas
    assert np.array_equal(one.train.turns, two.train.turns)
    assert np.array_equal(one.validation.turns, two.validation.turns)


def test_dates_of_one_place_are_parted_alike_beside_test_labels(tmp_path):
    places = two_dates(tmp_path)
    frame = gpd.read_file(places[0].labels)
    test = tmp_path / "test.gpkg"
    frame.groupby("class").head(1).to_file(test)
    scenes = [replace(place.scene, test_labels=LabelConfig(test)) for place in places]
    split = SplitConfig(by="polygon", validation=0.25, gap=2)
    bundle = load_bundle(train.run(scenes, brief(tmp_path, split=split), ignore).model)
    one, two = bundle.areas
    assert one.validation.count
    assert np.array_equal(one.validation.turns, two.validation.turns)


def other_labels(places, tmp_path):
    frame = gpd.read_file(places[1].labels)
    frame.iloc[1:].to_file(places[1].labels, layer="labels")
    return [place.scene for place in places]


def other_parting(places, tmp_path):
    frame = gpd.read_file(places[0].labels)
    away = frame.set_geometry(frame.to_crs(CRS).translate(0, 300).to_crs(frame.crs))
    away.to_file(tmp_path / "test.gpkg")
    return [
        replace(places[0].scene, test_labels=LabelConfig(tmp_path / "test.gpkg")),
        places[1].scene,
    ]


@pytest.mark.parametrize("scenes_of", [other_labels, other_parting])
def test_no_scene_holds_out_what_another_one_trains_on(tmp_path, scenes_of):
    scenes, events = scenes_of(two_dates(tmp_path), tmp_path), []
    split = SplitConfig(by="polygon", validation=0.25, test=0.25, gap=2)
    results = train.run(scenes, brief(tmp_path, split=split), events.append)
    areas = load_bundle(results.model).areas
    train_pixels = [mask_of(area.train, area.shape) for area in areas]
    held = [mask_of(area.validation, area.shape) for area in areas]
    assert not (held[0] & train_pixels[1]).any()
    assert not (held[1] & train_pixels[0]).any()
    told = [e.message for e in events if isinstance(e, Warned) and e.code == "split"]
    assert any("where another scene trains" in text for text in told)


def test_modalities_of_later_scenes_are_matched_to_the_first(tmp_path):
    places = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        places.append(make_place(tmp_path / str(seed), seed))
    other = replace(places[1].scene, modalities=places[1].scene.modalities[::-1])
    train.run([places[0].scene, other], brief(tmp_path), ignore)
    wrong = replace(other, modalities=other.modalities[:1])
    with pytest.raises(BandMismatchError):
        train.run([places[0].scene, wrong], brief(tmp_path, out=tmp_path / "b.m3amba"), ignore)


def test_a_label_raster(place, tmp_path):
    codes = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    codes[0, 10:30] = place.truth[10:30] * 10
    path = write_raster(tmp_path / "codes.tif", codes)
    results = train.run([replace(place.scene, labels=LabelConfig(path))], brief(tmp_path), ignore)
    bundle = load_bundle(results.model)
    assert [entry.code for entry in bundle.manifest.legend] == [10, 20, 30]
    assert np.array_equal(mask_of(bundle.areas[0].train, codes[0].shape), codes[0] > 0)
    mapped = classify.run(
        results.model, place.scene, ClassifyConfig(out=tmp_path / "map.tif"), ignore
    )
    with rasterio.open(mapped.map) as file:
        assert set(np.unique(file.read(1))) <= {10, 20, 30}


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"forest": 7, "meadow": 300, "water": 12}, {7: "7", 12: "12", 300: "300"}),
        ({"forest": -5, "meadow": 0, "water": 12}, {1: "-5", 2: "0", 3: "12"}),
        ({"forest": "pine", "meadow": "Wiese", "water": "sea"}, {1: "Wiese", 2: "pine", 3: "sea"}),
    ],
)
def test_codes_are_kept_or_numbered_and_originals_never_lost(place, tmp_path, values, codes):
    frame = gpd.read_file(place.labels)
    frame["class"] = [values[name] for name in frame["class"]]
    frame.to_file(place.labels, layer="labels")
    results = train.run([place.scene], brief(tmp_path, epochs=2), ignore)
    manifest = read_manifest(results.model)
    assert {entry.code: entry.original for entry in manifest.legend} == codes
    assert all(entry.original in entry.name for entry in manifest.legend)
    mapped = classify.run(
        results.model, place.scene, ClassifyConfig(out=tmp_path / "map.tif"), ignore
    )
    with rasterio.open(mapped.map) as file:
        assert file.dtypes[0] == ("uint16" if max(codes) > 255 else "uint8")
        found = file.read(1)
        assert set(np.unique(found)) <= codes.keys()
        tags = file.tags(1)
    assert {code: tags[f"CLASS_{code}"] for code in codes} == {
        entry.code: entry.name for entry in manifest.legend
    }


def test_test_labels_are_never_trained_on(place, tmp_path):
    frame = gpd.read_file(place.labels)
    frame.iloc[::4].to_file(tmp_path / "test.gpkg")
    scene = replace(place.scene, test_labels=LabelConfig(tmp_path / "test.gpkg", field="class"))
    config = brief(tmp_path, split=SplitConfig(by="polygon", validation=0.3, test=0.5, gap=0))
    results = train.run([scene], config, ignore)
    assert results.pixels["test"] == 3 * 96
    assert results.pixels["train"] + results.pixels["validation"] == 9 * 96
    test = rasterio.features.rasterize(
        frame.iloc[::4].to_crs(CRS).geometry, out_shape=(HEIGHT, WIDTH), transform=TRANSFORM
    )
    assert test.sum() == 3 * 96
    assert not (used_by(load_bundle(results.model).areas[0]) & (test > 0)).any()


def test_test_labels_of_a_class_that_training_lacks_are_not_trained_on_either(place, tmp_path):
    test = gpd.read_file(place.labels).iloc[::4]
    test.loc[test.index[0], "class"] = "town"
    test.to_file(tmp_path / "test.gpkg")
    scene = replace(place.scene, test_labels=LabelConfig(tmp_path / "test.gpkg", field="class"))
    results = train.run([scene], brief(tmp_path), ignore)
    pixels = results.pixels
    assert pixels["test"] == 2 * 96
    assert pixels["train"] + pixels["validation"] + pixels["gap"] == 9 * 96


def test_labels_may_be_gone_when_training_ends(place, tmp_path):
    config = brief(tmp_path)
    before = train.run([place.scene], config, ignore)
    inputs = read_manifest(before.model).inputs

    def take_away(event):
        if isinstance(event, Progress):
            place.labels.unlink(missing_ok=True)

    results = train.run([place.scene], config, take_away, overwrite=True)
    assert not place.labels.exists()
    assert read_manifest(results.model).inputs == inputs


def test_files_of_one_name_in_a_modality_are_told_apart(place, tmp_path):
    dates = []
    for year in ("2020", "2021"):
        (tmp_path / year).mkdir()
        dates.append(tmp_path / year / "optical.tif")
        shutil.copyfile(place.optical, dates[-1])
    scene = replace(place.scene, modalities=(ModalityConfig("optical", tuple(dates)),))
    inputs = read_manifest(train.run([scene], brief(tmp_path), ignore).model).inputs
    assert list(inputs) == [
        "1/optical/1/optical.tif", "1/optical/2/optical.tif", "1/labels/labels.gpkg",
    ]  # fmt: skip


def test_a_modality_of_several_files_is_one_of_as_many_bands(place, tmp_path):
    with rasterio.open(place.optical) as file:
        bands = file.read()
    single = [write_raster(tmp_path / f"B{n}.tif", band[None]) for n, band in enumerate(bands)]
    height = place.scene.modalities[1]
    scene = replace(place.scene, modalities=(ModalityConfig("optical", tuple(single)), height))
    results = train.run([scene], brief(tmp_path), ignore)
    manifest = read_manifest(results.model)
    assert [band.name for band in manifest.modalities[0].bands] == ["B0", "B1", "B2", "B3"]

    def mapped(name, modality):
        given = SceneConfig((modality, height))
        config = ClassifyConfig(out=tmp_path / f"{name}.tif")
        with rasterio.open(classify.run(results.model, given, config, ignore).map) as file:
            return file.read(1)

    straight = mapped("straight", scene.modalities[0])
    assert np.array_equal(straight, mapped("one file", ModalityConfig("x", (place.optical,))))
    # Their names tell the files apart, whatever their order.
    assert np.array_equal(straight, mapped("turned", ModalityConfig("x", tuple(single[::-1]))))


def test_invalid_pixels_neither_train_nor_count(place, tmp_path):
    with rasterio.open(place.optical) as file:
        bands = file.read()
    bands[2, :, :50] = np.nan
    write_raster(place.optical, bands)
    events = []
    results = train.run([place.scene], brief(tmp_path, modality_dropout=0.0), events.append)
    bundle = load_bundle(results.model)
    assert not used_by(bundle.areas[0])[:, :50].any()
    assert results.classes == ("meadow", "water")
    assert {"labels-nodata", "classes-absent"} <= {e.code for e in events if isinstance(e, Warned)}
    assert all(np.isfinite(s.mean).all() for s in bundle.manifest.scaling)


def test_rasters_and_labels_without_a_crs(place, tmp_path):
    for path in (place.optical, place.height):
        with rasterio.open(path) as file:
            bands = file.read()
        write_raster(path, bands, crs=None)
    frame = gpd.read_file(place.labels).to_crs(CRS)
    plain = frame.set_crs(None, allow_override=True)
    with pytest.warns(UserWarning, match="crs"):
        plain.to_file(tmp_path / "plain.gpkg", layer="labels")
    labels = LabelConfig(tmp_path / "plain.gpkg", field="class")
    results = train.run([replace(place.scene, labels=labels)], brief(tmp_path), ignore)
    assert results.pixels["train"] == 12 * 96
    assert read_manifest(results.model).grids[0].crs is None


# A model to start from


def test_a_model_of_the_same_classes_is_gone_on_with(trained, tmp_path):
    place = make_place(tmp_path, seed=5)
    events = []
    config = quick(tmp_path, epochs=1, learning_rate=1e-6)
    results = train.run([place.scene], config, events.append, init=trained.model)
    assert results.scores["validation_overall_accuracy"] > 0.9  # it knew
    assert read_manifest(results.model).scaling == read_manifest(trained.model).scaling
    assert not any("heads" in e.message for e in events if isinstance(e, Note))


def test_a_model_of_other_classes_keeps_its_body_and_starts_new_heads(trained, tmp_path):
    place = make_place(tmp_path)
    frame = gpd.read_file(place.labels)
    frame["class"] = np.where(frame["class"] == "water", "lake", frame["class"])
    frame.loc[0, "class"] = "clearing"
    frame.to_file(place.labels, layer="labels")
    events = []
    config = brief(tmp_path, learning_rate=1e-9, size="small", patch=32)
    results = train.run([place.scene], config, events.append, init=trained.model)
    assert results.classes == ("clearing", "forest", "lake", "meadow")
    assert any("heads start anew" in e.message for e in events if isinstance(e, Note))
    old, new = weights(trained.model), weights(results.model)
    heads = {name for name in new if "head" in name}
    assert heads
    for name in new.keys() - heads:
        assert torch.allclose(old[name], new[name], atol=1e-6), name
    # Scaling, size and patch are those of the first model, whatever was asked for.
    network, first = read_manifest(results.model).network, read_manifest(trained.model).network
    assert network == replace(first, classes=4)


def test_a_model_of_other_bands_is_refused(trained, place, tmp_path):
    scene = replace(place.scene, modalities=place.scene.modalities[:1])
    with pytest.raises(BandMismatchError):
        train.run([scene], brief(tmp_path), ignore, init=trained.model)


# What is refused


def relabelled(place, folder, change):
    frame = change(gpd.read_file(place.labels))
    path = folder / "changed.gpkg"
    frame.to_file(path)
    return replace(place.scene, labels=LabelConfig(path, field="class"))


def test_one_class_is_not_enough(place, tmp_path):
    scene = relabelled(place, tmp_path, lambda frame: frame[frame["class"] == "water"])
    before = files(tmp_path)
    with pytest.raises(TooFewClassesError, match="Only one class has training pixels: water"):
        train.run([scene], brief(tmp_path), ignore)
    assert files(tmp_path) == before


def test_a_class_of_one_pixel_is_trained_on_and_said_to_be_untested(place, tmp_path):
    def change(frame):
        x, y = TRANSFORM @ (5.5, 5.5)
        point = gpd.GeoSeries.from_xy([x], [y], crs=CRS).buffer(14).to_crs(frame.crs)
        rare = gpd.GeoDataFrame({"class": ["rare"]}, geometry=point, crs=frame.crs)
        return gpd.GeoDataFrame(
            {"class": [*frame["class"], "rare"]},
            geometry=[*frame.geometry, rare.geometry[0]],
            crs=frame.crs,
        )

    scene, events = relabelled(place, tmp_path, change), []
    config = quick(tmp_path, epochs=1)
    results = train.run([scene], config, events.append)
    assert "rare" in results.classes
    (area,) = load_bundle(results.model).areas
    assert mask_of(area.train, area.shape)[5, 5]
    assert any("rare" in e.message for e in events if isinstance(e, Warned))
    assert any("rare" in words for words in read_manifest(results.model).split)


def test_labels_under_nodata_alone_are_no_labels(place, tmp_path):
    blank = np.full((1, HEIGHT, WIDTH), np.nan, np.float32)
    write_raster(place.height, blank)
    with pytest.raises(AllNodataError):
        train.run([place.scene], brief(tmp_path), ignore)


def test_test_labels_that_leave_none_to_train_on(place, tmp_path):
    scene = replace(place.scene, test_labels=place.scene.labels)
    with pytest.raises(NoLabelsError):
        train.run([scene], brief(tmp_path), ignore)


def test_scenes_and_labels_are_needed(place, tmp_path):
    with pytest.raises(UsageError, match="No rasters"):
        train.run([], brief(tmp_path), ignore)
    with pytest.raises(UsageError, match="ground truth"):
        train.run([replace(place.scene, labels=None)], brief(tmp_path), ignore)


def test_a_coarser_reference_grid(place, tmp_path):
    grid = write_raster(
        tmp_path / "grid.tif",
        np.ones((1, HEIGHT // 2, WIDTH // 2), np.uint8),
        transform=TRANSFORM @ Affine.scale(2),
    )
    results = train.run([replace(place.scene, grid=grid)], brief(tmp_path), ignore)
    assert read_manifest(results.model).resolution == (60.0, 60.0)
    assert results.pixels["train"] == 12 * 24


@pytest.mark.parametrize("victim", ["labels", "optical", "height"])
def test_an_input_is_never_the_model(place, tmp_path, victim):
    path = getattr(place, victim)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is an input"):
        train.run([place.scene], brief(tmp_path, out=path), ignore, overwrite=True)
    assert path.read_bytes() == before


def test_labels_that_are_all_test_pixels_say_so(place, tmp_path):
    scene = replace(place.scene, test_labels=place.scene.labels)
    with pytest.raises(NoLabelsError, match="never sees") as caught:
        train.run([scene], brief(tmp_path), ignore)
    assert "--test-share" in caught.value.hint


def label_raster(folder, codes):
    return LabelConfig(write_raster(folder / "codes.tif", codes[None].astype(np.int16)))


def test_values_that_are_no_codes_are_told_to_be_classes(place, tmp_path):
    codes = np.where(np.arange(WIDTH) < 80, place.truth.astype(int), -1)
    events = []
    scene = replace(place.scene, labels=label_raster(tmp_path, codes))
    train.run([scene], brief(tmp_path), events.append)
    (told,) = (e.message for e in events if isinstance(e, Warned) and e.code == "labels-no-code")
    assert "-1" in told


def test_classes_that_differ_by_case_alone_are_told(place, tmp_path):
    frame = gpd.read_file(place.labels)
    frame.loc[0, "class"] = " ".join(["Forest"])
    frame.to_file(tmp_path / "spelled.gpkg")
    events = []
    scene = replace(place.scene, labels=LabelConfig(tmp_path / "spelled.gpkg", field="class"))
    train.run([scene], brief(tmp_path), events.append)
    (told,) = (e.message for e in events if isinstance(e, Warned) and e.code == "classes-alike")
    assert "'Forest' and 'forest'" in told
