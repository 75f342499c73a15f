"""Labels land on the right pixels, whatever file, CRS or geometry they come in."""

import json
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from m3amba_geo.config import LabelConfig
from m3amba_geo.errors import (
    ClassMismatchError,
    CRSMissingError,
    FileMissingError,
    M3ambaError,
    NoLabelsError,
    NoOverlapError,
    UnknownFieldError,
    VectorUnreadableError,
)
from m3amba_geo.events import Event, Note, Warned
from m3amba_geo.geo import codes as codes_module
from m3amba_geo.geo import vector
from m3amba_geo.geo.labels import Labels, read_labels, read_legend

GRIDS = {
    "EPSG:32119": GeoBox((60, 80), Affine(28.5, 0, 630000, 0, -28.5, 228000), "EPSG:32119"),
    "EPSG:32622": GeoBox((60, 80), Affine(30, 0, 620000, 0, -30, -410000), "EPSG:32622"),
    "EPSG:4326": GeoBox((60, 80), Affine(3e-4, 0, 11.5, 0, -3e-4, 48.1), "EPSG:4326"),
    "rotated": GeoBox(
        (60, 80), Affine(23.9, 15.5, 630000, 15.5, -23.9, 228000),
        "EPSG:32119",
    ),
    "southern": GeoBox((60, 80), Affine(30, 0, 620000, 0, 30, 9_000_000), "EPSG:32722"),
}  # fmt: skip
GRID = GRIDS["EPSG:32119"]
NO_CRS = GeoBox((60, 80), Affine.identity(), None)


def write(path: Path, shapes: list, crs: str | None = "EPSG:32119", **columns: object) -> Path:
    frame = geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a missing CRS is what some tests are about
        frame.to_file(path, engine="pyogrio")
    return path


def at(grid: GeoBox, column, row):
    a, b, c, d, e, f = grid.affine[:6]
    return a * column + b * row + c, d * column + e * row + f


def box(left: float, top: float, right: float, bottom: float, grid: GeoBox = GRID):
    """A rectangle in pixels of a grid, in the grid's coordinates."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return shapely.Polygon([at(grid, *corner) for corner in corners])


def read(path: Path, grid: GeoBox = GRID, **options: object) -> tuple[Labels, list[Event]]:
    config = LabelConfig(path=path, **options)
    events: list[Event] = []
    return read_labels(config, grid, read_legend([config]), events.append), events


def dense(labels: Labels) -> np.ndarray:
    assert (np.diff(labels.pixels) > 0).all()
    assert labels.codes.all()
    assert labels.groups.all()
    return labels.spread(labels.codes)


def dense_groups(labels: Labels) -> np.ndarray:
    return labels.spread(labels.groups)


def codes_of(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Warned)]


def fails(error: type[M3ambaError], call: Callable[[], object]) -> M3ambaError:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert caught.value.hint
    return caught.value


# ---- the right pixels


@pytest.mark.parametrize("labels_in", ["EPSG:4326", "EPSG:3857", "same"])
@pytest.mark.parametrize("name", GRIDS)
def test_pixels_match_an_independent_rasterisation(
    tmp_path: Path, name: str, labels_in: str
) -> None:
    grid = GRIDS[name]
    theirs = str(grid.crs) if labels_in == "same" else labels_in
    move = pyproj.Transformer.from_crs(str(grid.crs), theirs, always_xy=True).transform
    rng = np.random.default_rng(7)
    shapes = []
    for center in [(12, 14), (40, 12), (66, 20), (18, 44), (44, 42), (70, 48)]:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(4, 10, 9)
        ring = [
            move(*at(grid, center[0] + r * np.cos(a), center[1] + r * np.sin(a)))
            for a, r in zip(angles, radii, strict=True)
        ]
        shapes.append(shapely.make_valid(shapely.Polygon(ring)))
    values = [3, 3, 5, 5, 9, 9]
    path = write(tmp_path / "a.gpkg", shapes, theirs, kind=values)

    labels, _ = read(path, grid)

    columns, rows = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    centers = shapely.points(*move(*at(grid, columns, rows)))
    expected = np.zeros(grid.shape, int)
    pixel = shapely.distance(centers[0, 0], centers[0, 1])
    unclear = np.zeros(grid.shape, bool)
    for shape, value in zip(shapes, values, strict=True):
        expected[shapely.contains(shape, centers)] = value
        unclear |= shapely.distance(shape.boundary, centers) < 0.01 * pixel
    assert unclear.sum() < 10
    assert (expected > 0).sum() > 400
    np.testing.assert_array_equal(dense(labels)[~unclear], expected[~unclear])
    assert labels.codes.dtype == np.uint16
    assert labels.groups.dtype == np.uint32
    np.testing.assert_array_equal(dense_groups(labels) > 0, dense(labels) > 0)
    assert labels.kind == "polygons"


def test_labels_drawn_in_qgis_over_a_raster_without_a_place(tmp_path: Path) -> None:
    """QGIS lets y fall below 0 there; what spills over the edge is no other place."""
    shapes = [box(2, -3, 5, 6, NO_CRS), box(10, 10, 12, 12, NO_CRS)]
    turned = [shapely.transform(shape, lambda points: points * [1, -1]) for shape in shapes]
    told, events = read(write(tmp_path / "qgis.gpkg", turned, None, kind=["a", "b"]), NO_CRS)
    wanted, _ = read(write(tmp_path / "rows.gpkg", shapes, None, kind=["a", "b"]), NO_CRS)
    assert np.array_equal(dense(told), dense(wanted))
    assert (dense(wanted) > 0).sum() == 3 * 6 + 2 * 2
    assert any("as QGIS does" in event.message for event in events if isinstance(event, Note))


def geojson(path: Path, features: list[tuple[dict[str, object], shapely.Geometry]]) -> Path:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32119"}}
    found = [
        {"type": "Feature", "properties": fields, "geometry": shapely.geometry.mapping(shape)}
        for fields, shape in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": found}))
    return path


def test_true_and_false_are_spelled_alike_with_and_without_gaps(tmp_path: Path) -> None:
    """Where a value is missing they are read as numbers; here it is, far from the grid."""
    shapes = [box(2, 3, 5, 6), box(10, 10, 12, 12), box(1000, 1000, 1001, 1001)]
    values = [{"wet": value} for value in (True, False, None)]
    path = geojson(tmp_path / "a.geojson", [*zip(values, shapes, strict=True)])
    labels, _ = read(path, field="wet")
    assert [entry.original for entry in labels.legend] == ["false", "true"]
    assert labels.codes.size == 9 + 4


def test_a_field_of_lists_is_no_class_field(tmp_path: Path) -> None:
    shapes = {"a": box(2, 3, 5, 6), "b": box(10, 10, 12, 12)}
    features = [({"kind": name, "tags": ["x", name]}, shape) for name, shape in shapes.items()]
    labels, _ = read(geojson(tmp_path / "a.geojson", features))
    assert [entry.name for entry in labels.legend] == ["a", "b"]


def test_no_crs_takes_the_pixel_space(tmp_path: Path) -> None:
    shapes = [box(2, 3, 5, 6, NO_CRS), box(10, 10, 12, 12, NO_CRS)]
    path = write(tmp_path / "a.shp", shapes, None, kind=[1, 2])
    labels, _ = read(path, NO_CRS)
    expected = np.zeros((60, 80), int)
    expected[3:6, 2:5], expected[10:12, 10:12] = 1, 2
    np.testing.assert_array_equal(dense(labels), expected)


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1"])
def test_a_shapefile_that_has_lost_its_encoding(tmp_path: Path, encoding: str) -> None:
    names = ["forêt", "Straße"]
    frame = geopandas.GeoDataFrame(
        {"größe": names}, geometry=[box(2, 3, 5, 6), box(10, 10, 12, 12)], crs=GRID.crs
    )
    frame.to_file(tmp_path / "a.shp", engine="pyogrio", encoding=encoding)
    (tmp_path / "a.cpg").unlink()
    labels, _ = read(tmp_path / "a.shp")
    assert sorted(entry.name for entry in labels.legend) == sorted(names)


@pytest.mark.parametrize("file", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.gml"])
def test_any_format(tmp_path: Path, file: str) -> None:
    path = write(
        tmp_path / file,
        geopandas.GeoSeries([box(2, 3, 5, 6), box(10, 10, 12, 12)], crs=GRID.crs).to_crs(4326),
        "EPSG:4326",
        kind=["b", "a"],
    )
    labels, events = read(path)
    assert dense(labels)[4, 3] == 2
    assert dense(labels)[10, 10] == 1
    assert (dense(labels) > 0).sum() == 13
    assert codes_of(events) == []


def test_points_and_lines(tmp_path: Path) -> None:
    points = [shapely.Point(*at(GRID, 7.2, 8.9), 120.0), shapely.Point(*at(GRID, 9.9, 0.1), 3.0)]
    labels, _ = read(write(tmp_path / "points.gpkg", points, kind=["a", "b"]))
    assert labels.kind == "points"
    assert np.argwhere(dense(labels)).tolist() == [[0, 9], [8, 7]]

    line = shapely.MultiLineString([[at(GRID, 1.5, 1.5), at(GRID, 5.5, 5.6)]])
    far = shapely.LineString([at(GRID, 20.5, 3.5), at(GRID, 24.5, 3.5)])
    labels, _ = read(write(tmp_path / "lines.gpkg", [line, far], kind=["a", "b"]))
    assert labels.kind == "lines"
    assert np.argwhere(dense(labels) == 2).tolist() == [[3, c] for c in range(20, 25)]
    passed = [[r, c] for r in range(60) for c in range(80) if line.crosses(box(c, r, c + 1, r + 1))]
    assert np.argwhere(dense(labels) == 1).tolist() == passed


def test_mixed_kinds_are_told(tmp_path: Path) -> None:
    shapes = [
        box(0, 0, 3, 3),
        box(4, 4, 6, 6),
        shapely.Point(*at(GRID, 1.5, 1.5)),
        shapely.LineString([at(GRID, 10.5, 10.5), at(GRID, 12.5, 10.5)]),
        shapely.GeometryCollection(
            [shapely.MultiPoint([at(GRID, 30.5, 30.5)]), box(20, 20, 22, 22)]
        ),
    ]
    labels, events = read(write(tmp_path / "a.geojson", shapes, kind=[1, 2, 3, 2, 2]))
    assert labels.kind == "polygons"
    assert any(
        "mixes 1 points, 1 lines, 3 polygons" in e.message for e in events if isinstance(e, Note)
    )
    assert dense(labels)[1, 1] == 0  # polygon of 1, point of 3
    assert "labels-overlap" in codes_of(events)
    assert dense(labels)[10, 10:13].tolist() == [2, 2, 2]
    assert dense(labels)[30, 30] == dense(labels)[21, 21] == 2
    assert dense_groups(labels)[30, 30] == dense_groups(labels)[21, 21]


def test_all_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [box(2.6, 3.6, 5.4, 6.4), box(20, 20, 22, 22)], kind=[1, 2])
    assert (dense(read(path)[0]) == 1).sum() == 4
    assert (dense(read(path, all_touched=True)[0]) == 1).sum() == 16


def test_overlaps_of_classes_stay_unlabelled(tmp_path: Path) -> None:
    shapes = [box(0, 0, 4, 4), box(2, 0, 6, 4), box(2, 0, 6, 4), box(0, 0, 4, 4), box(1, 6, 3, 8)]
    labels, events = read(write(tmp_path / "a.gpkg", shapes, kind=[7, 8, 9, 7, 7]))
    assert (dense(labels)[:4, :2] == 7).all()
    assert not dense(labels)[:4, 2:6].any()
    assert not dense_groups(labels)[:4, 2:6].any()
    [warning] = [e for e in events if isinstance(e, Warned) and e.code == "labels-overlap"]
    assert warning.message.startswith("16 pixels")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([at(GRID, *c) for c in ((30, 30), (40, 40), (40, 30), (30, 40))])
    shapes = [
        box(0, 0, 4, 4), box(10, 10, 14, 14), box(500, 0, 510, 5), box(20.6, 20.6, 20.9, 20.9),
        box(5, 5, 8, 8), bow_tie, shapely.Polygon(), None,
    ]  # fmt: skip
    path = write(tmp_path / "a.gpkg", shapes, kind=["x", "y", "x", "y", None, "x", "y", "y"])
    labels, events = read(path)
    assert codes_of(events) == [
        "labels-outside", "labels-invalid", "labels-no-class", "labels-too-small",
    ]  # fmt: skip
    messages = [e.message for e in events if isinstance(e, Warned)]
    assert messages[0].startswith("3 of 8 features")
    assert "--all-touched" in messages[3]
    assert 40 <= (dense(labels)[30:40, 30:40] == 1).sum() <= 60
    assert not dense(labels)[5:8, 5:8].any()


def test_many_features_take_seconds(tmp_path: Path) -> None:
    grid = GeoBox((1000, 1000), Affine(10, 0, 0, 0, -10, 0), "EPSG:32119")
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 9950, 20_000), rng.uniform(-9950, 0, 20_000)
    shapes = shapely.box(x, y, x + 40, y + 40)
    path = write(tmp_path / "a.fgb", shapes, kind=rng.integers(1, 9, 20_000))
    labels, _ = read(path, grid)
    assert labels.groups.max() > 19_000


# ---- classes, names, colours


def test_integers_are_codes_and_keep_names_and_colours(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.gpkg", [box(0, 0, 2, 2), box(4, 4, 6, 6), box(8, 8, 9, 9)],
        code=[41, 11, 41], title=["woods", "lake", None], paint=["45,106,79", "#00F", None],
    )  # fmt: skip
    legend = read_legend(
        [LabelConfig(path=path, field="code", name_field="title", color_field="paint")]
    )
    assert [(c.code, c.name, c.color, c.original) for c in legend] == [
        (11, "lake", "#0000ff", "11"), (41, "woods", "#2d6a4f", "41"),
    ]  # fmt: skip


def test_other_values_are_numbered(tmp_path: Path) -> None:
    shapes = [box(0, 0, 2, 2), box(4, 4, 6, 6), box(8, 8, 9, 9)]
    path = write(tmp_path / "a.gpkg", shapes, kind=[0, -1, 10])
    config = LabelConfig(path=path, field="kind")
    assert [(c.code, c.original) for c in read_legend([config])] == [(1, "-1"), (2, "0"), (3, "10")]
    assert dense(read(path)[0])[0, 0] == 2

    text = write(tmp_path / "b.gpkg", shapes, kind=["water", " forest", "10"])
    both = read_legend([config, LabelConfig(path=text, field="kind")])
    assert [c.original for c in both] == ["-1", "0", "10", "forest", "water"]
    floats = write(tmp_path / "c.gpkg", shapes, kind=[3.0, np.nan, 70000.0])
    assert [c.original for c in read_legend([LabelConfig(path=floats, field="kind")])] == [
        "3", "70000",
    ]  # fmt: skip
    flags = write(tmp_path / "d.gpkg", shapes, kind=[True, False, True])
    assert [c.name for c in read_legend([LabelConfig(path=flags)])] == ["false", "true"]


def test_field_is_found_where_one_fits(tmp_path: Path) -> None:
    shapes = [box(3 * i, 0, 3 * i + 2, 2) for i in range(6)]
    extra = {
        "id": range(6),
        "Shape_Area": [1, 1, 2, 2, 2, 2],
        "height": [1.5] * 6,
        "who": ["me"] * 6,
    }
    path = write(tmp_path / "a.gpkg", shapes, kind=list("aabbcc"), **extra)
    _, events = read(path)
    assert any("field 'kind'" in e.message for e in events if isinstance(e, Note))

    ids_only = write(tmp_path / "b.gpkg", shapes, id=[1, 1, 2, 2, 3, 3])
    assert len(read_legend([LabelConfig(path=ids_only)])) == 3
    one_each = write(tmp_path / "c.gpkg", shapes, id=range(6), kind=list("abcdef"))
    assert len(read_legend([LabelConfig(path=one_each)])) == 6
    single = write(tmp_path / "d.gpkg", shapes, kind=["a"] * 6)
    assert len(read_legend([LabelConfig(path=single)])) == 1
    named = write(tmp_path / "e.gpkg", shapes, code=[1, 1, 2, 2, 3, 3], title=list("aabbcc"))
    assert len(read_legend([LabelConfig(path=named, name_field="title")])) == 3


def test_field_that_cannot_be_told(tmp_path: Path) -> None:
    shapes = [box(3 * i, 0, 3 * i + 2, 2) for i in range(4)]
    path = write(tmp_path / "a.gpkg", shapes, kind=list("aabb"), soil=[1, 2, 2, 3], x=[0.5] * 4)
    error = fails(UnknownFieldError, lambda: read(path))
    assert error.code == "field-unknown"
    assert "kind (a, b)" in str(error)
    assert "soil (1, 2, 3)" in str(error)
    assert "--field" in error.hint
    error = fails(UnknownFieldError, lambda: read(path, field="Kind"))
    assert "'kind', 'soil', 'x'" in str(error)
    assert "0.5" in str(fails(UnknownFieldError, lambda: read(path, field="x")))
    none = write(tmp_path / "b.gpkg", shapes, x=[0.5] * 4)
    assert "'x'" in str(fails(UnknownFieldError, lambda: read(none)))
    colors = fails(UnknownFieldError, lambda: read(path, field="kind", color_field="soil"))
    assert "'soil'" in str(colors)


def test_labels_of_another_legend(tmp_path: Path) -> None:
    shapes = [box(0, 0, 2, 2), box(4, 4, 6, 6), box(8, 8, 9, 9)]
    legend = read_legend(
        [LabelConfig(path=write(tmp_path / "a.gpkg", shapes, kind=["x", "y", "z"]))]
    )
    other = write(tmp_path / "b.gpkg", shapes, kind=["z", "w", "z"])
    events: list[Event] = []
    labels = read_labels(LabelConfig(path=other), GRID, legend, events.append)
    assert dense(labels)[0, 0] == 3
    assert dense(labels)[4, 4] == 0
    assert codes_of(events) == ["labels-unknown-class"]
    none = LabelConfig(path=write(tmp_path / "c.gpkg", shapes, kind=["u", "v", "v"]))
    error = fails(ClassMismatchError, lambda: read_labels(none, GRID, legend, events.append))
    assert error.code == "classes-mismatch"
    assert "'u', 'v'" in str(error)
    assert "x, y, z" in str(error)


def test_names_outweigh_numbers_of_other_files(tmp_path: Path) -> None:
    shapes = [box(0, 0, 2, 2), box(4, 4, 6, 6)]
    ours = write(tmp_path / "a.gpkg", shapes, code=[1, 2], title=["water", "forest"])
    legend = read_legend([LabelConfig(path=ours, field="code", name_field="title")])
    theirs = write(tmp_path / "b.gpkg", shapes, code=[1, 2], title=["forest", "water"])
    config = LabelConfig(path=theirs, field="code", name_field="title")
    assert dense(read_labels(config, GRID, legend, print))[0, 0] == 2


# ---- files that can't be used


def test_unreadable_files(tmp_path: Path) -> None:
    error = fails(FileMissingError, lambda: read(tmp_path / "none.gpkg"))
    assert error.code == "file-missing"
    (tmp_path / "text.gpkg").write_text("no package")
    error = fails(VectorUnreadableError, lambda: read(tmp_path / "text.gpkg"))
    assert error.code == "vector-unreadable"
    (tmp_path / "empty.geojson").touch()
    fails(VectorUnreadableError, lambda: read(tmp_path / "empty.geojson"))
    path = write(tmp_path / "a.shp", [box(0, 0, 2, 2)], kind=["x"])
    (tmp_path / "a.dbf").unlink()
    assert ".dbf" in str(fails(VectorUnreadableError, lambda: read(path)))
    table = tmp_path / "table.csv"
    table.write_text("kind,x\na,1\n")
    assert "no geometries" in str(fails(VectorUnreadableError, lambda: read(table)))


def test_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fgb", [box(i, 0, i + 1, 2) for i in range(60)], kind=[1, 2] * 30)
    path.write_bytes(path.read_bytes()[:6000])
    error = fails(VectorUnreadableError, lambda: read(path))
    assert "a.fgb" in str(error)


def test_no_features_and_no_values(tmp_path: Path) -> None:
    empty = write(tmp_path / "a.gpkg", [], kind=np.array([], dtype=object))
    assert fails(NoLabelsError, lambda: read(empty, field="kind")).code == "no-labels"
    legend = read_legend(
        [LabelConfig(path=write(tmp_path / "b.gpkg", [box(0, 0, 1, 1)], kind=["x"]))]
    )
    config = LabelConfig(path=empty, field="kind")
    error = fails(NoLabelsError, lambda: read_labels(config, GRID, legend, print))
    assert "no features" in str(error)
    null = LabelConfig(
        path=write(tmp_path / "c.gpkg", [box(0, 0, 1, 1)], kind=[None]), field="kind"
    )
    fails(NoLabelsError, lambda: read_legend([null]))
    error = fails(NoLabelsError, lambda: read_labels(null, GRID, legend, print))
    assert "no pixel" in str(error)
    tiny = write(tmp_path / "d.gpkg", [box(0.6, 0.6, 0.9, 0.9)], kind=["x"])
    assert "--all-touched" in fails(NoLabelsError, lambda: read(tiny)).hint


def test_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for layer, left in (("north", 0), ("south", 10)):
        frame = geopandas.GeoDataFrame(
            {"kind": ["a", "b"]},
            geometry=[box(left, 0, left + 2, 2), box(left + 4, 4, left + 6, 6)],
            crs=GRID.crs,
        )
        frame.to_file(path, layer=layer)
    error = fails(VectorUnreadableError, lambda: read(path))
    assert "several layers" in str(error)
    assert "'north', 'south'" in str(error)
    assert "'west'" in str(fails(VectorUnreadableError, lambda: read(path, layer="west")))
    assert dense(read(path, layer="south")[0])[0, 10] == 1


def test_missing_crs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.shp", [box(0, 0, 2, 2)], None, kind=["x"])
    error = fails(CRSMissingError, lambda: read(path))
    assert error.code == "crs-missing"
    assert "EPSG:32119" in str(error)
    assert ".prj" in error.hint
    other = write(tmp_path / "b.gpkg", [box(0, 0, 2, 2)], kind=["x"])
    assert "EPSG:32119" in str(fails(CRSMissingError, lambda: read(other, NO_CRS)))


def test_no_overlap(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [box(500, 0, 502, 2)], kind=["x"])
    error = fails(NoOverlapError, lambda: read(path))
    assert error.code == "no-overlap"
    assert "x 644250 to 644307" in str(error)
    assert "x 630000 to 632280" in str(error)
    # inside the box around a rotated raster, outside the raster
    rotated = GRIDS["rotated"]
    left, bottom = rotated.boundingbox[:2]
    corner = shapely.box(left, bottom, left + 100, bottom + 100)
    fails(NoOverlapError, lambda: read(write(tmp_path / "b.gpkg", [corner], kind=["x"]), rotated))
    # a place that the raster's CRS can't express
    pole = shapely.Point(-101, -90)
    globe = write(tmp_path / "c.gpkg", [pole], "EPSG:4326", kind=["x"])
    fails(NoOverlapError, lambda: read(globe))


# ---- label rasters


def write_codes(
    path: Path, codes: np.ndarray, grid: GeoBox = GRID, nodata: float | None = None
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=codes.shape[0], width=codes.shape[1], count=1,
        dtype=codes.dtype, crs=grid.crs and str(grid.crs), transform=grid.affine, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return path


def test_label_raster_on_the_grid(tmp_path: Path) -> None:
    codes = np.zeros((60, 80), np.uint8)
    codes[2:5, 2:5], codes[5:8, 5:8], codes[20:30, 20:30], codes[0, 0] = 4, 4, 9, 9
    labels, events = read(write_codes(tmp_path / "a.tif", codes))
    np.testing.assert_array_equal(dense(labels), codes)
    assert labels.kind == "raster"
    assert dense_groups(labels)[2, 2] == dense_groups(labels)[7, 7] > 0  # corners touch
    assert len(np.unique(dense_groups(labels))) == 4
    assert codes_of(events) == []
    legend = read_legend([LabelConfig(path=tmp_path / "a.tif")])
    assert [c.code for c in legend] == [4, 9]


def test_class_0_is_a_class_where_nodata_is_another(tmp_path: Path) -> None:
    codes = np.full((60, 80), 255, np.uint8)
    codes[:10], codes[20:30] = 0, 7
    labels, _ = read(write_codes(tmp_path / "a.tif", codes, nodata=255))
    assert [(c.code, c.original) for c in labels.legend] == [(1, "0"), (2, "7")]
    assert (dense(labels)[:10] == 1).all()
    assert not dense(labels)[10:20].any()


def test_label_raster_of_another_grid(tmp_path: Path) -> None:
    fine = GeoBox((120, 160), Affine(14.25, 0, 630000, 0, -14.25, 228000), GRID.crs)
    codes = np.ones((120, 160), np.uint8)
    codes[40:80, 60:100] = 2
    labels, events = read(write_codes(tmp_path / "a.tif", codes, fine))
    assert (dense(labels)[20:40, 30:50] == 2).all()
    assert (dense(labels) == 2).sum() == 400
    assert any("nearest" in e.message for e in events if isinstance(e, Note))

    far = GeoBox((60, 80), Affine(28.5, 0, 730000, 0, -28.5, 228000), GRID.crs)
    path = write_codes(tmp_path / "b.tif", codes[:60, :80], far)
    assert fails(NoOverlapError, lambda: read(path)).code == "no-overlap"
    bare = GeoBox((60, 80), Affine(2, 0, 0, 0, -2, 0), None)
    path = write_codes(tmp_path / "c.tif", codes[:60, :80], bare)
    fails(CRSMissingError, lambda: read(path))


def test_label_raster_with_unknown_classes(tmp_path: Path) -> None:
    codes = np.ones((60, 80), np.uint8)
    codes[0, :7] = 200
    legend = read_legend([LabelConfig(path=write_codes(tmp_path / "a.tif", np.minimum(codes, 2)))])
    events: list[Event] = []
    config = LabelConfig(path=write_codes(tmp_path / "b.tif", codes))
    read_labels(config, GRID, legend, events.append)
    [warning] = [e for e in events if isinstance(e, Warned)]
    assert warning.code == "labels-unknown-class"
    assert warning.message.startswith("7 pixels")
    blank = LabelConfig(path=write_codes(tmp_path / "c.tif", codes * 0))
    fails(NoLabelsError, lambda: read_labels(blank, GRID, legend, events.append))


# ---- in parts


def same_labels(one: Labels, other: Labels) -> bool:
    names = ("pixels", "codes", "groups")
    return one.kind == other.kind and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
@pytest.mark.parametrize("batch", [1, 7, 60])
def test_batches_say_what_the_whole_file_says(tmp_path: Path, monkeypatch, suffix, batch) -> None:
    rng = np.random.default_rng(0)
    places = [at(GRID, *rng.uniform((-5, -5), (85, 65))) for _ in range(60)]
    shapes = [
        shapely.Point(place).buffer(rng.uniform(5, 200)) if n % 3 else shapely.Point(place)
        for n, place in enumerate(places)
    ]
    kinds = rng.choice(np.array(["oak", "beech", "elm", None], object), 60)
    called = np.where(rng.random(60) < 0.5, "a " + kinds.astype(str), None)
    path = write(tmp_path / f"a{suffix}", shapes, kind=kinds, called=called)
    options = {"field": "kind", "name_field": "called"}
    whole, said = read(path, **options)
    assert len(np.unique(whole.groups)) > 20
    monkeypatch.setattr(vector, "_BATCH", batch)
    parts, said_of_parts = read(path, **options)
    assert same_labels(whole, parts)
    assert said == said_of_parts
    assert whole.legend == parts.legend


def test_of_points_only_their_pixels_outlive_a_batch(tmp_path: Path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    places = np.stack(at(GRID, *rng.uniform((0, 0), (80, 60), (40_000, 2)).T), axis=1)
    kinds = rng.integers(1, 9, 40_000)
    path = write(tmp_path / "a.gpkg", shapely.points(places), kind=kinds)

    def peak(batch: int) -> int:
        monkeypatch.setattr(vector, "_BATCH", batch)
        tracemalloc.start()
        read(path, field="kind")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(2_000) < 0.6 * peak(1 << 18)


def test_a_field_is_chosen_by_the_whole_file(tmp_path: Path, monkeypatch) -> None:
    """Of parts, each column would look as if it could, or could not."""
    shapes = [box(n, n, n + 2, n + 2) for n in range(40)]
    columns = {"kind": [1 + n // 20 for n in range(40)], "number": [*range(100, 140)]}
    path = write(tmp_path / "a.gpkg", shapes, **columns, part=[*range(39), None])
    monkeypatch.setattr(vector, "_BATCH", 5)
    _, events = read(path)
    assert any("'kind'" in event.message for event in events if isinstance(event, Note))


@pytest.mark.parametrize("turn", [None, 0, 17])
@pytest.mark.parametrize("block", [100, 700])
def test_blocks_say_what_the_whole_raster_says(tmp_path: Path, monkeypatch, turn, block) -> None:
    """The raster has tiles of 16 pixels, and lies on the grid, beside it, or across it."""
    rng = np.random.default_rng(0)
    codes = np.kron(rng.integers(0, 4, (20, 24)), np.ones((3, 4))).astype(np.uint8)
    grid = GRID
    affine = grid.affine @ Affine.translation(1.3, 0.6) @ Affine.rotation(turn or 0)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=60, width=96, count=1, dtype="uint8",
        crs=str(grid.crs), transform=grid.affine if turn is None else affine, tiled=True,
        blockxsize=16, blockysize=16,
    ) as file:  # fmt: skip
        file.write(codes, 1)
    grid = GeoBox((60, 96), grid.affine, grid.crs)
    whole, said = read(tmp_path / "a.tif", grid)
    assert len(np.unique(whole.groups)) > 20
    monkeypatch.setattr(codes_module, "_BLOCK", block)
    parts, said_of_parts = read(tmp_path / "a.tif", grid)
    assert same_labels(whole, parts)
    assert said == said_of_parts


def test_points_on_the_far_edges_are_counted_as_outside(tmp_path):
    height, width = GRID.shape
    points = [shapely.Point(*at(GRID, *p)) for p in ((5, 5), (width, 5), (5, height), (9, 9))]
    path = write(tmp_path / "a.gpkg", points, label=["a", "b", "b", "b"])
    labels, events = read(path)
    assert labels.pixels.tolist() == [5 * width + 5, 9 * width + 9]
    (told,) = (e.message for e in events if isinstance(e, Warned))
    assert told.startswith("2 of 4 features")
    edge = write(tmp_path / "b.gpkg", points[1:3], label=["a", "b"])
    fails(NoOverlapError, lambda: read(edge))


@pytest.mark.parametrize(
    "values", [[1, 1, 2, None], [1.0, 1.0, 2.0, 2.0], [True, True, False, None]]
)
def test_whole_numbers_with_gaps_are_candidates_for_the_class(tmp_path, values):
    shapes = [box(n, 0, n + 3, 3) for n in range(0, 16, 4)]
    path = write(tmp_path / "a.gpkg", shapes, code=values)
    labels, _ = read(path)
    assert len(labels.legend) == 2
    both = write(tmp_path / "b.gpkg", shapes, code=values, photo=["p", "q", "q", "r"])
    assert "photo" in str(fails(UnknownFieldError, lambda: read(both)))


def test_a_crs_from_which_no_way_leads_is_named(tmp_path):
    site = GeoBox((60, 80), GRID.affine, 'LOCAL_CS["site grid",UNIT["metre",1]]')
    path = write(tmp_path / "a.gpkg", [box(0, 0, 9, 9), box(10, 0, 19, 9)], label=["a", "b"])
    assert "site grid" in str(fails(CRSMissingError, lambda: read(path, site)))


def test_a_site_grid_of_labels_is_that_of_the_raster(tmp_path):
    wkt = 'LOCAL_CS["site grid",UNIT["metre",1]]'
    site = GeoBox((60, 80), GRID.affine, wkt)
    shapes = [box(0, 0, 9, 9), box(10, 0, 19, 9)]
    path = write(tmp_path / "a.gpkg", shapes, crs=wkt, label=["a", "b"])
    labels, _ = read(path, site)
    assert len(labels.pixels) == 2 * 81
