"""Fits the linear head: what the features of single pixels tell, and how sure that is.

Where labels are few, a softmax regression on the features of a pixel is hard to beat, and its
probabilities can be relied on; a network of many more parameters has learnt the labels by heart
long before. So what the regression makes of pixels without a label trains the network, too, until
the network knows better, and the map is the product of both.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from m3amba_geo.geo.raster import Pixels
from m3amba_geo.learn.patches import Patches
from m3amba_geo.model.linear import LinearHead

_MOST = 10_000  # training pixels: a second or two of work
_STRENGTH = 0.3  # sklearn's C; features are of variance 1 in the mean
_ITERATIONS = 300


class LinearFit(NamedTuple):
    """A softmax regression, and how well it fits.

    Attributes:
        head: The regression.
        missed: Share of the pixels that fitted it which it takes for another class.
    """

    head: LinearHead
    missed: float


def fit_linear(patches: Patches, classes: int, seed: int) -> LinearFit | None:
    """Returns a softmax regression; None where no training pixel has all modalities.

    Args:
        patches: Their training pixels fit it, at most 10,000 of them, drawn at random.
        classes: Q, how many there are.
        seed: Of the draw.
    """
    features, codes = patches.training_pixels(_MOST, np.random.default_rng([seed, 4]))
    if not len(codes):
        return None
    present, numbers = np.unique(codes, return_inverse=True)
    weight = np.zeros((classes, features.shape[1]))
    bias = np.full(classes, -np.inf)  # a class without a training pixel is never given
    bias[present] = 0
    if len(present) > 1:
        weight[present], bias[present] = _fit(features, numbers)
    head = LinearHead(features.shape[1], classes)
    head.weight.copy_(torch.from_numpy(weight))
    head.bias.copy_(torch.from_numpy(bias))
    found = (features @ weight.T + bias).argmax(1)
    return LinearFit(head, float((found != codes).mean()))


def _fit(
    features: Pixels, classes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns weights `(Q, C)` and biases `(Q,)` of a softmax regression; two classes count."""
    machine = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough
        machine.fit(features, classes)
    weight, bias = machine.coef_, machine.intercept_
    if len(weight) == 1:  # the second of two classes against the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias
