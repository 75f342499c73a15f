import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    jaccard_score,
    precision_recall_fscore_support,
)

from m3amba_geo.assess.accuracy import Accuracy, assess
from m3amba_geo.errors import ClassMismatchError
from m3amba_geo.geo.legend import LandCover


def codes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def test_rows_are_the_reference_and_columns_the_map(legend):
    scored = assess(codes(1, 1, 1, 2), codes(1, 3, 3, 2), legend)
    assert scored.matrix.tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 0]]
    assert scored.matrix.dtype == np.int64


def test_measures_worked_out_by_hand(accuracy):
    assert accuracy.pixels == 95
    assert accuracy.overall == pytest.approx(74 / 95)
    assert accuracy.producers == pytest.approx((21 / 27, 31 / 37, 22 / 31))
    assert accuracy.users == pytest.approx((21 / 33, 31 / 39, 22 / 23))
    assert accuracy.average == pytest.approx((21 / 27 + 31 / 37 + 22 / 31) / 3)
    # Chance: 27 * 33 + 37 * 39 + 31 * 23 = 3047; kappa = (95 * 74 - 3047) / (95^2 - 3047).
    assert accuracy.kappa == pytest.approx(3983 / 5978)
    assert accuracy.f1 == pytest.approx((42 / 60, 62 / 76, 44 / 54))
    assert accuracy.iou == pytest.approx((21 / 39, 31 / 45, 22 / 32))


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(np.arange(1, 65536), 7, replace=False)).astype(np.uint16)
    legend = tuple(LandCover(int(code), str(code), "#123456", str(code)) for code in chosen)
    truth = rng.choice(chosen, 3000)
    predicted = np.where(rng.random(3000) < 0.6, truth, rng.choice(chosen, 3000))
    scored = assess(truth, predicted, legend)
    assert np.array_equal(scored.matrix, confusion_matrix(truth, predicted, labels=chosen))
    assert scored.overall == pytest.approx(accuracy_score(truth, predicted))
    assert scored.average == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert scored.kappa == pytest.approx(cohen_kappa_score(truth, predicted))
    users, producers, f1, _ = precision_recall_fscore_support(truth, predicted, labels=chosen)
    assert scored.users == pytest.approx(users)
    assert scored.producers == pytest.approx(producers)
    assert scored.f1 == pytest.approx(f1)
    assert scored.iou == pytest.approx(jaccard_score(truth, predicted, average=None))


def test_unmapped_pixels_are_counted_and_left_out(legend):
    scored = assess(codes(1, 2, 2, 3), codes(1, 0, 2, 0), legend)
    assert (scored.unmapped, scored.pixels, scored.overall) == (2, 2, 1.0)
    assert scored.producers == (1.0, 1.0, None)


def test_undefined_is_none_and_missed_is_zero(legend):
    scored = assess(codes(1, 1, 2), codes(1, 1, 1), legend)
    assert scored.producers == (1.0, 0.0, None)
    assert scored.users == (pytest.approx(2 / 3), None, None)
    assert scored.f1 == (pytest.approx(4 / 5), 0.0, None)
    assert scored.iou == (pytest.approx(2 / 3), 0.0, None)
    assert scored.average == 0.5


def test_class_only_in_the_map_does_not_lower_the_average(legend):
    scored = assess(codes(1, 1, 2, 2), codes(1, 3, 2, 2), legend)
    assert scored.producers == (0.5, 1.0, None)
    assert scored.users[2] == 0.0
    assert scored.average == 0.75


@pytest.mark.parametrize("predicted", [codes(), codes(0, 0)])
def test_nothing_scored(legend, predicted):
    scored = assess(np.ones_like(predicted), predicted, legend)
    assert scored.unmapped == len(predicted)
    assert scored.overall is scored.average is scored.kappa is None
    assert scored.f1 == scored.iou == (None, None, None)


def test_kappa_is_undefined_where_one_class_is_all_there_is(legend):
    scored = assess(codes(2, 2), codes(2, 2), legend)
    assert scored.overall == 1.0
    assert scored.kappa is None


def test_kappa_of_chance_is_zero_and_below_it_negative(legend):
    assert Accuracy(legend[:2], np.array([[4, 4], [4, 4]])).kappa == 0
    assert Accuracy(legend[:2], np.array([[0, 5], [5, 0]])).kappa == -1


def test_kappa_of_very_many_pixels(legend):
    small = np.array([[21, 6, 0], [5, 31, 1], [7, 2, 22]])
    assert Accuracy(legend, small * 10**9).kappa == pytest.approx(3983 / 5978)


@pytest.mark.parametrize(
    ("truth", "predicted", "whose"),
    [(codes(1, 9), codes(1, 1), "reference"), (codes(1, 1), codes(1, 9), "map")],
)
def test_code_outside_the_legend(legend, truth, predicted, whose):
    with pytest.raises(ClassMismatchError, match=f"The {whose} holds the class codes 9"):
        assess(truth, predicted, legend)


def test_unlabelled_pixels_are_refused(legend):
    with pytest.raises(ClassMismatchError, match="reference holds the class codes 0"):
        assess(codes(0, 1), codes(1, 1), legend)


@pytest.mark.parametrize("shape", [(3,), (2, 1)])
def test_shapes_must_agree(legend, shape):
    with pytest.raises(ValueError, match="Expected two arrays"):
        assess(codes(1, 2), np.ones(shape, dtype=np.uint16), legend)


def test_counts_say_what_became_of_the_labels(evaluation):
    assert evaluation.counts == {"labelled": 120, "training": 21, "unmapped": 4, "scored": 95}
