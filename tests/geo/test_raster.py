"""Rasters as files hold them, and warped onto other grids."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform
from rasterio.windows import Window

from m3amba_geo.errors import CRSMissingError, FileMissingError, RasterUnreadableError
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.codes import open_codes, read_label_raster
from m3amba_geo.geo.raster import open_raster, same_place
from tests.conftest import CRS, TRANSFORM, write_raster

GRID = GeoBox((5, 6), TRANSFORM, CRS)
COUNTING = np.arange(1, 31, dtype=np.uint8).reshape(1, 5, 6)
TYPES = [f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)]
TYPES += ["float32", "float64"]

VRT = """<VRTDataset rasterXSize="6" rasterYSize="5"><SRS>EPSG:32632</SRS>
<GeoTransform>600000, 30, 0, 5400000, 0, -30</GeoTransform>{bands}</VRTDataset>"""
VRT_BAND = """<VRTRasterBand dataType="{type}" band="{band}">{extra}<SimpleSource>
<SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>{band}</SourceBand>
</SimpleSource></VRTRasterBand>"""


def moved(columns, rows, shape=(5, 6)):
    return GeoBox(shape, TRANSFORM @ Affine.translation(columns, rows), CRS)


def read(path, grid=None, resampling="bilinear"):
    """Returns all pixels and their validity, on another grid if one is given."""
    with open_raster(path) as raster:
        if grid is not None:
            raster.warp_onto(grid, resampling)
        height, width = (grid or raster.grid).shape
        return raster.read(Window(0, 0, width, height))


def write_vrt(path, bands):
    path.write_text(VRT.format(bands="".join(bands)))
    return path


def with_invalid(pixels, value, *places):
    pixels = pixels.copy()
    for place in places:
        pixels[place] = value
    return pixels


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_reads_as_float_and_is_valid_everywhere(tmp_path, dtype):
    path = write_raster(tmp_path / "a.tif", COUNTING.astype(dtype))
    pixels, valid = read(path)
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, COUNTING)
    assert valid.all()


@pytest.mark.parametrize("dtype", TYPES)
def test_beyond_the_source_nothing_is_valid_whatever_the_type(tmp_path, dtype):
    path = write_raster(tmp_path / "a.tif", COUNTING.astype(dtype))
    pixels, valid = read(path, moved(2, -1), "nearest")
    assert np.array_equal(valid[0, 1:, :4], np.ones((4, 4), bool))
    assert valid.sum() == 16
    assert np.array_equal(pixels[0, 1:, :4], COUNTING[0, :4, 2:])
    assert (pixels[~valid] == 0).all()


def test_integers_are_interpolated_as_real_numbers(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.array([[[0, 1, 2]] * 2], np.uint8))
    pixels, valid = read(path, moved(0.5, 0, (2, 2)))
    assert valid.all()
    assert pixels.tolist() == [[[0.5, 1.5]] * 2]


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 0), ("int16", -9999), ("float32", -3.4028234663852886e38), ("float64", -1.7e308)],
)
def test_nodata_masks_and_does_not_bleed_into_neighbours(tmp_path, dtype, nodata):
    hole = (0, 2, 2)
    bands = with_invalid(np.full((1, 5, 6), 7, dtype), nodata, hole)
    path = write_raster(tmp_path / "a.tif", bands, nodata=nodata)
    pixels, valid = read(path)
    assert [hole] == list(zip(*(~valid).nonzero(), strict=True))
    assert pixels[hole] == 0
    for resampling in ("bilinear", "cubic", "average"):
        pixels, valid = read(path, moved(0.5, 0.5), resampling)
        np.testing.assert_allclose(pixels[valid], 7, rtol=1e-6)
        assert valid.sum() >= 19


def test_nodata_of_one_band_is_no_matter_of_the_others(tmp_path):
    bands = with_invalid(np.full((2, 5, 6), 7, np.float32), -9999, (0, 1, 1), (1, 3, 3))
    path = write_raster(tmp_path / "a.tif", bands, nodata=-9999)
    pixels, valid = read(path, moved(0, 0, (4, 6)), "nearest")
    assert list(zip(*(~valid).nonzero(), strict=True)) == [(0, 1, 1), (1, 3, 3)]
    pixels, valid = read(path, moved(0.5, 0.5), "bilinear")
    np.testing.assert_allclose(pixels[valid], 7, rtol=1e-6)


@pytest.mark.parametrize("grid", [None, moved(0, 0, (4, 6))])
def test_every_band_has_its_own_nodata(tmp_path, grid):
    bands = np.stack([np.full((5, 6), value, np.float32) for value in (1, 2, 3)])
    write_raster(tmp_path / "a.tif", with_invalid(bands, -1, (0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        bands = file.read()
        bands[1, 1, 1], bands[2, 2, 2] = -2, np.nan
        file.write(bands)
    nodata = ["<NoDataValue>-1</NoDataValue>", "<NoDataValue>-2</NoDataValue>", ""]
    path = write_vrt(
        tmp_path / "a.vrt",
        [
            VRT_BAND.format(type="Float32", band=n + 1, extra=extra, file="a.tif")
            for n, extra in enumerate(nodata)
        ],
    )
    with open_raster(path) as raster:
        assert raster.nodata == (-1, -2, None)
    pixels, valid = read(path, grid, "nearest")
    assert list(zip(*(~valid).nonzero(), strict=True)) == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert set(np.unique(pixels)) == {0, 1, 2, 3}


def test_files_are_all_that_a_virtual_raster_is_made_from(tmp_path):
    path = write_raster(tmp_path / "a.tif", COUNTING)
    for name, source in (("inner", "a.tif"), ("outer", "inner.vrt")):
        band = VRT_BAND.format(type="Byte", band=1, extra="", file=source)
        path = write_vrt(tmp_path / f"{name}.vrt", [band])
    with open_raster(path) as raster:
        assert {Path(name).name for name in raster.files} == {"outer.vrt", "inner.vrt", "a.tif"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_invalid(tmp_path, value):
    bands = with_invalid(COUNTING.astype(np.float32), value, (0, 1, 2))
    path = write_raster(tmp_path / "a.tif", bands)
    pixels, valid = read(path)
    assert list(zip(*(~valid).nonzero(), strict=True)) == [(0, 1, 2)]
    assert pixels[0, 1, 2] == 0
    pixels, valid = read(path, moved(0, 0, (4, 6)), "nearest")
    assert list(zip(*(~valid).nonzero(), strict=True)) == [(0, 1, 2)]


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("grid", [None, moved(0, 0, (4, 6))])
def test_transparency_masks_and_is_no_band(tmp_path, bands, grid):
    alpha = with_invalid(np.full((1, 5, 6), 255, np.uint8), 0, (0, 1, 2))
    pixels = np.concatenate([np.repeat(COUNTING, bands, axis=0), alpha])
    path = write_raster(tmp_path / "a.tif", pixels, photometric="minisblack")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray] * bands + [ColorInterp.alpha]
    with open_raster(path) as raster:
        assert raster.transparency
        assert len(raster.bands) == bands
    _, valid = read(path, grid, "nearest")
    assert valid.shape[0] == bands
    assert all(list(zip(*(~v).nonzero(), strict=True)) == [(1, 2)] for v in valid)


def hidden(path, how, dtype, nodata):
    """Writes 1 to 30, pixel (1, 2) masked or transparent, with a nodata value or none."""
    band = COUNTING.astype(dtype)
    there = with_invalid(np.ones((1, 5, 6), dtype), 0, (0, 1, 2))
    if how == "alpha":
        write_raster(path, np.concatenate([band, there]), nodata=nodata)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        return path
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_raster(path, band, nodata=nodata)
        with rasterio.open(path, "r+") as file:
            file.write_mask(there[0] > 0)
    return path


@pytest.mark.parametrize("grid", [None, moved(0, 0, (4, 6))])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("how", ["alpha", "mask"])
@pytest.mark.parametrize(("nodata", "invalid"), [(None, [(1, 2)]), (22, [(1, 2), (3, 3)])])
def test_what_masks_a_pixel_hides_nothing_else_that_does(
    tmp_path, how, dtype, nodata, invalid, grid
):
    """GDAL heeds one of nodata, mask and transparency; which one, changes with the grid."""
    path = hidden(tmp_path / "a.tif", how, dtype, nodata)
    pixels, valid = read(path, grid, "nearest")
    assert list(zip(*(~valid[0]).nonzero(), strict=True)) == invalid
    assert pixels[0, 1, 3] == 10
    with open_codes(path) as codes:
        if grid is not None:
            codes.warp_onto(grid)
        _, valid = codes.read(0, 0, *codes.shape)
    assert list(zip(*(~valid).nonzero(), strict=True)) == invalid


@pytest.mark.parametrize("grid", [None, moved(0, 0, (4, 6))])
def test_internal_mask(tmp_path, grid):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_raster(tmp_path / "a.tif", np.repeat(COUNTING, 2, axis=0).astype(np.int16))
        with rasterio.open(path, "r+") as file:
            file.write_mask(with_invalid(np.full((5, 6), 255, np.uint8), 0, (3, 4)))
    assert not (tmp_path / "a.tif.msk").exists()
    _, valid = read(path, grid, "nearest")
    assert all(list(zip(*(~v).nonzero(), strict=True)) == [(3, 4)] for v in valid)


@pytest.mark.parametrize("grid", [None, moved(0, 0), moved(0.5, 0.5)])
def test_scale_and_offset_of_each_band_count(tmp_path, grid):
    numbers = with_invalid(np.concatenate([COUNTING, COUNTING]).astype(np.uint16), 0, (0, 2, 2))
    plain = write_raster(tmp_path / "plain.tif", numbers, nodata=0)
    path = write_raster(tmp_path / "a.tif", numbers, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5, 0), (-1, 7)  # a scale of 0 means none
    (expected, valid), (pixels, also) = read(plain, grid), read(path, grid)
    assert np.array_equal(valid, also)
    assert not valid.all()
    assert np.array_equal(pixels[0][valid[0]], expected[0][valid[0]] * 0.5 - 1)
    assert np.array_equal(pixels[1], expected[1])
    assert not pixels[~valid].any()


def test_another_crs_lands_on_the_same_place(tmp_path):
    step, west, north = 2e-4, 10.36, 48.748
    rows, columns = np.mgrid[:40, :60] + 0.5
    bands = np.stack([west + columns * step, north - rows * step])
    fine = Affine(step, 0, west, 0, -step, north)
    path = write_raster(tmp_path / "a.tif", bands, crs="EPSG:4326", transform=fine)
    grid = GeoBox((12, 15), TRANSFORM @ Affine.translation(2, -4), CRS)
    pixels, valid = read(path, grid)
    assert valid.all()
    y, x = np.mgrid[:12, :15] + 0.5
    easting, northing = grid.pix2wld(x.ravel(), y.ravel())
    longitude, latitude = transform(CRS, "EPSG:4326", easting, northing)
    # GDAL moves coordinates to an eighth of a pixel.
    np.testing.assert_allclose(pixels[0].ravel(), longitude, atol=30 / 73_000 / 8)
    np.testing.assert_allclose(pixels[1].ravel(), latitude, atol=30 / 111_000 / 8)


def test_other_resolutions(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.arange(16, dtype=np.float32).reshape(1, 4, 4))
    coarse = GeoBox((2, 2), TRANSFORM @ Affine.scale(2), CRS)
    assert read(path, coarse, "average")[0].ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    fine = GeoBox((8, 8), TRANSFORM @ Affine.scale(0.5), CRS)
    pixels, valid = read(path, fine, "nearest")
    assert valid.all()
    assert np.array_equal(pixels[0], np.arange(16).reshape(4, 4).repeat(2, 0).repeat(2, 1))


def test_a_rotated_grid_is_read_as_it_lies_and_warps_to_its_place(tmp_path):
    rotated = Affine.translation(600_000, 5_400_000) @ Affine.rotation(30) @ Affine.scale(30, -30)
    path = write_raster(tmp_path / "a.tif", COUNTING, transform=rotated)
    with open_raster(path) as raster:
        assert raster.grid.affine.almost_equals(rotated, 1e-6)
        assert np.array_equal(raster.read(Window(0, 0, 6, 5))[0], COUNTING)
    centre = rotated @ (3.5, 2.5)
    grid = GeoBox((1, 1), Affine(1, 0, centre[0] - 0.5, 0, -1, centre[1] + 0.5), CRS)
    pixels, valid = read(path, grid, "nearest")
    assert valid.all()
    assert pixels.item() == COUNTING[0, 2, 3]


def test_without_a_crs(tmp_path):
    with pytest.warns(NotGeoreferencedWarning):
        path = write_raster(tmp_path / "a.tif", COUNTING, crs=None, transform=None)
    with open_raster(path) as raster:
        assert raster.grid.crs is None
        assert raster.read(Window(1, 2, 3, 1))[0].ravel().tolist() == [14, 15, 16]
        raster.warp_onto(GeoBox((5, 6), Affine.identity(), None), "bilinear")  # nothing to do
        with pytest.raises(CRSMissingError, match="it has no CRS") as caught:
            raster.warp_onto(GRID, "bilinear")
    assert caught.value.code == "crs-missing"
    assert "a_srs" in caught.value.hint
    georeferenced = write_raster(tmp_path / "b.tif", COUNTING)
    with (
        open_raster(georeferenced) as raster,
        pytest.raises(CRSMissingError, match="reference raster has no CRS"),
    ):
        raster.warp_onto(GeoBox((5, 7), Affine.identity(), None), "bilinear")


@pytest.mark.parametrize(
    ("tags", "namespace", "wavelength"),
    [
        ({"wavelength": "450", "wavelength_units": "Nanometers"}, None, 450),
        ({"wavelength": "0.45", "wavelength_units": "Micrometers"}, None, 450),
        ({"WAVELENGTH": "0.45", "WAVELENGTH_UNIT": "µm"}, None, 450),
        ({"wavelength": "450"}, None, 450),
        ({"wavelength": "0.45"}, None, 450),
        ({"wavelength": "12", "wavelength_units": "GHz"}, None, None),
        ({"wavelength": "nan", "wavelength_units": "nm"}, None, None),
        ({"wavelength": "-1", "wavelength_units": "nm"}, None, None),
        ({"wavelength": "blue"}, None, None),
        ({"CENTRAL_WAVELENGTH_UM": "0.865"}, "IMAGERY", 865),
        ({}, None, None),
    ],
)
def test_wavelengths_in_tags(tmp_path, tags, namespace, wavelength):
    path = write_raster(tmp_path / "a.tif", COUNTING)
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, ns=namespace, **tags)
    with open_raster(path) as raster:
        (band,) = raster.bands
    assert band.name == "a"
    assert band.wavelength == (None if wavelength is None else pytest.approx(wavelength))


def test_wavelengths_of_envi(tmp_path):
    (tmp_path / "a.img").write_bytes(np.repeat(COUNTING, 2, axis=0).tobytes())
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 6\nlines = 5\nbands = 2\nfile type = ENVI Standard\ndata type = 1\n"
        "interleave = bsq\nbyte order = 0\nwavelength units = Micrometers\n"
        "wavelength = {0.45, 0.55}\n"
    )
    with open_raster(tmp_path / "a.img") as raster:
        assert [band.wavelength for band in raster.bands] == pytest.approx([450, 550])
        assert raster.grid.crs is None


def test_names_of_bands(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.repeat(COUNTING, 2, axis=0))
    with rasterio.open(path, "r+") as file:
        file.set_band_description(2, "red")
    with open_raster(path) as raster:
        assert raster.bands == (Band(""), Band("red"))


def test_same_place():
    assert same_place(GRID, moved(0, 1e-4))
    assert same_place(GRID, GeoBox(GRID.shape, GRID.affine, None))
    assert not same_place(GRID, moved(0.01, 0))
    assert not same_place(GRID, moved(0, 0, (5, 7)))
    assert not same_place(GRID, GeoBox(GRID.shape, GRID.affine, "EPSG:32633"))
    assert not same_place(GRID, GeoBox(GRID.shape, GRID.affine @ Affine.scale(1.001), CRS))


def test_what_is_no_raster(tmp_path):
    with (
        pytest.raises(FileMissingError, match=r"nothing\.tif is missing"),
        open_raster(tmp_path / "nothing.tif"),
    ):
        pass
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    write_vrt(tmp_path / "a.vrt", [VRT_BAND.format(type="Byte", band=1, extra="", file="gone.tif")])
    for name in ("text.tif", "empty.tif", "folder.tif", "a.vrt"):
        with pytest.raises(RasterUnreadableError, match=name), open_raster(tmp_path / name):
            pass


def test_complex_numbers_are_refused(tmp_path):
    path = write_raster(tmp_path / "slc.tif", COUNTING.astype(np.complex64))
    with pytest.raises(RasterUnreadableError, match="complex") as caught, open_raster(path):
        pass
    assert "intensity" in caught.value.hint


def test_a_file_without_bands_of_its_own_is_refused(tmp_path):
    path = write_raster(tmp_path / "a.tif", COUNTING)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.alpha]
    with pytest.raises(RasterUnreadableError, match="no band of its own"), open_raster(path):
        pass


def test_label_rasters(tmp_path):
    codes = np.array([[[0, 1, 2], [3, 255, 1]]], np.uint8)
    path = write_raster(tmp_path / "a.tif", codes, nodata=255)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {1: (45, 106, 79, 255), 2: (0, 0, 255, 255)})
        file.update_tags(1, CLASS_1="forest", CLASS_2="water", OTHER="x")
    labels = read_label_raster(path)
    assert np.array_equal(labels.valid, codes[0] != 255)  # 0 is a class where nodata is declared
    assert np.array_equal(labels.values[labels.valid], codes[0][labels.valid])
    assert labels.names == {1: "forest", 2: "water"}
    assert labels.colors == {1: "#2d6a4f", 2: "#0000ff"}  # unset entries are black in the file
    undeclared = write_raster(tmp_path / "b.tif", codes)
    assert np.array_equal(read_label_raster(undeclared).valid, codes[0] != 0)


def test_fractions_are_no_labels(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.full((1, 2, 2), 1.5, np.float32))
    with pytest.raises(RasterUnreadableError, match="fractions"):
        read_label_raster(path)


def test_a_complaint_of_gdal_that_is_no_text_is_a_damaged_raster(tmp_path, monkeypatch):
    def complain(*_, **__):
        b"\xa0".decode()

    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.float32))
    monkeypatch.setattr("m3amba_geo.geo.raster.DatasetReader", complain)
    with pytest.raises(RasterUnreadableError), open_raster(path):
        pass
