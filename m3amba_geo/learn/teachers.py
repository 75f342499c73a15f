"""What pixels without a label are taught, and by whom."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from m3amba_geo.config import TrainConfig
from m3amba_geo.events import Listener, Note
from m3amba_geo.learn.linear import fit_linear
from m3amba_geo.learn.patches import UNLABELLED, Batch, Patches
from m3amba_geo.model.linear import LinearHead, complete
from m3amba_geo.model.m3amba import M3amba

_HANDOVER = 0.4  # of all steps are done before averaged weights teach, and not the regression
_SURE = 0.95  # probability from which on they do


@dataclass(frozen=True)
class Teachers:
    """Two teachers, one after the other.

    At first it is the regression, with all its doubts. Then it is the averaged weights where they
    are sure (mean teacher: Tarvainen and Valpola 2017; the threshold: Sohn et al. 2020). Both see
    the patches undisturbed.

    Attributes:
        linear: The regression; None where no pixel could fit one.
        handover: The step from which the averaged weights teach.
    """

    linear: LinearHead | None
    handover: float

    @classmethod
    def of(
        cls, patches: Patches, network: M3amba, config: TrainConfig, steps: int, emit: Listener
    ) -> Self | None:
        """Fits the regression, the network's own linear head with it; None where nothing wants it.

        Few labels that not even the regression fitted to them can follow are in doubt. A network
        learns them by heart, and would then teach what it has learnt: the regression stays.
        """
        head = network.linear_head
        if head is None and config.self_training == 0:
            return None
        classes = network.config.classes
        fitted = fit_linear(patches, classes, config.seed, borders=config.borders > 0)
        if fitted is None:
            return cls(None, 0)
        if head is not None:
            head.load_state_dict(fitted.head.state_dict())
        if fitted.doubtful:
            emit(
                Note(
                    f"Labels are in doubt: a regression on the features of single pixels misses "
                    f"{fitted.missed:.0%} of those that it was fitted to. It is relied on more "
                    "than usual."
                )
            )
        device = next(network.parameters()).device
        return cls(fitted.head.to(device), steps if fitted.doubtful else _HANDOVER * steps)

    @torch.no_grad()
    def teach(self, batch: Batch, step: int, averaged: Callable[[Batch], Tensor]) -> Batch:
        """Returns the batch with what is taught of its unlabelled pixels.

        Args:
            batch: On the device.
            step: Of the training.
            averaged: Gives the probabilities `(B, Q, P, P)` by the averaged weights.
        """
        free = batch.valid & (batch.classes == UNLABELLED)
        if step < self.handover:
            assert self.linear is not None
            taught = self.linear(batch.clean).softmax(1)
            free = free & complete(batch.clean)
        else:
            shares = averaged(replace(batch, patches=batch.clean))
            taught = (shares > _SURE).float()  # one class at most
        return replace(batch, taught=taught * free[:, None])
