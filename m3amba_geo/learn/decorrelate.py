"""Bands decorrelated for training, and weights that undo it afterwards.

Neighbouring bands are nearly alike, and what tells similar classes apart lies in their small
differences: a network learns these late, and noise added band by band drowns them. So training
sees `M x` instead of the scaled bands `x`. All that takes bands in is a 1x1 convolution, `W M x`,
whose product `W M` is what the model file keeps: nothing is left to do when a map is made.

Letters: C bands of a modality.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from m3amba_geo.geo.stats import BandStatistics
from m3amba_geo.model.guided import GuidedM3amba

Mixing = NDArray[np.float32]

_FLOOR = 0.03  # of a band's variance; directions with less are mostly noise


def decorrelation(statistics: BandStatistics) -> Mixing:
    """Returns the symmetric `(C, C)` float32 that makes scaled bands uncorrelated.

    Being symmetric, it leaves each band as near to itself as can be. Bands whose correlation is
    not known are left alone.
    """
    if statistics.correlation is None:
        return np.eye(len(statistics.mean), dtype=np.float32)
    variances, directions = np.linalg.eigh(statistics.correlation)
    mixing: Mixing = ((directions * (variances + _FLOOR) ** -0.5) @ directions.T).astype(np.float32)
    return mixing


@torch.no_grad()
def fold(model: GuidedM3amba, mixings: Sequence[Mixing]) -> None:
    """Makes a model that was trained on mixed bands take the scaled bands themselves."""
    weights = model.state_dict()  # shares its memory with the model
    for n, mixing in enumerate(mixings):
        for name in (f"network.embeddings.{n}.conv.weight", f"guide.embeddings.{n}.weight"):
            if name in weights:  # (outputs, C, 1, 1); without a guide there is only the first
                matrix = torch.from_numpy(mixing).to(weights[name])
                weights[name].copy_(torch.einsum("oc...,cd->od...", weights[name], matrix))
