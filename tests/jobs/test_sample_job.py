"""Samples of a map: how many points each class gets, where they lie, and what comes of them."""

import re
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from small import used_by

from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import EvaluateConfig, LabelConfig
from m3amba_geo.errors import (
    AllNodataError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    UsageError,
)
from m3amba_geo.events import Artifact, Note, Progress, ignore
from m3amba_geo.geo.maps import style_path
from m3amba_geo.jobs import evaluate, sample
from m3amba_geo.jobs.sample import allot
from tests.conftest import CRS, HEIGHT, NAMES, TRANSFORM, WIDTH, write_raster
from tests.jobs.test_sampled_job import map_of


def pixels_of(path):
    """Row and column of each point, in the order of the file."""
    frame = gpd.read_file(path)
    columns, rows = ~TRANSFORM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    assert np.allclose([columns % 1, rows % 1], 0.5)
    return rows.astype(int), columns.astype(int)


def test_points_are_shared_out_by_area_but_rare_classes_get_the_least():
    counts = np.array([0, 200_000, 150_000, 3_200_000, 6_450_000])
    found = allot(counts, 640, 75)
    assert found[:3].tolist() == [0, 75, 75]
    assert found.sum() == pytest.approx(640, abs=2)
    assert found[4] / found[3] == pytest.approx(645 / 320, rel=0.01)


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=12),
    st.integers(1, 5000),
    st.integers(2, 100),
)
def test_no_class_gets_fewer_than_the_least_nor_more_than_it_has(counts, points, least):
    counts = np.array(counts)
    found = allot(counts, points, least)
    assert (found >= np.minimum(counts, least)).all()
    assert (found <= counts).all()
    forced = np.minimum(counts, least).sum()
    assert found.sum() <= max(points + len(counts), forced)
    if counts.sum() <= points:
        assert found.tolist() == counts.tolist()


def test_points_lie_on_centres_and_say_nothing_of_the_map(place, tmp_path):
    path = map_of(tmp_path, place.truth)
    events = []
    found = sample.run(path, tmp_path / "s.gpkg", events.append, points=300, least=50)
    frame = gpd.read_file(tmp_path / "s.gpkg")
    assert frame.crs == CRS
    assert list(frame.columns) == ["number", "class", "geometry"]
    assert frame["class"].isna().all()
    rows, columns = pixels_of(tmp_path / "s.gpkg")
    drawn = np.bincount(place.truth[rows, columns], minlength=4)[1:]
    assert found.points == dict(zip(NAMES, drawn.tolist(), strict=True))
    assert drawn.sum() == len(set(zip(rows, columns, strict=True)))
    assert np.abs(drawn - 300 * np.bincount(place.truth.flat)[1:] / place.truth.size).max() <= 1
    shown = place.truth[rows, columns]
    assert 0.4 < (shown[1:] != shown[:-1]).mean() < 0.9  # no class after the other
    assert [e.path for e in events if isinstance(e, Artifact)] == [str(tmp_path / "s.gpkg")]


def test_both_passes_over_a_map_tell_how_far_they_are(place, tmp_path, monkeypatch):
    monkeypatch.setattr("m3amba_geo.geo.codes._BLOCK", place.truth.size // 5)
    path = map_of(tmp_path, place.truth)
    events = []
    sample.run(path, tmp_path / "s.gpkg", events.append)
    for phase in ("counting", "drawing"):
        told = [e for e in events if isinstance(e, Progress) and e.phase == phase]
        done = [e.done for e in told]
        assert len(done) > 4
        assert done == sorted(set(done))
        assert done[-1] == told[-1].total == place.truth.size


def test_every_pixel_of_a_class_is_as_likely_as_others(place, tmp_path):
    path = map_of(tmp_path, place.truth)
    hits = np.zeros((HEIGHT, WIDTH), int)
    for seed in range(40):
        sample.run(path, tmp_path / "s.gpkg", ignore, points=1500, seed=seed, overwrite=True)
        hits[pixels_of(tmp_path / "s.gpkg")] += 1
    for code in (1, 2, 3):
        of_class = hits[place.truth == code]
        halves = of_class[: len(of_class) // 2].mean(), of_class[len(of_class) // 2 :].mean()
        assert halves[0] == pytest.approx(halves[1], rel=0.1)
        # Binomial, as 40 draws of one chance are.
        assert of_class.var() == pytest.approx(
            of_class.mean() * (1 - of_class.mean() / 40), rel=0.15
        )


def test_the_same_seed_draws_the_same_points(place, tmp_path):
    path = map_of(tmp_path, place.truth)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sample.run(path, tmp_path / f"{name}.gpkg", ignore, seed=seed)
    a, b, c = (np.stack(pixels_of(tmp_path / f"{name}.gpkg")) for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_pixels_that_trained_the_model_are_not_drawn(trained, tmp_path):
    (area,) = load_bundle(trained.model).areas
    used = used_by(area)
    found = sample.run(trained.map, tmp_path / "s.gpkg", ignore, points=10**6)
    assert sum(found.points.values()) == (~used).sum()  # all others
    assert not used[pixels_of(tmp_path / "s.gpkg")].any()


def test_what_was_drawn_and_labelled_tells_of_the_whole_map(place, tmp_path):
    rng = np.random.default_rng(3)
    wrong = np.where(rng.random(place.truth.shape) < 0.2, 2, place.truth).astype(np.uint8)
    path, out = map_of(tmp_path, wrong), tmp_path / "s.gpkg"
    sample.run(path, out, ignore, points=600)
    frame = gpd.read_file(out)
    frame["class"] = np.array(NAMES)[place.truth[pixels_of(out)] - 1]
    frame.to_file(out, layer="sample")
    labels = LabelConfig(out, field="class")
    config = EvaluateConfig(labels, probability_sample=True, allow_train_overlap=True)
    found = evaluate.run(path, config, ignore).estimates
    assert abs(found.overall.value - (wrong == place.truth).mean()) < 3 * found.overall.error
    assert 0 < found.overall.error < 0.02


def offered(place, folder, **tags):
    """The answers that QGIS would offer for a map whose classes are tagged so."""
    path = map_of(folder, place.truth)
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, **tags)
    sample.run(path, folder / "s.gpkg", ignore)
    return re.findall(r'value="([^"]*)"', style_path(folder / "s.gpkg").read_text())


def test_classes_that_share_a_name_are_told_apart(place, tmp_path):
    answers = offered(place, tmp_path, CLASS_1="wood", CLASS_2="wood")
    assert answers == ["1", "2", "water", "other"]


def test_names_that_stand_for_another_class_are_not_offered(place, tmp_path):
    assert offered(place, tmp_path, CLASS_1="2", CLASS_2="two") == ["1", "two", "water", "other"]


def test_other_is_no_answer_for_a_class_of_that_name(place, tmp_path):
    answers = offered(place, tmp_path, CLASS_1="other")
    assert answers == ["other", "meadow", "water", "none of these"]


def test_large_classes_that_get_no_more_than_rare_ones_are_told(place, tmp_path):
    path, events = map_of(tmp_path, place.truth), []
    sample.run(path, tmp_path / "s.gpkg", events.append, points=90, least=50)
    assert any("All classes get 50 points" in e.message for e in events if isinstance(e, Note))


def test_the_style_of_the_map_is_no_output(place, tmp_path):
    path = map_of(tmp_path, place.truth)
    with pytest.raises(UsageError, match="is an input"):
        sample.run(path, tmp_path / "map.gpkg", ignore, overwrite=True)


@pytest.mark.parametrize("name", ["gpkg_1.gpkg", "sqlite_1.gpkg", "a b.GPKG"])
def test_any_name_of_a_geopackage_will_do(place, tmp_path, name):
    path = map_of(tmp_path, place.truth)
    sample.run(path, tmp_path / name, ignore)
    assert len(gpd.read_file(tmp_path / name)) > 400


def test_a_map_without_a_place_or_names(place, tmp_path):
    path = write_raster(tmp_path / "map.tif", place.truth[None], crs=None, nodata=0)
    found = sample.run(path, tmp_path / "s.gpkg", ignore)
    assert list(found.points) == ["1", "2", "3"]
    style = style_path(tmp_path / "s.gpkg").read_text()
    assert all(f'value="{answer}"' in style for answer in ("1", "2", "3", "other"))
    assert gpd.read_file(tmp_path / "s.gpkg").crs is None


def test_an_empty_map_is_refused(tmp_path):
    path = write_raster(tmp_path / "map.tif", np.zeros((1, 9, 9), np.uint8), nodata=0)
    with pytest.raises(AllNodataError, match="no class anywhere"):
        sample.run(path, tmp_path / "s.gpkg", ignore)
    assert not (tmp_path / "s.gpkg").exists()


def test_outputs_replace_nothing_unasked_and_no_input(place, tmp_path):
    path = map_of(tmp_path, place.truth)
    out = tmp_path / "s.gpkg"
    sample.run(path, out, ignore)
    before = out.read_bytes()
    with pytest.raises(OutputExistsError):
        sample.run(path, out, ignore, seed=5)
    assert out.read_bytes() == before
    with pytest.raises(UsageError, match="is an input"):
        sample.run(path, path, ignore, overwrite=True)
    with pytest.raises(UsageError, match="no name of a GeoPackage"):
        sample.run(path, tmp_path / "s.shp", ignore)
    with pytest.raises(OutputError):
        sample.run(path, tmp_path / "no" / "s.gpkg", ignore)
    (tmp_path / "s.gpkg-wal").touch()  # as while QGIS shows it
    with pytest.raises(OutputBusyError, match="open in another program"):
        sample.run(path, out, ignore, overwrite=True)
    shutil.copy(out, tmp_path / "t.gpkg")
    style_path(tmp_path / "t.gpkg").write_text("mine")
    (tmp_path / "t.gpkg").unlink()
    with pytest.raises(OutputExistsError):
        sample.run(path, tmp_path / "t.gpkg", ignore)
    assert style_path(tmp_path / "t.gpkg").read_text() == "mine"
