"""Two fully convolutional nets of about 0.1 M parameters; all modalities are stacked as bands.

They keep the resolution: every pixel of `(B, C, P, P)` gets a class, `(B, Q, P, P)`.
"""

import torch
from torch import Tensor, nn

CNN_WIDTH, CONVNEXT_WIDTH = 48, 64


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise, norm, and a pointwise bottleneck turned inside out (Liu et al. 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.scale = nn.Parameter(torch.full((width,), 0.1))  # deep nets start smaller; 3 need not

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)  # (B,P,P,E)
        y = self.scale * self.mlp(self.norm(y))
        return x + y.permute(0, 3, 1, 2)  # (B,E,P,P)


def cnn(bands: int, classes: int) -> nn.Module:
    """Returns a residual net that sees 9 x 9 pixels around each."""
    return nn.Sequential(
        nn.Conv2d(bands, CNN_WIDTH, 1, bias=False),
        nn.BatchNorm2d(CNN_WIDTH),
        nn.ReLU(),
        ConvBlock(CNN_WIDTH),
        ConvBlock(CNN_WIDTH),
        nn.Conv2d(CNN_WIDTH, classes, 1),
    )


def convnext(bands: int, classes: int) -> nn.Module:
    """Returns a small ConvNeXt without its downsampling; it sees 19 x 19 pixels around each."""
    return nn.Sequential(
        nn.Conv2d(bands, CONVNEXT_WIDTH, 1),
        *(ConvNeXtBlock(CONVNEXT_WIDTH) for _ in range(3)),
        nn.BatchNorm2d(CONVNEXT_WIDTH),
        nn.Conv2d(CONVNEXT_WIDTH, classes, 1),
    )
