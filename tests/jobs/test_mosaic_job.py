"""Many scenes, one map: what an index may hold, what the VRT shows, what is made again."""

import json
import os
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import box
from small import bundle_of, with_manifest

from m3amba_geo.bundle import save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, MosaicConfig
from m3amba_geo.errors import (
    BandMismatchError,
    CRSMissingError,
    DataError,
    FileMissingError,
    GridsDifferError,
    JournalError,
    NetworkOffError,
    OutputExistsError,
    RasterUnreadableError,
    UnknownFieldError,
    UsageError,
    VectorUnreadableError,
)
from m3amba_geo.events import Progress, Warned, ignore
from m3amba_geo.geo.access import reach
from m3amba_geo.jobs import mosaic
from m3amba_geo.jobs.sidecar import read_sidecar
from tests.conftest import CRS, write_raster

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (40, 48)
CORNERS = {"west": (600_000.0, 5_400_000.0), "east": (600_900.0, 5_399_700.0)}  # they overlap


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.m3amba"
    save_bundle(path, bundle_of({"optical": 2, "dem": 1}, patch=8))
    return path


@pytest.fixture
def scenes(tmp_path):
    """Rasters of two scenes in a folder `data`, the second with a hole of nodata."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, name in enumerate(CORNERS):
        make_scene(folder, name, seed)
    return folder


def make_scene(folder, name, seed, corner=None, size=30.0, **options):
    rng = np.random.default_rng(seed)
    x, y = corner or CORNERS[name]
    place = {"transform": Affine(size, 0, x, 0, -size, y)} | options
    for modality, bands in (("optical", 2), ("dem", 1)):
        pixels = rng.normal(0, 1, (bands, *SHAPE)).astype(np.float32)
        if name == "east":
            pixels[:, 5:15, :10] = np.nan
        write_raster(folder / f"{name}_{modality}.tif", pixels, **place)


def geopackage(folder, names=tuple(CORNERS), **fields):
    columns = {m: [f"data/{name}_{m}.tif" for name in names] for m in ("optical", "dem")}
    frame = gpd.GeoDataFrame(
        {"name": names} | columns | fields, geometry=[box(0, 0, 1, 1)] * len(names), crs=CRS
    )
    path = folder.parent / "scenes.gpkg"
    frame.to_file(path, layer="scenes")
    return path


def stac(folder, **assets):
    items = [
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "geometry": None,
            "properties": {"datetime": "2020-01-01T00:00:00Z"},
            "links": [],
            "assets": {
                "optical": {"href": (folder / f"{name}_optical.tif").as_uri()},
                "dem": {"href": f"./data/{name}_dem.tif", "roles": ["data"]},
            }
            | assets,
        }
        for name in CORNERS
    ]
    path = folder.parent / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def run(model, index, emit=ignore, fields=(), out="out", resampling="bilinear", **options):
    config = MosaicConfig(out=index.parent / out, resampling=resampling)
    return mosaic.run(model, index, fields, config, ClassifyConfig(**options), emit)


def tiles(results):
    return {path.name: path.read_bytes() for path in results.tiles.glob("*.tif")}


def pasted(results, width, height):
    """What the tiles show when each is laid over those before it."""
    whole = np.zeros((height, width), np.uint8)
    for name in CORNERS:
        with rasterio.open(results.tiles / f"{name}.tif") as tile:
            codes = tile.read(1)
            column = round((tile.transform.c - 600_000) / 30)
            row = round((5_400_000 - tile.transform.f) / 30)
        part = whole[row : row + SHAPE[0], column : column + SHAPE[1]]
        part[codes > 0] = codes[codes > 0]
    return whole


def test_a_geopackage_and_a_stac_collection_make_the_same_map(model, scenes):
    first = run(model, geopackage(scenes), out="first")
    with rasterio.open(first.vrt) as whole, rasterio.open(first.tiles / "west.tif") as tile:
        assert (whole.width, whole.height) == (30 + SHAPE[1], 10 + SHAPE[0])
        assert whole.transform == tile.transform
        assert whole.crs == tile.crs
        assert whole.nodata == 0
        assert whole.dtypes == tile.dtypes
        assert whole.colormap(1)[2] == tile.colormap(1)[2]
        np.testing.assert_array_equal(whole.read(1), pasted(first, whole.width, whole.height))
        names = {k: v for k, v in whole.tags(1).items() if k.startswith("CLASS_")}
        assert names == {k: v for k, v in tile.tags(1).items() if k.startswith("CLASS_")} != {}
    assert read_sidecar(first.vrt) == replace(
        read_sidecar(first.tiles / "west.tif"), created=read_sidecar(first.vrt).created
    )
    assert first.vrt.with_suffix(".qml").exists()
    assert (first.scenes, first.made) == (2, 2)
    second = run(model, stac(scenes), out="second")
    assert tiles(first) == tiles(second)
    assert first.vrt.read_text() == second.vrt.read_text()


def test_the_hole_of_an_upper_scene_shows_the_lower_one(model, scenes):
    results = run(model, geopackage(scenes))
    with rasterio.open(results.tiles / "east.tif") as tile:
        assert not tile.read(1)[5:15, :10].any()
    with rasterio.open(results.vrt) as whole:
        assert whole.read(1)[15:25, 30:40].all()


def test_a_scene_may_lack_a_modality_and_the_mosaic_shows_what_it_is_made_from(tmp_path, scenes):
    model = tmp_path / "fewer.m3amba"
    bundle = bundle_of({"optical": 2, "dem": 1}, patch=8)
    save_bundle(model, with_manifest(bundle, modality_dropout=0.3))
    index = geopackage(scenes, dem=["data/west_dem.tif", None])
    events = []
    results = run(model, index, events.append)
    with rasterio.open(results.vrt) as whole:
        assert np.array_equal(whole.read(1), pasted(results, whole.width, whole.height))
    marks = results.vrt.with_name(read_sidecar(results.vrt).modalities)
    with rasterio.open(marks) as file:
        used = file.read(1)
        assert file.descriptions == ("modalities",)
    assert (used[:10] <= 1).all()  # of the western scene alone
    assert (used[30:, 60:] == 3).all()  # of the eastern one: optical
    assert any(isinstance(e, Warned) and e.code == "modalities-incomplete" for e in events)
    save_bundle(tmp_path / "all.m3amba", bundle)
    with pytest.raises(DataError, match="names no file in 'dem'"):
        run(tmp_path / "all.m3amba", index, out="other")


def test_the_folder_can_be_moved(model, scenes):
    results = run(model, geopackage(scenes))
    moved = results.vrt.parent.rename(scenes / "elsewhere")
    with rasterio.open(moved / "mosaic.vrt") as whole:
        assert whole.read(1).any()


def test_fields_may_be_called_otherwise_and_be_several(tmp_path):
    model = tmp_path / "m.m3amba"
    save_bundle(model, bundle_of({"a": 4}, patch=8))
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, name in enumerate(CORNERS):
        make_scene(folder, name, seed)
    index = geopackage(folder, again=[f"data/{name}_dem.tif" for name in CORNERS])
    fields = [ModalityConfig("a", (Path("optical"), Path("dem"), Path("again")))]
    results = run(model, index, fields=fields)
    assert sorted(tiles(results)) == ["east.tif", "west.tif"]
    with pytest.raises(UnknownFieldError, match="'a'"):
        run(model, index, out="other")


@pytest.mark.parametrize("make", [geopackage, stac])
def test_a_missing_file_is_told_before_anything_is_mapped(model, scenes, make):
    index = make(scenes)
    (scenes / "east_dem.tif").unlink()
    events = []
    with pytest.raises(FileMissingError, match=r"east_dem.tif, of the scene 'east'"):
        run(model, index, events.append)
    assert not [event for event in events if isinstance(event, Progress)]
    assert not (index.parent / "out").exists()


def test_a_server_is_asked_only_where_that_is_allowed(model, scenes):
    index = stac(scenes, dem={"href": "/vsicurl/http://127.0.0.1:9/dem.tif"})
    with pytest.raises(NetworkOffError):
        run(model, index)
    with reach(network=True), pytest.raises(RasterUnreadableError):  # nobody listens there
        run(model, index, out="again")


def test_what_lies_elsewhere_or_is_not_named_is_refused(model, scenes):
    with pytest.raises(DataError, match="lies elsewhere: https"):
        run(model, stac(scenes, dem={"href": "https://example.org/dem.tif"}))
    with pytest.raises(DataError, match=r"names no file in 'dem'"):
        run(model, geopackage(scenes, dem=["data/west_dem.tif", None]))
    with pytest.raises(DataError, match="no STAC ItemCollection"):
        run(model, stac(scenes, dem={"title": "no href"}))
    with pytest.raises(FileMissingError, match="The index"):
        run(model, scenes / "no.gpkg")
    with pytest.raises(DataError, match="can't be read as an index"):
        run(model, scenes / "west_dem.tif")


def test_what_lies_where_the_mosaic_goes_is_not_replaced_unasked(model, scenes):
    index = geopackage(scenes)
    style = index.parent / "out" / "mosaic.qml"
    style.parent.mkdir()
    style.write_text("<qgis/>")
    with pytest.raises(OutputExistsError, match=r"mosaic\.qml exists already"):
        run(model, index)
    assert style.read_text() == "<qgis/>"


def test_names_are_fit_for_files_and_all_different(model, scenes):
    results = run(model, geopackage(scenes, name=["../west/é 1", ".east"]))
    assert sorted(tiles(results)) == ["_west_é_1.tif", "east.tif"]
    assert not (results.tiles.parent / "west").exists()
    with pytest.raises(DataError, match="would be called 'a_b'"):
        run(model, geopackage(scenes, name=["a b", "a/b"]), out="other")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"crs": "EPSG:32633"}, GridsDifferError, "EPSG:32632 and EPSG:32633"),
        ({"crs": None}, CRSMissingError, "east"),
        ({"size": 20.0}, GridsDifferError, "30 x 30"),
        ({"transform": Affine(30, 3, 600_900, 3, -30, 5_399_700)}, GridsDifferError, "rotated"),
    ],
)
def test_scenes_that_fit_into_no_raster_are_refused(model, scenes, change, error, words):
    make_scene(scenes, "east", 1, **change)
    index = geopackage(scenes)
    with pytest.raises(error, match=words):
        run(model, index)
    assert not list((index.parent / "out" / "tiles").iterdir())


def test_a_grid_off_by_a_part_of_a_pixel_is_shown_at_the_nearest(model, scenes):
    x, y = CORNERS["east"]
    make_scene(scenes, "east", 1, corner=(x + 9, y - 12))
    results = run(model, geopackage(scenes))
    with rasterio.open(results.vrt) as whole:
        np.testing.assert_array_equal(whole.read(1), pasted(results, whole.width, whole.height))


def mapped(events):
    return sum(e.phase == "mapping" and e.done == e.total for e in events if e.name == "progress")


def test_what_is_there_is_not_made_again(model, scenes):
    index = geopackage(scenes)
    before = tiles(run(model, index))
    events = []
    assert run(model, index, events.append).made == mapped(events) == 0
    (index.parent / "out" / "tiles" / "east.tif").unlink()
    results = run(model, index, events.append)
    assert results.made == mapped(events) == 1
    assert tiles(results) == before


def test_a_stopped_mosaic_goes_on(model, scenes):
    class Stopped(BaseException):
        pass

    def stop(event):
        if isinstance(event, Progress) and event.phase == "scenes":
            raise Stopped

    index = geopackage(scenes)
    with pytest.raises(Stopped):
        run(model, index, stop)
    events = []
    results = run(model, index, events.append)
    assert mapped(events) == results.made == 1
    assert tiles(results) == tiles(run(model, index, out="again"))


def test_a_scene_that_changed_is_noticed_and_made_again_if_wanted(model, scenes):
    index = geopackage(scenes)
    run(model, index)
    os.utime(scenes / "east_dem.tif", ns=(1, 1))
    with pytest.raises(JournalError, match=r"east.tif was made with another raster east_dem"):
        run(model, index)
    events = []
    assert run(model, index, events.append, overwrite=True).made == mapped(events) == 1
    assert run(model, index).made == 0


def test_what_is_not_ours_is_left_alone(model, scenes):
    index = geopackage(scenes)
    folder = index.parent / "out"
    (folder / "tiles").mkdir(parents=True)
    for path in (folder / "mosaic.vrt", folder / "tiles" / "east.tif"):
        path.write_text("mine")
        with pytest.raises(OutputExistsError):
            run(model, index)
        assert path.read_text() == "mine"
        path.unlink()


def test_a_scene_without_a_valid_pixel_is_left_out(model, scenes):
    nothing = np.full((2, *SHAPE), np.nan, np.float32)
    x, y = CORNERS["west"]
    write_raster(scenes / "west_optical.tif", nothing, transform=Affine(30, 0, x, 0, -30, y))
    events = []
    results = run(model, geopackage(scenes), events.append)
    assert [e.code for e in events if isinstance(e, Warned)] == ["scene-empty"]
    assert (results.scenes, results.made) == (2, 1)
    assert list(tiles(results)) == ["east.tif"]
    with rasterio.open(results.vrt) as whole:
        assert whole.shape == SHAPE
    events.clear()
    assert run(model, geopackage(scenes), events.append).made == 0
    assert not [e for e in events if isinstance(e, Warned)]  # it was not looked at again
    some = np.zeros_like(nothing)
    write_raster(scenes / "west_optical.tif", some, transform=Affine(30, 0, x, 0, -30, y))
    assert run(model, geopackage(scenes)).made == 1


def test_a_tile_is_never_one_of_the_scenes(scenes, model):
    index = geopackage(scenes)
    made = run(model, index)
    tile = made.tiles / "west.tif"
    before = tile.read_bytes()
    own = geopackage(scenes, optical=[str(tile), "data/east_optical.tif"])
    with pytest.raises(UsageError, match="is an input"):
        run(model, own, overwrite=True)
    assert tile.read_bytes() == before


def test_a_scene_that_does_not_fit_is_found_before_the_first_is_mapped(scenes, model, tmp_path):
    write_raster(
        scenes / "east_optical.tif", np.zeros((3, *SHAPE), np.float32),
        transform=Affine(30, 0, CORNERS["east"][0], 0, -30, CORNERS["east"][1]),
    )  # fmt: skip
    with pytest.raises(BandMismatchError, match="Scene east: "):
        run(model, geopackage(scenes))
    assert not list((tmp_path / "out" / "tiles").glob("*.tif"))


def test_an_index_that_can_not_be_used_has_remedies_of_its_own(scenes, model):
    index = geopackage(scenes)
    frame = gpd.read_file(index)
    frame.to_file(index, layer="another")
    with pytest.raises(VectorUnreadableError, match="several layers") as caught:
        run(model, index)
    assert "--layer" not in caught.value.hint
    index.unlink()
    other = geopackage(scenes, optical=[1.5, 2.5])
    with pytest.raises(UnknownFieldError, match="fractions") as caught:
        run(model, other)
    assert "MODALITY=FIELD" in caught.value.hint
