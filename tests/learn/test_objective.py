"""The objective against its formula written out by hand (network.md, section 6)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from m3amba_geo.learn.objective import Objective, class_weights
from m3amba_geo.learn.patches import UNLABELLED, Batch

CLASSES = 3
SHAPE = (2, 4, 5)


def heads(seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    shape = (SHAPE[0], CLASSES, *SHAPE[1:])
    *logits, fused = (torch.randn(shape, generator=generator) for _ in range(count + 1))
    return logits, fused


def ground(seed=0, labelled=0.4, valid=0.8, taught=0.5, count=2, missing=0.0):
    rng = np.random.default_rng(seed)
    there = rng.random(SHAPE) < valid
    known = there & (rng.random(SHAPE) < labelled)
    classes = np.where(known, rng.integers(CLASSES, size=SHAPE), UNLABELLED)
    sure = there & ~known & (rng.random(SHAPE) < taught)
    shares = rng.dirichlet(np.ones(CLASSES), SHAPE).transpose(0, 3, 1, 2) * sure[:, None]
    of_each = there & (rng.random((count, *SHAPE)) >= missing)
    parts = (classes, there, of_each, shares.astype(np.float32))
    return Batch([], [], [], *map(torch.from_numpy, parts))


def by_hand(logits, fused, batch, weights, supervised, unsupervised, self_training):
    """Pixel after pixel, in float64."""
    valid, weights = batch.valid.numpy(), weights.numpy().astype(float)
    places = [*batch.there.numpy(), valid]
    classes = batch.classes.numpy()
    labels = np.stack([(classes == q) * weights[q] for q in range(CLASSES)], axis=1)
    wanted = (labels, supervised), (batch.taught.numpy(), self_training)
    heads = [x.numpy().astype(float) for x in (*logits, fused)]
    total = 0.0
    for head, there in zip(heads, places, strict=True):
        for shares, factor in wanted:
            known = shares.any(axis=1)
            entropy = 0.0
            for b, y, x in zip(*np.nonzero(known & there), strict=True):
                scores = head[b, :, y, x]
                entropy -= shares[b, :, y, x] @ (scores - np.log(np.exp(scores).sum()))
            total += factor * entropy / known.sum()
    for head, there in zip(heads[:-1], places[:-1], strict=True):
        distance = 0.0
        for b, y, x in zip(*np.nonzero(there), strict=True):
            one, other = head[b, :, y, x], heads[-1][b, :, y, x]
            distance += 1 - one @ other / np.sqrt((one @ one) * (other @ other))
        total += unsupervised * distance / valid.sum()
    return total


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize(
    "lambdas", [(1.0, 0.1, 0.5), (0.5, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 1.0)]
)
def test_it_is_the_formula(modalities, lambdas, missing):
    logits, fused = heads(count=modalities)
    batch = ground(count=modalities, missing=missing)
    weights = torch.tensor([0.5, 1.0, 3.0])
    loss = Objective(weights, *lambdas)(logits, fused, batch, batch.counts())
    assert loss.item() == pytest.approx(by_hand(logits, fused, batch, weights, *lambdas), rel=1e-5)


def test_each_term_has_its_pixels_and_invalid_ones_have_none():
    logits, fused = heads()
    fused.requires_grad_()
    batch, weights = ground(), torch.ones(CLASSES)
    unlabelled = (batch.classes == UNLABELLED) & batch.valid

    def reached(*lambdas):
        loss = Objective(weights, *lambdas)(logits, fused, batch, batch.counts())
        return torch.autograd.grad(loss, fused)[0].abs().sum(1) > 0

    assert torch.equal(reached(1.0, 0.0, 0.0), batch.classes != UNLABELLED)
    assert torch.equal(reached(0.0, 1.0, 0.0), batch.valid)
    assert torch.equal(reached(0.0, 0.0, 1.0), batch.taught.any(1))
    assert reached(1.0, 1.0, 1.0)[unlabelled].all()
    assert not reached(1.0, 1.0, 1.0)[~batch.valid].any()


def test_the_head_of_a_missing_modality_is_asked_nothing_and_draws_nothing():
    logits, fused = heads()
    leaves = [x.requires_grad_() for x in (*logits, fused)]
    batch = ground()
    alone = replace(batch, there=torch.stack([batch.valid, torch.zeros_like(batch.valid)]))
    objective = Objective(torch.ones(CLASSES), 1.0, 0.5, 0.5)
    found = torch.autograd.grad(objective(logits, fused, alone, alone.counts()), leaves)
    assert not found[1].any()
    without = replace(batch, there=batch.valid[None])
    expected = torch.autograd.grad(
        objective(logits[:1], fused, without, without.counts()), [leaves[0], fused]
    )
    torch.testing.assert_close([found[0], found[2]], list(expected))


def test_parts_of_a_batch_sum_up_to_it_however_labels_are_spread():
    logits, fused = heads()
    batch, objective = ground(), Objective(torch.tensor([0.5, 1.0, 3.0]), 1.0, 0.5, 0.7)
    batch.classes[0, 1:] = UNLABELLED
    batch.valid[1, 2:] = batch.there[:, 1, 2:] = False
    batch.classes[1, 2:] = UNLABELLED
    batch.taught[1, :, 1:] = 0

    def part(n, counts):
        labels = (batch.classes, batch.valid, *batch.there, batch.taught)
        classes, valid, *there, taught = (x[n : n + 1] for x in labels)
        own = Batch([], [], [], classes, valid, torch.stack(there), taught)
        counts = own.counts() if counts is None else counts
        return objective([x[n : n + 1] for x in logits], fused[n : n + 1], own, counts).item()

    assert batch.counts().tolist() == [
        (batch.classes >= 0).sum(), batch.valid.sum(), batch.taught.any(1).sum(),
    ]  # fmt: skip
    whole = objective(logits, fused, batch, batch.counts()).item()
    assert part(0, batch.counts()) + part(1, batch.counts()) == pytest.approx(whole, rel=1e-5)
    assert (part(0, None) + part(1, None)) / 2 != pytest.approx(whole, rel=1e-2)  # a mean is not it


def test_a_part_without_labels_has_no_share_in_the_entropy():
    logits, fused = heads()
    objective = Objective(torch.ones(CLASSES), 1.0, 0.0, 0.0)
    assert objective(logits, fused, ground(labelled=0.0), torch.tensor([7, 9, 9])).item() == 0


@pytest.mark.parametrize(("labelled", "valid"), [(0.0, 0.8), (0.0, 0.0)])
def test_a_batch_without_labels_or_without_pixels_is_no_harm(labelled, valid):
    logits, fused = heads()
    leaves = [x.requires_grad_() for x in (*logits, fused)]
    batch = ground(0, labelled, valid)
    loss = Objective(torch.ones(CLASSES), 1.0, 0.1, 0.5)(logits, fused, batch, batch.counts())
    gradients = torch.autograd.grad(loss, leaves)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert bool(loss.item()) == (valid > 0)


def test_heads_that_say_nothing_have_finite_gradients():
    logits = [torch.zeros(2, CLASSES, 4, 5, requires_grad=True) for _ in range(2)]
    fused = torch.zeros(2, CLASSES, 4, 5, requires_grad=True)
    batch = ground()
    loss = Objective(torch.ones(CLASSES), 1.0, 0.1, 0.5)(logits, fused, batch, batch.counts())
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, [*logits, fused]))


def test_half_precision_heads_are_summed_in_float32():
    logits, fused = heads()
    batch, objective = ground(), Objective(torch.ones(CLASSES), 1.0, 0.1, 0.5)
    half = objective([x.bfloat16() for x in logits], fused.bfloat16(), batch, batch.counts())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(
        objective(logits, fused, batch, batch.counts()).item(), rel=1e-2
    )


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_the_mean_weight_of_a_pixel_is_one(balance):
    pixels = np.array([1_000_000, 30, 500])
    weights = class_weights(pixels, balance).numpy().astype(float)
    assert (weights * pixels).sum() / pixels.sum() == pytest.approx(1)
    influence = weights * pixels
    assert influence / influence[0] == pytest.approx((pixels / pixels[0]) ** (1 - balance))


def test_a_class_without_pixels_has_a_finite_weight():
    weights = class_weights(np.array([10, 0]), 1.0)
    assert weights.isfinite().all()
    assert weights[0].item() == pytest.approx(11 / 20)


def test_without_a_teacher_its_term_is_nothing():
    logits, fused = heads()
    batch, weights = replace(ground(), taught=None), torch.ones(CLASSES)
    with_it, without = (
        Objective(weights, 1.0, 0.1, s)(logits, fused, batch, batch.counts()) for s in (0.5, 0.0)
    )
    assert with_it == without
    assert batch.counts()[2] == 0
