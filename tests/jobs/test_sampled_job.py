"""Labels that are a probability sample: what `evaluate` says of the map, and when it won't."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import box
from small import used_by

from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import EvaluateConfig, LabelConfig
from m3amba_geo.errors import ClassMismatchError, SampleError
from m3amba_geo.events import Warned, ignore
from m3amba_geo.jobs import evaluate
from tests.conftest import CRS, HEIGHT, NAMES, TRANSFORM, WIDTH, write_raster


@pytest.fixture
def wrong(place, tmp_path):
    """A map of 3 classes that is wrong in some places, and what is true."""
    rng = np.random.default_rng(0)
    shown = np.where(rng.random((HEIGHT, WIDTH)) < 0.3, 3, place.truth).astype(np.uint8)
    return map_of(tmp_path, shown), shown


def map_of(folder, codes, **options):
    path = write_raster(folder / "map.tif", codes[None], nodata=0, **options)
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, **{f"CLASS_{code}": name for code, name in enumerate(NAMES, 1)})
    return path


def points(folder, pixels, classes, transform=TRANSFORM, crs=CRS):
    rows, columns = np.divmod(pixels, WIDTH)
    x, y = transform @ (columns + 0.5, rows + 0.5)
    frame = gpd.GeoDataFrame({"class": classes}, geometry=gpd.points_from_xy(x, y), crs=crs)
    frame.to_file(folder / "sample.gpkg")
    return LabelConfig(folder / "sample.gpkg", field="class")


def drawn(shown, each, seed=1):
    """Pixels drawn at random in every class of a map."""
    rng = np.random.default_rng(seed)
    flat = shown.ravel()
    codes = np.unique(flat[flat > 0])
    return np.concatenate(
        [rng.choice(np.flatnonzero(flat == code), each, replace=False) for code in codes]
    )


def sampled(labels, **more):
    return EvaluateConfig(labels, probability_sample=True, allow_train_overlap=True, **more)


def test_the_whole_map_is_told_from_a_sample(place, wrong, tmp_path):
    path, shown = wrong
    pixels = drawn(shown, 150)
    labels = points(tmp_path, pixels, [NAMES[code - 1] for code in place.truth.flat[pixels]])
    config = sampled(labels, report=tmp_path / "a.json", html=tmp_path / "a.html")
    found = evaluate.run(path, config, ignore).estimates
    assert found.mapped == pytest.approx(np.bincount(shown.flat)[1:] * 900, rel=0.002)
    low, high = found.overall.interval
    assert low < (place.truth == shown).mean() < high
    for n, share in enumerate(found.shares):
        low, high = share.interval
        assert low < (place.truth == n + 1).mean() < high
    told = json.loads(config.report.read_text())["estimates"]
    assert told["unit"] == "m2"
    assert sum(area["value"] for area in told["area"]) == pytest.approx(sum(told["mapped_area"]))
    assert told["overall_accuracy"]["low"] < told["overall_accuracy"]["value"]
    assert "The whole map" in config.html.read_text()


def test_reports_of_other_labels_say_nothing_of_the_whole_map(place, wrong, tmp_path):
    path, shown = wrong
    pixels = drawn(shown, 20)
    labels = points(tmp_path, pixels, [NAMES[code - 1] for code in place.truth.flat[pixels]])
    config = EvaluateConfig(labels, allow_train_overlap=True, report=tmp_path / "a.json")
    evaluate.run(path, config, ignore)
    assert json.loads(config.report.read_text())["estimates"] is None


def test_classes_that_the_map_lacks_count_as_errors(place, wrong, tmp_path):
    path, shown = wrong
    pixels = drawn(shown, 50)
    classes = np.array([NAMES[code - 1] for code in place.truth.flat[pixels]])
    classes[:25] = "moor"
    events = []
    found = evaluate.run(path, sampled(points(tmp_path, pixels, classes)), events.append)
    assert "labels-unknown-class" in {e.code for e in events if isinstance(e, Warned)}
    assert any("'moor' (25)" in note for note in found.notes)
    assert [cover.name for cover in found.accuracy.legend] == [*NAMES, "moor"]
    assert found.accuracy.pixels == len(pixels)
    assert found.estimates.users[3] is None
    assert found.estimates.producers[3].value == 0
    share = (shown == 1).mean() * 0.5
    assert found.estimates.shares[3].value == pytest.approx(share, rel=0.01)


def test_drawn_areas_and_rasters_are_no_sample(place, wrong, tmp_path):
    path, _ = wrong
    with pytest.raises(SampleError, match="are polygons: no random sample") as caught:
        evaluate.run(path, sampled(LabelConfig(place.labels, field="class")), ignore)
    assert "m3amba-geo sample" in caught.value.hint
    truth = LabelConfig(write_raster(tmp_path / "truth.tif", place.truth[None], nodata=0))
    with pytest.raises(SampleError, match="are raster"):
        evaluate.run(path, sampled(truth), ignore)


def test_a_map_class_without_points_is_named(place, wrong, tmp_path):
    path, shown = wrong
    pixels = drawn(np.where(shown == 2, 0, shown), 30)
    labels = points(tmp_path, pixels, [NAMES[code - 1] for code in place.truth.flat[pixels]])
    with pytest.raises(SampleError, match=r"meadow \(0\)") as caught:
        evaluate.run(path, sampled(labels), ignore)
    assert "--probability-sample" in caught.value.hint


def test_a_sample_that_says_nothing_of_the_map_is_refused(place, wrong, tmp_path):
    path, shown = wrong
    pixels = drawn(shown, 50)
    labels = points(tmp_path, pixels, ["Wald", "Wiese", "Wasser"] * 50)
    with pytest.raises(ClassMismatchError, match=r"'Wald' \(50\).* forest, meadow, water"):
        evaluate.run(path, sampled(labels), ignore)


def test_a_code_that_nobody_named_is_not_taken_for_a_class_of_the_sample(place, tmp_path):
    codes = np.where(place.truth == 3, 65535, place.truth.astype(np.uint16))
    path = write_raster(tmp_path / "map.tif", codes[None])
    pixels = drawn(codes, 20)
    labels = points(tmp_path, pixels, ["1"] * 20 + ["2"] * 20 + ["other"] * 20)
    with pytest.raises(ClassMismatchError, match="holds the code 65535, and nothing says"):
        evaluate.run(path, sampled(labels), ignore)


def test_points_without_an_answer_are_noted(place, wrong, tmp_path):
    path, shown = wrong
    pixels = drawn(shown, 50)
    classes = [NAMES[code - 1] for code in place.truth.flat[pixels]]
    classes[:7] = [None] * 7
    found = evaluate.run(path, sampled(points(tmp_path, pixels, classes)), ignore)
    assert any(note.startswith("7 features of ") for note in found.notes)


def test_a_file_that_mixes_points_and_areas_is_no_sample(place, wrong, tmp_path):
    path, shown = wrong
    labels = points(tmp_path, drawn(shown, 50), ["forest"] * 150)
    frame = gpd.read_file(labels.path)
    frame.loc[0, "geometry"] = frame.geometry[0].buffer(200)
    frame.to_file(labels.path)
    with pytest.raises(SampleError, match="not all single points"):
        evaluate.run(path, sampled(labels), ignore)


def test_pixels_that_trained_the_model_are_no_part_of_the_estimates(trained, tmp_path):
    with rasterio.open(trained.map) as file:
        shown = file.read(1)
    (area,) = load_bundle(trained.model).areas
    used = used_by(area)
    pixels = drawn(shown, 60)
    classes = [NAMES[code - 1] for code in trained.place.truth.flat[pixels]]
    config = EvaluateConfig(points(tmp_path, pixels, classes), probability_sample=True)
    found = evaluate.run(trained.map, config, ignore)
    assert found.training == used.flat[pixels].sum() > 0
    assert found.estimates.total == pytest.approx(((shown > 0) & ~used).sum() * 900, rel=0.002)
    share = f"{(used & (shown > 0)).sum() / (shown > 0).sum():.2%}"
    assert any(share in note and "no part of the estimates" in note for note in found.notes)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(("crs", "unit"), [("EPSG:4326", "m2"), (None, "pixels")])
def test_areas_are_those_of_the_ground(tmp_path, crs, unit):
    """In degrees a pixel at 60 degrees north is half of one at the equator."""
    transform = Affine(0.5, 0, 0, 0, -1, 70)
    shown = np.repeat([1, 2, 3], HEIGHT // 3).astype(np.uint8)[:, None].repeat(WIDTH, 1)
    path = map_of(tmp_path, shown, crs=crs, transform=transform)
    pixels = drawn(shown, 30)
    classes = [NAMES[code - 1] for code in shown.flat[pixels]]
    labels = points(tmp_path, pixels, classes, transform, crs)
    told = evaluate.run(path, sampled(labels), ignore)
    found = told.estimates
    counts = np.bincount(shown.flat)[1:].astype(float)
    assert found.unit == unit
    if crs is None:
        assert found.mapped.tolist() == counts.tolist()
        return
    whole = gpd.GeoSeries([box(0, -2, 48, 70)], crs=crs).segmentize(0.1)
    assert found.total == pytest.approx(whole.to_crs("EPSG:6933").area.sum(), rel=0.001)
    assert np.diff(found.mapped).min() > 0  # from north to south
    assert any("times the ground of the smallest" in note for note in told.notes)
