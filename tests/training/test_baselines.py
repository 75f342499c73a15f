"""Baselines learn the tiny place, and test labels have no influence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.baselines import nets
from training.baselines.classical import discriminant, forest, regression, support_vectors
from training.baselines.fit import batch, net, predict, scaled, train

PIXELWISE = {
    "forest": forest("raw"),
    "svm": support_vectors("profiles"),
    "lda": discriminant("means"),
    "svm-fractions": support_vectors("fractions", alike=False),
    "logistic": regression("fractions"),
}


@pytest.mark.slow  # a forest is tuned twice
@pytest.mark.parametrize("name", PIXELWISE)
def test_pixelwise_methods_learn_without_test_labels(scene, case, name):
    found = PIXELWISE[name](scene, case)
    assert (found.predicted == case.codes[case.test]).mean() > 0.9
    wrong = replace(case, codes=np.where(case.test, np.uint16(1), case.codes))
    assert np.array_equal(PIXELWISE[name](scene, wrong).predicted, found.predicted)


@pytest.mark.parametrize("build", [nets.cnn, nets.convnext])
def test_nets_have_the_size_that_is_told_and_keep_the_resolution(build):
    model = build(200, 16).eval()
    assert 80_000 < sum(p.numel() for p in model.parameters()) < 130_000
    assert model(torch.zeros(2, 200, 24, 20)).shape == (2, 16, 24, 20)


@pytest.mark.slow
def test_a_net_learns(scene, case):
    torch.manual_seed(0)
    bands = scaled(scene, case)
    classes = np.where(case.train, case.codes.astype(np.int64) - 1, -1)
    model = train(nets.cnn(5, 3), bands, classes, seed=0, steps=40)
    found = predict(model, bands)[case.test] + 1
    assert (found == case.codes[case.test]).mean() > 0.9


def test_test_labels_do_not_reach_a_net(scene, case):
    found = net(nets.convnext)(scene, case, True).predicted
    wrong = replace(case, codes=np.where(case.test, np.uint16(1), case.codes))
    assert np.array_equal(net(nets.convnext)(scene, wrong, True).predicted, found)


def test_patches_are_turned_together_with_their_classes():
    classes = np.full((40, 50), -1)
    classes[10:30, 5:45] = np.random.default_rng(0).integers(0, 9, (20, 40))
    bands = np.where(classes < 0, 0, classes + 5).astype(np.float32)[None]
    patches, truth = batch(bands, classes, np.random.default_rng(0))
    assert patches.shape == (16, 1, 24, 24)
    known = truth >= 0
    assert known.any(dim=(1, 2)).all()
    # noise and shift have a deviation of 0.1 each: half a class is 3.5 of both together
    assert ((patches[:, 0] - truth - 5)[known].abs() < 0.5).float().mean() > 0.98


def test_a_scene_smaller_than_a_patch():
    classes = np.zeros((10, 12), np.int64)
    patches, truth = batch(np.ones((2, 10, 12), np.float32), classes, np.random.default_rng(0))
    assert patches.shape == (16, 2, 24, 24)
    assert ((truth == 0).sum(dim=(1, 2)) == 120).all()
