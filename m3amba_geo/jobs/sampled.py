"""What labels say of a whole map where they are a probability sample of it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.assess.estimates import estimate
from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.errors import ClassMismatchError, SampleError
from m3amba_geo.events import Event, Listener, Warned
from m3amba_geo.geo.area import TrainingArea, leaves_trace, reached
from m3amba_geo.geo.footprint import ground_areas
from m3amba_geo.geo.labels import Labels
from m3amba_geo.geo.legend import MAX_CODE, LandCover, Legend
from m3amba_geo.geo.marks import Positions

_NOTED = ("labels-no-class", "labels-overlap", "labels-unknown-class")
_UNEQUAL = 1.05  # ratio of the areas of pixels that is told


def check_sample(labels: Labels) -> None:
    """Makes sure that labels may be a probability sample of pixels.

    Raises:
        SampleError: They are not points: pixels of one polygon are not drawn one by one, and what
            was drawn of a label raster can't be told.
    """
    several = labels.kind == "points" and np.bincount(labels.groups).max() > 1
    if labels.kind != "points" or several:
        kind = "not all single points" if several else labels.kind
        raise SampleError(
            f"The labels are {kind}: no random sample of the map's pixels.",
            "Draw points at random (m3amba-geo sample), say what is there, and give these; or "
            "leave out --probability-sample.",
        )


def noting(emit: Listener, notes: list[str]) -> Listener:
    """Returns a listener that also notes what is not as it should be with a sample."""

    def hear(event: Event) -> None:
        if isinstance(event, Warned) and event.code in _NOTED:
            notes.append(event.message[0].upper() + event.message[1:])
        emit(event)

    return hear


def classes_met(labels: Labels, own: Legend, emit: Listener) -> Legend:
    """Returns the classes of a map, and those that the sample has beside.

    Args:
        labels: The sample.
        own: Classes of the map; the legend of the labels holds them, too.
        emit: Told of classes that the map lacks.

    Raises:
        ClassMismatchError: The map has none of the sample's.
    """
    met = np.bincount(labels.codes, minlength=MAX_CODE + 1)
    others = [cover for cover in labels.legend if cover not in own and met[cover.code]]
    if not others:
        return own
    listed = ", ".join(f"{cover.name!r} ({met[cover.code]})" for cover in others[:8])
    listed += ", ..." if len(others) > 8 else ""
    if not met[[cover.code for cover in own]].any():
        raise ClassMismatchError(
            f"The map has no class of the sample, which says {listed}; the map has "
            f"{', '.join(cover.name for cover in own[:8])}.",
            "Check --field; values must be spelled as in the map, or as in the labels of training.",
        )
    text = f"Classes that the map lacks count as errors: {listed}. Check their spelling."
    emit(Warned("labels-unknown-class", text))
    return (*own, *others)


def check_codes(others: Sequence[LandCover], codes: NDArray[np.int64]) -> None:
    """Makes sure that the codes of classes that a map lacks stand for nothing in it.

    Raises:
        ClassMismatchError: One does: the map uses a code that nobody has named.
    """
    taken = [str(cover.code) for cover in others if cover.code in codes]
    if taken:
        raise ClassMismatchError(
            f"The map holds the code {', '.join(taken)}, and nothing says which class that is.",
            "Name the model that made it with --model, or declare the code as nodata.",
        )


class Population:
    """The pixels of a map that a sample may be drawn from: mapped ones that trained no model.

    Attributes:
        pixels: How many there are of each code (65536,).
        areas: How much ground they cover (65536,), in square metres on the ellipsoid.
        trained: Mapped pixels that are no part of it.
    """

    def __init__(self, grid: GeoBox, training: Sequence[TrainingArea]) -> None:
        self.pixels = np.zeros(MAX_CODE + 1, np.int64)
        self.areas = np.zeros(MAX_CODE + 1)
        self.trained = 0
        self._grid = grid
        self._training = training if leaves_trace(training, grid) else ()

    def add(self, codes: NDArray[np.uint16], top: int, left: int) -> None:
        """Counts the pixels of a window, 0 where the map has none."""
        fresh = self.without_training(codes, top, left)
        areas = ground_areas(self._grid, top, left, *codes.shape)
        self.trained += int((codes != fresh).sum())
        self.pixels += _counts(fresh)
        self.areas += _counts(fresh) if areas is None else _counts(fresh, areas)
        self.pixels[0] = self.areas[0] = 0

    def without_training(
        self, codes: NDArray[np.uint16], top: int, left: int
    ) -> NDArray[np.uint16]:
        """Returns the codes of a window, 0 where pixels trained a model."""
        if not self._training:
            return codes
        rows, columns = np.nonzero(codes)
        pixels: Positions = (rows + top) * self._grid.shape[1] + columns + left
        seen = reached(self._training, self._grid, pixels)
        kept = codes.copy()
        kept[rows[seen], columns[seen]] = 0
        return kept


def _counts(
    codes: NDArray[np.uint16], weights: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    return np.bincount(codes.ravel(), None if weights is None else weights.ravel(), MAX_CODE + 1)


def with_estimates(
    evaluation: Evaluation, population: Population, grid: GeoBox, notes: Sequence[str]
) -> Evaluation:
    """Adds what a sample says of the whole map.

    Args:
        evaluation: Of the sample's pixels.
        population: What it was drawn from.
        grid: Of the map.
        notes: Further ones.

    Raises:
        SampleError: Classes of the map have too few sample pixels.
    """
    codes = [cover.code for cover in evaluation.accuracy.legend]
    pixels, areas = population.pixels[codes], population.areas[codes]
    probes = _probes(grid)
    found = estimate(evaluation.accuracy, pixels, areas, "pixels" if probes is None else "m2")
    told = [*notes, *found.notes]
    if population.trained:
        share = population.trained / (population.trained + population.pixels.sum())
        told.append(
            f"Pixels that trained the model, {share:.2%} of the map, are no part of the estimates."
        )
    if probes is not None and probes.min() > 0 and probes.max() > _UNEQUAL * probes.min():
        told.append(
            f"The largest pixels of the map cover {probes.max() / probes.min():.1f} times the "
            "ground of the smallest; within a map class all points count alike."
        )
    return replace(evaluation, estimates=found, notes=(*evaluation.notes, *told))


def _probes(grid: GeoBox) -> NDArray[np.float64] | None:
    """Returns the areas of the pixels in corners and middle; None where nothing tells."""
    height, width = grid.shape
    places = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    found = [ground_areas(grid, *place, 1, 1) for place in (*places, (height // 2, width // 2))]
    known = [area for area in found if area is not None]
    return np.array(known) if known else None
