"""Training: rasters and ground truth in, one model file out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from rasterio import Env

from m3amba_geo import __version__
from m3amba_geo.bundle import Bundle, Manifest, Scaling, load_bundle, save_bundle
from m3amba_geo.config import NetworkConfig, SceneConfig, Size, TrainConfig
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Artifact, Listener, Metric, Note, Started
from m3amba_geo.files import check_apart, check_output, drop_scratches, locked
from m3amba_geo.geo.area import GridRecord
from m3amba_geo.geo.components import principal_components
from m3amba_geo.geo.features import Features, scene_features
from m3amba_geo.geo.footprint import pixel_size
from m3amba_geo.geo.labels import read_legend
from m3amba_geo.geo.split import Side
from m3amba_geo.jobs.fixed_guide import cache_file, set_components
from m3amba_geo.jobs.machine import prepare, versions
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.jobs.network import (
    choose_size,
    find_encoder,
    make_model,
    network_config,
    with_settled_embedding,
)
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.training_scenes import (
    TrainingScene,
    count_pixels,
    label_configs,
    label_prints,
    modalities_of,
    open_scenes,
    present_classes,
    raster_prints,
    split_in_words,
    tell_odd_classes,
    with_settled_balance,
)
from m3amba_geo.learn.embeddings import Embeddings, embed
from m3amba_geo.learn.loop import Fitted, fit
from m3amba_geo.learn.patches import CELL, Patches
from m3amba_geo.learn.world import World, join
from m3amba_geo.model.guide import GuideIdentity
from m3amba_geo.model.guided import GuidedM3amba

_GDAL = 8  # the part of the working memory that GDAL keeps blocks of files in


@dataclass(frozen=True)
class TrainResults(Results):
    """What training left behind.

    Attributes:
        model: The model file.
        scores: Validation scores, 0..1; empty without validation pixels.
        pixels: Labelled pixels on each side.
        classes: Names of the classes.
        steps: Steps done.
    """

    model: Path
    scores: dict[str, float]
    pixels: dict[str, int]
    classes: tuple[str, ...]
    steps: int


def run(
    scenes: Sequence[SceneConfig],
    config: TrainConfig,
    emit: Listener,
    *,
    resume: bool = False,
    init: Path | None = None,
    overwrite: bool = False,
) -> TrainResults:
    """Trains a model on one scene or several; processes of `torchrun` do it together.

    Args:
        scenes: Rasters and labels of each place; modalities and bands are the same in all.
        config: How.
        emit: Told of everything on the way.
        resume: Go on with an unfinished run of the same data and settings.
        init: Model to start from; its scaling, its guide and its size are kept.
        overwrite: Whether the model file may be replaced.

    Raises:
        M3ambaError: Inputs, machine or output are not fit; nothing is left half-written.
    """
    emit(Started("train", __version__))
    labels = label_configs(scenes)
    checkpoint = config.out.with_name(config.out.name + ".checkpoint")
    outputs = [config.out, checkpoint]
    weights = [] if config.guide.weights is None else [config.guide.weights]
    with join() as world, ExitStack() as handles:  # whatever fails from here on ends all alike
        check_apart(outputs, [*weights, *(file for scene in scenes for file in scene.inputs)])
        memory = working_memory(config.memory) * 2**20
        _check_shares(config, world, emit)
        handles.enter_context(Env(GDAL_CACHEMAX=memory // _GDAL))
        if world.leads:
            check_output(config.out, overwrite=overwrite)
            handles.enter_context(locked(config.out))
            drop_scratches(config.out, checkpoint)
        device, backend = prepare(config.device, config.scan, config.threads, emit)
        device = world.own_device(device)
        start = None if init is None else load_bundle(init)
        config = with_settled_embedding(config, start, emit)
        trained = None if start is None else start.manifest.modalities
        legend = read_legend(labels)
        tell_odd_classes(legend, emit)
        opened = open_scenes(scenes, config, legend, trained, handles, emit)
        check_apart(outputs, [file for scene in opened for file in scene.stack.files])
        legend = present_classes(opened, emit)
        config = with_settled_balance(config, [s.labels.kind for s in opened], emit)
        features = _features(opened, config, start)
        encoder = find_encoder(config, start, emit)
        size = _size(opened, config, device, start, emit)
        network = network_config(features, len(legend), size, config, encoder, start)
        torch.manual_seed(config.seed)
        model = make_model(network, encoder, start, legend, emit).to(device)
        fixed = model.guide is not None and config.guide.embedding == "pca"
        labelled = [scene.labelled(legend) for scene in opened]
        step, cache = CELL if fixed else 1, memory - memory // _GDAL
        patches = Patches(labelled, features, network.patch, step, cache)
        rasters = raster_prints(opened)
        inputs = rasters | label_prints(opened)  # now: a file may be gone when training ends
        scaling = tuple(Scaling.of(f.statistics) for f in features)
        embeddings = (
            _embeddings(model, start, opened, patches, features, world, emit) if fixed else None
        )
        identity = None if encoder is None else encoder.identity
        fitted = fit(
            model,
            patches,
            config,
            device,
            emit,
            run=_digest(config, network, scaling, identity, rasters, opened),
            checkpoint=checkpoint,
            resume=resume,
            embeddings=embeddings,
            world=world,
        )
        model.load_state_dict(model.state_dict() | fitted.weights)
        manifest = Manifest(
            network=network,
            modalities=modalities_of(opened[0].stack),
            scaling=scaling,
            legend=legend,
            guide=identity,
            grids=tuple(GridRecord.of(scene.stack.grid) for scene in opened),
            resolution=pixel_size(opened[0].stack.grid),
            split=split_in_words(opened, config.split.gap),
            scores=fitted.scores,
            settings=_settings(config),
            versions=versions(),
            inputs=inputs,
            scan=backend,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            licence=config.licence,
            embedding="pca" if fixed else "learned",
            neighbourhoods=tuple(n.side for n in features[0].neighbourhoods),
            modality_dropout=config.modality_dropout,
            temperature=fitted.temperature,
        )
        areas = tuple(scene.area() for scene in opened)
        linear = {} if model.guide is None else model.guide.state_dict()
        around = tuple(f.neighbourhoods for f in features)
        if world.leads:
            save_bundle(config.out, Bundle(manifest, model.network, linear, areas, around))
            checkpoint.unlink(missing_ok=True)
    for name, value in fitted.scores.items():
        emit(Metric(name, value))
    emit(Note(_calibration(fitted)))
    emit(Artifact(str(config.out), "model"))
    return TrainResults(
        config.out, fitted.scores, count_pixels(opened), tuple(e.name for e in legend), fitted.steps
    )


def _check_shares(config: TrainConfig, world: World, emit: Listener) -> None:
    if config.batch < world.size:
        raise UsageError(
            f"A batch of {config.batch} patches can't be shared by {world.size} processes.",
            "Raise --batch, or start fewer processes.",
        )
    if world.size > 1:
        emit(Note(f"{world.size} processes share each batch of {config.batch} patches."))


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


def _embeddings(
    model: GuidedM3amba,
    start: Bundle | None,
    scenes: Sequence[TrainingScene],
    patches: Patches,
    features: Sequence[Features],
    world: World,
    emit: Listener,
) -> Embeddings:
    """Fixes the guide and returns its embeddings of all windows."""
    guide = model.guide
    assert guide is not None
    if start is None:
        stacks = [scene.stack for scene in scenes]
        trained = [scene.pixels_on(Side.TRAIN) for scene in scenes]
        set_components(guide, principal_components(stacks, trained, features))
    guide.requires_grad_(False)
    places = [(scene.config, scene.stack) for scene in scenes]
    file = cache_file(guide, places, features, patches.patch)
    return embed(guide, patches, file, emit, world)


def _calibration(fitted: Fitted) -> str:
    if not fitted.scores:
        return "No validation pixels: confidence is the network's own, which may be far too high."
    return (
        f"Confidence is calibrated on {fitted.scores['validation_pixels']:,.0f} validation pixels: "
        f"temperature {fitted.temperature:.2f}."
    )


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


def _digest(
    config: TrainConfig,
    network: NetworkConfig,
    scaling: Sequence[Scaling],
    guide: GuideIdentity | None,
    rasters: Mapping[str, str],
    scenes: Sequence[TrainingScene],
) -> str:
    """Returns a name for all that a run's weights depend on, the machine left out."""
    elsewhere = {"out", "device", "scan", "threads", "memory", "recompute", "licence"}
    what = {
        "config": {k: v for k, v in _settings(config).items() if k not in elsewhere},
        "network": asdict(network),
        "scaling": [
            asdict(modality) for modality in scaling
        ],  # a model to start from brings its own
        "guide": "" if guide is None else guide.sha256,
        "rasters": dict(rasters),
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for scene in scenes:
        place = (GridRecord.of(scene.stack.grid), scene.config.resampling)
        digest.update(repr(place).encode())
        for part in (scene.labels.pixels, scene.labels.codes, scene.split.sides):
            digest.update(part.tobytes())
    return digest.hexdigest()
