"""Classification: a model and rasters in, a map on the reference raster's grid out."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio import Env

from m3amba_geo import __version__
from m3amba_geo.bundle import Bundle, load_bundle
from m3amba_geo.config import ClassifyConfig, SceneConfig
from m3amba_geo.errors import AllNodataError, NoOverlapError, UsageError
from m3amba_geo.events import Artifact, Listener, Note, Started, Warned
from m3amba_geo.files import check_output, checksum, drop_scratches, locked, together
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.labels import Legend
from m3amba_geo.geo.maps import Layer, code_type, drop_stale, names_path, style, style_path
from m3amba_geo.geo.raster import Raster, open_raster, same_place
from m3amba_geo.geo.windows import default_stride
from m3amba_geo.infer.blocks import blocks_of, row_type
from m3amba_geo.infer.journal import Journal, open_journal, work_folder
from m3amba_geo.infer.predict import Predictor, Region, agreement, region_of
from m3amba_geo.jobs.machine import prepare
from m3amba_geo.jobs.mapping import Mapper, identity, make_missing, named_pixels, put_together
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.jobs.room import check_disk, check_memory
from m3amba_geo.jobs.sidecar import Sidecar, records, sidecar_path
from m3amba_geo.model.device import choose_precision
from m3amba_geo.model.guide import ClipGuide, load_encoder_by_identity
from m3amba_geo.model.guided import GuidedM3amba

# GDAL would keep a twentieth of the machine's memory full of blocks that are not needed again.
_CACHE_SHARE = 8
_RESOLUTION_TOLERANCE = 0.1
_AGREEMENT = 0.995  # share of equal classes below which bf16 is given up


@dataclass(frozen=True)
class ClassifyResults:
    """What classification left behind.

    Attributes:
        map: GeoTIFF of class codes.
        confidence: GeoTIFF of the winning probability, if asked for.
        probabilities: GeoTIFF with a band a class, if asked for.
        style: QGIS style of the map.
        pixels: Mapped pixels of each class, by name; those without a class as `nodata`.
    """

    map: Path
    confidence: Path | None
    probabilities: Path | None
    style: Path
    pixels: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Returns them as JSON can hold them."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


def run(model: Path, scene: SceneConfig, config: ClassifyConfig, emit: Listener) -> ClassifyResults:
    """Makes a map.

    Args:
        model: Model file.
        scene: Rasters; its labels are not read.
        config: Outputs and options.
        emit: Told of everything on the way.

    Raises:
        M3ambaError: Inputs, machine or outputs are not fit; no output is left half-written, and
            finished blocks are kept for the next run (see `infer.journal`).
    """
    emit(Started("classify", __version__))
    bundle = load_bundle(model)
    legend = bundle.manifest.legend
    digest = checksum(model)
    beside = _beside(model.name, digest, bundle, config.out)
    layers = _layers(config, legend)
    folder = work_folder(config.out)
    for layer in layers.values():  # where a run was killed, its journal knows whose the outputs are
        check_output(layer.path, overwrite=config.overwrite or folder.exists())
    memory = working_memory(config.memory)
    cache = memory * 2**20 // _CACHE_SHARE
    with Env(GDAL_CACHEMAX=cache), locked(*_paths(layers)), ExitStack() as handles:
        drop_scratches(*_paths(layers), names_path(config.out), *beside)
        device, backend = prepare(config.device, config.scan, None, emit)
        predictor = _predictor(bundle, config, device, emit)
        stack = handles.enter_context(open_stack(scene, emit, bundle.manifest.modalities))
        _compare_resolution(stack, bundle, emit)
        _settle_precision(stack, predictor, emit)
        region = region_of(stack.grid, config.bounds)
        mapper = Mapper(
            stack,
            predictor,
            _stride(config, predictor.patch),
            legend,
            _mask(handles, config.mask, stack.grid),
            row_type(layers, region.shape[1]),
        )
        journal = handles.enter_context(
            open_journal(
                folder,
                identity(digest, scene, mapper, region, backend),
                blocks_of(region, predictor.patch, mapper.stride),
                mapper.kind,
                emit,
                restart=config.restart,
            )
        )
        if not journal.state.published:
            _check_old(layers, journal, config)
            check_memory(layers, region, predictor, memory)
            check_disk(layers, region, journal)
            make_missing(mapper, journal, emit)
            _publish(journal, layers, _part(stack.grid, region), legend, beside, config, emit)
        for layer in layers.values():
            drop_stale(layer)
        journal.remove()
    emit(Note(f"Map, style and sidecar lie in {config.out.resolve().parent}."))
    for role, layer in layers.items():
        emit(Artifact(str(layer.path), role))
    return ClassifyResults(
        config.out, config.confidence, config.probabilities, style_path(config.out),
        journal.state.pixels,
    )  # fmt: skip


def _paths(layers: Mapping[str, Layer]) -> list[Path]:
    return [layer.path for layer in layers.values()]


def _predictor(
    bundle: Bundle, config: ClassifyConfig, device: torch.device, emit: Listener
) -> Predictor:
    return Predictor(
        _model(bundle, config, emit),
        bundle.features,
        device,
        config.batch,
        choose_precision(config.precision, device, emit),
    )


def _check_old(layers: Mapping[str, Layer], journal: Journal, config: ClassifyConfig) -> None:
    """Makes sure that only outputs of this very run are replaced unasked."""
    for layer in layers.values():
        if not journal.made(layer.path):
            check_output(layer.path, overwrite=config.overwrite)


def _publish(
    journal: Journal,
    layers: Mapping[str, Layer],
    grid: GeoBox,
    legend: Legend,
    beside: Mapping[Path, str],
    config: ClassifyConfig,
    emit: Listener,
) -> None:
    """Writes all outputs; they get their names together."""
    with together() as scratch_of:
        counts = put_together(journal, layers, grid, scratch_of, emit)
        try:
            pixels = named_pixels(counts, legend, masked=config.mask is not None)
        except AllNodataError:
            journal.remove()  # nobody wants to go on from nothing
            raise
        for path, text in beside.items():
            scratch_of(path).write_text(text, encoding="utf-8")
        journal.name_outputs({path: scratch_of(path) for path in _paths(layers)}, pixels)
    journal.note_published()


def _stride(config: ClassifyConfig, patch: int) -> int:
    stride = config.stride or default_stride(patch)
    if stride > patch:
        raise UsageError(
            f"A stride of {stride} leaves gaps between windows of {patch} pixels.",
            f"Use --stride {patch} or less.",
        )
    return stride


def _layers(config: ClassifyConfig, legend: Legend) -> dict[str, Layer]:
    layers = {"map": Layer(config.out, code_type(legend), 0, ("class",), legend)}
    if config.confidence is not None:
        layers["confidence"] = Layer(config.confidence, "float32", 0, ("probability",))
    if config.probabilities is not None:
        names = tuple(entry.name for entry in legend)
        layers["probabilities"] = Layer(config.probabilities, "float32", -1, names)
    files = [layer.path.resolve() for layer in layers.values()]
    if len(set(files)) < len(files):
        raise UsageError("Two outputs have the same name.", "Name a file for each.")
    return layers


def _model(bundle: Bundle, config: ClassifyConfig, emit: Listener) -> GuidedM3amba:
    identity = bundle.manifest.guide
    if identity is None:
        return GuidedM3amba(bundle.network, None)
    encoder = load_encoder_by_identity(identity, config.guide_weights, emit)
    guide = ClipGuide(encoder, bundle.manifest.network.bands)
    guide.load_state_dict(dict(bundle.guide_weights))
    return GuidedM3amba(bundle.network, guide)


def _compare_resolution(stack: Stack, bundle: Bundle, emit: Listener) -> None:
    affine, trained = stack.grid.affine, bundle.manifest.resolution
    size = float(np.hypot(affine.a, affine.d))
    if abs(size / trained[0] - 1) > _RESOLUTION_TOLERANCE:
        emit(
            Warned(
                "resolution",
                f"Pixels are {size:g} units wide; the model was trained on {trained[0]:g}. "
                "Textures may mislead it.",
            )
        )


def _settle_precision(stack: Stack, predictor: Predictor, emit: Listener) -> None:
    """Goes back to float32 where a reduced precision would change the map."""
    if predictor.precision is torch.float32:
        return
    same = agreement(stack, predictor)
    if same < _AGREEMENT:
        predictor.precision = torch.float32
        emit(
            Warned(
                "precision",
                f"In bf16 only {same:.1%} of the pixels tried keep their class: going on in fp32.",
            )
        )


def _part(grid: GeoBox, region: Region) -> GeoBox:
    affine = grid.affine * Affine.translation(region.left, region.top)
    return GeoBox(region.shape, affine, grid.crs)


def _mask(handles: ExitStack, path: Path | None, grid: GeoBox) -> Raster | None:
    if path is None:
        return None
    mask = handles.enter_context(open_raster(path))
    if not same_place(mask.grid, grid):
        raise NoOverlapError(
            f"The mask {path} does not lie on the reference grid.",
            "Give a mask with the size and geotransform of the reference raster.",
        )
    return mask


def _beside(name: str, digest: str, bundle: Bundle, map_path: Path) -> dict[Path, str]:
    """Returns what is to lie beside the map: sidecar and style."""
    manifest = bundle.manifest
    sidecar = Sidecar(
        model=digest,
        model_name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        patch=manifest.network.patch,
        legend=manifest.legend,
        split=manifest.split,
        areas=records(bundle.areas),
    )
    return {
        sidecar_path(map_path): sidecar.to_text(),
        style_path(map_path): style(manifest.legend),
    }
