"""Where grids and labels lie: across 180 degrees, around the globe, as a full disk."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from shapely.geometry import MultiPoint, MultiPolygon, Point, box

from m3amba_geo.config import LabelConfig
from m3amba_geo.events import ignore
from m3amba_geo.geo.area import TrainingArea, reached
from m3amba_geo.geo.footprint import covered, crs_of, ground_areas, ground_size, meet, reproject
from m3amba_geo.geo.labels import read_labels, read_legend
from m3amba_geo.geo.raster import same_place
from m3amba_geo.geo.runs import Runs


def grid_of(crs, left, bottom, right, top, shape=(100, 100)):
    size = (right - left) / shape[1], (top - bottom) / shape[0]
    return GeoBox(shape, Affine(size[0], 0, left, 0, -size[1], top), crs)


FIJI = grid_of("EPSG:4326", 179, -17, 180, -16)
ACROSS = grid_of("EPSG:4326", 175, -21, 185, -11)
UTM_60 = grid_of("EPSG:32760", 600_000, 7_900_000, 900_000, 8_200_000)  # 178 to 180.9 degrees
GLOBE = grid_of("EPSG:4326", -180, -90, 180, 90, (180, 360))
WEB_GLOBE = grid_of("EPSG:3857", -20_037_508, -20_037_508, 20_037_508, 20_037_508)
SINUSOIDAL = grid_of("ESRI:54008", -20_015_000, -10_007_000, 20_015_000, 10_007_000)
DISK = grid_of(
    "+proj=geos +h=35785831 +lon_0=0 +datum=WGS84", -5_570_000, -5_570_000, 5_570_000, 5_570_000
)
ANTARCTICA = grid_of("EPSG:3031", -3e6, -3e6, 3e6, 3e6)


def labelled(tmp_path, geometry, crs, grid):
    frame = gpd.GeoDataFrame({"class": ["a", "b"]}, geometry=[geometry, geometry], crs=crs)
    frame.iloc[:1].to_file(tmp_path / "labels.gpkg")
    config = LabelConfig(tmp_path / "labels.gpkg", field="class")
    labels = read_labels(config, grid, read_legend([config]), ignore)
    return np.unique(labels.pixels % grid.shape[1]), labels.pixels.size


def beside_180():
    """From 179.9 to 180.1 degrees east, and 1 degree high, drawn in metres."""
    x, y = [], []
    for at in (179.9, 180.1):
        move = gpd.GeoSeries([Point(at, -17), Point(at, -16)], crs="EPSG:4326").to_crs("EPSG:32760")
        x += [*move.x]
        y += [*move.y]
    return shapely.Polygon([(x[0], y[0]), (x[1], y[1]), (x[3], y[3]), (x[2], y[2])])


def test_a_polygon_across_180_degrees_labels_what_it_covers(tmp_path):
    columns, count = labelled(tmp_path, beside_180(), "EPSG:32760", FIJI)
    assert (columns.min(), columns.max()) == (90, 99)
    assert 0 <= 1000 - count <= 10
    columns, _ = labelled(tmp_path, beside_180(), "EPSG:32760", ACROSS)
    assert (columns.min(), columns.max()) == (49, 50)


@pytest.mark.parametrize(("left", "columns"), [(-180, 360), (-20, 60), (150, 60)])
def test_a_polygon_around_a_pole_labels_all_longitudes(tmp_path, left, columns):
    grid = grid_of("EPSG:4326", left, -90, left + columns, -60, (60, columns))
    around = Point(0, 0).buffer(2e6, quad_segs=90)  # down to 71.74 degrees south
    found, count = labelled(tmp_path, around, "EPSG:3031", grid)
    assert np.array_equal(found, np.arange(columns))
    assert count == 37 * columns  # rows of half a degree, whose centres lie below


@pytest.mark.parametrize(
    "geometry",
    [
        box(-178, -20, -177, -15),
        box(182, -20, 183, -15),
        MultiPolygon([box(182, -20, 182.5, -15), box(-177.5, -20, -177, -15)]),
    ],
)
def test_longitudes_may_be_called_either_way(tmp_path, geometry):
    columns, count = labelled(tmp_path, geometry, "EPSG:4326", ACROSS)
    assert (columns.min(), columns.max(), count) == (70, 79, 10 * 50)


@pytest.mark.parametrize("left", [-180, -30, 0, 100])
def test_what_goes_around_the_globe_stays_whole(left):
    grid = grid_of("EPSG:4326", left, -10, left + 20, 10)
    world = np.array([box(-180, -80, 180, 80)])
    left_end, _, right_end, _ = reproject(world, crs_of(GLOBE), grid)[0].bounds
    assert right_end - left_end == pytest.approx(360)
    for edge in (20_037_508, 20_037_508.342789244, 20_037_508.342789248, 20_037_508.35):
        web = np.array([box(-edge, -1e7, edge, 1e7)])
        moved = reproject(web, crs_of(WEB_GLOBE), grid)[0]
        assert moved.intersection(box(left, -10, left + 20, 10)).area == pytest.approx(400, 1e-4)


@pytest.mark.parametrize(
    ("crs", "longitudes"), [("EPSG:32760", (179.5, 180.5)), ("EPSG:3857", (-120, 140))]
)
def test_points_far_apart_stay_points(crs, longitudes):
    points = gpd.GeoSeries([Point(x, -17) for x in longitudes], crs="EPSG:4326").to_crs(crs)
    grid = ACROSS if crs == "EPSG:32760" else GLOBE
    moved = reproject(np.array([MultiPoint([*points])]), crs_of(grid_of(crs, 0, 0, 1, 1)), grid)[0]
    assert [round(point.x, 6) for point in moved.geoms] == [*longitudes]


def test_training_pixels_across_180_degrees_are_known(tmp_path):
    pixels = np.arange(UTM_60.shape[0] * UTM_60.shape[1])
    area = TrainingArea(UTM_60, Runs.of(pixels), Runs.of(pixels[:0]))
    grid = grid_of("EPSG:4326", 179.5, -18, 180.5, -17)
    everywhere = np.arange(grid.shape[0] * grid.shape[1])
    assert reached([area], grid, everywhere).all()


@pytest.mark.parametrize(
    ("grid", "other", "share"),
    [
        (UTM_60, GLOBE, 1),
        (UTM_60, SINUSOIDAL, 1),
        (GLOBE, UTM_60, 0),
        (GLOBE, ANTARCTICA, 0.14),
        (DISK, GLOBE, 0.76),
        (DISK, WEB_GLOBE, 0.76),
        (FIJI, ACROSS, 1),
        (ACROSS, FIJI, 0.01),
        (FIJI, FIJI, 1),
    ],
)
def test_the_share_that_another_grid_covers(grid, other, share):
    assert covered(grid, other) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("other", [GLOBE, WEB_GLOBE, SINUSOIDAL])
def test_a_full_disk_meets_the_globe(other):
    assert meet(DISK, other)
    assert meet(other, DISK)
    assert not meet(DISK, FIJI)


def test_a_crs_that_is_spelled_otherwise_is_the_same_place():
    grid = grid_of("EPSG:2193", 1_700_000, 5_400_000, 1_703_000, 5_403_000)
    spelled = grid_of(
        "+proj=tmerc +lat_0=0 +lon_0=173 +k=0.9996 +x_0=1600000 +y_0=10000000 +ellps=GRS80 "
        "+towgs84=0,0,0,0,0,0,0 +units=m",
        1_700_000, 5_400_000, 1_703_000, 5_403_000,
    )  # fmt: skip
    assert grid.crs != spelled.crs
    assert same_place(grid, spelled)
    assert not same_place(grid, grid_of("EPSG:32760", 1_700_000, 5_400_000, 1_703_000, 5_403_000))


def test_projections_that_agree_at_the_corners_alone_are_not_the_same_place():
    degrees = grid_of("EPSG:4326", 10, 47, 11, 48, (1000, 1000))
    edges = gpd.GeoSeries([box(10, 47, 11, 48)], crs="EPSG:4326").to_crs("EPSG:3857").total_bounds
    assert not same_place(degrees, grid_of("EPSG:3857", *edges, (1000, 1000)))


def test_the_size_of_a_pixel_on_the_ground():
    assert ground_size(UTM_60) == pytest.approx((3000, 3000), rel=0.003)
    feet = grid_of("EPSG:2264", 1e6, 5e5, 1e6 + 3000, 5e5 + 3000)
    assert ground_size(feet) == pytest.approx((30 * 0.3048, 30 * 0.3048), rel=0.001)
    assert ground_size(grid_of("EPSG:4326", 10, 48, 10.1, 48.1)) == pytest.approx(
        (74.6, 111.2), rel=0.003
    )
    assert ground_size(GeoBox((5, 5), Affine.identity(), None)) is None


def test_the_areas_of_pixels_on_the_ellipsoid():
    whole = 510_065_621_724_089  # m², of WGS84
    degrees = GeoBox((720, 1440), Affine(0.25, 0, -180, 0, -0.25, 90), "EPSG:4326")
    assert ground_areas(degrees, 0, 0, 720, 1440).sum() == pytest.approx(whole, rel=1e-3)
    on_nodes = GeoBox((721, 1440), Affine(0.25, 0, 0, 0, -0.25, 90.125), "EPSG:4326")
    assert ground_areas(on_nodes, 0, 0, 721, 1440).sum() == pytest.approx(whole, rel=1e-3)
    assert ground_areas(UTM_60, 0, 0, 100, 100) == pytest.approx(9e6, rel=0.005)
    mercator = grid_of("EPSG:3857", 1e6, 6e6, 1.1e6, 6.1e6)
    x, y = mercator.pix2wld(np.array([3, 4, 4, 3]), np.array([0, 0, 1, 1]))
    longitudes, latitudes = Transformer.from_crs(3857, 4326, always_xy=True).transform(x, y)
    true, _ = Geod(ellps="WGS84").polygon_area_perimeter(longitudes, latitudes)
    assert ground_areas(mercator, 0, 3, 1, 1) == pytest.approx(abs(true), rel=1e-5)
    assert ground_areas(GeoBox((5, 5), Affine.identity(), None), 0, 0, 2, 2) is None


def test_areas_of_a_window_are_those_of_its_pixels_one_by_one():
    polar = grid_of("EPSG:3413", -3e6, -3e6, 3e6, 3e6, (240, 240))
    turned = GeoBox((90, 170), Affine.rotation(30) @ Affine.scale(0.1, 0.1), "EPSG:4326")
    for grid, window in ((polar, (0, 0, 240, 240)), (turned, (3, 5, 80, 150))):
        areas = ground_areas(grid, *window)
        top, left, height, width = window
        for row, column in ((0, 0), (height - 1, 7), (height // 2, width // 2), (17, width - 1)):
            (one,) = ground_areas(grid, top + row, left + column, 1, 1).ravel()
            assert areas[row, column] == pytest.approx(one, rel=2e-3)


def test_pixels_beside_the_earth_have_no_area():
    areas = ground_areas(DISK, 0, 0, 100, 100)
    assert areas[0, 0] == areas[50, 0] == 0
    assert areas[50, 50] == pytest.approx(111_400**2, rel=0.02)
    assert (ground_areas(DISK, 0, 0, 3, 3) == 0).all()


def test_at_the_edge_of_the_earth_every_pixel_is_measured():
    mollweide = grid_of("ESRI:54009", -18_040_096, -9_020_048, 18_040_096, 9_020_048, (360, 720))
    strip = ground_areas(mollweide, 0, 0, 60, 720)
    inside = strip[strip > 0]
    off = np.abs(inside / 50_111.4**2 - 1)
    assert np.median(off) < 5e-3  # PROJ takes the earth for a sphere here
    assert (off > 0.01).mean() < 0.01  # pixels of 50 km are no flat figures where all is sheared
