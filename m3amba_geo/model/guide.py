"""The semantic guide: linear embeddings, trained or fixed, around a frozen CLIP image encoder.

Paper, section 3.2; `network.md`, section 1. Letters: `B` batch, `N` modalities, `C_n` bands of
modality n, `P` patch side, `F` width of the image embedding. The adapters from `F` back to bands
belong to the network (`m3amba.py`); what lies here ends at the embeddings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3amba_geo.config import GuideConfig
from m3amba_geo.errors import WeightsUnavailableError
from m3amba_geo.events import Listener, Note, Warned
from m3amba_geo.model import weights as files
from m3amba_geo.model.device import autocast, encoder_precision
from m3amba_geo.model.tower import build_tower, embedding_width, read_tower


@dataclass(frozen=True)
class GuideIdentity:
    """Which encoder a model was trained with: all that its manifest keeps of it, never weights.

    Attributes:
        architecture: Name in open_clip, QuickGELU included.
        sha256: Of the file with the weights.
        source: Where the file came from: `file:`, `folder:`, `hub:` or `cache:` and a name.
        width: Width `F` of its embeddings.
    """

    architecture: str
    sha256: str
    source: str
    width: int


class Encoder:
    """A frozen image encoder: always in evaluation mode, never trained.

    It is no `nn.Module`, so a module that holds it neither registers nor saves its weights.

    Args:
        visual: Image tower with an `image_size`, `(B, 3, H, W) -> (B, F)`; frozen in place.
        identity: Where it came from.
    """

    def __init__(self, visual: nn.Module, identity: GuideIdentity) -> None:
        self.visual = visual.float().eval().requires_grad_(False)
        self.identity = identity
        size: int | tuple[int, int] = visual.image_size  # type: ignore[assignment]
        self.image_size = (size, size) if isinstance(size, int) else tuple(size)

    def to(self, device: torch.device) -> None:
        """Moves the weights; they stay float32, so that a move to and fro loses nothing."""
        self.visual.to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Embeds images of any side; gradients pass through to them.

        As released: bicubic resize, no normalisation with CLIP's mean and deviation, and
        embeddings of any length (not L2-normalised).

        Args:
            images: `(B, 3, P, P)` float32.

        Returns:
            `(B, F)` float32.
        """
        resized = functional.interpolate(
            images, self.image_size, mode="bicubic", align_corners=False, antialias=False
        )  # (B, 3, 224, 224)
        learns = torch.is_grad_enabled() and images.requires_grad
        precision = encoder_precision(images.device, gradients=learns)
        with autocast(images.device, precision):
            embedding: Tensor = self.visual(resized)  # (B, F)
        return embedding.float()


class ClipGuide(nn.Module):
    """Image embeddings of all modalities; nothing but linear embeddings `C_n -> 3` is trained.

    The encoder moves along with `.to(device)`, but is in neither `parameters()` nor
    `state_dict()`, and `train()` leaves it in evaluation mode.

    Args:
        encoder: The frozen encoder.
        bands: `(C_1, ..., C_N)`.
    """

    def __init__(self, encoder: Encoder, bands: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.embeddings = nn.ModuleList(nn.Conv2d(count, 3, 1) for count in bands)

    def forward(self, patches: Sequence[Tensor]) -> list[Tensor]:
        """Embeds the patches of each modality, all in one call of the encoder.

        Args:
            patches: `N` tensors `(B, C_n, P, P)`, normalised.

        Returns:
            `N` tensors `(B, F)` float32.
        """
        # As released, only the encoder runs in half precision, whatever autocast surrounds us.
        with torch.autocast(patches[0].device.type, enabled=False):
            images = [
                embed(patch.float())  # (B, 3, P, P)
                for embed, patch in zip(self.embeddings, patches, strict=True)
            ]
            embedded = self.encoder(torch.cat(images))  # (N*B, F)
        return list(embedded.chunk(len(images)))  # N of (B, F)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.encoder.to(next(self.parameters()).device)
        return self


def load_encoder(config: GuideConfig, emit: Listener) -> Encoder | None:
    """Finds the encoder that the settings ask for.

    Searched are, in this order: the named file and nothing else; the weights folder; the caches of
    the hub and of open_clip. Only mode `clip` goes on to download.

    Args:
        config: What is asked for.
        emit: Hears which weights were taken, or that `auto` found none (`guide-none`).

    Returns:
        The encoder; None in mode `none`, and in mode `auto` where no weights are found.

    Raises:
        UsageError: open_clip does not know the architecture.
        FileMissingError: The named file is not there.
        WeightsUnavailableError: A file is damaged or does not fit; or mode `clip` can't have any.
    """
    if config.mode == "none":
        return None
    files.check_architecture(config.architecture)
    passed_over = []
    for place in files.local_places(config.architecture, config.weights):
        try:
            return _open(place, config.architecture, files.sha256(place.path), emit)
        except WeightsUnavailableError as error:
            if place.chosen:
                raise
            passed_over.append(f" Passed over: {error} {error.hint}")
    if config.mode == "clip":
        place = files.download(config.architecture, emit)
        return _open(place, config.architecture, files.sha256(place.path), emit)
    emit(
        Warned(
            "guide-none",
            f"No weights of the image encoder {config.architecture} are on this machine: going on "
            "WITHOUT the CLIP guide of the published network. To have it, let it be downloaded "
            f"(`--guide clip`). {files.remedies(config.architecture)}{''.join(passed_over)}",
        )
    )
    return None


def load_encoder_by_identity(
    identity: GuideIdentity, weights: Path | None, emit: Listener
) -> Encoder:
    """Finds the very encoder that a model was trained with; never opens a connection.

    Args:
        identity: From the model's manifest.
        weights: File named by the user; else the places of `load_encoder` are searched.
        emit: Hears which weights were taken.

    Raises:
        UsageError: open_clip does not know the architecture.
        FileMissingError: The named file is not there.
        WeightsUnavailableError: No file has the right checksum.
    """
    files.check_architecture(identity.architecture)
    others = []
    for place in files.local_places(identity.architecture, weights):
        digest = files.sha256(place.path)
        if digest == identity.sha256:
            return _open(place, identity.architecture, digest, emit)
        others.append(f"{place.path} has {digest}")
    found = f"sha256 does not match: {'; '.join(others)}" if others else "no file was found"
    raise WeightsUnavailableError(
        f"The model was trained with {identity.architecture} weights ({identity.source}) of "
        f"sha256 {identity.sha256}, which are not here; {found}.",
        "Name that very file (`--guide-weights FILE`), or put it into the weights folder as "
        f"{files.weights_folder() / identity.architecture}.safetensors (or .pt); a model trained "
        "with `--guide none` needs none.",
    )


def _open(place: files.Place, architecture: str, digest: str, emit: Listener) -> Encoder:
    known = files.known_architectures(digest)
    if known and architecture not in known:
        raise WeightsUnavailableError(
            f"{place.path} is known by its checksum as {' or '.join(known)}, not {architecture}.",
            f'State `architecture = "{known[0]}"` in the settings of the guide.',
        )
    visual = build_tower(architecture, read_tower(place.path), str(place.path))
    width = embedding_width(architecture)
    told = "known by checksum" if known else "as stated"
    emit(Note(f"Image encoder {architecture} ({told}) from {place.source}, sha256 {digest}."))
    return Encoder(visual, GuideIdentity(architecture, digest, place.source, width))
