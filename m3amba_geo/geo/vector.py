"""The only file that opens vector files: layers, the class field, features."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS

from m3amba_geo.errors import UnknownFieldError, VectorUnreadableError
from m3amba_geo.geo.access import VECTOR_DRIVERS, check_reach, gdal_options
from m3amba_geo.geo.footprint import Bounds
from m3amba_geo.sources import gdal_name

Texts = NDArray[np.object_]
"""Text of each feature, None where there is none."""

_HEAD = 1 << 16  # bytes
_POINTERS = re.compile(rb'<OGR\w+|"gdal_streamed_alg"')
_BATCH = 1 << 18  # features that are read at a time
_NAMELESS = ("undefined", "unknown", "unnamed")  # beginnings of names that are none


@dataclass(frozen=True)
class VectorLayer:
    """A layer with geometries.

    Attributes:
        path: File or folder.
        name: Layer name.
        crs: None where the file states none.
        fields: Names of all fields.
        features: Number of features.
        bounds: `(left, bottom, right, top)`; NaN without features.
        booleans: Fields of true and false.
        encoding: Of its text, where that is to be tried before what the file says.
    """

    path: Path
    name: str
    crs: CRS | None
    fields: tuple[str, ...]
    features: int
    bounds: Bounds
    booleans: frozenset[str] = frozenset()
    encoding: str | None = None


def open_layer(path: Path, layer: str | None) -> VectorLayer | None:
    """Finds a layer; None where the file is no vector file (a raster, perhaps).

    Raises:
        FileMissingError: The file is not there.
        NetworkOffError: It lies on a network, and that was not allowed.
        VectorUnreadableError: Its format is not read, parts of a shapefile are missing, the layer
            is not there, has no geometries, or there are several and none is named.
    """
    check_reach(path)
    _check_siblings(path)
    _check_pointers(path)
    try:
        with _guarded():
            layers = dict(pyogrio.list_layers(gdal_name(path)).tolist())
            if not layers:
                return None
            driver = pyogrio.read_info(gdal_name(path), layer=next(iter(layers)))["driver"]
    except DataSourceError:
        return None
    if driver not in VECTOR_DRIVERS:
        raise _refused(path, driver)
    name = _choose_layer(path, layers, layer)
    with _readable(path):
        info, encoding = _described(path, name)
    return VectorLayer(
        path=path,
        name=name,
        crs=_crs(info["crs"]),
        fields=tuple(info["fields"]),
        features=info["features"],
        bounds=info["total_bounds"] or (np.nan,) * 4,
        booleans=frozenset(
            name
            for name, kind in zip(info["fields"], info["dtypes"], strict=True)
            if kind == "bool"
        ),
        encoding=encoding,
    )


def read_texts(layer: VectorLayer, fields: Sequence[str]) -> Iterator[list[Texts]]:
    """Reads fields of all features as text, batch by batch, each (n,); see `as_text`.

    Raises:
        UnknownFieldError: A field is not there, or holds fractions.
        VectorUnreadableError: The file is damaged.
    """
    _check_fields(layer, fields)
    for _, columns in batches(layer, fields, read_geometry=False):
        yield [as_text(columns[field], field) for field in fields]


def read_geometries(
    layer: VectorLayer, fields: Sequence[str], bounds: Bounds | None
) -> Iterator[tuple[NDArray[np.object_], list[Texts]]]:
    """Reads the features whose envelope meets `bounds` (in the layer's CRS; None for all).

    Yields:
        Batch by batch geometries (n,), 2-D, none of them null or empty, and the fields as text,
        each (n,).

    Raises:
        UnknownFieldError: A field is not there, or holds fractions.
        VectorUnreadableError: The file is damaged.
    """
    _check_fields(layer, fields)
    for wkb, columns in batches(layer, fields, read_geometry=True, bbox=bounds):
        geometries = shapely.from_wkb(wkb, on_invalid="ignore")
        there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
        yield geometries[there], [as_text(columns[field], field)[there] for field in fields]


def as_text(column: NDArray[Any], field: str) -> Texts:
    """Spells the values of a field (N,): whole numbers without a point, texts stripped.

    Raises:
        UnknownFieldError: The field holds fractions.
    """
    if column.dtype.kind == "f":
        there = np.isfinite(column)
        fractions = column[there][column[there] % 1 > 0]
        if len(fractions):
            raise UnknownFieldError(
                f"Field {field!r} holds fractions, such as {fractions[0]:g}; classes are text or "
                "whole numbers.",
                "Name the class field with --field.",
            )
        texts = [str(int(value)) if ok else None for value, ok in zip(column, there, strict=True)]
    else:
        texts = [None if value is None else str(value).strip() or None for value in column.tolist()]
    return np.array(texts, dtype=object)


def _choose_layer(path: Path, layers: dict[str, str | None], wanted: str | None) -> str:
    spatial = [name for name, geometry in layers.items() if geometry is not None]
    if wanted is not None and wanted in spatial:
        return wanted
    if wanted is None and len(spatial) == 1:
        return spatial[0]
    if not spatial:
        raise VectorUnreadableError(
            f"{path} holds no geometries.", "Give polygons, points or lines, or a label raster."
        )
    problem = "several layers" if wanted is None else f"no layer {wanted!r} with geometries"
    raise VectorUnreadableError(
        f"{path} holds {problem}; it has {listed(spatial)}.", "Name one of them with --layer."
    )


def _check_fields(layer: VectorLayer, fields: Sequence[str]) -> None:
    for field in fields:
        if field not in layer.fields:
            raise UnknownFieldError(
                f"{layer.path} has no field {field!r}; its fields are {listed(layer.fields)}.",
                "Check the name; upper and lower case count.",
            )


def _check_siblings(path: Path) -> None:
    """A shapefile without its .dbf opens, but has lost its classes: say so first."""
    if path.suffix.lower() != ".shp" or not path.is_file():
        return
    there = _siblings(path)
    missing = [suffix for suffix in (".shx", ".dbf") if suffix not in there]
    if missing:
        raise VectorUnreadableError(
            f"{path} is a shapefile without its {' and '.join(missing)}.",
            "A shapefile is several files: copy .shp, .shx, .dbf, .prj and .cpg together.",
        )


def batches(
    layer: VectorLayer,
    fields: Sequence[str],
    **options: Any,  # noqa: ANN401 - passed on
) -> Iterator[tuple[Any, dict[str, NDArray[Any]]]]:
    """Yields WKB (n,) and fields, each (n,), of some features at a time, at least once.

    Raises:
        VectorUnreadableError: The file is damaged.
    """
    for first in range(0, max(layer.features, 1), _BATCH):
        part = options | {"skip_features": first, "max_features": _BATCH}
        with _readable(layer.path):
            try:
                meta, fids, wkb, columns = _read(layer, fields, layer.encoding, part)
            except UnicodeDecodeError:
                meta, fids, wkb, columns = _read(layer, fields, None, part)
        found = dict(zip(meta["fields"].tolist(), columns, strict=True))
        yield wkb, found | {n: _spelled(found[n]) for n in layer.booleans & found.keys()}
        if len(fids) < _BATCH:
            return


def _read(
    layer: VectorLayer, fields: Sequence[str], encoding: str | None, options: Mapping[str, Any]
) -> Any:  # noqa: ANN401
    return pyogrio.raw.read(
        gdal_name(layer.path), layer=layer.name, columns=list(fields), force_2d=True,
        return_fids=True, encoding=encoding, **options,
    )  # fmt: skip


def _described(path: Path, layer: str) -> tuple[dict[str, Any], str | None]:
    """Returns what is known of a layer, and the encoding of its text, None if the file says it.

    For a shapefile that has lost its .cpg UTF-8 is tried, where GDAL takes Latin-1: text of another
    encoding is hardly ever UTF-8 by chance, reading it fails.
    """
    lost = path.suffix.lower() == ".shp" and path.is_file() and ".cpg" not in _siblings(path)
    read = partial(
        pyogrio.read_info, gdal_name(path), layer=layer, force_feature_count=True,
        force_total_bounds=True,
    )  # fmt: skip
    if lost:
        with suppress(UnicodeDecodeError):
            return read(encoding="UTF-8"), "UTF-8"
    return read(), None


def _siblings(path: Path) -> set[str]:
    """Returns the suffixes of the files that make up a shapefile, in lower case."""
    return {
        p.suffix.lower() for p in path.parent.glob("*.*") if p.stem.lower() == path.stem.lower()
    }


def _spelled(booleans: NDArray[Any]) -> NDArray[Any]:
    """Spells true and false, which are read as numbers where some of a batch are missing."""
    words = {0: "false", 1: "true"}
    return np.array([words.get(value) for value in booleans.tolist()], dtype=object)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        with _guarded():
            yield
    except (DataSourceError, DataLayerError, UnicodeDecodeError) as error:
        raise VectorUnreadableError(
            f"{path} can't be read: {error}", "Open it in QGIS and save it as GeoPackage."
        ) from error


@contextmanager
def _guarded() -> Iterator[None]:
    """Holds GDAL to what is allowed (its settings here are the whole process's), and quiet.

    Its remarks on single features (M values, say) are not the user's business.
    """
    options = gdal_options()
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        pyogrio.set_gdal_config_options(before)


def _check_pointers(path: Path) -> None:
    """Refuses files that merely point at others, services or commands, before GDAL follows them."""
    if not path.is_file():
        return
    with path.open("rb") as handle:
        found = _POINTERS.search(handle.read(_HEAD))
    if found:
        raise _refused(path, found[0].decode().strip('<"'))


def _refused(path: Path, what: str) -> VectorUnreadableError:
    return VectorUnreadableError(
        f"{path} is of the format {what}, which is not read.",
        f"Save it as GeoPackage in QGIS; what is read: {', '.join(VECTOR_DRIVERS)}.",
    )


def _crs(text: str | None) -> CRS | None:
    """A GeoPackage can't state "no CRS": it then holds an undefined engineering CRS.

    One with a name of its own, such as a site grid, is kept: rasters may have it, too.
    """
    crs = CRS.from_user_input(text) if text else None
    if crs is None or ("Engineering" in crs.type_name and crs.name.lower().startswith(_NAMELESS)):
        return None
    return crs


def listed(names: Sequence[str]) -> str:
    """Returns names for a message."""
    return ", ".join(map(repr, names)) or "none"
