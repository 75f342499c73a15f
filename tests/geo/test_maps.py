"""Maps as they are written: place, colours, names, bytes, and disks that run full."""

import subprocess
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import rasterio
from affine import Affine
from disks import nearly_full, small_disk
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from m3amba_geo.errors import DiskFullError, OutputError
from m3amba_geo.files import together
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.geo.maps import (
    Layer,
    code_type,
    drop_stale,
    open_map,
    pieces,
    style,
    style_path,
)
from m3amba_geo.geo.raster import open_raster
from tests.conftest import CRS, TRANSFORM

LEGEND = (
    LandCover(1, "forest", "#2d6a4f", "1"),
    LandCover(3, 'wet <& "odd"> é', "#3a7ebf", "3"),
    LandCover(200, "bare", "#b8a088", "200"),
)
LARGE = (LandCover(111, "urban", "#c8553d", "111"), LandCover(65535, "sea", "#3a7ebf", "65535"))
GRID = GeoBox((300, 280), TRANSFORM, CRS)  # more than a tile either way

GRIDS = {
    "EPSG:32119": GeoBox((50, 60), Affine(28.5, 0, 630_000, 0, -28.5, 228_500), "EPSG:32119"),
    "EPSG:32622": GeoBox((50, 60), Affine(30, 0, 619_395, 0, -30, -410_415), "EPSG:32622"),
    "EPSG:4326": GeoBox((50, 60), Affine(1 / 3600, 0, -50, 0, -1 / 3600, -3.7), "EPSG:4326"),
    "rotated": GeoBox(
        (50, 60), TRANSFORM @ Affine.rotation(23) @ Affine.scale(1, 0.9), "EPSG:32632"
    ),
    "no CRS": GeoBox((50, 60), Affine(2, 0, 5, 0, -2, 100), None),
    "no place": GeoBox((50, 60), Affine.identity(), None),
}


def test_pieces_of_many_bands_are_narrower_and_cover_the_map_all_the_same():
    for pixel, widest in ((4, 2048), (200, 512), (5000, 256)):
        covered = np.zeros((300, 3000), int)
        for piece in pieces(covered.shape, pixel):
            covered[piece.slices] += 1
            assert piece.shape[1] <= widest
        assert (covered == 1).all()


def write(layer, grid, rows):
    """Writes `(H, W)` or `(bands, H, W)`."""
    places = pieces(rows.shape[-2:])
    return write_pieces(layer, grid, [rows[(..., *piece.slices)] for piece in places])


def write_pieces(layer, grid, given):
    with together() as scratch_of, open_map(layer, grid, scratch_of) as writer:
        for pixels in given:
            writer.write(pixels)
    return layer.path


def codes_layer(path, legend=LEGEND):
    return Layer(path, code_type(legend), 0, ("class",), legend)


def random_codes(shape, legend=LEGEND):
    codes = [0, *(entry.code for entry in legend)]
    return np.random.default_rng(0).choice(np.array(codes, np.uint16), shape)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_map_lies_where_its_grid_lies(tmp_path, grid):
    rows = random_codes(grid.shape)
    path = write(codes_layer(tmp_path / "map.tif"), grid, rows)
    with open_raster(path) as raster:
        assert raster.grid.shape == grid.shape
        assert tuple(raster.grid.affine) == tuple(grid.affine)
        assert raster.grid.crs == grid.crs
        assert raster.dtype == "uint8"
        assert raster.nodata == (0,)
    assert np.array_equal(read_label_raster(path).values, rows)
    assert not list(tmp_path.glob(".*"))


def test_colours_and_names(tmp_path):
    path = write(codes_layer(tmp_path / "map.tif"), GRID, random_codes(GRID.shape))
    with rasterio.open(path) as file:
        assert file.colorinterp == (ColorInterp.palette,)
        table = file.colormap(1)
        assert table[1] == (0x2D, 0x6A, 0x4F, 255)
        assert file.descriptions == ("class",)
        assert file.block_shapes == [(256, 256)]
        names = {f"CLASS_{entry.code}": entry.name for entry in LEGEND}
        assert file.tags(1) == names
    labels = read_label_raster(path)  # a map can serve as labels
    assert labels.names == {entry.code: entry.name for entry in LEGEND}
    assert labels.colors == {entry.code: entry.color for entry in LEGEND}
    names = Xml.parse(tmp_path / "map.tif.aux.xml").findall("PAMRasterBand/CategoryNames/Category")
    assert len(names) == 201
    assert {n: e.text for n, e in enumerate(names) if e.text} == {e.code: e.name for e in LEGEND}


def test_gdal_reads_the_names(tmp_path):
    """GDAL itself, where its programs are installed."""
    path = write(codes_layer(tmp_path / "map.tif"), GRID, random_codes(GRID.shape))
    try:
        told = subprocess.run(["gdalinfo", path], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("gdalinfo is not installed")
    assert "1: forest" in told
    assert '3: wet <& "odd"> é' in told
    assert "200: 184,160,136,255" in told


def test_large_codes(tmp_path):
    """Sixteen bits hold them all; palette and names then have 65,536 entries, QGIS's style two."""
    rows = random_codes(GRID.shape, LARGE)
    path = write(codes_layer(tmp_path / "map.tif", LARGE), GRID, rows)
    with rasterio.open(path) as file:
        assert file.dtypes == ("uint16",)
        assert file.colormap(1)[65535] == (0x3A, 0x7E, 0xBF, 255)
        assert np.array_equal(file.read(1), rows)
    assert read_label_raster(path).names == {111: "urban", 65535: "sea"}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1_500_000
    assert len(Xml.fromstring(style(LARGE)).findall(".//paletteEntry")) == 2


def test_many_long_names(tmp_path):
    """GDAL once put more than 32,000 characters of metadata into a file of their own."""
    legend = tuple(LandCover(n, f"{n} {'name ' * 12}", "#2d6a4f", str(n)) for n in range(1, 1001))
    path = write(codes_layer(tmp_path / "map.tif", legend), GRID, random_codes(GRID.shape, legend))
    assert len(read_label_raster(path).names) == 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


def test_style_for_qgis():
    assert style_path(Path("a/map.tif")) == Path("a/map.qml")
    root = Xml.fromstring(style(LEGEND))
    renderer = root.find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [
        (int(e.get("value")), e.get("label"), e.get("color"))
        for e in renderer.findall("colorPalette/paletteEntry")
    ]
    assert entries == [(e.code, e.name, e.color) for e in LEGEND]


def test_names_that_xml_cant_hold(tmp_path):
    legend = (LandCover(1, "a\x00b\x1fc\ud800\n", "#2d6a4f", "1"), LEGEND[1])
    assert Xml.fromstring(style(legend)).find(".//paletteEntry").get("label") == "abc\n"


def test_code_type():
    assert code_type(LEGEND) == "uint8"
    assert code_type(LARGE) == "uint16"
    assert code_type((LandCover(255, "", "", ""),)) == "uint8"
    assert code_type((LandCover(256, "", "", ""),)) == "uint16"


def test_bytes_do_not_depend_on_memory(tmp_path):
    grid = GeoBox((600, 2500), TRANSFORM, CRS)  # several pieces either way
    rows = np.random.default_rng(0).random((2, *grid.shape), np.float32)
    layer = Layer(tmp_path / "shares.tif", "float32", -1, ("a", "b"))
    whole = write(layer, grid, rows).read_bytes()
    with rasterio.Env(GDAL_CACHEMAX=1):
        assert write(layer, grid, rows).read_bytes() == whole
    with rasterio.open(layer.path) as file:
        assert np.array_equal(file.read(), rows)
        assert file.descriptions == layer.names


@pytest.mark.parametrize("changed", ["early", "more", "smaller"])
def test_too_few_too_many_and_other_pieces(tmp_path, changed):
    """A defect of the caller; the map must not look finished."""
    wanted = [np.ones(piece.shape) for piece in pieces(GRID.shape)]
    given = {
        "early": wanted[:-1],
        "more": [*wanted, wanted[0]],
        "smaller": [wanted[0][1:], *wanted[1:]],
    }
    with pytest.raises(ValueError, match="wants"):
        write_pieces(codes_layer(tmp_path / "map.tif"), GRID, given[changed])
    assert not list(tmp_path.iterdir())


def begin_two_maps(folder, error):
    with together() as scratch_of, ExitStack() as handles:
        layers = [codes_layer(folder / name) for name in ("map.tif", "other.tif")]
        first, second = (handles.enter_context(open_map(x, GRID, scratch_of)) for x in layers)
        for n, piece in enumerate(pieces(GRID.shape)):
            second.write(np.ones(piece.shape))
            if n == 0:
                first.write(np.ones(piece.shape))
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_what_was_there(tmp_path, error):
    write(codes_layer(tmp_path / "map.tif"), GRID, random_codes(GRID.shape))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(error):
        begin_two_maps(tmp_path, error)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_was_kept_of_an_older_file_goes(tmp_path):
    for name in ("map.tif", "shares.tif"):
        for suffix in ("", ".ovr", ".msk", ".aux.xml"):
            (tmp_path / f"{name}{suffix}").touch()
    drop_stale(codes_layer(tmp_path / "map.tif"))
    drop_stale(Layer(tmp_path / "shares.tif", "float32", -1, ("a",)))
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"map.tif", "map.tif.aux.xml", "shares.tif"}


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(OutputError, match="can't be written"):
        write(codes_layer(tmp_path / "gone" / "map.tif"), GRID, random_codes(GRID.shape))


@pytest.mark.parametrize("legend", [LEGEND, ()], ids=["with names", "alone"])
def test_a_full_disk_is_noticed_at_every_stage(tmp_path, legend):
    """GDAL says nothing when the disk runs full while a file is closed: it must be read again."""
    rows = np.random.default_rng(0).integers(1, 201, (1, 150, 160), np.uint8)
    grid = GeoBox(rows.shape[1:], TRANSFORM, CRS)
    ended = []
    with small_disk(tmp_path / "disk", 64) as disk:
        layer = Layer(disk / "map.tif", "uint8", 0, ("class",), legend)
        for free in (*range(0, 16), 40):
            layer.path.write_bytes(b"old")
            with nearly_full(disk, free):
                try:
                    write(layer, grid, rows)
                except DiskFullError:
                    ended.append("full")
                    assert layer.path.read_bytes() == b"old"
                else:
                    ended.append("written")
                    with rasterio.open(layer.path) as file:
                        assert np.array_equal(file.read(), rows)
                left = {p.name for p in disk.iterdir()} - {"map.tif.aux.xml"}
                assert left == {"map.tif", "filling"}
            for file in disk.iterdir():
                file.unlink()
    assert sorted(ended) == ended
    assert set(ended) == {"full", "written"}
