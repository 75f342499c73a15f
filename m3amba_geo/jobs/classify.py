"""Classification: a model and rasters in, a map on the reference raster's grid out."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from odc.geo.geobox import GeoBox

from m3amba_geo import __version__
from m3amba_geo.bundle import ModelFile
from m3amba_geo.config import ClassifyConfig, SceneConfig
from m3amba_geo.errors import AllNodataError, ExtraMissingError, UsageError
from m3amba_geo.events import Artifact, Listener, Note, Started
from m3amba_geo.files import (
    check_apart,
    check_output,
    drop_scratches,
    locked,
    together,
)
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.maps import Layer, drop_stale, names_path, style, style_path
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.blocks import blocks_of
from m3amba_geo.infer.journal import Journal, open_journal, work_folder
from m3amba_geo.jobs.mapper import Mapper, layers_of, open_mapper
from m3amba_geo.jobs.mapping import make_missing, named_pixels, put_together, tell_incomplete
from m3amba_geo.jobs.memory import working_memory
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.sidecar import Sidecar, sidecar_path
from m3amba_geo.jobs.space import check_disk, check_memory

Maker = Callable[[ModelFile, SceneConfig, ClassifyConfig, Mapper, Journal, Listener], None]
"""Makes the blocks that a journal lacks."""


@dataclass(frozen=True)
class ClassifyResults(Results):
    """What classification left behind.

    Attributes:
        map: GeoTIFF of class codes.
        modalities: GeoTIFF of what each pixel is made from, if the model does with fewer.
        confidence: GeoTIFF of the winning probability, if asked for.
        probabilities: GeoTIFF with a band a class, if asked for.
        style: QGIS style of the map.
        pixels: Mapped pixels of each class, by name; those without a class as `nodata`.
    """

    map: Path
    modalities: Path | None
    confidence: Path | None
    probabilities: Path | None
    style: Path
    pixels: dict[str, int]


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
    with ExitStack() as handles:
        return make_map(ModelFile.read(model), scene, config, maker(config, handles), emit)


def make_map(
    model: ModelFile,
    scene: SceneConfig,
    config: ClassifyConfig,
    make_blocks: Maker,
    emit: Listener,
) -> ClassifyResults:
    """Makes a map; as `run`, with blocks made by what `maker` has returned."""
    legend = model.bundle.manifest.legend
    layers = layers_of(config, model.bundle.manifest)
    used = layers["modalities"].path if "modalities" in layers else None
    others = beside(model, config.out, used)
    names = [names_path(layer.path) for layer in layers.values() if layer.legend]
    outputs = [*_paths(layers), *names, *others]
    further = [path for path in (config.mask, config.guide_weights) if path is not None]
    check_apart(outputs, [model.path, *scene.inputs, *further])
    folder = work_folder(config.out)
    for path in (*_paths(layers), *others):  # a killed run's journal knows whose they are
        check_output(path, overwrite=config.overwrite or folder.exists())
    with locked(*_paths(layers)), ExitStack() as handles:
        drop_scratches(*_paths(layers), *names, *others)
        mapper = handles.enter_context(open_mapper(model, scene, config, None, emit))
        masks = [] if mapper.mask is None else map(Path, mapper.mask.files)
        check_apart(outputs, [*mapper.stack.files, *masks])
        region, patch = mapper.region, mapper.predictor.patch
        blocks = blocks_of(region, patch, mapper.stride)
        journal = handles.enter_context(
            open_journal(folder, mapper.identity, blocks, mapper.kind, emit, restart=config.restart)
        )
        done = all(map(journal.made, _paths(layers))) and all(path.exists() for path in others)
        if not (journal.state.published and done):  # what was published may be gone since
            _check_old(layers, journal, config)
            check_memory(layers, region, mapper.predictor, working_memory(config.memory))
            check_disk(layers, region, journal)
            make_blocks(model, scene, config, mapper, journal, emit)
            grid = _part(mapper.stack.grid, region)
            _publish(journal, layers, grid, legend, others, config, emit)
        for layer in layers.values():
            drop_stale(layer)
        journal.remove()
    emit(Note(f"Map, style and sidecar lie in {config.out.resolve().parent}."))
    for role, layer in layers.items():
        emit(Artifact(str(layer.path), role))
    return ClassifyResults(
        config.out, used, config.confidence, config.probabilities, style_path(config.out),
        journal.state.pixels,
    )  # fmt: skip


def maker(config: ClassifyConfig, handles: ExitStack) -> Maker:
    """Returns what makes missing blocks: this process, or a cluster that `handles` will close.

    Raises:
        UsageError: Two clusters are wanted.
        ExtraMissingError: One is, and the packages for it are not installed.
    """
    if config.workers is None and config.scheduler is None:
        return lambda model, scene, config, *rest: make_missing(*rest)
    if config.workers is not None and config.scheduler is not None:
        raise UsageError(
            "--workers starts processes here, --scheduler uses those that are there.",
            "Give one of the two.",
        )
    try:
        from m3amba_geo.jobs import cluster
    except ImportError as error:
        raise ExtraMissingError(
            f"Several processes need packages that are not installed ({error}).",
            "Install them: pip install cryptography dask distributed.",
        ) from error
    return cluster.Cluster(config, handles).make_missing


def _paths(layers: Mapping[str, Layer]) -> list[Path]:
    return [layer.path for layer in layers.values()]


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
    others: Mapping[Path, str],
    config: ClassifyConfig,
    emit: Listener,
) -> None:
    """Writes all outputs; they get their names together."""
    with together() as scratch_of:
        counts = put_together(journal, layers, grid, scratch_of, emit)
        try:
            pixels = named_pixels(counts["map"], legend, masked=config.mask is not None)
        except AllNodataError:
            journal.remove()  # nobody wants to go on from nothing
            raise
        for path, text in others.items():
            scratch_of(path).write_text(text, encoding="utf-8")
        journal.name_outputs({path: scratch_of(path) for path in _paths(layers)}, pixels)
    journal.note_published()
    if "modalities" in layers:
        tell_incomplete(counts["modalities"], layers["modalities"], emit)


def _part(grid: GeoBox, region: Region) -> GeoBox:
    affine = grid.affine * Affine.translation(region.left, region.top)
    return GeoBox(region.shape, affine, grid.crs)


def beside(model: ModelFile, map_path: Path, used: Path | None) -> dict[Path, str]:
    """Returns what is to lie beside the map: sidecar, which names the raster `used`, and style."""
    return {
        sidecar_path(map_path): Sidecar.of(model, map_path, used).to_text(),
        style_path(map_path): style(model.bundle.manifest.legend),
    }
