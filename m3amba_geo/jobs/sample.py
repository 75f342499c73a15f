"""A random sample of a map's pixels, for people to say what is there.

Every map class is drawn from by itself, as often as its share of the map, but not less than so many
times: else rare classes would hardly be met (Olofsson et al., "Good practices for estimating area
and assessing accuracy of land change", Remote Sensing of Environment 148 (2014) 42-57, section 5).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3amba_geo import __version__
from m3amba_geo.errors import AllNodataError, OutputBusyError, UsageError
from m3amba_geo.events import Artifact, Listener, Note, Started
from m3amba_geo.files import check_apart, check_output, drop_scratches, locked, together
from m3amba_geo.geo.area import reached
from m3amba_geo.geo.codes import CodeRaster, open_codes
from m3amba_geo.geo.legend import MAX_CODE, Legend
from m3amba_geo.geo.maps import style_path
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.points import FIELD, write_points
from m3amba_geo.jobs.origin import own_classes
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.sidecar import read_sidecar, sidecar_path


@dataclass(frozen=True)
class SampleResults(Results):
    """What was drawn.

    Attributes:
        sample: The points.
        points: How many lie on each map class, by name.
    """

    sample: Path
    points: dict[str, int]


def run(
    map_path: Path,
    out: Path,
    emit: Listener,
    *,
    points: int = 500,
    least: int = 50,
    seed: int = 0,
    overwrite: bool = False,
) -> SampleResults:
    """Draws a sample.

    The points come in random order and do not say what the map shows, so that nobody labels what
    the map suggests. Pixels that trained the model are left out, as far as the map's sidecar knows.

    Args:
        map_path: GeoTIFF of class codes.
        out: GeoPackage to write.
        emit: Told of everything on the way.
        points: How many, more or less.
        least: How many on each map class at least, where it has so many pixels.
        seed: Of the draw.
        overwrite: Whether existing outputs may be replaced.

    Raises:
        AllNodataError: The map has no class anywhere.
        M3ambaError: Inputs or outputs are not fit.
    """
    emit(Started("sample", __version__))
    outputs = [out, style_path(out)]
    check_apart(outputs, [map_path, sidecar_path(map_path)])
    _check_geopackage(out)
    for output in outputs:
        check_output(output, overwrite=overwrite)
    rng = np.random.default_rng(seed)
    origin = read_sidecar(map_path)
    with open_codes(map_path) as raster:
        check_apart(outputs, raster.files)
        counts = np.zeros(MAX_CODE + 1, np.int64)
        for _, codes in _blocks(raster):
            counts += np.bincount(codes, minlength=MAX_CODE + 1)
        counts[0] = 0
        if not counts.any():
            raise AllNodataError(f"{map_path} has no class anywhere.", "Give a finished map.")
        pixels, shown = _draw(raster, counts, allot(counts, points, least), rng)
        legend, grid = own_classes(raster, origin), raster.grid
    seen = reached([] if origin is None else origin.training_areas(), grid, pixels)
    if seen.any():
        emit(Note(f"{seen.sum():,} points would lie on training pixels, and are left out."))
    pixels, shown = pixels[~seen], shown[~seen]
    with locked(out), together() as scratch_of:
        drop_scratches(*outputs)
        write_points(out, grid, rng.permutation(pixels), _answers(legend), scratch_of)
    emit(Artifact(str(out), "sample"))
    emit(Note(f"Fill in the field {FIELD!r}, then: evaluate --probability-sample."))
    names = {entry.code: entry.name for entry in legend}
    drawn = zip(*np.unique(shown, return_counts=True), strict=True)
    return SampleResults(out, {names.get(int(c), str(c)): int(n) for c, n in drawn})


def _check_geopackage(out: Path) -> None:
    """Makes sure that a GeoPackage can be written under that name.

    Raises:
        UsageError: It would be none by its name.
        OutputBusyError: One that lies there is open: its log would be taken for the new one's.
    """
    if out.suffix.lower() != ".gpkg":
        raise UsageError(f"{out} is no name of a GeoPackage.", "Let it end in .gpkg.")
    if out.with_name(f"{out.name}-wal").exists():
        raise OutputBusyError(
            f"{out} is open in another program.", "Close it there, or name another output."
        )


def allot(counts: NDArray[np.int64], points: int, least: int) -> NDArray[np.int64]:
    """Returns how many points each class gets (Q,), of `counts` (Q,) pixels.

    In proportion, but no class fewer than `least`, and none more than it has pixels.
    """
    given = np.minimum(counts, least)
    open_ = counts > given  # to those that may get more than the least
    while open_.any():
        left = points - given[~open_].sum()
        wanted = np.rint(left * counts / counts[open_].sum()).astype(np.int64)
        short = open_ & (wanted <= given)
        if not short.any():
            return np.where(open_, np.minimum(wanted, counts), given)
        open_ &= ~short
    return given


def _blocks(raster: CodeRaster) -> Iterator[tuple[Positions, NDArray[np.uint16]]]:
    """Yields the mapped pixels of each block of a map, and their codes."""
    width = raster.shape[1]
    for top, left, height, wide in raster.blocks():
        codes = raster.read_classes(top, left, height, wide)
        rows, columns = np.nonzero(codes)
        yield (rows + top) * width + columns + left, codes[rows, columns]


def _draw(
    raster: CodeRaster,
    counts: NDArray[np.int64],
    wanted: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Positions, NDArray[np.uint16]]:
    """Returns pixels drawn from each class (N,), ascending, and their codes.

    Which ones is settled beforehand, by their number within their class as blocks are read.
    """
    chosen = {
        code: np.sort(rng.choice(counts[code], wanted[code], replace=False, shuffle=False))
        for code in np.flatnonzero(wanted).tolist()
    }
    before: Counter[int] = Counter()
    found = []
    for pixels, codes in _blocks(raster):
        for code in np.unique(codes).tolist():
            here = pixels[codes == code]
            first, last = np.searchsorted(chosen[code], [before[code], before[code] + len(here)])
            found.append((here[chosen[code][first:last] - before[code]], code))
            before[code] += len(here)
    drawn = np.concatenate([here for here, _ in found])
    shown = np.concatenate([np.full(len(here), code, np.uint16) for here, code in found])
    order = np.argsort(drawn)
    return drawn[order], shown[order]


def _answers(legend: Legend) -> list[str]:
    """Returns what people may say: names, or what stands for the class where two share a name."""
    often = Counter(entry.name for entry in legend)
    return [entry.name if often[entry.name] == 1 else entry.original for entry in legend]
