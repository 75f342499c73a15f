"""Labels that are drawn: values of their features, and the pixels that they label."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.config import LabelConfig
from m3amba_geo.errors import UnknownFieldError
from m3amba_geo.events import Listener, Note, Warned
from m3amba_geo.geo.burn import Burned, VectorFeatures, burn, make_valid
from m3amba_geo.geo.colors import parse_color
from m3amba_geo.geo.fields import choose_field
from m3amba_geo.geo.footprint import bounds_in, check_crs, nothing_there, outline, reproject
from m3amba_geo.geo.legend import LabelValue, Legend, match_all
from m3amba_geo.geo.vector import Texts, VectorLayer, read_geometries, read_texts

DrawnKind = Literal["points", "lines", "polygons"]
KINDS: tuple[DrawnKind, DrawnKind, DrawnKind] = ("points", "lines", "polygons")  # by dimension


def values_of_vector(layer: VectorLayer, config: LabelConfig) -> list[LabelValue]:
    """Lists the values of the class field, with the names and colours of other fields.

    Raises:
        UnknownFieldError: A field is not there, or which one holds the classes can't be told.
        VectorUnreadableError: The file is damaged.
    """
    optional = [*filter(None, [config.name_field, config.color_field])]
    values: dict[str, None] = {}
    found: dict[str, dict[str, str]] = {field: {} for field in optional}
    for classes, *described in read_texts(layer, [_class_field(layer, config), *optional]):
        values |= {text: None for text in classes if text is not None}
        for field, texts in zip(optional, described, strict=True):
            found[field] = _first(classes, texts) | found[field]
    names, colors = (found.get(f or "", {}) for f in (config.name_field, config.color_field))
    for value, color in colors.items():
        if parse_color(color) is None:
            raise UnknownFieldError(
                f"Field {config.color_field!r} of {layer.path} says {color!r} for the colour of "
                f"{value!r}.",
                "Colours look like #2d6a4f or 45,106,79.",
            )
    return [
        LabelValue(value, names.get(value, ""), parse_color(colors.get(value, "")) or "")
        for value in values
    ]


def pixels_of_vector(
    layer: VectorLayer, config: LabelConfig, grid: GeoBox, legend: Legend, emit: Listener
) -> tuple[Burned, DrawnKind]:
    """Puts features on a grid.

    Returns:
        Their pixels, and the commonest kind of them.

    Raises:
        UnknownFieldError: A field is not there, or which one holds the classes can't be told.
        CRSMissingError: Of layer and grid one has a CRS, the other none.
        NoOverlapError: Nothing lies on the grid.
        ClassMismatchError: No value is in the legend.
        VectorUnreadableError: The file is damaged.
    """
    field = _class_field(layer, config)
    if config.field is None:
        emit(Note(f"Classes of {layer.path} are taken from field {field!r}."))
    check_crs(config.path, layer.crs, grid)
    read = _read(layer, config, field, grid, emit)
    kind = _kind(read.features, layer, emit)
    counts = np.bincount(read.values, minlength=len(read.texts) + 1)
    _warn(
        emit, "labels-no-class", int(counts[0]),
        f"features of {layer.path} have no value in field {field!r} and are left out",
    )  # fmt: skip
    codes = match_all(config.path, read.texts, counts[1:], "features", read.names, legend, emit)
    codes = np.concatenate([np.zeros(1, np.uint16), codes])[read.values]
    burned = burn(read.features, codes, grid, config.all_touched)
    _warn(
        emit, "labels-overlap", burned.overlapping,
        f"pixels of {layer.path} are claimed by features of different classes and stay unlabelled",
    )  # fmt: skip
    remedy = "" if config.all_touched else "; --all-touched labels every pixel that they touch"
    _warn(
        emit, "labels-too-small", burned.without_pixel,
        f"polygons of {layer.path} label no pixel: they hold no pixel centre of their own{remedy}",
    )  # fmt: skip
    return burned, kind


@dataclass(frozen=True, eq=False)
class _Read:
    """Features that lie on the grid.

    Attributes:
        features: Where they are.
        values: Value of each (N,), from 1; 0 where it has none.
        texts: What the values are (V,), the first being value 1.
        names: What values are called.
    """

    features: VectorFeatures
    values: NDArray[np.int32]
    texts: list[str]
    names: dict[str, str]


def _read(
    layer: VectorLayer, config: LabelConfig, field: str, grid: GeoBox, emit: Listener
) -> _Read:
    """Reads what lies on the grid, batch by batch: of points only their pixels are kept."""
    edge = outline(grid)
    shapely.prepare(edge)
    fields = [field, *filter(None, [config.name_field])]
    numbers: dict[str | None, int] = {None: 0}
    names: dict[str, str] = {}
    features, values, mended = [], [], 0
    bounds, upwards = bounds_in(layer.crs, grid), _upwards(layer, grid)
    if upwards and bounds is not None:
        left, bottom, right, top = bounds
        bounds = left, -top, right, -bottom
        emit(Note(f"{layer.path} counts rows downwards from 0, as QGIS does without a place."))
    for geometries, (classes, *called) in read_geometries(layer, fields, bounds):
        placed = shapely.transform(geometries, _mirrored) if upwards else geometries
        valid, bad = make_valid(reproject(placed, layer.crs, grid))
        here = shapely.intersects(edge, valid)
        mended += int((bad & here).sum())
        features.append(VectorFeatures.of(valid[here], grid))
        texts = classes[here].tolist()
        values.append(
            np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int32)
        )
        for column in called:
            names = _first(classes, column) | names
    found = VectorFeatures.joined(features)
    there = found.count - found.lost
    if not there:
        raise nothing_there(layer.path, layer.bounds, layer.crs, grid, layer.features)
    _warn(
        emit, "labels-outside", layer.features - there,
        f"of {layer.features} features of {layer.path} lie outside the raster, or are empty",
    )  # fmt: skip
    _warn(
        emit, "labels-invalid", mended,
        f"polygons of {layer.path} cross themselves and were mended",
    )  # fmt: skip
    texts = [text for text in numbers if text is not None]
    return _Read(found, np.concatenate(values), texts, names)


def _upwards(layer: VectorLayer, grid: GeoBox) -> bool:
    """Whether labels were drawn in QGIS over a raster without a place: there y is minus the row."""
    _, bottom, _, top = layer.bounds
    return grid.crs is None and grid.affine.is_identity and bottom + top < 0


def _mirrored(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points * [1, -1]


def _class_field(layer: VectorLayer, config: LabelConfig) -> str:
    others = [field for field in (config.name_field, config.color_field) if field]
    return config.field or choose_field(layer, others)


def _first(keys: Texts, texts: Texts) -> dict[str, str]:
    """Maps each key to the first text beside it."""
    pairs = zip(reversed(keys), reversed(texts), strict=True)
    return {key: text for key, text in pairs if key is not None and text is not None}


def _kind(features: VectorFeatures, layer: VectorLayer, emit: Listener) -> DrawnKind:
    counts = np.bincount(features.dimensions, minlength=3)
    kind = KINDS[int(counts.argmax())]
    if (counts > 0).sum() > 1:
        parts = ", ".join(f"{n} {k}" for k, n in zip(KINDS, counts.tolist(), strict=True) if n)
        emit(Note(f"{layer.path} mixes {parts}; it is handled as {kind}."))
    return kind


def _warn(emit: Listener, code: str, count: int, what: str) -> None:
    if count:
        emit(Warned(code, f"{count:,} {what}."))
