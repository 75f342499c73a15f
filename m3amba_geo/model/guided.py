"""The network together with its guide: patches in, logits out."""

from collections.abc import Sequence

from torch import Tensor, nn

from m3amba_geo.model.guide import ClipGuide
from m3amba_geo.model.m3amba import M3amba


class GuidedM3amba(nn.Module):
    """A network and, where there is one, the guide that starts its fusion stream."""

    def __init__(self, network: M3amba, guide: ClipGuide | None) -> None:
        super().__init__()
        self.network = network
        self.guide = guide

    def forward(self, patches: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """For each modality `(B, C_n, P, P)` -> logits of each `(B, Q, P, P)`, and the fused."""
        embeddings = None if self.guide is None else self.guide(patches)
        logits: tuple[list[Tensor], Tensor] = self.network(patches, embeddings)
        return logits
