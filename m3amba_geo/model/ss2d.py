"""The two-dimensional selective scan, plain (SS2D) and crossed (Cross-SS2D, paper section 3.3).

Letters: B batch, H, W sides of the patch, E model width, I = 2E inner width, S states,
R = ceil(E / 16) rank of the step size, K = 4 scan directions. Everything is channels last.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m3amba_geo.model.lean import linear_of
from m3amba_geo.model.scan import cross_scan

DIRECTIONS = 4


def step_rank(width: int) -> int:
    """Returns R."""
    return math.ceil(width / 16)


class DepthwiseConv(nn.Conv2d):
    """3x3 convolution of each channel, channels last, followed by SiLU."""

    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, H, W, I) -> (B, H, W, I)`."""
        return convolved(x, self.weight, self.bias)


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution of `(B, H, W, I)` and SiLU."""
    image = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=len(weight))
    return F.silu(image.permute(0, 2, 3, 1))  # (B, H, W, I)


def gated(y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm of `(B, H, W, I)`, times SiLU of the gate."""
    return F.layer_norm(y, weight.shape, weight, bias) * F.silu(gate)


def normalised(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm over the last dimension; eps is torch's default of 1e-5, as published."""
    return F.layer_norm(x, weight.shape, weight, bias)


class StepSize(nn.Module):
    """From low rank to step sizes before softplus, `W_k dt + b_k` for each direction.

    The parameters alone: the scan works them out where it needs them.

    The bias is the inverse softplus of a log-uniform draw in [0.001, 0.1], floored at 1e-4; the
    weight is uniform in +-R^-1/2 (Gu and Dao 2023; network.md, section 7).
    """

    def __init__(self, inner: int, rank: int) -> None:
        super().__init__()
        scale = rank**-0.5
        self.weight = nn.Parameter(torch.empty(DIRECTIONS, inner, rank).uniform_(-scale, scale))
        low, high = math.log(1e-3), math.log(1e-1)
        step = torch.exp(torch.rand(DIRECTIONS, inner) * (high - low) + low).clamp(min=1e-4)
        self.bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))


class DirectionalProjection(nn.Module):
    """One bias-free projection for each direction, all in one product."""

    def __init__(self, inner: int, outputs: int) -> None:
        super().__init__()
        bound = inner**-0.5  # as torch's linear layers
        self.weight = nn.Parameter(torch.empty(DIRECTIONS, outputs, inner).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, H, W, I) -> (B, H, W, K, outputs)`."""
        return F.linear(x, self.weight.flatten(0, 1)).unflatten(-1, (DIRECTIONS, -1))

    def of_convolved(self, x: Tensor, conv: DepthwiseConv) -> Tensor:
        """The same of what a convolution makes of x."""
        rows = linear_of(convolved, (x, conv.weight, conv.bias), self.weight.flatten(0, 1), None)
        return rows.unflatten(-1, (DIRECTIONS, -1))  # (B, H, W, K, outputs)


def decay_logarithm(inner: int, states: int) -> nn.Parameter:
    """Returns `A_log (K, I, S) = log(1..S)`; the decay is `A = -exp(A_log)`."""
    row = torch.log(torch.arange(1, states + 1, dtype=torch.float32))
    return nn.Parameter(row.expand(DIRECTIONS, inner, states).clone())


class _Gated(nn.Module):
    """What both scans begin and end with."""

    in_proj: nn.Linear
    out_norm: nn.LayerNorm
    out_proj: nn.Linear

    def _enter(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """`(B, H, W, E) -> (B, H, W, 2I)`."""
        return linear_of(normalised, (x, norm.weight, norm.bias), self.in_proj.weight, None)

    def _leave(self, y: Tensor, gate: Tensor) -> Tensor:
        """`(B, H, W, I), (B, H, W, I) -> (B, H, W, E)`."""
        sources = (y, gate, self.out_norm.weight, self.out_norm.bias)
        return linear_of(gated, sources, self.out_proj.weight, None)


class SS2D(_Gated):
    """Four-direction selective scan of one stream (VMamba; network.md, section 3)."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        inner, rank = 2 * width, step_rank(width)
        self.sizes = (rank, states, states)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv = DepthwiseConv(inner)
        self.x_proj = DirectionalProjection(inner, sum(self.sizes))
        self.step = StepSize(inner, rank)
        self.A_log = decay_logarithm(inner, states)
        self.D = nn.Parameter(torch.ones(DIRECTIONS, inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """The scan of `norm(x)`: `(B, H, W, E) -> (B, H, W, E)`."""
        x, gate = self._enter(x, norm).chunk(2, dim=-1)  # (B, H, W, I) each
        u = self.conv(x)
        dt, b, c = self.x_proj(u).split(self.sizes, dim=-1)  # (B, H, W, K, R or S)
        steps = (dt, self.step.weight, self.step.bias)
        y = cross_scan(u, *steps, -torch.exp(self.A_log), b, c, self.D)  # (B, H, W, I)
        return self._leave(y, gate)


class CrossSS2D(_Gated):
    """The scan of a modality, written to by the fusion stream (network.md, section 4).

    Step size, C and D come from the modality x, B from the fusion stream z, and the decay is the
    mean of both. The mirrored output for z, which the released code computes and drops, is not.
    """

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        inner, rank = 2 * width, step_rank(width)
        self.sizes = (rank, states)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv = DepthwiseConv(inner)
        self.x_proj = DirectionalProjection(inner, sum(self.sizes))
        self.z_proj = DirectionalProjection(inner, states)
        self.step = StepSize(inner, rank)
        self.A_log_x = decay_logarithm(inner, states)
        self.A_log_z = decay_logarithm(inner, states)
        self.D = nn.Parameter(torch.ones(DIRECTIONS, inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, z: Tensor, norm: nn.LayerNorm) -> Tensor:
        """The scan of `norm(x)` with `norm(z)`: `(B, H, W, E), (B, H, W, E) -> (B, H, W, E)`."""
        inner = self.D.shape[1]
        x, gate = self._enter(x, norm).chunk(2, dim=-1)  # (B, H, W, I) each
        u = self.conv(x)
        z = linear_of(normalised, (z, norm.weight, norm.bias), self.in_proj.weight[:inner], None)
        # (B, H, W, I); z needs no gate
        dt, c = self.x_proj(u).split(self.sizes, dim=-1)  # (B, H, W, K, R), (B, H, W, K, S)
        decay = -(torch.exp(self.A_log_x) + torch.exp(self.A_log_z)) / 2  # (K, I, S)
        steps = (dt, self.step.weight, self.step.bias)
        b = self.z_proj.of_convolved(z, self.conv)  # (B, H, W, K, S)
        y = cross_scan(u, *steps, decay, b, c, self.D)  # (B, H, W, I)
        return self._leave(y, gate)
