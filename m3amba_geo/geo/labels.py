"""Ground truth on the grid: vectors, or a raster of class codes, become one code a pixel.

Everything that is left out on the way (features outside, overlaps, unknown values) is counted and
told to the listener; nothing is dropped in silence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.config import LabelConfig
from m3amba_geo.errors import ClassMismatchError, NoLabelsError
from m3amba_geo.events import Listener
from m3amba_geo.geo.burn import patches
from m3amba_geo.geo.drawn import pixels_of_vector, values_of_vector
from m3amba_geo.geo.label_raster import pixels_of_raster, values_of_raster
from m3amba_geo.geo.legend import (
    GREY,
    MAX_CODE,
    LabelValue,
    LandCover,
    Legend,
    as_code,
    make_legend,
    match,
    read_legend_csv,
)
from m3amba_geo.geo.marks import Positions, Value, spread
from m3amba_geo.geo.vector import open_layer

Kind = Literal["polygons", "lines", "points", "raster"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Ground truth on a grid.

    Attributes:
        grid: Where the pixels lie.
        pixels: Which pixels are labelled (N,), ascending positions in the flattened grid.
        codes: Their legend codes (N,) uint16, none of them 0.
        groups: Which feature (or connected patch of a label raster) labels each of them (N,)
            uint32, numbered from 1.
        kind: What the labels were; the commonest kind of a mixed file.
        legend: The classes that the codes stand for.
    """

    grid: GeoBox
    pixels: Positions
    codes: NDArray[np.uint16]
    groups: NDArray[np.uint32]
    kind: Kind
    legend: Legend = ()

    def only(self, chosen: NDArray[np.bool_]) -> "Labels":
        """Returns the labels of those pixels (N,) that are chosen."""
        return replace(
            self,
            pixels=self.pixels[chosen],
            codes=self.codes[chosen],
            groups=self.groups[chosen],
        )

    def spread(self, values: NDArray[Value]) -> NDArray[Value]:
        """Returns values of the labelled pixels (N,) on the whole grid `(H, W)`, 0 elsewhere."""
        return spread((self.grid.shape[0], self.grid.shape[1]), self.pixels, values)


def read_legend(configs: Sequence[LabelConfig]) -> Legend:
    """Collects the classes of all label files; see `legend.make_legend` for the codes.

    The legend holds what occurs in the labels; a legend file adds names, colours and codes, but no
    classes.

    Raises:
        FileMissingError: A label file or legend file is missing.
        VectorUnreadableError: A file can't be read, neither as vector nor as raster.
        UnknownFieldError: A field is not there, or which one holds the classes can't be told.
        NoLabelsError: No value is left.
        ClassMismatchError: Two classes claim one code.
    """
    legend = make_legend(value for config in configs for value in _describe(config))
    if not legend:
        files = ", ".join(str(config.path) for config in configs)
        raise NoLabelsError(
            f"No class is to be found in {files}: no features, or no values.",
            "Check that the file holds features and that its class field is filled in.",
        )
    return legend


def read_codes(config: LabelConfig) -> Legend:
    """Returns the classes of labels whose values are codes of a map that does not name its own.

    A value that is no code, and to which no legend file gives one, is no class: numbered anew it
    would be compared with whatever has its number in the map.

    Raises:
        ClassMismatchError: No value is a code.
        M3ambaError: As `read_legend`.
    """
    values = _describe(config)
    coded = [replace(v, code=code) for v in values if (code := v.code or as_code(v.original))]
    if values and not coded:
        listed = ", ".join(repr(v.original) for v in values[:5])
        raise ClassMismatchError(
            f"{config.path} says {listed}{', ...' if len(values) > 5 else ''}, and the map does "
            "not say which codes these classes have.",
            "Name the model with --model, give codes and names with --legend, or name a --field "
            "that holds codes.",
        )
    return make_legend(coded)


def with_others(legend: Legend, config: LabelConfig, taken: Iterable[int]) -> Legend:
    """Adds the classes of a vector file that a legend lacks, so that its labels keep them.

    Their codes are the highest that neither the legend has nor `taken`.

    Raises:
        M3ambaError: As `read_legend`.
    """
    layer = open_layer(config.path, config.layer)
    values = [] if layer is None else values_of_vector(layer, config)
    names = {value.original: value.name for value in values if value.name}
    codes = match(legend, [value.original for value in values], names)
    used = {entry.code for entry in legend} | set(taken)
    free = (code for code in range(MAX_CODE, 0, -1) if code not in used)
    others = [
        LandCover(next(free), value.name or value.original, value.color or GREY, value.original)
        for value, code in zip(values, codes, strict=True)
        if not code
    ]
    return (*legend, *others)


def read_labels(
    config: LabelConfig, grid: GeoBox, legend: Legend, emit: Listener, *, grouped: bool = True
) -> Labels:
    """Puts labels on a grid.

    Vectors are reprojected to the grid's CRS. Polygons label the pixels whose centre they hold (or
    all they touch), lines all pixels they pass, points the one they fall in. Pixels that features
    of different classes claim stay unlabelled.

    A label raster of another grid is warped by nearest neighbour. Its nodata and masked pixels are
    unlabelled; where it declares no nodata, 0 is.

    Args:
        config: Where the labels are.
        grid: Where the pixels lie; without CRS, labels must be in its pixel space.
        legend: Classes; other values are left out and counted.
        emit: Told of choices and of all that is left out.
        grouped: Whether patches of a label raster are to be told apart; else all are one.

    Raises:
        FileMissingError: The label file is missing.
        VectorUnreadableError: It can't be read, neither as vector nor as raster.
        UnknownFieldError: A field is not there, or which one holds the classes can't be told.
        CRSMissingError: Of labels and grid one has a CRS, the other none (a label raster of the
            same size and geotransform needs none).
        NoOverlapError: Nothing lies on the grid.
        ClassMismatchError: No value on the grid is in the legend.
        NoLabelsError: No pixel gets a label.
    """
    layer = open_layer(config.path, config.layer)
    if layer is None:
        pixels, codes = pixels_of_raster(config.path, grid, legend, emit)
        apart = patches(pixels, codes, grid.shape[1]) if grouped else None
        groups = np.ones(len(pixels), np.uint32) if apart is None else apart
        labels = Labels(grid, pixels, codes, groups, "raster", legend)
    else:
        burned, kind = pixels_of_vector(layer, config, grid, legend, emit)
        labels = Labels(grid, burned.pixels, burned.codes, burned.groups, kind, legend)
    if not labels.codes.size:
        raise NoLabelsError(
            f"{config.path} leaves no pixel labelled.",
            "Features smaller than a pixel need --all-touched; overlapping ones need mending.",
        )
    return labels


def _describe(config: LabelConfig) -> list[LabelValue]:
    """Lists the values of one label file with the names and colours that come with it."""
    layer = open_layer(config.path, config.layer)
    values = values_of_raster(config.path) if layer is None else values_of_vector(layer, config)
    return values if config.legend is None else read_legend_csv(config.legend, values)
