import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from m3amba_geo.assess.picture import map_picture, side_by_side, thin
from m3amba_geo.geo.legend import LandCover


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_map_picture_has_the_legends_colours_pixel_for_pixel(legend):
    codes = np.array([[0, 1, 2], [3, 3, 1]], dtype=np.uint16)
    pixels = np.asarray(opened(map_picture(codes, legend)).convert("RGBA"))
    assert pixels.shape == (2, 3, 4)
    assert pixels[0, 0, 3] == 0
    assert pixels[0, 1].tolist() == [0x2A, 0x6F, 0x97, 255]
    assert pixels[1, 0].tolist() == [0xE9, 0xC4, 0x6A, 255]


@pytest.mark.parametrize(
    ("shape", "size"), [((900, 900), (900, 900)), ((901, 300), (150, 451)), ((5, 2000), (667, 2))]
)
def test_map_picture_respects_its_longest_side(legend, shape, size):
    png = map_picture(np.ones(shape, dtype=np.uint16), legend)
    assert opened(png).size == size


@pytest.mark.parametrize("shape", [*product((1, 2, 1000), (1, 2, 1801)), (901, 3)])
def test_thinning_never_loses_a_whole_side(shape):
    thinned = thin(np.ones(shape), 900)
    assert min(thinned.shape) >= 1
    assert max(thinned.shape) <= 900


@pytest.mark.parametrize("shape", [(40, 60), (300, 20), (3, 400)])
def test_side_by_side_is_three_panels_wide(legend, shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*shape, 3)).astype(np.uint8)
    codes = rng.integers(0, 4, shape).astype(np.uint16)
    picture = opened(side_by_side(image, codes * (codes > 2), codes, legend, "A place"))
    assert picture.size[0] == 2016
    assert picture.size[1] < 3000
    colors = {color for _, color in picture.convert("RGB").getcolors(2**24)}
    assert {(0x2A, 0x6F, 0x97), (0x2D, 0x6A, 0x4F), (0xE9, 0xC4, 0x6A)} <= colors


def test_side_by_side_takes_names_literally():
    names = ("_hidden", "$\\frac{", "水田", "a rather long name " * 4)  # no glyphs for the third
    legend = tuple(LandCover(i + 1, n, "#336699", n) for i, n in enumerate(names))
    codes = np.array([[1, 2], [3, 4]], dtype=np.uint16)
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    assert opened(side_by_side(image, codes, codes, legend, "$\\frac{")).format == "PNG"
