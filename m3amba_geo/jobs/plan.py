"""What a training has settled before its first step: scenes, labels, features, network."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from m3amba_geo.bundle import Bundle, Manifest, Scaling, load_bundle
from m3amba_geo.config import NetworkConfig, SceneConfig, Size, TrainConfig
from m3amba_geo.events import Listener, Note
from m3amba_geo.files import check_apart
from m3amba_geo.geo.area import GridRecord
from m3amba_geo.geo.features import Features, scene_features
from m3amba_geo.geo.footprint import pixel_size
from m3amba_geo.geo.labels import read_legend
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.split import Side
from m3amba_geo.jobs.machine import versions
from m3amba_geo.jobs.network import (
    choose_size,
    find_encoder,
    network_config,
    with_settled_embedding,
)
from m3amba_geo.jobs.training_scenes import (
    TrainingScene,
    count_pixels,
    label_configs,
    modalities_of,
    open_scenes,
    present_classes,
    raster_prints,
    split_in_words,
    tell_odd_classes,
    with_settled_balance,
)
from m3amba_geo.learn.loop import Fitted
from m3amba_geo.model.guide import Encoder
from m3amba_geo.model.guided import GuidedM3amba

_ELSEWHERE = {"out", "device", "scan", "threads", "memory", "recompute", "licence"}
"""Settings that weights do not depend on."""


@dataclass(frozen=True)
class Plan:
    """What is trained, and on what.

    Attributes:
        config: Settings, with all that may be chosen chosen.
        start: The model to start from, if any.
        scenes: Where training pixels lie; their rasters are open.
        legend: Classes that have training pixels.
        features: What the network sees of each modality.
        encoder: The image encoder that guides, if any.
        network: Shape of the network.
    """

    config: TrainConfig
    start: Bundle | None
    scenes: Sequence[TrainingScene]
    legend: Legend
    features: Sequence[Features]
    encoder: Encoder | None
    network: NetworkConfig

    @property
    def fixed_guide(self) -> bool:
        """Whether a guide is there that is not trained, so that each window is encoded once."""
        return self.encoder is not None and self.config.guide.embedding == "pca"

    @cached_property
    def rasters(self) -> dict[str, str]:
        """Fingerprints of the rasters."""
        return raster_prints(self.scenes)

    def digest(self) -> str:
        """Returns a name for all that a run's weights depend on, the machine left out."""
        settings = _settings(self.config)
        what = {
            "config": {k: v for k, v in settings.items() if k not in _ELSEWHERE},
            "network": asdict(self.network),
            "scaling": [asdict(s) for s in self._scaling],  # a first model brings its own
            "guide": "" if self.encoder is None else self.encoder.identity.sha256,
            "rasters": self.rasters,
        }
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
        for scene in self.scenes:
            place = (GridRecord.of(scene.stack.grid), scene.config.resampling)
            digest.update(repr(place).encode())
            for part in (scene.labels.pixels, scene.labels.codes, scene.split.sides):
                digest.update(part.tobytes())
        return digest.hexdigest()

    def bundle(
        self, model: GuidedM3amba, fitted: Fitted, inputs: dict[str, str], scan: str
    ) -> Bundle:
        """Returns what becomes of it: the trained model, with all that is known of its making."""
        first = self.scenes[0].stack
        manifest = Manifest(
            network=self.network,
            modalities=modalities_of(first),
            scaling=self._scaling,
            legend=self.legend,
            guide=None if self.encoder is None else self.encoder.identity,
            grids=tuple(GridRecord.of(scene.stack.grid) for scene in self.scenes),
            resolution=pixel_size(first.grid),
            split=split_in_words(self.scenes, self.config.split.gap),
            scores=fitted.scores,
            settings=_settings(self.config),
            versions=versions(),
            inputs=inputs,
            scan=scan,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            licence=self.config.licence,
            embedding="pca" if self.fixed_guide else "learned",
            neighbourhoods=tuple(n.side for n in self.features[0].neighbourhoods),
            modality_dropout=self.config.modality_dropout,
            temperature=fitted.temperature,
        )
        linear = {} if model.guide is None else model.guide.state_dict()
        areas = tuple(scene.area() for scene in self.scenes)
        around = tuple(f.neighbourhoods for f in self.features)
        return Bundle(manifest, model.network, linear, areas, around)

    @property
    def _scaling(self) -> tuple[Scaling, ...]:
        return tuple(Scaling.of(f.statistics) for f in self.features)


def settle(
    scenes: Sequence[SceneConfig],
    config: TrainConfig,
    init: Path | None,
    outputs: Sequence[Path],
    device: torch.device,
    handles: ExitStack,
    emit: Listener,
) -> Plan:
    """Opens scenes and labels, and settles what is left to choose.

    Args:
        scenes: Rasters and labels of each place.
        config: Settings.
        init: Model to start from, if any.
        outputs: What will be written, and is to be none of the inputs.
        device: Where training will run.
        handles: What closes the rasters.
        emit: Told of what was chosen and assumed.

    Raises:
        M3ambaError: Inputs are not fit.
    """
    start = None if init is None else load_bundle(init)
    config = with_settled_embedding(config, start, emit)
    trained = None if start is None else start.manifest.modalities
    legend = read_legend(label_configs(scenes))
    tell_odd_classes(legend, emit)
    opened = open_scenes(scenes, config, legend, trained, handles, emit)
    check_apart(outputs, [file for scene in opened for file in scene.stack.files])
    legend = present_classes(opened, emit)
    config = with_settled_balance(config, [s.labels.kind for s in opened], emit)
    features = _features(opened, config, start)
    encoder = find_encoder(config, start, emit)
    size = _size(opened, config, device, start, emit)
    network = network_config(features, len(legend), size, config, encoder, start)
    return Plan(config, start, opened, legend, features, encoder, network)


def _features(
    scenes: Sequence[TrainingScene], config: TrainConfig, start: Bundle | None
) -> list[Features]:
    if start is not None:  # the weights know these
        return start.features
    return scene_features(
        [scene.stack for scene in scenes],
        [scene.pixels_on(Side.TRAIN) for scene in scenes],
        config.neighbourhoods,
    )


def _size(
    scenes: Sequence[TrainingScene],
    config: TrainConfig,
    device: torch.device,
    start: Bundle | None,
    emit: Listener,
) -> Size:
    """Returns the size that was asked for or fits the scenes; that of a first model stays."""
    if start is not None:
        return start.manifest.network.size
    if config.size != "auto":
        return config.size
    labels = count_pixels(scenes)["train"]
    bands = sum(len(modality.bands) for modality in scenes[0].stack.modalities)
    pixels = sum(scene.stack.grid.shape[0] * scene.stack.grid.shape[1] for scene in scenes)
    size = choose_size(labels, bands, pixels, on_cpu=device.type == "cpu")
    emit(Note(f"Size of the network: {size}, for {labels:,} training pixels and {bands} bands."))
    return size


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Returns the settings as JSON can hold them, files by their names only."""
    weights = config.guide.weights
    plain = replace(
        config,
        out=Path(config.out.name),
        guide=replace(config.guide, weights=weights and Path(weights.name)),
    )
    settings: dict[str, Any] = TypeAdapter(TrainConfig).dump_python(plain, mode="json")
    return settings
