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
        others: `()`, what logits of others count beside its own.

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
        self.others: Tensor
        self.register_buffer("others", torch.ones(()))

    def forward(self, patches: Sequence[Tensor]) -> Tensor:
        """For each modality `(B, C_n, P, P)` returns logits `(B, Q, P, P)`.

        They are meant for pixels that have all modalities, as those had that fitted the head.
        """
        return F.conv2d(torch.cat(list(patches), 1), self.weight[:, :, None, None], self.bias)

    def beside(self, others: Tensor, patches: Sequence[Tensor]) -> Tensor:
        """Adds its logits to those of others, `(B, Q, P, P)`, where no modality is missing."""
        both = self.others * others + self(patches)
        return torch.where(complete(patches)[:, None], both, others)


def complete(patches: Sequence[Tensor]) -> Tensor:
    """Returns `(B, P, P)` bool, where every modality is there; where one is not, all of it is 0."""
    there = torch.stack([(patch != 0).any(1) for patch in patches])  # (N, B, P, P)
    return there.all(0)
