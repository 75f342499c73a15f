"""Sides lie apart, units stay whole, no class is lost to training."""

import time
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy import ndimage

from m3amba_geo.config import SplitConfig
from m3amba_geo.errors import NoLabelsError
from m3amba_geo.geo.labels import Kind, Labels
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.geo.split import Side, Split, split_labels

HELD_OUT = (Side.VALIDATION, Side.TEST)

UNLABELLED = 0


def make_labels(
    squares: list[tuple[int, int, int, int]],
    shape: tuple[int, int] = (120, 160),
    kind: Kind = "polygons",
) -> Labels:
    """Squares `(row, column, side, code)`; later ones lie on top."""
    codes, groups = np.zeros(shape, np.uint16), np.zeros(shape, np.uint32)
    for number, (row, column, side, code) in enumerate(squares, 1):
        codes[row : row + side, column : column + side] = code
        groups[row : row + side, column : column + side] = number
    legend = (LandCover(1, "water", "#0000ff", "w"), LandCover(2, "forest", "#00ff00", "f"))
    return labels_of(codes, groups, kind, legend)


def labels_of(
    codes: np.ndarray, groups: np.ndarray, kind: Kind, legend: tuple[LandCover, ...] = ()
) -> Labels:
    pixels = np.flatnonzero(codes)
    grid = GeoBox(codes.shape, Affine.identity(), None)
    return Labels(grid, pixels, codes.ravel()[pixels], groups.ravel()[pixels], kind, legend)


def part(labels: Labels, config: SplitConfig, seed: int) -> Split:
    """Parts labels; the sides lie on the grid `(H, W)`."""
    result = split_labels(labels, config, np.random.default_rng(seed))
    return replace(result, sides=labels.spread(result.sides))


def split(labels: Labels, seed: int = 0, **options: object) -> Split:
    return part(labels, SplitConfig(**options), seed)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Labels, SplitConfig, int]:
    square = st.tuples(
        st.integers(0, 50), st.integers(0, 70), st.integers(1, 12), st.integers(1, 4)
    )
    squares = [*draw(st.lists(square, min_size=1, max_size=20)), (0, 0, 2, 1), (57, 77, 2, 2)]
    config = SplitConfig(
        by=draw(st.sampled_from(["polygon", "block", "auto"])),
        validation=draw(st.sampled_from([0.0, 0.2, 0.5])),
        test=draw(st.sampled_from([0.0, 0.3, 0.6])),
        gap=draw(st.integers(0, 9)),
        block=draw(st.integers(1, 20)),
    )
    kind = draw(st.sampled_from(["polygons", "points", "raster"]))
    return make_labels(squares, (60, 80), kind), config, draw(st.integers(0, 99))


@settings(max_examples=150)
@given(scenes())
def test_invariants(scene: tuple[Labels, SplitConfig, int]) -> None:
    labels, config, seed = scene
    result = part(labels, config, seed)
    sides, codes = result.sides, labels.spread(labels.codes)
    assert sides.dtype == np.uint8
    np.testing.assert_array_equal(sides == UNLABELLED, codes == 0)
    # every class trains
    assert set(codes[sides == Side.TRAIN]) == set(codes[codes > 0])
    # no unit on two sides
    if config.by == "polygon":
        units = labels.spread(labels.groups)
    elif config.by == "block":
        rows, columns = np.indices(codes.shape)
        units = rows // config.block * 1000 + columns // config.block
    else:
        units = np.arange(codes.size).reshape(codes.shape)
    used = (sides == Side.TRAIN) | np.isin(sides, HELD_OUT)
    pairs = np.unique(np.stack([units[used], sides[used]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
    # the gap holds, but for classes that it would empty, which are named
    for side, others in ((Side.VALIDATION, [1]), (Side.TEST, [1, 2])):
        far = ndimage.distance_transform_cdt(~np.isin(sides, others), "chessboard") >= config.gap
        close = np.unique(codes[(sides == side) & ~far])
        assert not np.isin(codes[(sides == side) & far], close).any()
        if len(close):
            assert any("flatter" in note for note in result.notes)
    again = part(labels, config, seed)
    np.testing.assert_array_equal(again.sides, sides)


def test_two_polygons_are_halved() -> None:
    labels = make_labels([(0, 0, 8, 1), (0, 60, 10, 1), (60, 0, 8, 2), (60, 60, 8, 2)])
    result = split(labels, validation=0, test=0.5)
    for code in (1, 2):
        assert {Side.TRAIN, Side.TEST} == set(result.sides[labels.spread(labels.codes) == code])
    assert result.notes == ()


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_near_what_was_asked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    squares = [
        (r, c, int(rng.integers(3, 7)), 1 + (r // 20 + c // 20) % 2)
        for r in range(0, 400, 20)
        for c in range(0, 400, 20)
    ]
    labels = make_labels(squares, (400, 400))
    result = split(labels, seed, validation=0.2, test=0.3, gap=10)
    for code in (1, 2):
        sides = result.sides[labels.spread(labels.codes) == code]
        assert abs((sides == Side.TEST).mean() - 0.3) < 0.01
        assert abs((sides == Side.VALIDATION).mean() - 0.2) < 0.01
        assert not (sides == Side.GAP).any()


def test_single_polygon_trains_and_is_listed() -> None:
    labels = make_labels([(0, 0, 8, 1), (0, 60, 8, 2), (60, 0, 8, 2), (60, 60, 1, 3)])
    result = split(labels, test=0.4, validation=0.2)
    assert (result.sides[np.isin(labels.spread(labels.codes), (1, 3))] == Side.TRAIN).all()
    assert any("No test pixels for 'water', 3" in note for note in result.notes)
    assert any("No validation pixels" in note for note in result.notes)


def test_gap_that_would_empty_a_class_is_told() -> None:
    labels = make_labels([(0, 0, 4, 1), (0, 5, 4, 1), (60, 0, 20, 2), (60, 22, 20, 2)])
    result = split(labels, validation=0.5, gap=8)
    water = result.sides[labels.spread(labels.codes) == 1]
    assert (water == Side.VALIDATION).sum() == 16
    assert any("'water' lie within 8 pixels" in note for note in result.notes)
    forest = result.sides[labels.spread(labels.codes) == 2]
    assert (forest == Side.GAP).sum() == 5 * 20


def test_auto_parts_one_polygon_a_class_by_blocks() -> None:
    labels = make_labels([(0, 0, 60, 1), (60, 60, 60, 2)])
    result = split(labels, gap=4, block=16)
    assert any("blocks instead" in note for note in result.notes)
    assert {Side.TRAIN, Side.VALIDATION} <= set(result.sides.ravel())
    by_polygon = split(labels, by="polygon")
    assert set(by_polygon.sides[by_polygon.sides > 0]) == {Side.TRAIN}


def test_dense_labels_tell_what_the_gap_costs() -> None:
    codes = np.ones((128, 128), np.uint16)
    codes[:, 64:] = 2
    labels = labels_of(codes, codes * np.uint32(1), "raster")
    result = split(labels, by="block", block=16, gap=8)
    assert any("train.split.block" in note for note in result.notes)


def test_nothing_held_out() -> None:
    labels = make_labels([(0, 0, 8, 1), (60, 60, 8, 2)])
    for options in ({"by": "none", "test": 0.5}, {"validation": 0, "test": 0}):
        result = split(labels, **options)
        assert set(np.unique(result.sides)) == {UNLABELLED, Side.TRAIN}
        assert len(result.notes) == 1


def test_too_little_to_part() -> None:
    with pytest.raises(NoLabelsError) as caught:
        split(make_labels([]))
    assert caught.value.code == "no-labels"


def test_time_grows_with_the_labels_not_with_their_square() -> None:
    def seconds(side: int) -> float:
        rng = np.random.default_rng(0)
        groups = np.arange(1, side**2 + 1, dtype=np.uint32).reshape(side, side)
        groups = np.kron(groups, np.ones((5, 5), np.uint32))
        codes = rng.integers(0, 9, side**2 + 1).astype(np.uint16)[groups]
        groups[codes == 0] = 0
        labels = labels_of(codes, groups, "polygons")
        start = time.process_time()
        split(labels, test=0.2, gap=3)
        return time.process_time() - start

    assert seconds(300) < 30 * seconds(100)  # 9 times the polygons; squared, 81
