"""The pixels of a map: made block by block, put together in order."""

from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.errors import AllNodataError
from m3amba_geo.events import Listener, Progress, Warned
from m3amba_geo.files import ScratchOf
from m3amba_geo.geo.coverage import COMPLETE
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.maps import Layer, open_map, pieces
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.blocks import RowRecords
from m3amba_geo.infer.journal import Journal
from m3amba_geo.jobs.mapper import Mapper


def make_missing(mapper: Mapper, journal: Journal, emit: Listener) -> None:
    """Makes the blocks that the journal lacks."""
    missing = journal.missing()
    total = sum(block.shape[0] for block in journal.blocks)
    done = total - sum(block.shape[0] for block in missing)

    def counted(block: Region) -> Generator[RowRecords]:
        nonlocal done
        for records in mapper.rows(block):
            yield records
            done += len(records)
            emit(Progress("mapping", done, total, "rows"))

    for block in missing:
        with closing(counted(block)) as rows:
            journal.write(block, rows)


def put_together(
    journal: Journal,
    layers: Mapping[str, Layer],
    grid: GeoBox,
    scratch_of: ScratchOf,
    emit: Listener,
) -> dict[str, NDArray[np.int64]]:
    """Writes the outputs from finished blocks, in order; returns the pixels of codes, by role.

    One process does it, so that the bytes of a file depend on its pixels alone, not on who made
    which block, or when.

    Raises:
        OutputError: An output can't be written.
        JournalError: A block is damaged.
    """
    counts = {role: np.zeros(65536, np.int64) for role, layer in layers.items() if layer.legend}
    (height, width), done = grid.shape, 0
    pixel = sum(layer.pixel for layer in layers.values())
    with ExitStack() as handles:
        writers = {
            role: handles.enter_context(open_map(layer, grid, scratch_of, pixel))
            for role, layer in layers.items()
        }
        for piece in pieces((height, width), pixel):
            found = journal.part(piece)
            for role, writer in writers.items():
                writer.write(found[role])
            for role, count in counts.items():
                count += np.bincount(found[role].ravel(), minlength=65536)
            done += found["map"][0].size
            emit(Progress("writing", done, height * width, "pixels"))
    return counts


def named_pixels(counts: NDArray[np.int64], legend: Legend, *, masked: bool) -> dict[str, int]:
    """Returns the pixels of each class by name, and those without a class as `nodata`.

    A name that several classes bear, or that is `nodata`, is followed by the code.

    Raises:
        AllNodataError: No pixel has a class.
    """
    if not counts[1:].any():
        raise AllNodataError(
            "The map would be empty: no pixel is valid in all bands that it needs"
            f"{' within the mask' if masked else ''}.",
            "Check the nodata values of the rasters and that they overlap.",
        )
    borne = Counter([entry.name for entry in legend] + ["nodata"])
    named = {
        f"{entry.name} ({entry.code})" if borne[entry.name] > 1 else entry.name: entry.code
        for entry in legend
    }
    return {name: int(counts[code]) for name, code in named.items()} | {"nodata": int(counts[0])}


def tell_incomplete(counts: NDArray[np.int64], layer: Layer, emit: Listener) -> None:
    """Says what share of the mapped pixels, by codes of `Coverage`, lacks some modality."""
    mapped, complete = int(counts[COMPLETE:].sum()), int(counts[COMPLETE])
    if complete == mapped:
        return
    found = ", ".join(
        f"{entry.name}: {counts[entry.code] / mapped:.1%}"
        for entry in layer.legend
        if counts[entry.code]
    )
    emit(
        Warned(
            "modalities-incomplete",
            f"{1 - complete / mapped:.1%} of the mapped pixels are made from fewer modalities "
            f"than the model knows ({found}); {layer.path} marks them.",
        )
    )
