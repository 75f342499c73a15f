"""Training: rasters and ground truth in, one model file out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rasterio import Env

from m3amba_geo import __version__
from m3amba_geo.bundle import Bundle, Manifest, Scaling, load_bundle, save_bundle
from m3amba_geo.config import LabelConfig, NetworkConfig, SceneConfig, Size, TrainConfig
from m3amba_geo.errors import NoLabelsError, TooFewClassesError, UsageError
from m3amba_geo.events import Artifact, Listener, Metric, Note, Started, Warned
from m3amba_geo.files import check_output, drop_scratches, locked
from m3amba_geo.geo.align import Stack, TrainedModality, open_stack
from m3amba_geo.geo.area import GridRecord, TrainingArea
from m3amba_geo.geo.components import principal_components
from m3amba_geo.geo.features import Features, scene_features
from m3amba_geo.geo.labels import Labels, Legend, read_legend
from m3amba_geo.geo.marks import Marks
from m3amba_geo.geo.runs import Runs
from m3amba_geo.geo.split import Side, Split, split_labels
from m3amba_geo.jobs.contents import label_content, raster_content
from m3amba_geo.jobs.fixed_guide import cache_file, set_components
from m3amba_geo.jobs.ground_truth import labels_on
from m3amba_geo.jobs.machine import prepare, versions
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.jobs.network import (
    choose_size,
    find_encoder,
    make_model,
    network_config,
    with_settled_embedding,
)
from m3amba_geo.learn.embeddings import Embeddings, embed
from m3amba_geo.learn.loop import fit
from m3amba_geo.learn.patches import CELL, UNLABELLED, LabelledScene, Patches
from m3amba_geo.learn.world import World, join
from m3amba_geo.model.guide import GuideIdentity
from m3amba_geo.model.guided import GuidedM3amba

_GDAL = 8  # the part of the working memory that GDAL keeps blocks of files in


@dataclass(frozen=True)
class TrainResults:
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

    def to_json(self) -> dict[str, Any]:
        """Returns them as JSON can hold them."""
        return asdict(self) | {"model": str(self.model)}


@dataclass(frozen=True)
class _Scene:
    config: SceneConfig
    stack: Stack
    labels: Labels
    split: Split
    tested: int  # pixels of labels for testing alone

    def on(self, side: Side) -> NDArray[np.bool_]:
        """Returns which labelled pixels are on a side (N,)."""
        chosen: NDArray[np.bool_] = self.split.sides == side
        return chosen


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
    label_configs = _label_configs(scenes)
    checkpoint = config.out.with_name(config.out.name + ".checkpoint")
    memory = working_memory(config.memory) * 2**20
    with join() as world, ExitStack() as handles:
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
        opened = _open(scenes, config, read_legend(label_configs), start, handles, emit)
        legend = _present(opened, emit)
        features = _features(opened, config, start)
        encoder = find_encoder(config, start, emit)
        size = _size(opened, config, device, start, emit)
        network = network_config(features, len(legend), size, config.patch, encoder, start)
        torch.manual_seed(config.seed)
        model = make_model(network, encoder, start, legend, emit).to(device)
        fixed = model.guide is not None and config.guide.embedding == "pca"
        labelled = _labelled(opened, legend)
        step, cache = CELL if fixed else 1, memory - memory // _GDAL
        patches = Patches(labelled, features, network.patch, step, cache)
        inputs = _inputs(opened)
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
            run=_digest(config, network, scaling, identity, inputs, opened),
            checkpoint=checkpoint,
            resume=resume,
            embeddings=embeddings,
            world=world,
        )
        model.load_state_dict(model.state_dict() | fitted.weights)
        manifest = Manifest(
            network=network,
            modalities=_modalities(opened[0].stack),
            scaling=scaling,
            legend=legend,
            guide=identity,
            grids=tuple(GridRecord.of(scene.stack.grid) for scene in opened),
            resolution=_resolution(opened[0].stack),
            split=_split_in_words(opened, config),
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
        )
        areas = tuple(_area(scene) for scene in opened)
        linear = {} if model.guide is None else model.guide.state_dict()
        around = tuple(f.neighbourhoods for f in features)
        if world.leads:
            save_bundle(config.out, Bundle(manifest, model.network, linear, areas, around))
            checkpoint.unlink(missing_ok=True)
    for name, value in fitted.scores.items():
        emit(Metric(name, value))
    emit(Artifact(str(config.out), "model"))
    return TrainResults(
        config.out, fitted.scores, _pixels(opened), tuple(e.name for e in legend), fitted.steps
    )


def _check_shares(config: TrainConfig, world: World, emit: Listener) -> None:
    if config.batch < world.size:
        raise UsageError(
            f"A batch of {config.batch} patches can't be shared by {world.size} processes.",
            "Raise --batch, or start fewer processes.",
        )
    if world.size > 1:
        emit(Note(f"{world.size} processes share each batch of {config.batch} patches."))


def _label_configs(scenes: Sequence[SceneConfig]) -> list[LabelConfig]:
    if not scenes:
        raise UsageError("No rasters were given.", "Name rasters, or a [[scene]] in m3amba.toml.")
    given = []
    for scene in scenes:
        if scene.labels is None:
            raise UsageError("Training needs ground truth.", "Add --labels FILE.")
        given.append(scene.labels)
    return given


def _open(
    scenes: Sequence[SceneConfig],
    config: TrainConfig,
    legend: Legend,
    start: Bundle | None,
    handles: ExitStack,
    emit: Listener,
) -> list[_Scene]:
    """Opens every scene, puts its labels on its grid and parts them."""
    trained = None if start is None else start.manifest.modalities
    opened: list[_Scene] = []
    for n, scene in enumerate(scenes):
        stack = handles.enter_context(open_stack(scene, emit, trained))
        trained = trained or _modalities(stack)  # later scenes are matched to the first
        assert scene.labels is not None
        labels = labels_on(stack, scene.labels, legend, emit)
        rng = np.random.default_rng([config.seed, 0, n])
        tested = 0
        if scene.test_labels is None:
            split = split_labels(labels, config.split, rng)
        else:  # the user's own parting: taken as it is, without a gap of ours
            test = labels_on(stack, scene.test_labels, legend, emit)
            labels = labels.only(~np.isin(labels.pixels, test.pixels))
            split = split_labels(labels, replace(config.split, test=0.0), rng)
            tested = len(test.pixels)
        for note in split.notes:
            emit(Warned("split", note))
        opened.append(_Scene(scene, stack, labels, split, tested))
    return opened


def _present(scenes: Sequence[_Scene], emit: Listener) -> Legend:
    """Returns the classes that have training pixels, in the labels' own legend."""
    legend = scenes[0].labels.legend
    found: set[int] = set()
    for scene in scenes:
        found |= set(np.unique(scene.labels.codes[scene.on(Side.TRAIN)]).tolist())
    absent = [entry.name for entry in legend if entry.code not in found]
    if absent:
        emit(Warned("classes-absent", f"Classes without a training pixel: {', '.join(absent)}."))
    kept = tuple(entry for entry in legend if entry.code in found)
    if not kept:
        raise NoLabelsError(
            "No labelled pixel is left for training.", "Label more, or lower --test-share."
        )
    if len(kept) < 2:
        raise TooFewClassesError(
            f"Only one class has training pixels: {kept[0].name}.",
            "Label a second class on the rasters, or choose another --field.",
        )
    return kept


def _features(
    scenes: Sequence[_Scene], config: TrainConfig, start: Bundle | None
) -> list[Features]:
    if start is not None:  # the weights know these
        return start.features
    return scene_features(
        [scene.stack for scene in scenes],
        [scene.labels.pixels[scene.on(Side.TRAIN)] for scene in scenes],
        config.neighbourhoods,
    )


def _size(
    scenes: Sequence[_Scene],
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
    labels = _pixels(scenes)["train"]
    bands = sum(len(modality.bands) for modality in scenes[0].stack.modalities)
    pixels = sum(scene.stack.grid.shape[0] * scene.stack.grid.shape[1] for scene in scenes)
    size = choose_size(labels, bands, pixels, on_cpu=device.type == "cpu")
    emit(Note(f"Size of the network: {size}, for {labels:,} training pixels and {bands} bands."))
    return size


def _embeddings(
    model: GuidedM3amba,
    start: Bundle | None,
    scenes: Sequence[_Scene],
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
        trained = [scene.labels.pixels[scene.on(Side.TRAIN)] for scene in scenes]
        set_components(guide, principal_components(stacks, trained, features))
    guide.requires_grad_(False)
    places = [(scene.config, scene.stack) for scene in scenes]
    file = cache_file(guide, places, features, patches.patch)
    if not world.leads:
        world.wait()
    embeddings = embed(guide, patches, file, emit)
    if world.leads:
        world.wait()  # the others find them in the file
    return embeddings


def _labelled(scenes: Sequence[_Scene], legend: Legend) -> list[LabelledScene]:
    table = np.full(65536, UNLABELLED, np.int32)
    for index, entry in enumerate(legend):
        table[entry.code] = index
    labelled = []
    for scene in scenes:
        classes = table[scene.labels.codes]
        shape = (scene.labels.grid.shape[0], scene.labels.grid.shape[1])
        known = classes != UNLABELLED
        train, validation = (
            Marks(shape, scene.labels.pixels[chosen], classes[chosen])
            for chosen in (scene.on(side) & known for side in (Side.TRAIN, Side.VALIDATION))
        )
        labelled.append(LabelledScene(scene.stack, train, validation))
    return labelled


def _area(scene: _Scene) -> TrainingArea:
    train, validation = (
        Runs.of(scene.labels.pixels[scene.on(side)]) for side in (Side.TRAIN, Side.VALIDATION)
    )
    return TrainingArea(scene.stack.grid, train, validation)


def _modalities(stack: Stack) -> tuple[TrainedModality, ...]:
    return tuple(TrainedModality(m.name, m.bands) for m in stack.modalities)


def _resolution(stack: Stack) -> tuple[float, float]:
    affine = stack.grid.affine
    return float(np.hypot(affine.a, affine.d)), float(np.hypot(affine.b, affine.e))


def _pixels(scenes: Sequence[_Scene]) -> dict[str, int]:
    counts = {
        side.name.lower(): sum(int(scene.on(side).sum()) for scene in scenes)
        for side in Side
        if side is not Side.NONE
    }
    return counts | {"test": counts["test"] + sum(scene.tested for scene in scenes)}


def _split_in_words(scenes: Sequence[_Scene], config: TrainConfig) -> tuple[str, ...]:
    counts = ", ".join(f"{name} {count}" for name, count in _pixels(scenes).items())
    names = {e.code: e.name for e in scenes[0].labels.legend}
    untested = sorted({names[code] for scene in scenes for code in scene.split.untested})
    units = ", ".join(dict.fromkeys(scene.split.by for scene in scenes))
    words = [
        f"by {units}, gap {config.split.gap} pixels; labelled pixels: {counts}",
        *(note.rstrip(".") for scene in scenes for note in scene.split.notes),
    ]
    if untested:
        words.append(f"classes without a held-out pixel: {', '.join(untested)}")
    return tuple(words)


def _inputs(scenes: Sequence[_Scene]) -> dict[str, str]:
    """Returns the fingerprint of each file, by scene, modality and name; folders stay private."""
    found: dict[str, str] = {}
    for n, scene in enumerate(scenes, 1):
        for modality in scene.stack.modalities:
            for raster in modality.rasters:
                found[f"{n}/{modality.name}/{raster.path.name}"] = raster_content(raster)
        assert scene.config.labels is not None
        path = scene.config.labels.path
        found[f"{n}/labels/{path.name}"] = label_content(path, scene.labels)
    return found


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
    inputs: Mapping[str, str],
    scenes: Sequence[_Scene],
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
        "inputs": dict(inputs),
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for scene in scenes:
        for part in (scene.labels.pixels, scene.labels.codes, scene.split.sides):
            digest.update(part.tobytes())
    return digest.hexdigest()
