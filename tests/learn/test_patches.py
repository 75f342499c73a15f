"""Patches: in the right place, labels and pixels together, random by seed and step alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import as_they_are, scene_of, stack_of

from m3amba_geo.config import TrainConfig
from m3amba_geo.geo.features import Features
from m3amba_geo.geo.stats import BandStatistics
from m3amba_geo.learn.linear import training_pixels
from m3amba_geo.learn.patches import (
    CELL,
    UNLABELLED,
    Patches,
    _around,
    disturb,
    silence,
)

CALM = {"borders": 0.0, "noise": 0.0, "band_dropout": 0.0, "modality_dropout": 0.0}
SCALE = 1000.0


def nothing(shape):
    return np.full(shape, UNLABELLED, np.int32)


def random_labels(shape, seed=0, share=0.1, classes=3):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < share, rng.integers(classes, size=shape), UNLABELLED)


def located(shape, train, patch=8, validation=None):
    """A scene whose first modality tells the row and column of each pixel, both from 1."""
    rows, columns = np.indices(shape) + 1
    stack = stack_of(np.stack([rows, columns]), np.ones((1, *shape)))
    validation = nothing(shape) if validation is None else validation
    scene = scene_of(stack, train.astype(np.int32), validation.astype(np.int32))
    # Scaling clips at ten deviations: coordinates are kept far below.
    features = [Features(BandStatistics(np.zeros(2), np.full(2, SCALE))), *as_they_are(1)]
    return Patches([scene], features, patch)


def places(batch):
    """Rows and columns of the pixels of a batch `(B, P, P)`; -1 outside the raster."""
    found = (batch.patches[0] * SCALE).round().long().numpy() - 1
    return found[:, 0], found[:, 1]


def epoch(patches, config):
    for step in range(-(-len(patches) // config.batch)):
        yield patches.batch(step, config)


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    patch=st.sampled_from([8, 12, 16]),
    seed=st.integers(0, 99),
)
def test_pixels_and_labels_come_from_the_same_place_inside_the_raster(shape, patch, seed):
    train = random_labels(shape, seed)
    train[shape[0] // 2, shape[1] // 2] = 1
    patches = located(shape, train, patch)
    config = TrainConfig(**CALM, batch=4, seed=seed)
    seen = np.zeros(shape, bool)
    for batch in epoch(patches, config):
        rows, columns = places(batch)
        inside = rows >= 0
        assert np.array_equal(inside, batch.valid.numpy())
        # A window reaches out of the raster only where the raster is smaller than a patch.
        extent = min(shape[0], patch) * min(shape[1], patch)
        assert (inside.sum(axis=(1, 2)) == extent).all()
        expected = np.where(inside, train[rows, columns], UNLABELLED)
        assert np.array_equal(batch.classes.numpy(), expected)
        seen[rows[inside], columns[inside]] = True
    assert seen[train != UNLABELLED].all()  # an epoch visits every cell


def test_a_marked_pixel_is_found_under_its_label_whichever_way_a_patch_is_turned():
    shape = (30, 30)
    train = nothing(shape)
    train[13, 17] = 2
    patches = located(shape, train)
    orders = set()
    for step in range(60):
        batch = patches.batch(step, TrainConfig(**CALM, batch=1))
        ((_, y, x),) = (batch.classes != UNLABELLED).nonzero().tolist()
        rows, columns = places(batch)
        assert (rows[0, y, x], columns[0, y, x]) == (13, 17)
        down = rows[0, 1, 0] - rows[0, 0, 0], columns[0, 1, 0] - columns[0, 0, 0]
        right = rows[0, 0, 1] - rows[0, 0, 0], columns[0, 0, 1] - columns[0, 0, 0]
        orders.add((*map(int, down), *map(int, right)))
    assert len(orders) == 8  # four turns, and each mirrored


def pieces(batch):
    """How many windows the pixels of each patch come from: rows and columns then leap."""
    rows, columns = places(batch)
    steps = [
        np.abs(np.diff(where, axis=axis)).max(axis=(1, 2))
        for where in (rows, columns)
        for axis in (1, 2)
    ]
    return np.where(np.max(steps, axis=0) > 1, 2, 1)


def test_patches_made_of_two_keep_each_pixel_with_its_label():
    shape = (60, 60)
    train = random_labels(shape)
    patches = located(shape, train, patch=16)
    counts = {}
    for chance in (0.0, 0.5, 0.99):
        config = TrainConfig(**CALM | {"borders": chance}, batch=50)
        batch = patches.batch(0, config)
        rows, columns = places(batch)
        assert np.array_equal(batch.classes.numpy(), train[rows, columns])
        assert torch.equal(batch.clean[0], batch.patches[0])
        counts[chance] = (pieces(batch) == 2).mean()
    assert counts[0.0] == 0
    assert 0.3 < counts[0.5] < 0.7
    assert counts[0.99] > 0.9  # the same window may come twice


def test_windows_that_are_counted_beforehand_stay_whole():
    shape = (60, 60)
    patches = located(shape, random_labels(shape), patch=16)
    patches.step = CELL
    batch = patches.batch(0, TrainConfig(**CALM | {"borders": 0.99}, batch=50))
    assert (pieces(batch) == 1).all()


def test_windows_are_placed_at_random_around_their_cell():
    shape = (64, 64)
    train = nothing(shape)
    train[24:32, 24:32] = 0
    patches = located(shape, train, patch=16)
    assert len(patches) == 1
    tops = set()
    for step in range(40):
        rows, _ = places(patches.batch(step, TrainConfig(**CALM, batch=1)))
        tops.add(int(rows.min()))
    assert tops <= set(range(24 + CELL - 16, 25))
    assert len(tops) > 5


def test_cells_are_the_squares_with_a_training_pixel_in_any_scene():
    first, second = nothing((20, 20)), nothing((9, 30))
    first[0, 0] = first[7, 7] = first[8, 7] = 0
    second[8, 29] = 1
    scenes = [
        scene_of(stack_of(np.ones((1, *train.shape))), train, nothing(train.shape))
        for train in (first, second)
    ]
    patches = Patches(scenes, as_they_are(1), 8)
    assert patches.cells.tolist() == [[0, 0, 0], [0, 8, 0], [1, 8, 24]]
    assert len(patches) == 3


def test_training_pixels_come_with_their_features_from_all_scenes(monkeypatch):
    shapes, labels = [(20, 50), (9, 9)], []
    for n, shape in enumerate(shapes):
        labels.append(random_labels(shape, seed=n, share=0.3))
    scenes = [located(shape, marks).scenes[0] for shape, marks in zip(shapes, labels, strict=True)]
    features = [Features(BandStatistics(np.zeros(2), np.full(2, SCALE))), *as_they_are(1)]
    patches = Patches(scenes, features, 8)
    wanted = {
        (row + 1, column + 1, marks[row, column])
        for marks in labels
        for row, column in np.argwhere(marks != UNLABELLED).tolist()
    }
    pixels, classes = training_pixels(patches, 10_000, np.random.default_rng(0))
    assert len(pixels) == len(classes) == sum((m != UNLABELLED).sum() for m in labels)
    found = np.column_stack([(pixels[:, :2] * SCALE).round().astype(int), classes])
    assert set(map(tuple, found.tolist())) == wanted
    monkeypatch.setattr("m3amba_geo.learn.linear._EACH", 0)
    fewer, some = training_pixels(patches, 20, np.random.default_rng(0))
    assert fewer.shape == (20, 3)
    drawn = np.column_stack([(fewer[:, :2] * SCALE).round().astype(int), some])
    assert set(map(tuple, drawn.tolist())) <= wanted


@pytest.mark.parametrize("seed", range(3))
def test_of_each_class_some_training_pixels_are_drawn_however_rare_it_is(seed):
    train = np.zeros((100, 100), np.int32)
    train[40:43, 50] = 1
    patches = located(train.shape, train)
    _, classes = training_pixels(patches, 200, np.random.default_rng(seed))
    assert (classes == 1).sum() == 3
    assert 200 <= len(classes) <= 203


def test_training_pixels_that_lack_a_modality_are_left_out():
    train = random_labels((20, 20))
    image = np.random.default_rng(0).normal(size=(1, 20, 20))
    holes = np.broadcast_to(np.arange(20) < 8, (20, 20))
    stack = stack_of(image, image, invalid={1: holes}, dropout=0.3)
    patches = Patches([scene_of(stack, train, nothing(train.shape))], as_they_are(1, 1), 8)
    pixels, classes = training_pixels(patches, 10_000, np.random.default_rng(0))
    whole = (train != UNLABELLED) & ~holes
    assert 0 < whole.sum() < (train != UNLABELLED).sum()
    assert np.array_equal(np.sort(classes), np.sort(train[whole]))
    assert (pixels != 0).all()


def equal(one, other):
    pairs = zip(one.patches, other.patches, strict=True)
    return (
        all(torch.equal(a, b) for a, b in pairs)
        and torch.equal(one.classes, other.classes)
        and torch.equal(one.valid, other.valid)
    )


def test_a_batch_depends_on_seed_and_step_alone():
    train = random_labels((40, 40))
    config = TrainConfig(batch=3, seed=7)
    patches = located((40, 40), train)
    forwards = [patches.batch(step, config) for step in range(6)]
    np.random.seed(1)  # noqa: NPY002 - that nothing of ours may depend on
    torch.manual_seed(1)
    again = located((40, 40), train)
    for step in reversed(range(6)):
        assert equal(again.batch(step, config), forwards[step])
    assert not equal(forwards[0], forwards[1])
    assert not equal(forwards[0], patches.batch(0, TrainConfig(batch=3, seed=8)))


def test_every_cell_is_visited_once_an_epoch_in_another_order_each_time():
    train = nothing((40, 40))
    train[4::8, 4::8] = 0  # a pixel in the middle of each of 25 cells
    patches = located((40, 40), train, patch=8)
    config = TrainConfig(**CALM, batch=5)

    def order(first):
        visited = []
        for step in range(first, first + 5):
            rows, columns = places(patches.batch(step, config))
            visited += [(r.min() // 8, c.min() // 8) for r, c in zip(rows, columns, strict=True)]
        return visited

    one, other = order(0), order(5)
    assert len(set(one)) == len(set(other)) == 25
    assert one != other


def test_invalid_pixels_are_zero_unlabelled_and_invalid_in_spite_of_noise():
    shape = (24, 24)
    rng = np.random.default_rng(0)
    holes = [rng.random(shape) < 0.2 for _ in range(2)]
    stack = stack_of(
        np.full((2, *shape), 3.0), np.full((1, *shape), 5.0), invalid=dict(enumerate(holes))
    )
    scene = scene_of(stack, np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    patches = Patches([scene], as_they_are(2, 1), 8)
    config = TrainConfig(noise=0.5, band_dropout=0, modality_dropout=0, batch=4)
    for batch in epoch(patches, config):
        there = [(patch != 0).all(dim=1) for patch in batch.patches]
        assert torch.equal(batch.valid, there[0] & there[1])
        assert torch.equal(batch.classes != UNLABELLED, batch.valid)
        assert not torch.equal(there[0], there[1])
        for patch, valid in zip(batch.patches, there, strict=True):
            assert not patch.permute(0, 2, 3, 1)[~valid].any()
    (batch,) = patches.validation_batches(patches.validation_windows(rng, 5), 5)
    assert torch.equal(batch.classes != UNLABELLED, batch.valid)


@pytest.mark.parametrize("step", [1, CELL])
@pytest.mark.parametrize(("shape", "patch"), [((37, 50), 16), ((20, 5), 12), ((40, 40), 32)])
def test_windows_are_those_that_can_be_counted_and_all_of_them(shape, patch, step):
    train = random_labels(shape, share=0.02)
    train[shape[0] // 2, shape[1] // 2] = 1
    patches = located(shape, train, patch)
    patches.step = step
    possible = patches.training_windows()
    config = TrainConfig(**CALM, batch=8)
    seen = set()
    for n in range(300):
        batch = patches.batch(n, config)
        seen.update(batch.windows)
        assert (batch.classes != UNLABELLED).flatten(1).any(1).all()
    assert seen <= possible
    if step == CELL:  # few enough to have come all
        assert seen == possible
        ends = [max(0, side - patch) for side in shape]
        for window in possible:
            for start, end in zip((window.top, window.left), ends, strict=True):
                assert start % CELL == 0 or start == end


def test_a_step_of_one_pixel_places_windows_as_it_always_did():
    """So that a seed gives the same model as before there were steps."""
    for cell, side, patch in [
        (0, 100, 32),
        (64, 100, 32),
        (96, 100, 32),
        (8, 20, 32),
        (40, 60, 12),
    ]:
        starts = _around(cell, side, patch, 1)
        for seed in range(50):
            drawn = int(np.random.default_rng(seed).integers(cell + CELL - patch, cell + 1))
            expected = min(max(drawn, 0), max(side - patch, 0))
            rng = np.random.default_rng(seed)
            assert starts[rng.integers(len(starts))] == expected


def test_a_batch_tells_where_its_patches_lie():
    shape = (30, 40)
    patches = located(shape, random_labels(shape), validation=random_labels(shape, 5))
    windows = patches.validation_windows(np.random.default_rng(0), None)
    told = [w for batch in patches.validation_batches(windows, 4) for w in batch.windows]
    assert told == windows
    batch = patches.batch(0, TrainConfig(**CALM, batch=4))
    rows, columns = places(batch)
    corners = [(r.min(), c.min()) for r, c in zip(rows, columns, strict=True)]
    assert corners == [(w.top, w.left) for w in batch.windows]
    patch = patches.patch_at(batch.windows[0])
    assert (patch[0] * SCALE).round().min(axis=(1, 2)).tolist() == [n + 1 for n in corners[0]]


def test_a_calm_patch_is_not_disturbed():
    patch = np.random.default_rng(0).standard_normal((3, 8, 8)).astype(np.float32)
    rng = np.random.default_rng(1)
    assert np.array_equal(disturb(patch, rng, TrainConfig(**CALM)), patch)


def test_bands_are_silenced_at_the_rate_asked_for_and_never_all():
    rng, config = np.random.default_rng(0), TrainConfig(**CALM | {"band_dropout": 0.3})
    silent = []
    for _ in range(300):
        patch = disturb(np.ones((6, 4, 4), np.float32), rng, config)
        assert set(np.unique(patch)) <= {0, 1}
        silent.append((patch == 0).all(axis=(1, 2)))
        assert not silent[-1].all()
    assert np.mean(silent) == pytest.approx(0.3, abs=0.03)
    harsh = TrainConfig(**CALM | {"band_dropout": 0.99})
    assert disturb(np.ones((1, 4, 4), np.float32), rng, harsh).all()


def test_noise_is_of_the_strength_asked_for():
    rng, config = np.random.default_rng(0), TrainConfig(**CALM | {"noise": 0.5})
    blank = np.zeros((4, 16, 16), np.float32)
    noisy = np.stack([disturb(blank, rng, config) for _ in range(200)])  # (n, C, P, P)
    shifts = noisy.mean(axis=(2, 3))
    assert noisy.dtype == np.float32
    assert shifts.std() == pytest.approx(0.5, rel=0.1)
    within = (noisy - shifts[..., None, None]).std(axis=(1, 2, 3))
    assert within.max() == pytest.approx(0.5, rel=0.1)  # uniform between 0 and that
    assert within.min() < 0.05


@pytest.mark.parametrize("count", [2, 3])
def test_any_modalities_are_silenced_but_never_all(count):
    rng = np.random.default_rng(0)
    valid = [rng.random((4, 4)) < 0.9 for _ in range(count)]
    seen = Counter()
    for _ in range(600):
        found = silence(valid, rng, 0.5)
        loud = tuple(bool(v.any()) for v in found)
        for own, before, kept in zip(found, valid, loud, strict=True):
            assert np.array_equal(own, before & kept)
        seen[loud] += 1
    assert seen[(True,) * count] / 600 == pytest.approx(0.5, abs=0.06)
    others = {loud: n for loud, n in seen.items() if not all(loud)}
    assert len(others) == 2**count - 2
    assert not seen[(False,) * count]
    assert max(others.values()) < 1.6 * min(others.values())
    assert silence(valid, rng, 0.0) is valid


def test_modalities_are_silenced_and_complete_pixels_count_all_the_same():
    shape = (24, 24)
    rng = np.random.default_rng(0)
    holes = [rng.random(shape) < 0.4 for _ in range(2)]
    data = np.full((2, *shape), 3.0), np.full((1, *shape), 5.0)
    stack = stack_of(*data, invalid=dict(enumerate(holes)))
    scene = scene_of(stack, np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    patches = Patches([scene], as_they_are(2, 1), 8)
    config = TrainConfig(noise=0, band_dropout=0, modality_dropout=0.5, batch=4)
    silenced = Counter()
    for batch in epoch(patches, config):
        there = torch.stack([(patch != 0).all(dim=1) for patch in batch.patches])
        whole = [(clean != 0).all(dim=1) for clean in batch.clean]
        assert torch.equal(batch.valid, whole[0] & whole[1])
        assert torch.equal(batch.there, there & batch.valid)
        assert torch.equal(batch.classes != UNLABELLED, batch.valid)
        silenced.update(map(tuple, (~there.flatten(2).any(2)).T.tolist()))
        assert all(clean.flatten(1).any(1).all() for clean in batch.clean)  # the teacher's
    assert set(silenced) == {(False, False), (True, False), (False, True)}


@pytest.mark.parametrize("shape", [(50, 70), (6, 40), (8, 8), (1, 30)])
def test_validation_windows_cover_every_validation_pixel(shape):
    validation = random_labels(shape, seed=3, share=0.03)
    validation[-1, -1] = 0
    patches = located(shape, nothing(shape), validation=validation)
    windows = patches.validation_windows(np.random.default_rng(0), None)
    found = nothing(shape)
    for batch in patches.validation_batches(windows, 4):
        rows, columns = places(batch)  # not turned, not disturbed
        classes = batch.classes.numpy()
        assert ((classes != UNLABELLED).any(axis=(1, 2))).all()
        known = classes != UNLABELLED
        found[rows[known], columns[known]] = classes[known]
    assert np.array_equal(found, validation)
    few = patches.validation_windows(np.random.default_rng(0), 2)
    assert len(few) == min(2, len(windows))
    assert set(few) <= set(windows)
    assert few == patches.validation_windows(np.random.default_rng(0), 2)


def test_without_validation_pixels_there_are_no_validation_windows():
    patches = located((20, 20), random_labels((20, 20)))
    assert patches.validation_windows(np.random.default_rng(0), None) == []
