"""The authors' checkpoint (network.md, section 9) in, one model file out.

A checkpoint holds weights only. The rasters of its scene give what else a model needs: names and
bands of the modalities, their ranges, and the place that the network has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from m3amba_geo import __version__
from m3amba_geo.bundle import Bundle, Manifest, Scaling, save_bundle
from m3amba_geo.config import GuideConfig, NetworkConfig, SceneConfig
from m3amba_geo.errors import (
    BandMismatchError,
    ClassMismatchError,
    FileMissingError,
    NotAModelError,
    WeightsUnavailableError,
)
from m3amba_geo.events import Artifact, Listener, Started, Warned
from m3amba_geo.files import check_apart, check_output, drop_scratches, fingerprint, locked
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.area import GridRecord, TrainingArea
from m3amba_geo.geo.footprint import pixel_size
from m3amba_geo.geo.legend import Legend, legend_of_csv
from m3amba_geo.geo.runs import Runs
from m3amba_geo.geo.stats import scene_ranges
from m3amba_geo.jobs.machine import versions
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.training_scenes import modalities_of
from m3amba_geo.model.guide import GuideIdentity, load_encoder
from m3amba_geo.model.pickles import load_tensors
from m3amba_geo.model.published import load_published

_EMBEDDINGS = ("conv_hsi", "conv_lidar")
_HINT = (
    "Give the .pth file that the authors' training wrote: a dict of tensors with `model_dict`, "
    "`conv_hsi` and `conv_lidar`."
)


@dataclass(frozen=True)
class ConvertResults(Results):
    """What was made.

    Attributes:
        model: The model file.
        bands: Bands of each modality.
        classes: Names of the classes.
        parameters: Weights of the network.
        guide: The encoder it is bound to.
    """

    model: Path
    bands: dict[str, int]
    classes: tuple[str, ...]
    parameters: int
    guide: str


def run(
    checkpoint: Path,
    scene: SceneConfig,
    legend: Path,
    guide: GuideConfig,
    out: Path,
    emit: Listener,
    *,
    overwrite: bool = False,
) -> ConvertResults:
    """Makes a model file of a checkpoint.

    Args:
        checkpoint: The authors' `.pth`.
        scene: Rasters of the scene it was trained on, `hsi` first, `lidar` second.
        legend: CSV of the classes; in the order of their codes they are the network's.
        guide: Where the image encoder is; its checksum becomes part of the model.
        out: Model file to write.
        emit: Told of everything on the way.
        overwrite: Whether the model file may be replaced.

    Raises:
        NotAModelError: It is no such checkpoint, or holds more than tensors.
        M3ambaError: Rasters, legend or encoder do not fit it, or the output can't be written.
    """
    emit(Started("convert-published", __version__))
    encoder = [] if guide.weights is None else [guide.weights]
    check_apart([out], [checkpoint, legend, *encoder, *scene.inputs])
    check_output(out, overwrite=overwrite)
    content = _read(checkpoint)
    network = load_published(content["model_dict"]).eval()
    config = network.config
    weights = _embeddings(content, config, checkpoint)
    classes = legend_of_csv(legend)
    if len(classes) != config.classes:
        raise ClassMismatchError(
            f"The checkpoint knows {config.classes} classes; {legend} lists {len(classes)}.",
            "List every class of its training, in the order of their codes.",
        )
    with open_stack(scene, emit) as stack:
        check_apart([out], stack.files)
        _check_bands(stack, config)
        identity = _identity(guide, config, emit)
        scaling = tuple(map(Scaling.of, scene_ranges(stack)))
        manifest = _manifest(stack, config, classes, scaling, identity, checkpoint, scene)
        everything = np.array([0, stack.grid.shape[0] * stack.grid.shape[1]])
        area = TrainingArea(stack.grid, Runs(everything), Runs(everything[:0]))
        bands = {modality.name: len(modality.bands) for modality in stack.modalities}
    emit(
        Warned(
            "published-unknown",
            "The checkpoint tells neither its training pixels nor its encoder: the whole scene "
            f"counts as seen in training, and the encoder is taken to be {identity.architecture} "
            f"of sha256 {identity.sha256}.",
        )
    )
    with locked(out):
        drop_scratches(out)
        save_bundle(out, Bundle(manifest, network, weights, (area,)))
    emit(Artifact(str(out), "model"))
    return ConvertResults(
        out,
        bands,
        tuple(entry.name for entry in classes),
        sum(parameter.numel() for parameter in network.parameters()),
        f"{identity.architecture}, sha256 {identity.sha256}",
    )


def _read(path: Path) -> dict[str, Any]:
    """Returns the dict of a checkpoint; nothing in it is run."""
    if not path.is_file():
        raise FileMissingError(f"{path} is missing.", "Check the path of the checkpoint.")
    try:
        content = load_tensors(path)
    except ValueError as error:
        raise NotAModelError(
            f"{path} is damaged, or holds more than tensors (code in a pickle or a TorchScript "
            "archive is never run).",
            _HINT,
        ) from error
    wanted = ("model_dict", *_EMBEDDINGS)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), Mapping) for key in wanted
    ):
        held = ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else ""
        raise NotAModelError(
            f"{path} is no checkpoint of the authors: it holds {held or type(content).__name__}.",
            _HINT,
        )
    return {key: content[key] for key in wanted}


def _embeddings(content: Mapping[str, Any], config: NetworkConfig, path: Path) -> dict[str, Tensor]:
    """Returns the linear embeddings under the names of `ClipGuide`."""
    weights: dict[str, Tensor] = {}
    for n, (key, bands) in enumerate(zip(_EMBEDDINGS, config.bands, strict=True)):
        for end, shape in (("weight", (3, bands, 1, 1)), ("bias", (3,))):
            tensor = content[key].get(end)
            if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
                found = tuple(tensor.shape) if isinstance(tensor, Tensor) else "none"
                raise NotAModelError(
                    f"{key}.{end} of {path} should be a tensor of {shape}; found: {found}.", _HINT
                )
            weights[f"embeddings.{n}.{end}"] = tensor.detach().float().clone()
    return weights


def _check_bands(stack: Stack, config: NetworkConfig) -> None:
    given = [len(modality.bands) for modality in stack.modalities]
    if given != list(config.bands):
        named = ", ".join(f"{m.name} {len(m.bands)}" for m in stack.modalities)
        raise BandMismatchError(
            f"The checkpoint takes modalities of {' and '.join(map(str, config.bands))} bands, in "
            f"this order; given were {named}.",
            "Give the rasters of its training scene: first hsi, then lidar.",
        )


def _identity(guide: GuideConfig, config: NetworkConfig, emit: Listener) -> GuideIdentity:
    encoder = load_encoder(guide, emit)
    assert encoder is not None  # mode `clip` finds one or fails
    if encoder.identity.width != config.embedding:
        raise WeightsUnavailableError(
            f"{encoder.identity.architecture} gives embeddings of {encoder.identity.width} "
            f"numbers; the checkpoint was trained with {config.embedding}.",
            "State the encoder it was trained with: --guide-architecture, --guide-weights.",
        )
    return encoder.identity


def _manifest(
    stack: Stack,
    config: NetworkConfig,
    legend: Legend,
    scaling: tuple[Scaling, ...],
    guide: GuideIdentity,
    checkpoint: Path,
    scene: SceneConfig,
) -> Manifest:
    files = {f"1/{m.name}/{f.name}": f for m in scene.modalities for f in m.files}
    files[f"checkpoint/{checkpoint.name}"] = checkpoint
    return Manifest(
        network=config,
        modalities=modalities_of(stack),
        scaling=scaling,
        legend=legend,
        guide=guide,
        grids=(GridRecord.of(stack.grid),),
        resolution=pixel_size(stack.grid),
        split=("converted from published weights: unknown, the whole scene counts as seen",),
        scores={},
        settings={"converted": checkpoint.name},
        versions=versions(),
        inputs={name: fingerprint(file) for name, file in files.items()},
        scan="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
