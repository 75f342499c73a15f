"""What makes the blocks of a map: a model and rasters, opened alike wherever blocks are made."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from odc.geo.geobox import GeoBox
from rasterio import Env
from rasterio.windows import Window

from m3amba_geo.bundle import Bundle, Manifest, ModelFile
from m3amba_geo.config import ClassifyConfig, SceneConfig
from m3amba_geo.errors import NoOverlapError, UsageError
from m3amba_geo.events import Listener, Warned
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.footprint import ground_size, pixel_size
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.maps import Layer, code_type, used_path
from m3amba_geo.geo.raster import Raster, open_raster, same_place
from m3amba_geo.geo.region import Region, region_of
from m3amba_geo.geo.windows import default_stride
from m3amba_geo.infer.blocks import RowRecords, row_type
from m3amba_geo.infer.journal import Identity
from m3amba_geo.infer.predict import Rows, map_rows
from m3amba_geo.infer.predictor import Predictor, agreement, probes
from m3amba_geo.jobs.contents import content, stack_contents
from m3amba_geo.jobs.machine import prepare, versions
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.model.confidence import tempered
from m3amba_geo.model.device import choose_precision, trim_memory
from m3amba_geo.model.guide import ClipGuide, load_encoder_by_identity
from m3amba_geo.model.guided import GuidedM3amba

# GDAL would keep a twentieth of the machine's memory full of blocks that are not needed again.
_CACHE_SHARE = 8  # of the working memory, at most
_LEAST_CACHE = 64 * 2**20  # bytes
_RESOLUTION_TOLERANCE = 0.1
_MUCH = 0.05  # of a band's values, far from those of training
_AGREEMENT = 0.995  # share of equal classes below which bf16 is given up


@dataclass(frozen=True)
class Mapper:
    """All that the blocks of a map are made with.

    Attributes:
        stack: The rasters.
        predictor: The model.
        stride: Pixels between windows.
        legend: Classes of the model.
        temperature: Of its probabilities.
        mask: Raster on the stack's grid; None maps everything.
        region: What is mapped.
        kind: Type of a row, see `blocks.row_type`.
        backend: Scan backend.
        identity: All that the pixels depend on.
    """

    stack: Stack
    predictor: Predictor
    stride: int
    legend: Legend
    temperature: float
    mask: Raster | None
    region: Region
    kind: np.dtype[np.void]
    backend: str
    identity: Identity

    def rows(self, block: Region) -> Iterator[RowRecords]:
        """Yields the rows of a block from its top; to be closed, see `map_rows`."""
        for rows in map_rows(self.stack, self.predictor, self.stride, block):
            yield self._record(rows, block)
        trim_memory()

    def _record(self, rows: Rows, block: Region) -> RowRecords:
        used = rows.used
        if self.mask is not None:
            height, width = used.shape
            values, present = self.mask.read(Window(block.left, rows.top, width, height))
            used = used * (present[0] & (values[0] != 0))
        valid = used > 0
        table = np.array([entry.code for entry in self.legend], np.uint16)
        codes = np.where(valid, table[rows.shares.argmax(axis=0)], np.uint16(0))
        records = np.empty(len(valid), self.kind)
        records["map"] = codes[:, None]  # (h, 1, W)
        names = self.kind.names or ()
        if "modalities" in names:
            records["modalities"] = used[:, None]
        if not {"confidence", "probabilities"}.isdisjoint(names):
            shares = tempered(rows.shares, self.temperature)
            if "confidence" in names:
                records["confidence"] = np.where(valid, shares.max(axis=0), 0)[:, None]
            if "probabilities" in names:
                records["probabilities"] = np.where(valid, shares, -1).transpose(1, 0, 2)
        return records


@contextmanager
def open_mapper(
    model: ModelFile,
    scene: SceneConfig,
    config: ClassifyConfig,
    threads: int | None,
    emit: Listener,
) -> Iterator[Mapper]:
    """Opens all that blocks are made with.

    Args:
        model: The model.
        scene: Rasters.
        config: Options.
        threads: Of the CPU; None takes all.
        emit: Told of what was chosen and assumed.

    Raises:
        M3ambaError: Inputs or machine are not fit.
    """
    device, backend = prepare(config.device, config.scan, threads, emit)
    bundle, known = model.bundle, model.bundle.manifest
    predictor = Predictor(
        _model(bundle, config, emit),
        bundle.features,
        device,
        config.batch,
        choose_precision(config.precision, device, emit),
    )
    with ExitStack() as handles:
        stack = handles.enter_context(
            open_stack(scene, emit, known.modalities, known.modality_dropout)
        )
        handles.enter_context(_raster_cache(stack, predictor, working_memory(config.memory)))
        _compare_resolution(stack, bundle, emit)
        _compare_values(stack, bundle, emit)
        _settle_precision(stack, predictor, emit)
        region = region_of(stack.grid, config.bounds)
        stride = _stride(config, predictor.patch)
        mask = _mask(handles, config.mask, stack.grid)
        kind = row_type(layers_of(config, known), region.shape[1])
        identity = {
            "model": model.digest,
            "grid": f"{stack.grid.shape} {stack.grid.affine} {stack.grid.crs}",
            "bounds": str(region),
            "resampling": scene.resampling,
            "stride": str(stride),
            "batch": str(predictor.batch),
            "precision": str(predictor.precision),
            "device": predictor.device.type,
            "scan": backend,
            "mask": "" if mask is None else content(mask),
            "set of outputs": str(kind),
        }
        identity |= stack_contents(stack, known.modalities) | versions()
        yield Mapper(
            stack, predictor, stride, known.legend, known.temperature, mask, region, kind, backend,
            identity,
        )  # fmt: skip


def layers_of(config: ClassifyConfig, known: Manifest) -> dict[str, Layer]:
    """Returns the outputs by their roles.

    Raises:
        UsageError: One says nothing for this model.
    """
    legend, coverage = known.legend, known.coverage
    layers = {"map": Layer(config.out, code_type(legend), 0, ("class",), legend)}
    if coverage.fewer:
        path = config.modalities_used or used_path(config.out)
        layers["modalities"] = Layer(path, "uint8", 0, ("modalities",), coverage.legend())
    elif config.modalities_used is not None:
        raise UsageError(
            "The model makes every pixel from all modalities: --modalities-used has nothing to "
            "tell.",
            "Leave it out.",
        )
    if config.confidence is not None:
        layers["confidence"] = Layer(config.confidence, "float32", 0, ("probability",))
    if config.probabilities is not None:
        names = tuple(entry.name for entry in legend)
        layers["probabilities"] = Layer(config.probabilities, "float32", -1, names)
    return layers


def _raster_cache(stack: Stack, predictor: Predictor, memory: int) -> Env:
    """Returns the context in which GDAL keeps the blocks under one row of windows, not more."""
    margin = max(features.reach for features in predictor.features)
    wanted = max(stack.strip_bytes(predictor.patch + 2 * margin), _LEAST_CACHE)
    return Env(GDAL_CACHEMAX=min(wanted, memory * 2**20 // _CACHE_SHARE))


def _model(bundle: Bundle, config: ClassifyConfig, emit: Listener) -> GuidedM3amba:
    identity = bundle.manifest.guide
    if identity is None:
        if config.guide_weights is not None:
            raise UsageError(
                f"This model has no guide, and {config.guide_weights} has no use.",
                "Leave --guide-weights out.",
            )
        return GuidedM3amba(bundle.network, None)
    encoder = load_encoder_by_identity(identity, config.guide_weights, emit)
    guide = ClipGuide(encoder, bundle.manifest.network.bands)
    guide.load_state_dict(dict(bundle.guide_weights))
    return GuidedM3amba(bundle.network, guide)


def _compare_resolution(stack: Stack, bundle: Bundle, emit: Listener) -> None:
    """Warns where pixels are larger or smaller than those of training, on the ground."""
    known = bundle.manifest
    grids = [stack.grid, *(record.grid() for record in known.grids[:1])]
    sizes, unit = [ground_size(grid) for grid in grids], "m"
    if None in sizes or len(sizes) < 2:  # a place that nobody knows
        sizes, unit = [pixel_size(stack.grid), known.resolution], "units"
    ours, theirs = np.array(sizes)
    if (np.abs(ours / theirs - 1) > _RESOLUTION_TOLERANCE).any():
        told = [" x ".join(f"{float(f'{side:.3g}'):g}" for side in size) for size in (ours, theirs)]
        text = f"Pixels are {told[0]} {unit} large; the model was trained on {told[1]}."
        emit(Warned("resolution", f"{text} Textures may mislead it."))


def _compare_values(stack: Stack, bundle: Bundle, emit: Listener) -> None:
    """Warns where a few windows hold much that training has seen nothing like."""
    patch = bundle.manifest.network.patch
    windows = [stack.read(top, left, patch, patch) for top, left in probes(stack, patch)]
    told = []
    for n, (modality, features) in enumerate(zip(stack.modalities, bundle.features, strict=True)):
        far = [features.statistics.is_far(pixels[n], valid[n]) for pixels, valid in windows]
        counted = sum(int(valid[n].sum()) for _, valid in windows)
        shares = np.sum([part.sum(axis=(1, 2)) for part in far], axis=0) / max(counted, 1)
        worst = int(shares.argmax())
        if shares[worst] > _MUCH:
            told.append(f"{shares[worst]:.0%} of band {worst + 1} of {modality.name}")
    if told:
        emit(
            Warned(
                "values-unlike",
                f"In a few windows {', '.join(told)} lie more than ten standard deviations from "
                "what the model was trained on: other units, another scaling, or nodata that is "
                "not declared? The map is a guess there.",
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


def _stride(config: ClassifyConfig, patch: int) -> int:
    stride = config.stride or default_stride(patch)
    if stride > patch:
        raise UsageError(
            f"A stride of {stride} leaves gaps between windows of {patch} pixels.",
            f"Use --stride {patch} or less.",
        )
    return stride


def _mask(handles: ExitStack, path: Path | None, grid: GeoBox) -> Raster | None:
    if path is None:
        return None
    mask = handles.enter_context(open_raster(path, scaled=False))
    if not same_place(mask.grid, grid):
        raise NoOverlapError(
            f"The mask {path} does not lie on the reference grid.",
            "Give a mask with the size and geotransform of the reference raster.",
        )
    return mask
