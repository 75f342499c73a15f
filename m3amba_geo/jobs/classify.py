"""Classification: a model and rasters in, a map on the reference raster's grid out."""

import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Env
from rasterio.windows import Window

from m3amba_geo import __version__
from m3amba_geo.bundle import Bundle, load_bundle
from m3amba_geo.config import ClassifyConfig, SceneConfig
from m3amba_geo.errors import AllNodataError, DiskFullError, NoOverlapError, UsageError
from m3amba_geo.events import Artifact, Listener, Note, Progress, Started, Warned
from m3amba_geo.files import check_output, checksum, together
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.labels import Legend
from m3amba_geo.geo.maps import (
    Layer,
    RowWriter,
    code_type,
    drop_stale,
    open_map,
    style,
    style_path,
)
from m3amba_geo.geo.raster import Raster, open_raster, same_place
from m3amba_geo.geo.windows import default_stride
from m3amba_geo.infer.predict import Predictor, Region, Rows, agreement, map_rows, region_of
from m3amba_geo.jobs.machine import prepare
from m3amba_geo.jobs.sidecar import Sidecar, records, sidecar_path
from m3amba_geo.model.device import choose_precision
from m3amba_geo.model.guide import ClipGuide, load_encoder_by_identity
from m3amba_geo.model.guided import GuidedM3amba

_TILE_ROWS = 256  # rows that a writer may hold back
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
        M3ambaError: Inputs, machine or outputs are not fit; nothing is left half-written.
    """
    emit(Started("classify", __version__))
    bundle = load_bundle(model)
    manifest = bundle.manifest
    beside = _beside(model, bundle, config.out)
    layers = _layers(config, manifest.legend)
    for layer in layers.values():
        check_output(layer.path, overwrite=config.overwrite)
    device, _ = prepare(config.device, config.scan, None, emit)
    predictor = Predictor(
        _model(bundle, config, emit),
        [scaling.statistics() for scaling in manifest.scaling],
        device,
        config.batch,
        choose_precision(config.precision, device, emit),
    )
    cache = config.memory * 2**20 // _CACHE_SHARE
    with Env(GDAL_CACHEMAX=cache), together() as scratch_of, ExitStack() as handles:
        stack = handles.enter_context(open_stack(scene, emit, manifest.modalities))
        _compare_resolution(stack, bundle, emit)
        _settle_precision(stack, predictor, emit)
        region = region_of(stack.grid, config.bounds)
        grid = _part(stack.grid, region)
        _check_room(layers, region, predictor, config)
        mask = _mask(handles, config.mask, stack.grid)
        stride = _stride(config, predictor.patch)
        writers = {
            role: handles.enter_context(open_map(layer, grid, scratch_of))
            for role, layer in layers.items()
        }
        counts = np.zeros(65536, np.int64)
        for rows in map_rows(stack, predictor, stride, region):
            codes = _write(rows, writers, manifest.legend, mask, region)
            counts += np.bincount(codes.ravel(), minlength=65536)
            done = rows.top + rows.valid.shape[0] - region.top
            emit(Progress("mapping", done, region.shape[0], "rows"))
        if not counts[1:].any():
            raise AllNodataError(
                "The map would be empty: no pixel is valid in every band"
                f"{' within the mask' if config.mask else ''}.",
                "Check the nodata values of the rasters and that they overlap.",
            )
        for path, text in beside.items():
            scratch_of(path).write_text(text, encoding="utf-8")
    emit(Note(f"Map, style and sidecar lie in {config.out.resolve().parent}."))
    for role, layer in layers.items():
        drop_stale(layer)
        emit(Artifact(str(layer.path), role))
    named = {entry.name: int(counts[entry.code]) for entry in manifest.legend}
    return ClassifyResults(
        config.out, config.confidence, config.probabilities, style_path(config.out),
        named | {"nodata": int(counts[0])},
    )  # fmt: skip


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


def _check_room(
    layers: dict[str, Layer], region: Region, predictor: Predictor, config: ClassifyConfig
) -> None:
    """Makes sure that rows fit into memory and that the disk is not certain to run full."""
    height, width = region.shape
    bytes_a_pixel = {k: np.dtype(v.dtype).itemsize * len(v.names) for k, v in layers.items()}
    waiting = sum(bytes_a_pixel.values()) * width * 2 * _TILE_ROWS
    sums = width * predictor.patch * (predictor.classes * 3 + 2) * 4
    need = (waiting + sums) / 2**20
    if need > config.memory:
        raise UsageError(
            f"Rows of {width} pixels need {need:.0f} MiB of working memory; "
            f"--memory allows {config.memory}.",
            f"Use --memory {int(need) + 1}, or map in parts with --bounds.",
        )
    for role, layer in layers.items():
        folder = layer.path.resolve().parent
        # Deflate shrinks maps five- to fiftyfold: below a fiftieth it can't end well.
        if shutil.disk_usage(folder).free < bytes_a_pixel[role] * height * width / 50:
            raise DiskFullError(
                f"Too little space in {folder} for {layer.path.name}.",
                "Free some space, or name an output on another disk.",
            )


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


def _write(
    rows: Rows,
    writers: dict[str, RowWriter],
    legend: Legend,
    mask: Raster | None,
    region: Region,
) -> NDArray[np.uint16]:
    """Writes finished rows to all layers and returns their codes, `(h, W)`."""
    valid = rows.valid
    if mask is not None:
        height, width = valid.shape
        values, present = mask.read(Window(region.left, rows.top, width, height))
        valid = valid & present[0] & (values[0] != 0)
    table = np.array([entry.code for entry in legend], np.uint16)
    codes = np.where(valid, table[rows.shares.argmax(axis=0)], np.uint16(0))
    writers["map"].append(codes)
    if "confidence" in writers:
        writers["confidence"].append(np.where(valid, rows.shares.max(axis=0), 0))
    if "probabilities" in writers:
        writers["probabilities"].append(np.where(valid, rows.shares, -1))
    return codes


def _beside(model: Path, bundle: Bundle, map_path: Path) -> dict[Path, str]:
    """Returns what is to lie beside the map: sidecar and style."""
    manifest = bundle.manifest
    sidecar = Sidecar(
        model=checksum(model),
        model_name=model.name,
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
