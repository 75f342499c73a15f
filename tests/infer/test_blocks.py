"""Blocks: where they lie, what they cost, and files that are whole or none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3amba_geo.geo.maps import Layer
from m3amba_geo.geo.region import Region
from m3amba_geo.geo.windows import starts
from m3amba_geo.infer.blocks import (
    blocks_of,
    check_block,
    file_bytes,
    read_part,
    row_type,
    write_block,
)

LAYERS = {
    "map": Layer("map.tif", "uint16", 0, ("class",)),
    "probabilities": Layer("shares.tif", "float32", -1, ("a", "b", "c")),
}
WIDTH = 5
KIND = row_type(LAYERS, WIDTH)
BLOCK = Region(10, 0, 160, WIDTH)


@given(st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 64), st.data())
def test_blocks_cover_a_region_once_in_order(top, height, patch, data):
    stride = data.draw(st.integers(1, patch))
    region = Region(top, 3, top + height, 9)
    blocks = blocks_of(region, patch, stride)
    assert [block.top for block in blocks[1:]] == [block.bottom for block in blocks[:-1]]
    assert (blocks[0].top, blocks[-1].bottom) == (region.top, region.bottom)
    assert all((block.left, block.right) == (3, 9) for block in blocks)
    assert all(block.bottom > block.top for block in blocks)


@pytest.mark.parametrize("patch", [16, 32, 64])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_little_is_computed_twice(patch, share):
    stride, height = int(patch * share), 200_000
    tops = starts(height, patch, stride)
    blocks = blocks_of(Region(0, 0, height, 1), patch, stride)
    computed = sum(int(((tops + patch > b.top) & (tops < b.bottom)).sum()) for b in blocks)
    assert len(blocks) > 20
    assert 1 <= computed / len(tops) < 1.05


def rows(seed=0):
    records = np.zeros(BLOCK.shape[0], KIND)
    rng = np.random.default_rng(seed)
    records["map"] = rng.integers(0, 60_000, records["map"].shape)
    records["probabilities"] = rng.random(records["probabilities"].shape)
    return records


def write(path, run="run", block=BLOCK, parts=7):
    write_block(path, run, block, np.array_split(rows(), parts))


def check(path, run="run", block=BLOCK):
    check_block(path, run, block, KIND)


@pytest.mark.parametrize("parts", [1, 3, 150])
def test_a_block_comes_back_and_its_file_does_not_depend_on_how_it_came(tmp_path, parts):
    write(tmp_path / "a", parts=parts)
    check(tmp_path / "a")
    for lines, columns in ((slice(0, 150), slice(0, WIDTH)), (slice(20, 90), slice(3, WIDTH - 1))):
        found = read_part(tmp_path / "a", KIND, lines, columns)
        assert list(found) == list(KIND.names)
        for role, pixels in found.items():
            assert np.array_equal(pixels, rows()[lines][role][:, :, columns].transpose(1, 0, 2))
    assert (tmp_path / "a").stat().st_size == file_bytes(BLOCK, KIND)
    write(tmp_path / "b", parts=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_block_that_could_not_be_finished_is_not_there(tmp_path):
    def parts():
        yield rows()[:50]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_block(tmp_path / "a", "run", BLOCK, parts())
    assert not list(tmp_path.iterdir())


def test_a_block_of_another_run_or_place_is_none(tmp_path):
    write(tmp_path / "a")
    for run, block in (("other", BLOCK), ("run", Region(160, 0, 310, WIDTH))):
        with pytest.raises(ValueError, match="checksum"):
            check(tmp_path / "a", run, block)


@settings(max_examples=30)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("block") / "a"
    write(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        check(path)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"x", lambda c: b""])
def test_another_size_is_noticed(tmp_path, change):
    write(tmp_path / "a")
    (tmp_path / "a").write_bytes(change((tmp_path / "a").read_bytes()))
    with pytest.raises(ValueError, match="size"):
        check(tmp_path / "a")
