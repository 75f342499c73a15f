"""The pixels of a map: made block by block, put together in order."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from m3amba_geo.config import SceneConfig
from m3amba_geo.errors import AllNodataError
from m3amba_geo.events import Listener, Progress
from m3amba_geo.files import ScratchOf
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.labels import Legend
from m3amba_geo.geo.maps import Layer, open_map
from m3amba_geo.geo.raster import Raster
from m3amba_geo.infer.blocks import RowRecords
from m3amba_geo.infer.journal import Journal
from m3amba_geo.infer.predict import Predictor, Region, Rows, map_rows
from m3amba_geo.jobs.contents import raster_content
from m3amba_geo.jobs.machine import versions
from m3amba_geo.sources import local_file


@dataclass(frozen=True)
class Mapper:
    """All that the blocks of a map are made with.

    Attributes:
        stack: The rasters.
        predictor: The model.
        stride: Pixels between windows.
        legend: Classes of the model.
        mask: Raster on the stack's grid; None maps everything.
        kind: Type of a row, see `blocks.row_type`.
    """

    stack: Stack
    predictor: Predictor
    stride: int
    legend: Legend
    mask: Raster | None
    kind: np.dtype[np.void]

    def rows(self, block: Region) -> Iterator[RowRecords]:
        """Yields the rows of a block from its top."""
        for rows in map_rows(self.stack, self.predictor, self.stride, block):
            yield self._record(rows, block)

    def _record(self, rows: Rows, block: Region) -> RowRecords:
        valid = rows.valid
        if self.mask is not None:
            height, width = valid.shape
            values, present = self.mask.read(Window(block.left, rows.top, width, height))
            valid = valid & present[0] & (values[0] != 0)
        table = np.array([entry.code for entry in self.legend], np.uint16)
        codes = np.where(valid, table[rows.shares.argmax(axis=0)], np.uint16(0))
        records = np.empty(len(valid), self.kind)
        records["map"] = codes[:, None]  # (h, 1, W)
        if "confidence" in (self.kind.names or ()):
            records["confidence"] = np.where(valid, rows.shares.max(axis=0), 0)[:, None]
        if "probabilities" in (self.kind.names or ()):
            records["probabilities"] = np.where(valid, rows.shares, -1).transpose(1, 0, 2)
        return records


def make_missing(mapper: Mapper, journal: Journal, emit: Listener) -> None:
    """Makes the blocks that the journal lacks."""
    missing = journal.missing()
    total = sum(block.shape[0] for block in journal.blocks)
    done = total - sum(block.shape[0] for block in missing)

    def counted(block: Region) -> Iterator[RowRecords]:
        nonlocal done
        for records in mapper.rows(block):
            yield records
            done += len(records)
            emit(Progress("mapping", done, total, "rows"))

    for block in missing:
        journal.write(block, counted(block))


def put_together(
    journal: Journal,
    layers: Mapping[str, Layer],
    grid: GeoBox,
    scratch_of: ScratchOf,
    emit: Listener,
) -> NDArray[np.int64]:
    """Writes the outputs from finished blocks, in order, and returns the pixels of each code.

    One process does it, so that the bytes of a file depend on its pixels alone, not on who made
    which block, or when.

    Raises:
        OutputError: An output can't be written.
        JournalError: A block is damaged.
    """
    counts = np.zeros(65536, np.int64)
    done = 0
    with ExitStack() as handles:
        writers = {
            role: handles.enter_context(open_map(layer, grid, scratch_of))
            for role, layer in layers.items()
        }
        for records in journal.rows():
            for role, writer in writers.items():
                writer.append(records[role].transpose(1, 0, 2))  # (bands, h, W)
            counts += np.bincount(records["map"].ravel(), minlength=65536)
            done += len(records)
            emit(Progress("writing", done, grid.shape[0], "rows"))
    return counts


def named_pixels(counts: NDArray[np.int64], legend: Legend, *, masked: bool) -> dict[str, int]:
    """Returns the pixels of each class by name, and those without a class as `nodata`.

    Raises:
        AllNodataError: No pixel has a class.
    """
    if not counts[1:].any():
        raise AllNodataError(
            "The map would be empty: no pixel is valid in every band"
            f"{' within the mask' if masked else ''}.",
            "Check the nodata values of the rasters and that they overlap.",
        )
    named = {entry.name: int(counts[entry.code]) for entry in legend}
    return named | {"nodata": int(counts[0])}


def identity(
    model: str, scene: SceneConfig, mapper: Mapper, region: Region, backend: str
) -> dict[str, str]:
    """Returns all that the pixels of a map depend on, by names that mean something to people.

    Args:
        model: Checksum of the model file.
        scene: How rasters are warped.
        mapper: What makes the blocks, its precision settled.
        region: What is mapped.
        backend: Scan backend.
    """
    stack, predictor = mapper.stack, mapper.predictor
    found = {
        "model": model,
        "grid": f"{stack.grid.shape} {stack.grid.affine} {stack.grid.crs}",
        "bounds": str(region),
        "resampling": scene.resampling,
        "stride": str(mapper.stride),
        "batch": str(predictor.batch),
        "precision": str(predictor.precision),
        "device": predictor.device.type,
        "scan": backend,
        "mask": "" if mapper.mask is None else content_of(mapper.mask),
        "set of outputs": str(mapper.kind),
    }
    for modality in stack.modalities:
        for n, raster in enumerate(modality.rasters):
            found[f"raster {raster.path.name} ({modality.name}, {n})"] = content_of(raster)
    return found | versions()


def content_of(raster: Raster) -> str:
    """Returns what tells a raster from another of its name, and from itself once it is changed.

    The time of change stands beside the fingerprint, which passes over the middle of a large file.
    What is no file here, but on a server, is known by a sample of it.
    """
    return json.dumps([_changed(raster), raster_content(raster), str(raster.nodata)])


def _changed(raster: Raster) -> dict[str, int]:
    files = {name: local_file(name) for name in raster.files}
    return {n: file.stat().st_mtime_ns for n, file in files.items() if file and file.exists()}
