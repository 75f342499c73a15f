"""The linear head is fitted as a softmax regression on the features of single pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from m3amba_geo.learn import linear
from m3amba_geo.learn.linear import fit_linear


def pixels(classes, apart=1.5, count=300, bands=5):
    """Features of pixels, and their classes, which overlap the less, the farther apart they are."""
    rng = np.random.default_rng(0)
    codes = rng.choice(classes, count).astype(np.int32)
    centers = rng.normal(0, apart, (max(classes) + 1, bands))
    return (centers[codes] + rng.normal(0, 1, (count, bands))).astype(np.float32), codes


def fitted(features, codes, classes, sides=1, borders=True):
    """The regression on such pixels; those of neighbourhoods of one pixel see no border."""
    seen = SimpleNamespace(sides=np.broadcast_to(sides, features.shape[1]))
    patches = SimpleNamespace(features=[seen], scenes=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "training_pixels", lambda *_: (features, codes))
        return fit_linear(patches, classes, seed=0, borders=borders)


def head_of(features, codes, classes):
    return fitted(features, codes, classes).head


def as_patches(features):
    """Pixels as one patch of two modalities."""
    image = torch.from_numpy(features.T.reshape(1, features.shape[1], 15, -1))
    return [image[:, :2], image[:, 2:]]


@pytest.mark.parametrize("present", [(0, 1, 2), (0, 1), (1, 3), (0, 2, 3)])
@pytest.mark.parametrize(("apart", "strength"), [(4.0, 0.3), (0.5, 0.1)])
def test_its_probabilities_are_those_of_a_softmax_regression(present, apart, strength):
    features, codes = pixels(present, apart)
    logits = head_of(features, codes, 4)(as_patches(features))
    wanted = np.zeros((len(codes), 4))
    machine = LogisticRegression(C=strength).fit(features, codes)
    wanted[:, present] = machine.predict_proba(features)
    np.testing.assert_allclose(logits.softmax(1)[0].reshape(4, -1).T, wanted, atol=1e-5)


@pytest.mark.parametrize("present", [(0, 1), (0, 2, 3)])
@pytest.mark.parametrize("borders", [False, True])
def test_where_features_outnumber_pixels_it_is_one_of_joint_components(
    monkeypatch, present, borders
):
    features, codes = pixels(present, apart=3, count=30, bands=40)
    rng = np.random.default_rng(1)
    center, matrix = rng.normal(0, 1, 40), rng.normal(0, 0.2, (40, 40))
    monkeypatch.setattr(linear, "joint_components", lambda *_: (center, matrix))
    head = fitted(features, codes, 4, borders=borders).head
    components = (features - center) @ matrix.T
    wanted = np.zeros((len(codes), 4))
    machine = LogisticRegression(C=0.3).fit(components, codes)
    wanted[:, present] = machine.predict_proba(components)
    logits = torch.from_numpy(features) @ head.weight.T + head.bias
    np.testing.assert_allclose(logits.softmax(1), wanted, atol=1e-4)


def test_of_one_class_it_is_sure():
    features, codes = pixels((1,))
    logits = head_of(features, codes, 3)(as_patches(features))
    assert (logits.softmax(1)[:, 1] == 1).all()


def test_without_a_pixel_that_has_all_modalities_there_is_none():
    features, codes = pixels((0, 1))
    assert fitted(features[:0], codes[:0], 2) is None


def test_it_says_how_many_of_its_labels_it_misses():
    features, codes = pixels((0, 1, 2))
    predicted = LogisticRegression(C=0.3).fit(features, codes).predict(features)
    assert fitted(features, codes, 3).missed == (predicted != codes).mean() > 0
    assert fitted(features, np.zeros_like(codes), 3).missed == 0


@pytest.mark.parametrize(
    ("apart", "count", "doubtful"), [(1.5, 300, False), (0.5, 300, True), (0.5, 1000, False)]
)
def test_few_labels_that_it_misses_are_in_doubt_and_others_count_for_less(apart, count, doubtful):
    found = fitted(*pixels((0, 1, 2), apart, count), 3)
    assert (found.missed > 0.1) == (apart < 1)
    assert found.doubtful == doubtful
    assert found.head.others == (0.25 if doubtful else 1)


def test_what_borders_blur_counts_for_less():
    """Two features tell the same; what is of a large neighbourhood is less to be relied on."""
    codes = np.arange(200, dtype=np.int32) % 2
    features = np.repeat(codes[:, None] * 2.0 - 1, 2, axis=1).astype(np.float32)
    features += np.random.default_rng(0).normal(0, 0.3, features.shape).astype(np.float32)

    def reliance(borders):
        weight = fitted(features, codes, 2, [1, 15], borders).head.weight[1].abs()
        return float(weight[1] / weight[0])

    assert reliance(borders=True) < 0.9 * reliance(borders=False)
