"""What training minimises: `lambda_1 L_sup + lambda_2 L_unsup` (network.md, section 6)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from m3amba_geo.learn.patches import UNLABELLED, Batch


class Objective(nn.Module):
    """Cross-entropy of every head on labelled pixels, cosine agreement of heads on all valid ones.

    The cosine term needs no labels: it holds each modality's logits to the direction of the
    fused ones wherever the rasters are valid.
    """

    def __init__(self, class_weights: Tensor, supervised: float, unsupervised: float) -> None:
        super().__init__()
        self.class_weights: Tensor
        self.register_buffer("class_weights", class_weights)
        self.supervised = supervised
        self.unsupervised = unsupervised

    def forward(
        self,
        logits: Sequence[Tensor],
        fused: Tensor,
        batch: Batch,
        counts: Tensor | None = None,
    ) -> Tensor:
        """For heads `(B, Q, P, P)` returns the loss, a scalar.

        Args:
            logits: Heads of the modalities.
            fused: The fused head.
            batch: Their patches.
            counts: `Batch.counts` of a larger batch that this one is a part of: the losses of the
                parts sum up to that of the whole, however labels are spread over them.
        """
        labelled, valid = (batch.counts() if counts is None else counts).clamp(min=1)
        weights = batch.valid / valid  # (B, P, P)
        fused = fused.float()
        loss = self.supervised * self._cross_entropy(fused, batch.classes, labelled)
        for modality in logits:
            modality = modality.float()
            distance = 1 - F.cosine_similarity(modality, fused, dim=1)  # (B, P, P)
            entropy = self._cross_entropy(modality, batch.classes, labelled)
            loss = loss + self.supervised * entropy
            loss = loss + self.unsupervised * (distance * weights).sum()
        return loss

    def _cross_entropy(self, logits: Tensor, classes: Tensor, labelled: Tensor) -> Tensor:
        losses = F.cross_entropy(
            logits, classes, self.class_weights, ignore_index=UNLABELLED, reduction="none"
        )  # (B, P, P)
        # Divided by the number of labelled pixels, not by their weights: a batch that holds
        # frequent classes only must not count as much as one with rare ones.
        return losses.sum() / labelled


def class_weights(pixels: NDArray[np.int64], balance: float) -> Tensor:
    """Returns `(Q,)` weights `n_c^-balance`, scaled so that the mean over pixels is 1.

    Args:
        pixels: `(Q,)` training pixels of each class.
        balance: 0 counts every pixel alike, 1 every class.
    """
    counts = np.maximum(pixels, 1).astype(np.float64)
    weights = counts**-balance
    weights *= counts.sum() / (weights * counts).sum()
    return torch.from_numpy(weights.astype(np.float32))
