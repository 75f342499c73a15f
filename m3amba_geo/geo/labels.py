"""Ground truth on the grid: vectors, or a raster of class codes, become one code a pixel.

Everything that is left out on the way (features outside, overlaps, unknown values) is counted and
told to the listener; nothing is dropped in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.config import LabelConfig
from m3amba_geo.errors import (
    ClassMismatchError,
    NoLabelsError,
    RasterUnreadableError,
    UnknownFieldError,
    VectorUnreadableError,
)
from m3amba_geo.events import Listener, Note, Warned
from m3amba_geo.geo.burn import burn, make_valid, patches
from m3amba_geo.geo.codes import LabelRaster, read_label_raster, warp_label_raster
from m3amba_geo.geo.colors import parse_color
from m3amba_geo.geo.footprint import (
    bounds_in,
    check_crs,
    crs_of,
    meet,
    nothing_there,
    outline,
    reproject,
)
from m3amba_geo.geo.legend import (
    LabelValue,
    LandCover,
    Legend,
    make_legend,
    match,
    read_legend_csv,
)
from m3amba_geo.geo.marks import Positions, Value, spread
from m3amba_geo.geo.raster import same_place
from m3amba_geo.geo.vector import (
    Texts,
    VectorLayer,
    choose_field,
    open_layer,
    read_features,
    read_texts,
)

__all__ = ["Kind", "Labels", "LandCover", "Legend", "read_labels", "read_legend"]

Kind = Literal["polygons", "lines", "points", "raster"]
KINDS: tuple[Kind, Kind, Kind] = ("points", "lines", "polygons")  # by dimension


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


def read_labels(config: LabelConfig, grid: GeoBox, legend: Legend, emit: Listener) -> Labels:
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
        labels = _labels_of_raster(_open_raster(config.path), config, grid, legend, emit)
    else:
        labels = _labels_of_vector(layer, config, grid, legend, emit)
    if not labels.codes.size:
        raise NoLabelsError(
            f"{config.path} leaves no pixel labelled.",
            "Features smaller than a pixel need --all-touched; overlapping ones need mending.",
        )
    return labels


def _describe(config: LabelConfig) -> list[LabelValue]:
    """Lists the values of one label file with the names and colours that come with it."""
    layer = open_layer(config.path, config.layer)
    if layer is None:
        raster = _open_raster(config.path)
        codes = np.unique(raster.values[raster.valid]).tolist()
        values = [
            LabelValue(str(code), raster.names.get(code, ""), raster.colors.get(code, ""))
            for code in codes
        ]
    else:
        values = _values_of_vector(layer, config)
    return values if config.legend is None else read_legend_csv(config.legend, values)


def _values_of_vector(layer: VectorLayer, config: LabelConfig) -> list[LabelValue]:
    optional = [config.name_field, config.color_field]
    texts = read_texts(layer, [_class_field(layer, config), *filter(None, optional)])
    classes, *described = texts
    names = _first(classes, described.pop(0)) if config.name_field else {}
    colors = _first(classes, described.pop(0)) if config.color_field else {}
    for value, color in colors.items():
        if parse_color(color) is None:
            raise UnknownFieldError(
                f"Field {config.color_field!r} of {layer.path} says {color!r} for the colour of "
                f"{value!r}.",
                "Colours look like #2d6a4f or 45,106,79.",
            )
    return [
        LabelValue(value, names.get(value, ""), parse_color(colors.get(value, "")) or "")
        for value in {text: None for text in classes if text is not None}
    ]


def _class_field(layer: VectorLayer, config: LabelConfig) -> str:
    others = [field for field in (config.name_field, config.color_field) if field]
    return config.field or choose_field(layer, others)


def _first(keys: Texts, texts: Texts) -> dict[str, str]:
    """Maps each key to the first text beside it."""
    pairs = zip(reversed(keys), reversed(texts), strict=True)
    return {key: text for key, text in pairs if key is not None and text is not None}


def _open_raster(path: Path) -> LabelRaster:
    try:
        return read_label_raster(path)
    except RasterUnreadableError as error:
        raise VectorUnreadableError(
            f"{path} is neither a vector file nor a raster that can be read: {error}",
            "Give GeoPackage, Shapefile, GeoJSON, FlatGeobuf, or a GeoTIFF of class codes.",
        ) from error


def _labels_of_vector(
    layer: VectorLayer, config: LabelConfig, grid: GeoBox, legend: Legend, emit: Listener
) -> Labels:
    field = _class_field(layer, config)
    if config.field is None:
        emit(Note(f"Classes of {layer.path} are taken from field {field!r}."))
    check_crs(config.path, layer.crs, grid)
    geometries, values, names = _features_on_grid(layer, config, field, grid, emit)
    kind = _kind(geometries, layer, emit)
    there = np.array([value is not None for value in values], dtype=bool)
    _warn(
        emit, "labels-no-class", int((~there).sum()),
        f"features of {layer.path} have no value in field {field!r} and are left out",
    )  # fmt: skip
    codes = np.zeros(len(values), dtype=np.uint16)
    codes[there] = _match(config.path, values[there], names, legend, emit)
    known = codes > 0
    burned = burn(geometries[known], codes[known], grid, config.all_touched)
    _warn(
        emit, "labels-overlap", burned.overlapping,
        f"pixels of {layer.path} are claimed by features of different classes and stay unlabelled",
    )  # fmt: skip
    remedy = "" if config.all_touched else "; --all-touched labels every pixel that they touch"
    _warn(
        emit, "labels-too-small", burned.without_pixel,
        f"polygons of {layer.path} label no pixel: they hold no pixel centre of their own{remedy}",
    )  # fmt: skip
    return Labels(grid, burned.pixels, burned.codes, burned.groups, kind, legend)


def _features_on_grid(
    layer: VectorLayer, config: LabelConfig, field: str, grid: GeoBox, emit: Listener
) -> tuple[NDArray[np.object_], Texts, dict[str, str]]:
    """Reads what lies on the grid.

    Returns:
        Valid geometries (N,) in the grid's CRS, class values (N,), and names of values.
    """
    fields = [field, *filter(None, [config.name_field])]
    geometries, texts = read_features(layer, fields, bounds_in(layer.crs, grid))
    geometries = reproject(geometries, layer.crs, grid)
    geometries, mended = make_valid(geometries)
    edge = outline(grid)
    shapely.prepare(edge)
    on_grid = shapely.intersects(edge, geometries)
    if not on_grid.any():
        raise nothing_there(layer.path, layer.bounds, layer.crs, grid, layer.features)
    _warn(
        emit, "labels-outside", layer.features - int(on_grid.sum()),
        f"of {layer.features} features of {layer.path} lie outside the raster, or are empty",
    )  # fmt: skip
    _warn(
        emit, "labels-invalid", int((mended & on_grid).sum()),
        f"polygons of {layer.path} cross themselves and were mended",
    )  # fmt: skip
    names = _first(texts[0], texts[1]) if config.name_field else {}
    return geometries[on_grid], texts[0][on_grid], names


def _kind(geometries: NDArray[np.object_], layer: VectorLayer, emit: Listener) -> Kind:
    counts = np.bincount(shapely.get_dimensions(geometries), minlength=3)
    kind = KINDS[int(counts.argmax())]
    if (counts > 0).sum() > 1:
        parts = ", ".join(f"{n} {k}" for k, n in zip(KINDS, counts.tolist(), strict=True) if n)
        emit(Note(f"{layer.path} mixes {parts}; it is handled as {kind}."))
    return kind


def _labels_of_raster(
    raster: LabelRaster, config: LabelConfig, grid: GeoBox, legend: Legend, emit: Listener
) -> Labels:
    if not same_place(raster.grid, grid):
        raster = _warp(raster, config.path, grid, emit)
    codes = np.zeros(grid.shape, dtype=np.uint16)
    values, index = np.unique(raster.values[raster.valid], return_inverse=True)
    names = {str(code): name for code, name in raster.names.items()}
    texts = values.astype(str).astype(object)
    pixels = np.bincount(index, minlength=len(values))
    codes[raster.valid] = _match(config.path, texts, names, legend, emit, pixels)[index]
    labelled = np.flatnonzero(codes)
    groups = patches(codes).ravel()[labelled]
    return Labels(grid, labelled, codes.ravel()[labelled], groups, "raster", legend)


def _warp(raster: LabelRaster, path: Path, grid: GeoBox, emit: Listener) -> LabelRaster:
    crs = crs_of(raster.grid)
    check_crs(path, crs, grid)
    if not meet(raster.grid, grid):
        raise nothing_there(path, outline(raster.grid).bounds, crs, grid, 1)
    emit(Note(f"{path} has another grid; it is warped by nearest neighbour."))
    return warp_label_raster(raster, grid)


def _match(
    path: Path,
    values: Texts,
    names: dict[str, str],
    legend: Legend,
    emit: Listener,
    pixels: NDArray[np.int64] | None = None,
) -> NDArray[np.uint16]:
    """Finds codes for values (N,): of one feature each, or of as many pixels as stated."""
    distinct, index = np.unique(values.astype(str), return_inverse=True)
    codes = match(legend, distinct.tolist(), names)
    unknown = distinct[codes == 0].tolist()
    listed = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
    if len(values) and not codes.any():
        classes = ", ".join(land_cover.name for land_cover in legend[:8])
        raise ClassMismatchError(
            f"No class of {path} on the raster is in the legend: it says {listed}; the legend has "
            f"{classes}{', ...' if len(legend) > 8 else ''}.",
            "Check --field: values must be spelled as in the labels that were trained on.",
        )
    lacking = codes[index] == 0
    missed = int((lacking if pixels is None else pixels[lacking]).sum())
    unit = "features" if pixels is None else "pixels"
    _warn(
        emit, "labels-unknown-class", missed,
        f"{unit} of {path} have classes that the legend lacks and are left out: {listed}",
    )  # fmt: skip
    return codes[index]


def _warn(emit: Listener, code: str, count: int, what: str) -> None:
    if count:
        emit(Warned(code, f"{count:,} {what}."))
