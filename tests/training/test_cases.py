"""Cases: units stay whole, the gap is kept, and few labels are as few as was said."""

import numpy as np
import pytest

from m3amba_geo.errors import UsageError
from training.cases import cases, draw, tuning_folds
from training.methods import METHODS
from training.recipe import RECIPES, Protocol, read_recipe


def units(case, side):
    return set(case.groups[side].tolist())


@pytest.mark.parametrize("part", ["polygon", "block"])
@pytest.mark.parametrize("folds", [1, 3])
def test_no_unit_is_on_both_sides(scene, part, folds):
    protocol = Protocol(methods=("forest",), part=part, folds=folds, block=16)
    found = list(cases(scene, protocol, [0, 1]))
    assert len(found) == 2 * folds
    for case in found:
        assert case.train.any()
        assert case.test.any()
        assert not (case.train & case.test).any()
        assert not units(case, case.train) & units(case, case.test)


def test_folds_hold_out_every_label_once(scene):
    protocol = Protocol(methods=("forest",), part="block", folds=4, block=16)
    held = sum(case.test.astype(int) for case in cases(scene, protocol, [0]))
    assert np.array_equal(held, (scene.labels.spread(scene.labels.codes) > 0).astype(int))


def test_folds_keep_the_gap(scene):
    protocol = Protocol(methods=("forest",), part="block", folds=3, block=16, gap=5)
    near = 0
    for case in cases(scene, protocol, [0]):
        rows, columns = np.nonzero(case.train)
        for row, column in zip(*np.nonzero(case.test), strict=True):
            assert np.maximum(abs(rows - row), abs(columns - column)).min() >= 5
        near += ((scene.labels.spread(scene.labels.codes) > 0) & ~case.train & ~case.test).sum()
    assert near > 0  # or the gap took nothing away, and nothing was tested


def test_seeds_part_anew_and_repeat_themselves(scene):
    protocol = Protocol(methods=("forest",), part="polygon")
    first, second, again = (next(cases(scene, protocol, [seed])) for seed in (0, 1, 0))
    assert first.pixels == again.pixels != second.pixels


def test_few_labels_a_class(scene):
    protocol = Protocol(methods=("forest",), part="polygon", few=(5, 1000))
    few, plenty = cases(scene, protocol, [0])
    counts = np.bincount(few.codes[few.train])[1:]
    assert counts.tolist() == [5, 5, 5]
    assert not (few.train & ~plenty.train).any()
    assert np.array_equal(few.test, plenty.test)


def test_a_class_with_fewer_labels_gives_all(scene):
    codes = scene.labels.spread(scene.labels.codes)
    train = np.zeros_like(codes, dtype=bool)
    train.flat[np.flatnonzero(codes == 1)[:3]] = True
    train.flat[np.flatnonzero(codes == 2)[:30]] = True
    drawn = draw(codes, train, 10, np.random.default_rng(0))
    assert np.bincount(codes[drawn], minlength=4).tolist() == [0, 3, 10, 0]


def test_tuning_never_tears_a_group_apart():
    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=500)
    classes = rng.integers(1, 4, 40)[groups]
    folds = tuning_folds(classes, groups, 0)
    assert len(folds) == 3
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(500))


def test_one_group_can_not_be_tuned_on():
    with pytest.raises(UsageError):
        tuning_folds(np.array([1, 1, 2]), np.array([7, 7, 7]), 0)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_sound(path):
    recipe = read_recipe(path.stem)
    names = {method.partition("@")[0].partition("+")[0] for method in recipe.protocol.methods}
    assert names <= set(METHODS)


def test_a_recipe_that_does_not_fit_is_refused(tmp_path):
    text = '[[scene]]\nlabels = "a.gpkg"\nmodalities = { a = "a.tif" }\n'
    protocol = '[protocol]\nmethods = ["forest"]\n'
    (tmp_path / "given.toml").write_text(text + protocol)
    (tmp_path / "typo.toml").write_text(text + protocol + "fold = 3\n")
    for name in ("given", "typo"):
        with pytest.raises(UsageError):
            read_recipe(name, tmp_path)
