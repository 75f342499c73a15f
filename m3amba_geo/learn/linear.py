"""Fits the linear head: what the features of single pixels tell, and how sure that is.

Where labels are few, a softmax regression on the features of a pixel is hard to beat, and its
probabilities can be relied on; a network of many more parameters has learnt the labels by heart
long before. So what the regression makes of pixels without a label trains the network, too, until
the network knows better, and the map is the product of both. It is the mean of two, of the training
pixels as they are and as they would be near borders: inside of what was drawn the largest
neighbourhood tells most, and elsewhere it does not, but what is small may be told by it alone.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from m3amba_geo.geo.features import joint_components, read_features
from m3amba_geo.geo.marks import boxes_around
from m3amba_geo.geo.raster import Pixels
from m3amba_geo.learn.borders import near_borders
from m3amba_geo.learn.patches import CELL, Patches
from m3amba_geo.model.linear import LinearHead

_MOST = 10_000  # training pixels: a second or two of work, more to read scattered ones
_EACH = 50  # pixels of a class, if it has so many, are drawn at least
_COPIES = 5  # of each, near as many borders; fewer where they would be more than these
_STRENGTH = 0.3  # sklearn's C; features are of variance 1 in the mean
_DOUBT = 0.1  # share of training pixels; labels of which it misses more are in doubt
_MANY = 1_000  # training pixels: of so many a network learns more than a regression can tell
_STRENGTH_IN_DOUBT = 0.1
_OTHERS_IN_DOUBT = 0.25  # of the network's logits count beside it: labels are learnt by heart there
_ITERATIONS = 300


class LinearFit(NamedTuple):
    """A softmax regression, and how well it fits.

    Attributes:
        head: The regression; where labels are in doubt it is held harder, and the network's own
            logits count a quarter beside it.
        missed: Share of the pixels that fitted it which it takes for another class.
        doubtful: Whether labels are in doubt: few, and not even what was fitted to them can follow.
    """

    head: LinearHead
    missed: float
    doubtful: bool


def fit_linear(patches: Patches, classes: int, seed: int, *, borders: bool) -> LinearFit | None:
    """Returns a softmax regression; None where no training pixel has all modalities.

    Args:
        patches: Their training pixels fit it: 10,000 of more are drawn at random, and some of
            each class.
        classes: Q, how many there are.
        seed: Of the draw.
        borders: Whether a second one, whose logits count as much, sees them near borders, each up
            to five times near others.
    """
    rng = np.random.default_rng([seed, 4])
    features, codes = training_pixels(patches, _MOST, rng)
    if not len(codes):
        return None
    basis = _basis(patches, *features.shape)
    features = basis.of(features)
    sides = np.concatenate([f.sides for f in patches.features])  # of each feature's neighbourhood
    seen = [(features, codes)]
    if borders and sides.max() > 1:  # no border changes a pixel by itself
        copies = max(1, min(_COPIES, _MOST // len(codes)))
        near = [near_borders(features, sides, rng) for _ in range(copies)]
        seen.append((np.concatenate(near), np.tile(codes, copies)))
    weight, bias = _regression(seen, classes, _STRENGTH)
    missed = float(((features @ weight.T + bias).argmax(1) != codes).mean())
    doubtful = missed > _DOUBT and len(codes) < _MANY
    head = LinearHead(features.shape[1], classes)
    if doubtful:
        weight, bias = _regression(seen, classes, _STRENGTH_IN_DOUBT)
        head.others.fill_(_OTHERS_IN_DOUBT)
    weight, bias = basis.undone(weight, bias)
    head.weight.copy_(torch.from_numpy(weight))
    head.bias.copy_(torch.from_numpy(bias))
    return LinearFit(head, missed, doubtful)


def training_pixels(
    patches: Patches, most: int, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.int32]]:
    """Returns features of all modalities `(n, C)`, and class index `(n,)`, of training pixels.

    They are drawn at random if there are more than `most`, and some of each class beside, so that
    a rare one is not missed; those that lack a modality are left out.
    """
    counts = [len(scene.train.pixels) for scene in patches.scenes]
    drawn = _drawn(np.concatenate([scene.train.values for scene in patches.scenes]), most, rng)
    features, classes = [], []
    for scene, first, count in zip(patches.scenes, np.cumsum([0, *counts]), counts, strict=False):
        own = drawn[(drawn >= first) & (drawn < first + count)] - first
        pixels = scene.train.pixels[own]
        for top, left, *sides, here in boxes_around(scene.train.shape, pixels, CELL, CELL):
            found, valid = read_features(scene.stack, patches.features, top, left, *sides)
            rows, columns = np.divmod(pixels[here], scene.train.shape[1])
            places = rows - top, columns - left
            whole = np.all([v[places] for v in valid], axis=0)
            features.append(np.concatenate(found)[:, *places].T[whole])
            classes.append(scene.train.values[own[here]][whole])
    return np.concatenate(features), np.concatenate(classes)


def _drawn(classes: NDArray[np.int32], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns which of the pixels are drawn, ascending: at most `most`, and `_EACH` of each class.

    Args:
        classes: `(n,)`, class index of each.
        most: How many are drawn without regard to their class.
        rng: Draws them.
    """
    order = rng.permutation(len(classes))
    drawn = [order[:most]]
    if len(order) > most:
        drawn += [order[classes[order] == one][:_EACH] for one in np.unique(classes)]
    return np.unique(np.concatenate(drawn))


class _Basis(NamedTuple):
    """What a regression is fitted in; how hard each direction is held depends on it.

    Attributes:
        center: `(C,)`, in features.
        matrix: `(C, C)`, from features to components, each of the neighbourhood of its feature.
    """

    center: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def of(self, features: Pixels) -> Pixels:
        """Returns components `(n, C)` of features `(n, C)`."""
        centered = (features - self.center).astype(np.float32)
        found: Pixels = centered @ self.matrix.T.astype(np.float32)
        return found

    def undone(
        self, weight: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns weights and biases for features instead of components."""
        weight = weight @ self.matrix
        return weight, bias - weight @ self.center


def _basis(patches: Patches, pixels: int, features: int) -> _Basis:
    """Returns components of all modalities if features outnumber pixels, else features themselves.

    Of so few pixels it is the basis that tells which differences count, not the labels: what hardly
    differs between neighbours does, also where it takes two modalities to see it.
    """
    if features > pixels:
        scenes = patches.scenes
        stacks, pixels_of = [s.stack for s in scenes], [s.train.pixels for s in scenes]
        return _Basis(*joint_components(stacks, pixels_of, patches.features))
    return _Basis(np.zeros(features), np.eye(features))


def _regression(
    seen: Sequence[tuple[Pixels, NDArray[np.int32]]], classes: int, strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns weights `(Q, C)` and biases `(Q,)`, the mean of regressions on the same pixels.

    Args:
        seen: For each regression features `(n, C)` and classes `(n,)`; the first sees the pixels
            once, others see copies.
        classes: Q; one without a pixel is never given.
        strength: For pixels that are seen once.
    """
    (features, codes), *_ = seen
    weight = np.zeros((classes, features.shape[1]))
    bias = np.full(classes, -np.inf)
    present = np.unique(codes)
    bias[present] = 0
    if len(present) > 1:
        fits = [_fit(x, y, strength * len(codes) / len(y)) for x, y in seen]
        weight[present], bias[present] = (np.mean(each, 0) for each in zip(*fits, strict=True))
    return weight, bias


def _fit(
    features: Pixels, classes: NDArray[np.int32], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns weights `(Q, C)` and biases `(Q,)` of a softmax regression; two classes count."""
    machine = LogisticRegression(C=strength, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough
        machine.fit(features, classes)
    weight, bias = machine.coef_, machine.intercept_
    if len(weight) == 1:  # the second of two classes against the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias
