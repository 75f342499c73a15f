"""What labels say of a whole map where they are a probability sample of it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.assess.estimates import estimate
from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.errors import SampleError
from m3amba_geo.geo.footprint import ground_areas
from m3amba_geo.geo.labels import Labels
from m3amba_geo.geo.legend import MAX_CODE

_STRIP = 256  # columns whose pixels of one row count as equal in area


def check_sample(labels: Labels) -> None:
    """Makes sure that labels may be a probability sample of pixels.

    Raises:
        SampleError: They are not points: pixels of one polygon are not drawn one by one, and what
            was drawn of a label raster can't be told.
    """
    if labels.kind != "points":
        raise SampleError(
            f"The labels are {labels.kind}, which are no random sample of the map's pixels.",
            "Draw points at random (in QGIS: Random points in extent), say what is there, and give "
            "these; or leave out --probability-sample.",
        )


def areas_of(codes: NDArray[np.uint16], grid: GeoBox, top: int, left: int) -> NDArray[np.float64]:
    """Returns the area of each code in a window of a map, (65536,).

    In square metres on the ellipsoid, or in pixels where nothing tells how large they are.
    """
    height, width = codes.shape
    rows = top + np.arange(height)
    found = np.zeros(MAX_CODE + 1)
    for first in range(0, width, _STRIP):
        part = codes[:, first : first + _STRIP]
        areas = ground_areas(grid, rows, left + first + part.shape[1] // 2)
        weights = None if areas is None else np.repeat(areas, part.shape[1])
        found += np.bincount(part.ravel(), weights, MAX_CODE + 1)
    return found


def with_estimates(evaluation: Evaluation, areas: NDArray[np.float64], grid: GeoBox) -> Evaluation:
    """Adds what a sample says of the whole map.

    Args:
        evaluation: Of the sample's pixels.
        areas: Of the map's codes (65536,), see `areas_of`.
        grid: Of the map.

    Raises:
        SampleError: A class of the map has too few sample pixels.
    """
    accuracy = evaluation.accuracy
    measured = ground_areas(grid, np.zeros(1, np.int64), 0) is not None
    mapped = areas[[cover.code for cover in accuracy.legend]]
    found = estimate(accuracy, mapped, "m2" if measured else "pixels")
    notes = [*evaluation.notes, *found.notes]
    if evaluation.training:
        notes.append(
            f"{evaluation.training:,} pixels of the sample trained the model and are left out: the "
            "estimates are those of all other places."
        )
    return replace(evaluation, estimates=found, notes=tuple(notes))
