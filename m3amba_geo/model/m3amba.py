"""M3amba: one stream a modality, crossed with a fusion stream that CLIP starts (paper, section 3).

Letters: B batch, N modalities, C_n bands of modality n, P patch side, E width, Q classes,
F width of an image embedding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from m3amba_geo.config import NetworkConfig
from m3amba_geo.model.blocks import CrossBlock, DropPath, FuseBlock
from m3amba_geo.model.linear import LinearHead


class PatchEmbedding(nn.Module):
    """1x1 convolution `C -> E`, then LayerNorm, channels last."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bands, width, 1)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, P, P) -> (B, P, P, E)`."""
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class Adapter(nn.Module):
    """Turns an image embedding into a guide on the patch's grid (network.md, section 1)."""

    def __init__(self, embedding: int, patch: int, bands: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.linear = nn.Linear(embedding, patch * patch)
        self.conv = nn.Conv2d(1, bands, 1)
        self.embed = PatchEmbedding(bands, width)

    def forward(self, embedding: Tensor) -> Tensor:
        """`(B, F) -> (B, P, P, E)`."""
        image = self.linear(embedding).view(-1, 1, self.patch, self.patch)  # (B, 1, P, P)
        return self.embed(self.conv(image))  # (B, P, P, E)


class Head(nn.Module):
    """LayerNorm and 1x1 convolution `E -> Q`."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, P, P, E) -> (B, Q, P, P)`."""
        return self.conv(self.norm(x).permute(0, 3, 1, 2))


class M3amba(nn.Module):
    """The network of network.md, for any number of modalities.

    Attributes:
        config: Its shape.
        recompute: Whether training keeps only what goes in and out of blocks and computes the
            rest again for the gradients.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        width, bands = config.width, config.bands
        rates = np.linspace(0, config.drop_path, config.depth).tolist()
        adapted = bands if config.embedding else ()
        self.adapters = nn.ModuleList(
            Adapter(config.embedding, config.patch, c, width) for c in adapted
        )
        self.embeddings = nn.ModuleList(PatchEmbedding(c, width) for c in bands)
        self.streams = nn.ModuleList(
            nn.ModuleList(CrossBlock(width, config.states, rate) for rate in rates) for _ in bands
        )
        self.fusion = nn.ModuleList(FuseBlock(width, config.states, rate) for rate in rates)
        self.heads = nn.ModuleList(Head(width, config.classes) for _ in bands)
        self.fused_head = Head(width, config.classes)
        self.linear_head = LinearHead(sum(bands), config.classes) if config.linear_head else None
        self.apply(_initialise)

    def forward(
        self, patches: Sequence[Tensor], embeddings: Sequence[Tensor] | None
    ) -> tuple[list[Tensor], Tensor]:
        """Classifies every pixel of a batch of patches.

        Args:
            patches: For each modality `(B, C_n, P, P)`, scaled.
            embeddings: For each modality the image embedding `(B, F)`; None starts the fusion
                from the sum of the streams.

        Returns:
            For each modality logits `(B, Q, P, P)`, and the fused logits `(B, Q, P, P)`: the
            network's own, by which it learns. See `with_linear` for those of a map.
        """
        streams = [embed(x) for embed, x in zip(self.embeddings, patches, strict=True)]
        if embeddings is None:
            z = torch.stack(streams).sum(0)  # (B, P, P, E)
        else:
            guides = [adapt(e) for adapt, e in zip(self.adapters, embeddings, strict=True)]
            z = torch.stack(guides).sum(0)  # (B, P, P, E)
        for step, fuse in enumerate(self.fusion):
            streams = [
                self._through(blocks[step], s, z)  # type: ignore[index]
                for blocks, s in zip(self.streams, streams, strict=True)
            ]
            z = self._through(fuse, torch.stack(streams).sum(0))  # (B, P, P, E)
        logits = [head(s) for head, s in zip(self.heads, streams, strict=True)]
        return logits, self.fused_head(z)

    def with_linear(self, fused: Tensor, patches: Sequence[Tensor]) -> Tensor:
        """Adds the logits of the linear head, if there is one, to the fused ones of patches."""
        return fused if self.linear_head is None else self.linear_head.beside(fused, patches)

    def take_part(self, batch: int, own: slice) -> None:
        """Draws what is random for a larger batch, of which this process has a part.

        Args:
            batch: Patches of the whole batch.
            own: Those that training will give to `forward`.
        """
        for module in self.modules():
            if isinstance(module, DropPath):
                module.drawn, module.own = batch, own

    def _through(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def _initialise(module: nn.Module) -> None:
    """Linear layers as released (network.md, section 7); everything else as it was built."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(config: NetworkConfig) -> M3amba:
    """Returns a network with fresh weights, drawn from torch's global generator."""
    return M3amba(config)
