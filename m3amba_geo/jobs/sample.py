"""A random sample of a map's pixels, for people to say what is there.

Every map class is drawn from by itself, as often as its share of the map, but not less than so many
times: else rare classes would hardly be met (Olofsson et al., "Good practices for estimating area
and assessing accuracy of land change", Remote Sensing of Environment 148 (2014) 42-57, section 5).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3amba_geo import __version__
from m3amba_geo.errors import AllNodataError, OutputBusyError, UsageError
from m3amba_geo.events import Artifact, Listener, Note, Started
from m3amba_geo.files import check_apart, check_output, drop_scratches, locked, together
from m3amba_geo.geo.area import TrainingArea
from m3amba_geo.geo.codes import CodeRaster, open_codes
from m3amba_geo.geo.legend import MAX_CODE, Legend, match
from m3amba_geo.geo.maps import style_path
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.points import FIELD, write_points
from m3amba_geo.jobs.origin import own_classes
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.sampled import Population
from m3amba_geo.jobs.sidecar import read_sidecar, sidecar_path

OTHERS = ("other", "none of these")
"""What people say of a place that is of none of the map's classes: the first that is no class."""


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
    check_apart(outputs, [map_path, sidecar_path(map_path), style_path(map_path)])
    _check_geopackage(out)
    for output in outputs:
        check_output(output, overwrite=overwrite)
    origin = read_sidecar(map_path)
    if origin is None:
        emit(Note(f"{map_path} has no sidecar: points may fall on pixels that trained its model."))
    with open_codes(map_path) as raster:
        check_apart(outputs, raster.files)
        population = _Drawn(raster, [] if origin is None else origin.training_areas(), emit)
        counts = population.count()
        wanted = allot(counts, points, least)
        pixels = population.draw(counts, wanted, np.random.default_rng(seed))
        legend, grid = own_classes(raster, origin), raster.grid
    names = {entry.code: entry.name for entry in legend}
    unnamed = [str(code) for code in np.flatnonzero(counts).tolist() if code not in names]
    answers = [*_answers(legend), *unnamed]
    answers.append(next(other for other in OTHERS if other not in answers))
    if wanted.max() <= least < counts.max():
        emit(Note(f"All classes get {least} points, however large: ask for more with --points."))
    with locked(out), together() as scratch_of:
        drop_scratches(*outputs)
        write_points(out, grid, pixels, answers, scratch_of)
    emit(Artifact(str(out), "sample"))
    emit(Note(f"Fill in the field {FIELD!r}, then: evaluate --probability-sample."))
    drawn = {
        names.get(code, str(code)): int(wanted[code]) for code in np.flatnonzero(wanted).tolist()
    }
    return SampleResults(out, drawn)


def _check_geopackage(out: Path) -> None:
    """Makes sure that a GeoPackage can be written under that name.

    Raises:
        UsageError: It would be none by its name.
        OutputBusyError: One that lies there is open: its log would be taken for the new one's.
    """
    if out.suffix.lower() != ".gpkg":
        raise UsageError(f"{out} is no name of a GeoPackage.", "Let it end in .gpkg.")
    real = out.resolve()
    if real.with_name(f"{real.name}-wal").exists():
        raise OutputBusyError(
            f"{out} is open in another program.", "Close it there, or name another output."
        )


def allot(counts: NDArray[np.int64], points: int, least: int) -> NDArray[np.int64]:
    """Returns how many points each class gets (Q,), of `counts` (Q,) pixels.

    In proportion, but no class fewer than `least`, and none more than it has pixels.
    """
    given = np.minimum(counts, least)
    growing = counts > given  # to those that may get more than the least
    while growing.any():
        left = points - given[~growing].sum()
        wanted = np.rint(left * counts / counts[growing].sum()).astype(np.int64)
        short = growing & (wanted <= given)
        if not short.any():
            return np.where(growing, np.minimum(wanted, counts), given)
        growing &= ~short
    return given


class _Drawn:
    """A map that is drawn from: its mapped pixels that trained no model."""

    def __init__(
        self, raster: CodeRaster, training: Sequence[TrainingArea], emit: Listener
    ) -> None:
        self._raster, self._emit = raster, emit
        self._population = Population(raster.grid, training)

    def _blocks(self, phase: str) -> Iterator[tuple[Positions, NDArray[np.uint16]]]:
        """Yields the pixels of each block, and their codes."""
        width = self._raster.shape[1]
        for top, left, *size in self._raster.blocks(self._emit, phase):
            codes = self._raster.read_classes(top, left, *size)
            codes = self._population.without_training(codes, top, left)
            rows, columns = np.nonzero(codes)
            yield (rows + top) * width + columns + left, codes[rows, columns]

    def count(self) -> NDArray[np.int64]:
        """Returns how many pixels of each code there are (65536,).

        Raises:
            AllNodataError: There is none.
        """
        counts = np.zeros(MAX_CODE + 1, np.int64)
        for _, codes in self._blocks("counting"):
            counts += np.bincount(codes, minlength=MAX_CODE + 1)
        if not counts.any():
            raise AllNodataError(
                f"{self._raster.path} has no class anywhere but where its model was trained.",
                "Give a finished map of more than the labels.",
            )
        return counts

    def draw(
        self, counts: NDArray[np.int64], wanted: NDArray[np.int64], rng: np.random.Generator
    ) -> Positions:
        """Returns pixels drawn from each class (N,), in random order.

        Which ones is settled beforehand, by their number within their class as blocks are read.
        """
        chosen = {
            code: np.sort(rng.choice(counts[code], wanted[code], replace=False, shuffle=False))
            for code in np.flatnonzero(wanted).tolist()
        }
        before: Counter[int] = Counter()
        found: list[Positions] = []
        for pixels, codes in self._blocks("drawing"):
            for code in np.unique(codes).tolist():
                here, start = pixels[codes == code], before[code]
                first, last = np.searchsorted(chosen[code], [start, start + len(here)])
                found.append(here[chosen[code][first:last] - start])
                before[code] += len(here)
        return rng.permutation(np.sort(np.concatenate(found)))


def _answers(legend: Legend) -> list[str]:
    """Returns what people may say: names, or what stands for a class where a name would not do."""
    return [
        entry.name if match(legend, [entry.name], {})[0] == entry.code else entry.original
        for entry in legend
    ]
