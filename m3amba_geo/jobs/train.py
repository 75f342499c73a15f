"""Training: rasters and ground truth in, one model file out."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rasterio import Env

from m3amba_geo import __version__
from m3amba_geo.bundle import save_bundle
from m3amba_geo.config import SceneConfig, TrainConfig
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Artifact, Listener, Metric, Note, Started
from m3amba_geo.files import check_apart, check_output, drop_scratches, locked
from m3amba_geo.geo.components import principal_components
from m3amba_geo.geo.split import Side
from m3amba_geo.jobs.fixed_guide import cache_file, set_components
from m3amba_geo.jobs.machine import prepare
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.jobs.network import make_model
from m3amba_geo.jobs.plan import Plan, settle
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.training_scenes import count_pixels, label_prints
from m3amba_geo.learn.embeddings import Embeddings, embed
from m3amba_geo.learn.loop import Fitted, fit
from m3amba_geo.learn.patches import CELL, Patches
from m3amba_geo.learn.world import World, join
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
        plan = settle(scenes, config, init, outputs, device, handles, emit)
        torch.manual_seed(config.seed)
        model = make_model(plan.network, plan.encoder, plan.start, plan.legend, emit).to(device)
        patches = Patches(
            [scene.labelled(plan.legend) for scene in plan.scenes],
            plan.features,
            plan.network.patch,
            CELL if plan.fixed_guide else 1,
            memory - memory // _GDAL,
        )
        # Now: a file may be gone when training ends.
        inputs = plan.rasters | label_prints(plan.scenes)
        fitted = fit(
            model,
            patches,
            plan.config,
            device,
            emit,
            run=plan.digest(),
            checkpoint=checkpoint,
            resume=resume,
            embeddings=_embeddings(model, plan, patches, world, emit),
            world=world,
        )
        model.load_state_dict(model.state_dict() | fitted.weights)
        if world.leads:
            save_bundle(config.out, plan.bundle(model, fitted, inputs, backend))
            checkpoint.unlink(missing_ok=True)
    for name, value in fitted.scores.items():
        emit(Metric(name, value))
    emit(Note(_calibration(fitted)))
    emit(Artifact(str(config.out), "model"))
    classes = tuple(entry.name for entry in plan.legend)
    return TrainResults(config.out, fitted.scores, count_pixels(plan.scenes), classes, fitted.steps)


def _check_shares(config: TrainConfig, world: World, emit: Listener) -> None:
    if config.batch < world.size:
        raise UsageError(
            f"A batch of {config.batch} patches can't be shared by {world.size} processes.",
            "Raise --batch, or start fewer processes.",
        )
    if world.size > 1:
        emit(Note(f"{world.size} processes share each batch of {config.batch} patches."))


def _embeddings(
    model: GuidedM3amba, plan: Plan, patches: Patches, world: World, emit: Listener
) -> Embeddings | None:
    """Fixes a guide that is not trained, and returns its embeddings of all windows."""
    guide = model.guide
    if guide is None or not plan.fixed_guide:
        return None
    if plan.start is None:
        stacks = [scene.stack for scene in plan.scenes]
        trained = [scene.pixels_on(Side.TRAIN) for scene in plan.scenes]
        set_components(guide, principal_components(stacks, trained, plan.features))
    guide.requires_grad_(False)
    places = [(scene.config, scene.stack) for scene in plan.scenes]
    file = cache_file(guide, places, plan.features, patches.patch)
    return embed(guide, patches, file, emit, world)


def _calibration(fitted: Fitted) -> str:
    if not fitted.scores:
        return "No validation pixels: confidence is the network's own, which may be far too high."
    return (
        f"Confidence is calibrated on {fitted.scores['validation_pixels']:,.0f} validation pixels: "
        f"temperature {fitted.temperature:.2f}."
    )
