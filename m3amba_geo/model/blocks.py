"""The two blocks of the network: a crossing of two streams, and the fusion of all."""

import torch
from torch import Tensor, nn

from m3amba_geo.model.lean import linear_of
from m3amba_geo.model.ss2d import SS2D, CrossSS2D, normalised


class DropPath(nn.Module):
    """Stochastic depth: drops a residual of whole patches in training (Huang et al. 2016).

    Attributes:
        rate: Share of the patches whose residual is dropped.
        drawn: Patches that chance draws for; None draws for those at hand.
        own: Which of these are at hand.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.drawn: int | None = None
        self.own = slice(None)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, ...) -> (B, ...)`, kept patches scaled up to keep the mean."""
        if not self.training or self.rate == 0:
            return x
        drawn = x.shape[0] if self.drawn is None else self.drawn
        keep = torch.rand(drawn, *[1] * (x.ndim - 1), device=x.device)[self.own] >= self.rate
        return x * keep / (1 - self.rate)


class MLP(nn.ModuleList):
    """`E -> 4E -> E` with exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__([nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Of `norm(x)`: `(B, H, W, E) -> (B, H, W, E)`."""
        first: nn.Linear
        last: nn.Linear
        first, activation, last = self  # type: ignore[assignment]
        hidden = linear_of(normalised, (x, norm.weight, norm.bias), first.weight, first.bias)
        return linear_of(activation, (hidden,), last.weight, last.bias)


class FuseBlock(nn.Module):
    """A VMamba block on the sum of the streams (network.md, section 3)."""

    def __init__(self, width: int, states: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scan = SS2D(width, states)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, H, W, E) -> (B, H, W, E)`."""
        x = x + self.drop_path(self.scan(x, self.norm))
        return x + self.drop_path(self.mlp(x, self.norm2))


class CrossBlock(nn.Module):
    """A block of a modality's stream x, crossed with the fusion stream z (section 4)."""

    def __init__(self, width: int, states: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scan = CrossSS2D(width, states)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """`(B, H, W, E), (B, H, W, E) -> (B, H, W, E)`."""
        x = x + self.drop_path(self.scan(x, z, self.norm))
        return x + self.drop_path(self.mlp(x, self.norm2))
