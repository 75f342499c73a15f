"""A linear head: a softmax regression on the features of single pixels.

It is fitted before training (`learn/linear.py`), on little more than the labels need, and can be
relied on where these are few. So it takes part in the map: the probabilities of network and
regression are multiplied, which is to add logits (a product of experts: Hinton 2002).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LinearHead(nn.Module):
    """Logits of every pixel from its own features; not trained by gradients.

    Attributes:
        weight: `(Q, C)`, C features of all modalities.
        bias: `(Q,)`; minus infinity for a class that is never given.

    Args:
        bands: C, features of all modalities.
        classes: Q, how many there are.
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.zeros(classes, bands))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, patches: Sequence[Tensor]) -> Tensor:
        """For each modality `(B, C_n, P, P)` returns logits `(B, Q, P, P)`.

        Where a modality is missing, all of them are 0: the head knows pixels that have all.
        """
        logits = F.conv2d(torch.cat(list(patches), 1), self.weight[:, :, None, None], self.bias)
        return torch.where(complete(patches)[:, None], logits, 0)


def complete(patches: Sequence[Tensor]) -> Tensor:
    """Returns `(B, P, P)` bool, where every modality is there; where one is not, all of it is 0."""
    there = torch.stack([(patch != 0).any(1) for patch in patches])  # (N, B, P, P)
    return there.all(0)
