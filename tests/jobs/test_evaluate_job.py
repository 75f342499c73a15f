"""Assessment: pixels that training saw are left out, and what is scored is scored right."""

import json
import re
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy.ndimage import distance_transform_cdt
from small import bundle_of, legend_of, used_by

from m3amba_geo.bundle import load_bundle, save_bundle
from m3amba_geo.config import ClassifyConfig, EvaluateConfig, LabelConfig
from m3amba_geo.errors import (
    ClassMismatchError,
    DataError,
    NoLabelsError,
    OutputExistsError,
    OutputFolderError,
    RasterUnreadableError,
    TrainOverlapError,
    UsageError,
    VectorUnreadableError,
)
from m3amba_geo.events import Artifact, Metric, Progress, Started, Warned, ignore
from m3amba_geo.jobs import classify, evaluate
from m3amba_geo.jobs.sidecar import sidecar_path
from tests.conftest import CRS, HEIGHT, NAMES, TRANSFORM, WIDTH, write_raster


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def without_sidecar(trained, folder):
    return shutil.copy(trained.map, folder / "lonely.tif")


def used(trained):
    (area,) = load_bundle(trained.model).areas
    return used_by(area)


def code_raster(folder, codes, names=NAMES, **options):
    path = write_raster(folder / "truth.tif", codes[None].astype(np.uint8), **options)
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, **{f"CLASS_{code}": name for code, name in enumerate(names, 1)})
    return LabelConfig(path)


def spoilt(trained, folder, seed=0):
    """A map that is wrong in a known way, with the sidecar of the real one."""
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((HEIGHT, WIDTH)) < 0.3, rng.integers(1, 4, (HEIGHT, WIDTH)), 0)
    codes = np.where(codes > 0, codes, read(trained.map)).astype(np.uint8)
    path = write_raster(folder / "spoilt.tif", codes[None], nodata=0)
    shutil.copy(sidecar_path(trained.map), sidecar_path(path))
    return path, codes


def polygons(labels):
    frame = gpd.read_file(labels.path).to_crs(CRS)
    shapes = [(g, NAMES.index(c) + 1) for g, c in zip(frame.geometry, frame["class"], strict=True)]
    return rasterio.features.rasterize(shapes, out_shape=(HEIGHT, WIDTH), transform=TRANSFORM)


def test_the_test_pixels_are_scored_once_each_and_the_others_counted(trained, labels, tmp_path):
    path, codes = spoilt(trained, tmp_path)
    found = evaluate.run(path, EvaluateConfig(labels), ignore)
    truth = polygons(labels)
    test = (truth > 0) & ~used(trained)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (truth[test] - 1, codes[test] - 1), 1)
    assert np.array_equal(found.accuracy.matrix, expected)
    assert 0.6 < found.accuracy.overall < 0.95
    assert found.accuracy.pixels == test.sum() == trained.train_results.pixels["test"]
    assert found.labelled == (truth > 0).sum()
    assert found.training == ((truth > 0) & used(trained)).sum()


def test_the_real_map_scores_well(trained, labels):
    events = []
    found = evaluate.run(trained.map, EvaluateConfig(labels), events.append)
    assert found.accuracy.overall > 0.9
    assert isinstance(events[0], Started)
    read = [event for event in events if isinstance(event, Progress) and event.phase == "reading"]
    assert read[-1].done == read[-1].total == HEIGHT * WIDTH
    metrics = {event.metric: event.value for event in events if isinstance(event, Metric)}
    assert metrics["overall_accuracy"] == found.accuracy.overall


def test_labels_that_all_trained_are_refused(trained, tmp_path):
    truth = np.where(used(trained), trained.place.truth, 0)
    labels = code_raster(tmp_path, truth)
    count = f"{int(used(trained).sum()):,}"
    config = EvaluateConfig(labels, model=trained.model)
    with pytest.raises(TrainOverlapError, match=f"All {count} labelled pixels were used") as caught:
        evaluate.run(trained.map, config, ignore)
    assert "--test-share" in caught.value.hint
    allowed = EvaluateConfig(labels, model=trained.model, allow_train_overlap=True)
    found = evaluate.run(trained.map, allowed, ignore)
    assert (found.training, found.labelled) == (0, used(trained).sum())
    assert any("--allow-train-overlap" in note for note in found.notes)


def test_without_a_sidecar_the_model_must_be_named(trained, labels, tmp_path):
    path = without_sidecar(trained, tmp_path)
    with pytest.raises(TrainOverlapError, match="no sidecar") as caught:
        evaluate.run(path, EvaluateConfig(labels), ignore)
    assert "--model" in caught.value.hint
    named = evaluate.run(path, EvaluateConfig(labels, model=trained.model), ignore)
    besides = evaluate.run(trained.map, EvaluateConfig(labels), ignore)
    assert np.array_equal(named.accuracy.matrix, besides.accuracy.matrix)
    assert named.training == besides.training > 0
    allowed = evaluate.run(path, EvaluateConfig(labels, allow_train_overlap=True), ignore)
    assert (allowed.training, allowed.accuracy.pixels) == (0, allowed.labelled)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-50],
        lambda text: text.replace('"train"', '"tram"'),
        lambda text: re.sub(r'("train": ").{9}', r"\1AAAAAAAAA", text),
        lambda text: re.sub(r'("train": ")....', r"\1????", text),
        lambda text: re.sub(r'"shape": \[\s*72', '"shape": [71', text),
        lambda text: re.sub(r'"shape": \[\s*72', '"shape": [-72', text),
        lambda text: text.replace("PROJCRS", "NOCRS").replace("PROJCS", "NOCRS"),
    ],
)
def test_a_damaged_sidecar_is_an_error_and_no_licence(trained, labels, tmp_path, damage):
    path = without_sidecar(trained, tmp_path)
    whole = sidecar_path(trained.map).read_text()
    assert damage(whole) != whole
    sidecar_path(path).write_text(damage(whole))
    with pytest.raises(DataError, match="damaged"):
        evaluate.run(path, EvaluateConfig(labels), ignore)
    found = evaluate.run(path, EvaluateConfig(labels, model=trained.model), ignore)
    assert found.training > 0


def test_a_map_of_a_part_leaves_the_same_pixels_out(trained, labels, tmp_path):
    (west, north), (east, south) = TRANSFORM @ (0, 9), TRANSFORM @ (70, 60)
    config = ClassifyConfig(out=tmp_path / "part.tif", bounds=(west, south, east, north))
    classify.run(trained.model, trained.place.scene, config, ignore)
    found = evaluate.run(config.out, EvaluateConfig(labels), ignore)
    here = np.zeros((HEIGHT, WIDTH), bool)
    here[9:60, :70] = True
    truth = polygons(labels)
    assert found.labelled == (here & (truth > 0)).sum()
    assert found.training == (here & used(trained) & (truth > 0)).sum()


def test_a_part_of_a_map_without_a_crs_leaves_them_out_too(trained, labels, tmp_path):
    codes = read(trained.map)[9:60, :70]
    transform = TRANSFORM @ Affine.translation(0, 9)
    path = write_raster(tmp_path / "part.tif", codes[None], crs=None, transform=transform, nodata=0)
    truth = np.where(polygons(labels) > 0, trained.place.truth, 0)[9:60, :70]
    config = EvaluateConfig(
        code_raster(tmp_path, truth, crs=None, transform=transform), model=trained.model
    )
    found = evaluate.run(path, config, ignore)
    assert found.training == (used(trained)[9:60, :70] & (truth > 0)).sum() > 0


def test_on_another_grid_doubt_goes_against_the_score(trained, labels, tmp_path):
    codes = np.repeat(np.repeat(read(trained.map), 2, 0), 2, 1)[3:, 3:]  # half the pixel, shifted
    transform = TRANSFORM @ Affine.scale(0.5) @ Affine.translation(3, 3)
    path = write_raster(tmp_path / "fine.tif", codes[None], transform=transform, nodata=0)
    found = evaluate.run(path, EvaluateConfig(labels, model=trained.model), ignore)
    fine = np.repeat(np.repeat(used(trained), 2, 0), 2, 1)[3:, 3:]
    labelled = np.repeat(np.repeat(polygons(labels) > 0, 2, 0), 2, 1)[3:, 3:]
    assert found.training >= (fine & labelled).sum()
    assert found.accuracy.pixels > 0


def test_an_accuracy_of_the_neighbourhood_alone_is_said_to_be_one(trained, tmp_path):
    near = distance_transform_cdt(~used(trained), "chessboard")
    codes = np.where(near < 8, trained.place.truth, trained.place.truth % 3 + 1)  # wrong afar
    path = write_raster(tmp_path / "map.tif", codes[None].astype(np.uint8), nodata=0)

    def scored(where):
        labels = code_raster(tmp_path, np.where(where, trained.place.truth, 0))
        return evaluate.run(path, EvaluateConfig(labels, model=trained.model), ignore)

    both = scored(near > 0)
    assert both.separated.overall == 0 < both.accuracy.overall
    assert any("expect the lower one elsewhere" in note for note in both.notes)
    close = scored((near > 0) & (near < 8))
    assert (close.separated, close.accuracy.overall) == (None, 1)
    assert any("No scored pixel lies 8 pixels" in note for note in close.notes)
    few = scored(used(trained) | (near == 20))
    assert any(f"{few.training:,} trained the model" in note for note in few.notes)


def test_reports(trained, labels, tmp_path):
    events = []
    config = EvaluateConfig(labels, report=tmp_path / "r.json", html=tmp_path / "r.html")
    found = evaluate.run(trained.map, config, events.append)
    report = json.loads(config.report.read_text())
    keys = {
        "overall_accuracy",
        "average_accuracy",
        "kappa",
        "classes",
        "confusion_matrix",
        "pixels",
    }
    assert keys <= report.keys()
    assert report["classes"] == list(NAMES)
    assert report["confusion_matrix"] == found.accuracy.matrix.tolist()
    page = config.html.read_text()
    assert all(name in page for name in NAMES)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert {e.role for e in events if isinstance(e, Artifact)} == {"report", "html"}
    with pytest.raises(OutputExistsError):
        evaluate.run(trained.map, config, ignore)
    with pytest.raises(OutputFolderError):
        evaluate.run(trained.map, EvaluateConfig(labels, report=tmp_path / "no" / "r.json"), ignore)


def test_a_map_without_a_class_under_any_label(trained, tmp_path):
    blank = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    blank[0, 0, 0] = 1
    path = write_raster(tmp_path / "blank.tif", blank, nodata=0)
    truth = np.where(used(trained), 0, trained.place.truth)
    truth[0, 0] = 0
    config = EvaluateConfig(code_raster(tmp_path, truth), model=trained.model)
    with pytest.raises(NoLabelsError, match="nodata under every label"):
        evaluate.run(path, config, ignore)


def test_a_map_whose_class_0_is_no_nodata_is_refused(trained, labels, tmp_path):
    path, codes = spoilt(trained, tmp_path)
    write_raster(path, np.where(codes == 3, 0, codes)[None], nodata=255)
    with pytest.raises(ClassMismatchError, match="declares another value as nodata"):
        evaluate.run(path, EvaluateConfig(labels), ignore)


def test_classes_may_share_a_name(place, tmp_path):
    codes = place.truth.astype(np.uint8)
    path = write_raster(tmp_path / "map.tif", codes[None], nodata=0)
    names = {1: "forest", 2: "forest", 3: "water"}
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, **{f"CLASS_{code}": name for code, name in names.items()})
    legend = tmp_path / "legend.csv"
    legend.write_text("code,name\n1,forest\n2,forest\n3,water\n")
    labels = LabelConfig(write_raster(tmp_path / "truth.tif", codes[None]), legend=legend)
    found = evaluate.run(path, EvaluateConfig(labels, allow_train_overlap=True), ignore)
    assert found.accuracy.overall == 1
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, CLASS_3="forest")
    with pytest.raises(ClassMismatchError, match="calls class 3 'forest'"):
        evaluate.run(path, EvaluateConfig(labels, allow_train_overlap=True), ignore)


def test_nodata_of_the_map_under_a_label_is_no_hit(trained, labels, tmp_path):
    codes = read(trained.map).copy()
    test = (polygons(labels) > 0) & ~used(trained)
    row, column = np.argwhere(test)[0]
    codes[row, column] = 0
    path = write_raster(tmp_path / "hole.tif", codes[None], nodata=0)
    found = evaluate.run(path, EvaluateConfig(labels, model=trained.model), ignore)
    assert found.accuracy.pixels + found.accuracy.unmapped == test.sum()
    assert found.accuracy.unmapped == 1


def test_a_map_of_unknown_origin_may_have_classes_of_its_own(tmp_path):
    codes = np.array([[1, 1, 9, 9]] * 4, np.uint8)
    path = write_raster(tmp_path / "map.tif", codes[None])
    labels = code_raster(tmp_path, np.array([[1, 1, 1, 2]] * 4), names=())
    found = evaluate.run(path, EvaluateConfig(labels, allow_train_overlap=True), ignore)
    assert [entry.code for entry in found.accuracy.legend] == [1, 2, 9]
    assert found.accuracy.overall == 0.5


def test_a_model_of_another_place_leaves_nothing_out(tmp_path):
    codes = np.array([[1, 2, 3, 3]] * 4, np.uint8)
    path = write_raster(tmp_path / "map.tif", codes[None])
    save_bundle(tmp_path / "m.m3amba", bundle_of({"a": 1}))
    config = EvaluateConfig(code_raster(tmp_path, codes, names=()), model=tmp_path / "m.m3amba")
    found = evaluate.run(path, config, ignore)
    assert (found.training, found.accuracy.overall) == (0, 1)
    assert found.accuracy.legend == legend_of(1, 2, 3)


def test_each_subset_of_the_modalities_is_scored_by_itself(trained, labels, tmp_path):
    path, codes = spoilt(trained, tmp_path)
    made_from = np.where(codes == 0, 0, 1 + np.indices(codes.shape)[1] % 3).astype(np.uint8)
    marks = write_raster(tmp_path / "map.modalities.tif", made_from[None], nodata=0)
    names = {1: "optical, height", 2: "height", 3: "optical"}
    with rasterio.open(marks, "r+") as file:
        file.update_tags(1, **{f"CLASS_{code}": name for code, name in names.items()})
    config = EvaluateConfig(labels, report=tmp_path / "a.json", html=tmp_path / "a.html")
    found = evaluate.run(path, config, ignore)
    truth = polygons(labels)
    assert list(found.subsets) == list(names.values())
    for code, name in names.items():
        here = (truth > 0) & ~used(trained) & (made_from == code)
        assert found.subsets[name].pixels == here.sum() > 0
        assert found.subsets[name].overall == pytest.approx((truth == codes)[here].mean())
    assert sum(s.matrix for s in found.subsets.values()).tolist() == found.accuracy.matrix.tolist()
    report = json.loads(config.report.read_text())
    assert [subset["modalities"] for subset in report["subsets"]] == list(names.values())
    assert "Made from height" in config.html.read_text()


def test_without_the_raster_of_modalities_their_subsets_stay_unknown(trained, labels, tmp_path):
    path, _ = spoilt(trained, tmp_path)
    events = []
    assert evaluate.run(path, EvaluateConfig(labels), events.append).subsets == {}
    assert "modalities-unknown" in {e.code for e in events if isinstance(e, Warned)}
    besides = evaluate.run(trained.map, EvaluateConfig(labels, model=trained.model), ignore)
    assert list(besides.subsets) == ["optical, height"]
    write_raster(tmp_path / "map.modalities.tif", np.ones((1, 5, 7), np.uint8), nodata=0)
    assert evaluate.run(path, EvaluateConfig(labels), events.append).subsets == {}
    assert "another place" in [e.message for e in events if isinstance(e, Warned)][-1]


def test_reports_replace_neither_inputs_nor_each_other(trained, labels, tmp_path):
    map_path = without_sidecar(trained, tmp_path)
    known = {"model": trained.model, "overwrite": True}
    for path in (map_path, trained.place.labels, trained.model):
        before = path.read_bytes()
        for role in ("report", "html"):
            with pytest.raises(UsageError, match="is an input"):
                evaluate.run(map_path, EvaluateConfig(labels, **known | {role: path}), ignore)
        assert path.read_bytes() == before
    marks = trained.map.with_name("map.modalities.tif")
    with pytest.raises(UsageError, match="is an input"):
        evaluate.run(trained.map, EvaluateConfig(labels, report=marks, overwrite=True), ignore)
    both = {"report": tmp_path / "a.html", "html": tmp_path / "a.html"}
    with pytest.raises(UsageError, match="same name"):
        evaluate.run(map_path, EvaluateConfig(labels, **known, **both), ignore)


# A map that comes without its model

OTHER_CODES = {"forest": 7, "meadow": 2, "water": 4}


def foreign_map(folder, place, *, named):
    """A perfect map by other software, with codes that are not those of sorted names."""
    codes = np.array([0, *OTHER_CODES.values()], np.uint8)[place.truth]
    path = write_raster(folder / "foreign.tif", codes[None], nodata=0)
    if named:
        with rasterio.open(path, "r+") as file:
            file.update_tags(1, **{f"CLASS_{code}": name for name, code in OTHER_CODES.items()})
    return path


def scored(path, labels, events=None):
    config = EvaluateConfig(labels, allow_train_overlap=True)
    return evaluate.run(path, config, ignore if events is None else events.append).accuracy


def test_a_map_that_names_its_classes_is_scored_by_names(place, tmp_path):
    path = foreign_map(tmp_path, place, named=True)
    for chosen in (list(NAMES), ["meadow", "water"]):
        frame = gpd.read_file(place.labels)
        frame[frame["class"].isin(chosen)].to_file(tmp_path / "some.gpkg")
        found = scored(path, LabelConfig(tmp_path / "some.gpkg", field="class"))
        assert found.overall == 1
        assert [entry.name for entry in found.legend] == ["meadow", "water", "forest"]


def test_names_mean_nothing_to_a_map_that_has_codes_alone(place, labels, tmp_path):
    path = foreign_map(tmp_path, place, named=False)
    with pytest.raises(ClassMismatchError, match="which codes") as caught:
        scored(path, labels)
    assert "--legend" in caught.value.hint
    legend = tmp_path / "legend.csv"
    legend.write_text("code,name\n" + "\n".join(f"{c},{n}" for n, c in OTHER_CODES.items()))
    assert scored(path, LabelConfig(labels.path, field="class", legend=legend)).overall == 1


@pytest.mark.parametrize("odd", [-1, 0, 100_000])
def test_codes_of_labels_are_not_numbered_anew(place, tmp_path, odd):
    path = foreign_map(tmp_path, place, named=False)
    truth = np.array([0, *OTHER_CODES.values()], np.int32)[place.truth]
    truth[:, 40:] = odd  # what somebody means by unlabelled, and has not declared
    events = []
    config = LabelConfig(write_raster(tmp_path / "truth.tif", truth[None], nodata=255))
    found = scored(path, config, events)
    assert (found.overall, found.pixels) == (1, 40 * HEIGHT)
    (told,) = (e.message for e in events if isinstance(e, Warned))
    assert f"'{odd}'" in told


def test_other_names_for_the_same_codes_are_told(place, tmp_path):
    path = foreign_map(tmp_path, place, named=True)
    truth = np.array([0, *OTHER_CODES.values()])[place.truth]
    labels = code_raster(tmp_path, truth, ("", "Meadow", "", "snow", "", "", "forest"))
    events = []
    assert scored(path, labels, events).overall == 1
    (told,) = (e.message for e in events if isinstance(e, Warned))
    assert "4 is 'snow' there, 'water' here" in told
    assert "Meadow" not in told


def test_a_sidecar_of_another_map_is_found_out(place, labels, trained, tmp_path):
    path = foreign_map(tmp_path, place, named=True)
    shutil.copy(sidecar_path(trained.map), sidecar_path(path))
    with pytest.raises(ClassMismatchError, match="calls class") as caught:
        evaluate.run(path, EvaluateConfig(labels), ignore)
    assert "--model" in caught.value.hint


def test_a_model_that_did_not_make_the_map_is_refused(trained, labels, tmp_path):
    save_bundle(tmp_path / "other.m3amba", bundle_of({"a": 1}, patch=8))
    config = EvaluateConfig(labels, model=tmp_path / "other.m3amba")
    with pytest.raises(TrainOverlapError, match=r"was made by model\.m3amba"):
        evaluate.run(trained.map, config, ignore)


def test_images_are_neither_maps_nor_labels(trained, labels, tmp_path):
    allowed = {"allow_train_overlap": True}
    with pytest.raises(RasterUnreadableError, match="4 bands"):
        evaluate.run(trained.place.optical, EvaluateConfig(labels, **allowed), ignore)
    wide = write_raster(tmp_path / "wide.tif", np.ones((3, HEIGHT, WIDTH), np.uint8))
    with pytest.raises(VectorUnreadableError, match="3 bands"):
        evaluate.run(trained.map, EvaluateConfig(LabelConfig(wide)), ignore)
    for value, found in ((1e30, "huge"), (1.5, "fractions"), (1 + 1j, "complex")):
        odd = np.full((1, HEIGHT, WIDTH), value)
        path = write_raster(tmp_path / "odd.tif", odd)
        with pytest.raises(VectorUnreadableError, match=found):
            evaluate.run(trained.map, EvaluateConfig(LabelConfig(path)), ignore)
