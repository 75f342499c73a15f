"""What training minimises: `lambda_1 L_sup + lambda_2 L_unsup` (network.md, section 6).

To these comes a term that is not in the paper: cross-entropy with what a teacher makes of
unlabelled pixels.
"""

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
    fused ones wherever the rasters are valid. The head of a modality that is missing is asked
    nothing: it must not draw the fused one to itself. What a teacher says counts like labels,
    but for the weights of classes: these make up for the labels' numbers, not for the scene's.
    """

    def __init__(
        self,
        class_weights: Tensor,
        supervised: float,
        unsupervised: float,
        self_training: float,
    ) -> None:
        super().__init__()
        self.class_weights: Tensor
        self.register_buffer("class_weights", class_weights)
        self.supervised = supervised
        self.unsupervised = unsupervised
        self.self_training = self_training

    def forward(
        self,
        logits: Sequence[Tensor],
        fused: Tensor,
        batch: Batch,
        counts: Tensor,
    ) -> Tensor:
        """For heads `(B, Q, P, P)` returns the loss, a scalar.

        Args:
            logits: Heads of the modalities.
            fused: The fused head.
            batch: Their patches.
            counts: `Batch.counts`, of the batch or of a larger one that it is a part of: the losses
                of the parts sum up to that of the whole, however labels are spread over them.
        """
        labelled, valid, taught = counts.clamp(min=1)
        fused = fused.float()
        heads = [fused, *(modality.float() for modality in logits)]
        places = [batch.valid, *batch.there]  # (B, P, P) each
        loss = fused.new_zeros(())
        for head, there in zip(heads, places, strict=True):
            # Divided by the number of labelled pixels, not by their weights: a batch that holds
            # frequent classes only must not count as much as one with rare ones.
            entropy = _cross_entropy(head, batch.classes, there, self.class_weights) / labelled
            loss = loss + self.supervised * entropy
            if batch.taught is not None:
                learnt = -(batch.taught * head.log_softmax(1)).sum(1)  # (B, P, P)
                loss = loss + self.self_training * (learnt * there).sum() / taught
        for head, there in zip(heads[1:], places[1:], strict=True):
            distance = 1 - F.cosine_similarity(head, fused, dim=1)  # (B, P, P)
            loss = loss + self.unsupervised * (distance * (there / valid)).sum()
        return loss


def _cross_entropy(logits: Tensor, classes: Tensor, there: Tensor, weights: Tensor) -> Tensor:
    classes = torch.where(there, classes, UNLABELLED)
    return F.cross_entropy(logits, classes, weights, ignore_index=UNLABELLED, reduction="sum")


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
