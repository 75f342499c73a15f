"""Only formats of the list, only this machine: whatever a file says."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from rasterio.env import Env
from rasterio.windows import Window

from m3amba_geo.errors import (
    FileMissingError,
    NetworkOffError,
    RasterUnreadableError,
    VectorUnreadableError,
)
from m3amba_geo.geo.access import RASTER_DRIVERS, VECTOR_DRIVERS, reach
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.geo.raster import open_raster
from m3amba_geo.geo.vector import open_layer, read_texts
from m3amba_geo.sources import gdal_name, local_file, on_network
from tests.conftest import write_raster
from tests.servers import serve

ALL = Window(0, 0, 4, 4)
PIXELS = np.arange(16, dtype=np.float32).reshape(1, 4, 4) + 1


def vrt(path: Path, source: str, *, relative: int = 0) -> Path:
    part = '{}="0" {}="0" {}="4" {}="4"'.format("xOff", "yOff", "xSize", "ySize")
    path.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Float32" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        f"<SourceBand>1</SourceBand><SrcRect {part}/><DstRect {part}/></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    return path


def pixels(path: Path) -> np.ndarray:
    with open_raster(path) as raster:
        return raster.read(ALL)[0]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif", PIXELS)


def test_the_list_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in (*RASTER_DRIVERS, *VECTOR_DRIVERS))


def test_a_format_off_the_list_is_not_read(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("0 0 1\n1 0 2\n0 1 3\n1 1 4\n")
    with pytest.raises(RasterUnreadableError, match="not recognized"), open_raster(path):
        pass


def test_virtual_rasters_are_read_relative_absolute_and_nested(tmp_path, image):
    beside = vrt(tmp_path / "one.vrt", "a.tif", relative=1)
    nested = vrt(tmp_path / "two.vrt", str(beside))
    assert np.array_equal(pixels(beside), PIXELS)
    assert np.array_equal(pixels(nested), PIXELS)


def test_a_virtual_raster_that_names_itself_ends(tmp_path):
    path = tmp_path / "a.vrt"
    with pytest.raises(RasterUnreadableError), open_raster(vrt(path, str(path))):
        pass


def test_a_source_off_the_list_is_refused_at_once(tmp_path):
    (tmp_path / "a.xyz").write_text("0 0 1\n1 0 2\n0 1 3\n1 1 4\n")
    path = vrt(tmp_path / "a.vrt", "a.xyz", relative=1)
    with pytest.raises(RasterUnreadableError, match="not recognized"), open_raster(path):
        pass


@pytest.mark.parametrize(
    "name",
    ["https://h/a.tif", "/vsicurl/http://h/a.tif", "s3://b/a.tif", "/vsis3/b/a.tif",
     "/vsizip//vsicurl/https://h/a.zip/a.tif", "/vsigs/b/a.tif", "/vsicurl_streaming/http://h/a",
     "/vsicurl?url=http%3A%2F%2Fh%2Fa.tif"],
)  # fmt: skip
@pytest.mark.parametrize("read", [pixels, read_label_raster, lambda path: open_layer(path, None)])
def test_names_of_servers_are_refused(name, read):
    with pytest.raises(NetworkOffError, match="network") as caught:
        read(Path(name))
    assert "--allow-network" in caught.value.hint


@pytest.mark.parametrize("how", ["/vsicurl/{}/a.tif", "{}/a.tif", "/vsicurl_streaming/{}/a.tif"])
@pytest.mark.parametrize("depth", [1, 2])
def test_virtual_rasters_do_not_reach_a_server(tmp_path, image, how, depth):
    with serve(tmp_path) as server:
        path = vrt(tmp_path / "1.vrt", how.format(server.url))
        if depth == 2:
            path = vrt(tmp_path / "2.vrt", str(path))
        with pytest.raises(NetworkOffError), open_raster(path):
            pass
        assert not server.asked


def test_what_slips_through_still_reaches_no_server(tmp_path, image, monkeypatch):
    """The settings of GDAL hold where the look into a virtual raster misses something."""
    monkeypatch.setattr("m3amba_geo.geo.raster._check_sources", lambda *_: {})
    with serve(tmp_path) as server:
        for n, how in enumerate(("/vsicurl/{}/a.tif", "{}/a.tif")):
            path = vrt(tmp_path / f"{n}.vrt", how.format(server.url))
            with pytest.raises(RasterUnreadableError), open_raster(path):
                pass
        assert not server.asked


def test_services_are_refused_as_rasters(tmp_path):
    with serve(tmp_path) as server:
        service = tmp_path / "a.xml"
        service.write_text(
            f"<GDAL_WMS><Service name='TMS'><ServerUrl>{server.url}/${{z}}/${{x}}/${{y}}.png"
            "</ServerUrl></Service></GDAL_WMS>"
        )
        for path in (service, vrt(tmp_path / "a.vrt", str(service))):
            with pytest.raises(RasterUnreadableError), open_raster(path):
                pass
        assert not server.asked


def test_python_in_a_virtual_raster_does_not_run(tmp_path, image):
    trace = tmp_path / "trace"
    path = vrt(tmp_path / "a.vrt", str(image))
    code = (
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python"
        "</PixelFunctionLanguage><PixelFunctionCode><![CDATA[\n"
        f"open({str(trace)!r}, 'w')\n"
        "def f(in_ar, out_ar, *_, **__):\n    out_ar[:] = 1\n]]></PixelFunctionCode>"
    )
    text = path.read_text().replace('band="1">', 'band="1" subClass="VRTDerivedRasterBand">' + code)
    path.write_text(text)
    with (
        Env(GDAL_VRT_ENABLE_PYTHON="YES"),
        pytest.raises(RasterUnreadableError),
        open_raster(path),
    ):
        pass
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.vrt", "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{}/a.geojson"
                  "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"),
        ("a.xml", "<OGRWFSDataSource><URL>{}/wfs</URL></OGRWFSDataSource>"),
        ("a.gdalg.json", '{{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! '
                         'read {}/a.geojson ! write --format stream a"}}'),
    ],
)  # fmt: skip
def test_vector_files_that_point_elsewhere_are_refused(tmp_path, name, text):
    with serve(tmp_path) as server:
        (tmp_path / name).write_text(text.format(server.url))
        with pytest.raises(VectorUnreadableError, match="not read"):
            open_layer(tmp_path / name, None)
        assert not server.asked


def test_vector_formats_off_the_list_are_refused(tmp_path):
    path = tmp_path / "a.gmt"
    path.write_text("# @VGMT1.0 @GPOINT\n# @Nkind\n# @Tstring\n# FEATURE_DATA\n# @Dx\n1 2\n")
    with pytest.raises(VectorUnreadableError, match="OGR_GMT"):
        open_layer(path, None)


# ---- archives and servers


def test_rasters_and_labels_in_an_archive(tmp_path, image):
    archive = tmp_path / "a.zip"
    points = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"kind": "x"},
         "geometry": {"type": "Point", "coordinates": [1, 2]}}]}  # fmt: skip
    with zipfile.ZipFile(archive, "w") as file:
        file.write(image, "in/a.tif")
        file.writestr("in/a.geojson", json.dumps(points))
    assert np.array_equal(pixels(Path(f"/vsizip/{archive}/in/a.tif")), PIXELS)
    layer = open_layer(Path(f"/vsizip/{archive}/in/a.geojson"), None)
    ((kinds,),) = read_texts(layer, ["kind"])
    assert kinds.tolist() == ["x"]
    with pytest.raises(FileMissingError):
        pixels(Path(f"/vsizip/{tmp_path}/b.zip/a.tif"))


@pytest.mark.parametrize("failures", [0, 2])
@pytest.mark.parametrize("how", ["{}/a.tif", "/vsicurl/{}/a.tif", "vrt"])
def test_rasters_on_a_server_that_fails_at_first(tmp_path, image, how, failures):
    with serve(tmp_path, failures) as server, reach(network=True):
        if how == "vrt":
            path = vrt(tmp_path / "a.vrt", f"/vsicurl/{server.url}/a.tif")
        else:
            path = Path(how.format(server.url))
        assert np.array_equal(pixels(path), PIXELS)
        assert server.asked["/a.tif"] > failures


def test_a_sample_tells_contents_apart(tmp_path, image):
    other = write_raster(tmp_path / "b.tif", PIXELS + 1)
    again = write_raster(tmp_path / "c.tif", PIXELS)
    found = []
    for path in (image, other, again):
        with open_raster(path) as raster:
            found.append(raster.sample())
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://h/x//a.tif", "/vsicurl/https://h/x/a.tif"),
        ("s3://bucket/a.tif", "/vsis3/bucket/a.tif"),
        ("/vsizip//vsicurl/https://h/a.zip/b.tif", "/vsizip//vsicurl/https://h/a.zip/b.tif"),
        ("x/a.tif", "x/a.tif"),
    ],
)
def test_names_survive_being_paths(name, expected):
    assert gdal_name(Path(name)) == str(Path(expected)) or gdal_name(Path(name)) == expected
    assert (local_file(Path(name)) is None) == on_network(name)
