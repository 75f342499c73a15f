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

    def forward(
        self, patches: Sequence[Tensor], embeddings: Sequence[Tensor] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Classifies every pixel of a batch of patches.

        Args:
            patches: For each modality `(B, C_n, P, P)`, scaled.
            embeddings: For each modality `(B, F)`, where they are known already; else the guide,
                if there is one, makes them of the patches.

        Returns:
            For each modality logits `(B, Q, P, P)`, and the fused logits `(B, Q, P, P)`.
        """
        if embeddings is None and self.guide is not None:
            embeddings = self.guide(patches)
        logits: tuple[list[Tensor], Tensor] = self.network(patches, embeddings)
        return logits
