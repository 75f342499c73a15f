"""The network that a training begins with: size, guide, and the weights of a first model."""

from collections.abc import Sequence
from dataclasses import replace

from m3amba_geo.bundle import Bundle
from m3amba_geo.config import NetworkConfig, Size, TrainConfig
from m3amba_geo.errors import BandMismatchError, UsageError
from m3amba_geo.events import Listener, Note
from m3amba_geo.geo.features import Features
from m3amba_geo.geo.legend import Legend
from m3amba_geo.model import build
from m3amba_geo.model.guide import ClipGuide, Encoder, load_encoder, load_encoder_by_identity
from m3amba_geo.model.guided import GuidedM3amba

# Training pixels from which on a larger network is chosen, and pixels that a CPU maps with `small`
# in a quarter of an hour (ARCHITECTURE.md, "Decisions").
_SMALL_FROM, _BASE_FROM = 20_000, 200_000
_MOST_ON_CPU = 8_000_000
_MANY_BANDS = 100  # hyperspectral: a label says more, so a larger network learns from half as many


def choose_size(labels: int, bands: int, pixels: int, on_cpu: bool) -> Size:
    """Returns what `--size auto` comes to.

    Args:
        labels: Training pixels.
        bands: Of all modalities.
        pixels: Of all scenes: what a map of theirs takes.
        on_cpu: Whether there is no GPU; `base` is then out of reach.
    """
    labels *= 2 if bands >= _MANY_BANDS else 1
    if labels < _SMALL_FROM or (on_cpu and pixels > _MOST_ON_CPU):
        return "tiny"
    return "small" if on_cpu or labels < _BASE_FROM else "base"


def with_settled_embedding(
    config: TrainConfig, start: Bundle | None, emit: Listener
) -> TrainConfig:
    """Returns the settings with the linear embedding that is possible: that of the first model."""
    wanted = config.guide.embedding
    if start is None:
        if wanted == "pca" and config.guide.mode == "none":
            raise UsageError(
                "--embedding pca is a way to guide, and --guide none goes without a guide.",
                "Leave one of them out.",
            )
        return config
    kept = start.manifest.embedding
    if kept != wanted:
        emit(Note(f"The guide of the first model is kept: --embedding {kept}, not {wanted}."))
    return replace(config, guide=replace(config.guide, embedding=kept))


def find_encoder(config: TrainConfig, start: Bundle | None, emit: Listener) -> Encoder | None:
    """Returns the image encoder: that of the first model, or the one that the settings ask for."""
    if start is None:
        return load_encoder(config.guide, emit)
    if start.manifest.guide is None:
        return None
    return load_encoder_by_identity(start.manifest.guide, config.guide.weights, emit)


def network_config(
    features: Sequence[Features],
    classes: int,
    size: Size,
    config: TrainConfig,
    encoder: Encoder | None,
    start: Bundle | None,
) -> NetworkConfig:
    """Returns the shape of the network; but for its classes, a first model's stays."""
    if start is not None:
        return replace(start.manifest.network, classes=classes)
    return NetworkConfig(
        bands=tuple(f.count for f in features),
        classes=classes,
        size=size,
        patch=config.patch,
        embedding=0 if encoder is None else encoder.identity.width,
        linear_head=config.linear_head,
    )


def make_model(
    network: NetworkConfig,
    encoder: Encoder | None,
    start: Bundle | None,
    legend: Legend,
    emit: Listener,
) -> GuidedM3amba:
    """Returns the network with fresh weights, or with those of a first model.

    Raises:
        BandMismatchError: The first model is of other modalities.
    """
    guide = None if encoder is None else ClipGuide(encoder, network.bands)
    model = GuidedM3amba(build(network), guide)
    if start is not None:
        weights = {f"network.{k}": v for k, v in start.network.state_dict().items()}
        weights |= {f"guide.{k}": v for k, v in start.guide_weights.items()}
        same_classes = [e.original for e in start.manifest.legend] == [e.original for e in legend]
        if not same_classes:
            heads = ("network.heads.", "network.fused_head.", "network.linear_head.")
            weights = {k: v for k, v in weights.items() if not k.startswith(heads)}
            emit(Note("The classes differ from those of the first model: its heads start anew."))
        missing = model.load_state_dict(weights, strict=False)
        if missing.unexpected_keys:
            raise BandMismatchError(
                "The first model does not fit these modalities.", "Give the same modalities."
            )
    return model
