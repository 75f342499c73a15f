"""What files hold: a model's manifest, or the preflight table of rasters and labels."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pydantic import TypeAdapter

from m3amba_geo import __version__
from m3amba_geo.bundle import Manifest, read_manifest
from m3amba_geo.config import LabelConfig, ModalityConfig, SceneConfig
from m3amba_geo.errors import CRSMissingError, DataError, FileMissingError, RasterUnreadableError
from m3amba_geo.events import Listener, Started, Warned
from m3amba_geo.files import checksum
from m3amba_geo.geo.access import check_reach
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.footprint import covered, crs_of, name_of, pixel_size
from m3amba_geo.geo.labels import read_legend
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.raster import Raster, open_raster, same_place
from m3amba_geo.jobs.ground_truth import labels_on


@dataclass(frozen=True)
class RasterFacts:
    """A raster in a line; `overlap` is the share of the first raster that it covers, 0..1."""

    file: str
    crs: str
    width: int
    height: int
    pixel: str
    bands: int
    type: str
    nodata: str
    overlap: float
    same_grid: bool


@dataclass(frozen=True)
class ClassFacts:
    """A class of a label file and its pixels on the first raster (None without a raster)."""

    labels: str
    code: int
    name: str
    color: str
    pixels: int | None
    parts: int | None


@dataclass(frozen=True)
class Info:
    """What the files hold; empty parts were not asked for."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    rasters: tuple[RasterFacts, ...] = ()
    classes: tuple[ClassFacts, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        found = {
            "models": self.models,
            "rasters": [asdict(raster) for raster in self.rasters],
            "classes": [asdict(entry) for entry in self.classes],
        }
        return {key: value for key, value in found.items() if value}


def run(files: Sequence[Path], emit: Listener, layer: str | None = None) -> Info:
    """Looks into models, rasters and label files.

    The first raster is the reference: overlap and labelled pixels are told on its grid. `layer` is
    that of label files with several.

    Raises:
        M3ambaError: A file is missing or can't be read; labels whose classes can't be told are
            a warning where there is something else to tell.
    """
    emit(Started("info", __version__))
    for file in files:
        check_reach(file)
    models = [file for file in files if file.suffix.lower() == ".m3amba"]
    with ExitStack() as handles:
        rasters, vectors = [], []
        for file in files:
            if file in models:
                continue
            try:
                rasters.append(handles.enter_context(open_raster(file)))
            except RasterUnreadableError:
                vectors.append(file)  # if it is no vector either, reading it will say so
        stack = _stack(rasters, handles, emit) if rasters and vectors else None
        classes: list[ClassFacts] = []
        unclear: list[tuple[Path, DataError]] = []
        for file in vectors:
            try:
                classes += _classes(LabelConfig(file, layer=layer), stack, emit)
            except FileMissingError:
                raise
            except DataError as error:
                unclear.append((file, error))
        if unclear and not (models or rasters or classes):
            raise unclear[0][1]
        for file, reason in unclear:
            emit(Warned("labels-unclear", f"{file}: {reason} In training: {reason.hint}"))
        return Info(
            {str(model): _model(model, read_manifest(model)) for model in models},
            tuple(_raster(raster, rasters[0].grid) for raster in rasters),
            tuple(classes),
        )


def _stack(rasters: Sequence[Raster], handles: ExitStack, emit: Listener) -> Stack:
    """Opens the rasters as training would, a modality each: labels count where all are valid."""
    modalities = (ModalityConfig(str(n), (raster.path,)) for n, raster in enumerate(rasters))
    return handles.enter_context(open_stack(SceneConfig(tuple(modalities)), emit))


def _model(path: Path, manifest: Manifest) -> dict[str, Any]:
    network = manifest.network
    return {
        "network": f"{network.called() or 'a size of its own'}: width {network.width}, "
        f"depth {network.depth}, patch {network.patch}",
        "modalities": [
            {"name": m.name, "bands": len(m.bands), "listed": [str(band) for band in m.bands]}
            for m in manifest.modalities
        ],
        "classes": [asdict(entry) for entry in manifest.legend],
        "modality_dropout": manifest.modality_dropout,
        "temperature": manifest.temperature,
        "guide": _guide(manifest),
        "crs": [name_of(crs_of(record.grid())) for record in manifest.grids],
        "resolution": list(manifest.resolution),
        "split": list(manifest.split),
        "scores": manifest.scores,
        "versions": manifest.versions,
        "inputs": manifest.inputs,
        "settings": TypeAdapter(dict[str, Any]).dump_python(manifest.settings, mode="json"),
        "created": manifest.created,
        "licence": manifest.licence,
        "sha256": checksum(path),
    }


def _guide(manifest: Manifest) -> str:
    if manifest.guide is None:
        return "none"
    fixed = " on principal components" if manifest.embedding == "pca" else ""
    return f"{manifest.guide.architecture}{fixed}"


def _raster(raster: Raster, reference: GeoBox) -> RasterFacts:
    height, width = raster.grid.shape
    return RasterFacts(
        file=raster.path.name,
        crs=name_of(crs_of(raster.grid)),
        width=width,
        height=height,
        pixel="{:g} x {:g}".format(*pixel_size(raster.grid)),
        bands=len(raster.bands),
        type=raster.dtype,
        nodata=", ".join(dict.fromkeys("none" if n is None else f"{n:g}" for n in raster.nodata)),
        overlap=_overlap(raster.grid, reference),
        same_grid=same_place(raster.grid, reference),
    )


def _overlap(grid: GeoBox, reference: GeoBox) -> float:
    """Returns the share of the reference that a grid covers; 0 where they can't be related."""
    if same_place(grid, reference):
        return 1.0
    if grid.crs is None or reference.crs is None:
        return 0.0
    try:
        return covered(reference, grid)
    except CRSMissingError:
        return 0.0


def _classes(config: LabelConfig, stack: Stack | None, emit: Listener) -> list[ClassFacts]:
    path = config.path
    legend: Legend = read_legend([config])
    if stack is None:
        return [ClassFacts(path.name, e.code, e.name, e.color, None, None) for e in legend]
    labels = labels_on(stack, config, legend, emit)
    facts = []
    for entry in legend:
        here = labels.codes == entry.code
        parts = len(np.unique(labels.groups[here]))
        facts.append(
            ClassFacts(path.name, entry.code, entry.name, entry.color, int(here.sum()), parts)
        )
    return facts
