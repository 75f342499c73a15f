"""A footprint index: which files make up which scene of a mosaic.

It is a vector file with a field for each file of a scene (GeoPackage, GeoJSON, anything that OGR
reads), or a STAC ItemCollection with an asset for each. An ItemCollection is read as the GeoJSON
that it is: of STAC, only `id` and the assets' `href` matter here.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import TypeAdapter, ValidationError

from m3amba_geo.config import ModalityConfig
from m3amba_geo.errors import (
    DataError,
    FileMissingError,
    UnknownFieldError,
    VectorUnreadableError,
)
from m3amba_geo.geo.vector import open_layer, read_texts

NAME_FIELDS = ("name", "id")
"""Fields that name a scene; the first that is there counts."""


@dataclass(frozen=True)
class IndexedScene:
    """One scene of an index.

    Attributes:
        name: Fit for a file name, another one for each scene.
        modalities: Its files.
    """

    name: str
    modalities: tuple[ModalityConfig, ...]


@dataclass(frozen=True)
class _Row:
    """A scene as it stands in the index: its name, if any, and the file in each field."""

    name: str | None
    files: dict[str, str | None]


@dataclass(frozen=True)
class _Asset:
    href: str


@dataclass(frozen=True)
class _Item:
    id: str
    assets: dict[str, _Asset]


_ITEMS = TypeAdapter(list[_Item])


def read_index(
    path: Path, wanted: Sequence[ModalityConfig], *, fewer: bool = False
) -> tuple[IndexedScene, ...]:
    """Returns the scenes of an index in its order.

    Args:
        path: Vector file or STAC ItemCollection; paths in it are relative to its folder.
        wanted: Modalities, with the names of fields or assets where files will be.
        fewer: Whether a scene may lack some of them: it names no file there.

    Raises:
        DataError: The index can't be read, lacks a field, or names what is not there.
    """
    if not path.exists():
        raise FileMissingError(f"The index {path} is missing.", "Check the path.")
    fields = [str(field) for modality in wanted for field in modality.files]
    items = _stac_items(path)
    rows = _layer_rows(path, fields) if items is None else _item_rows(items)
    if not rows:
        raise DataError(f"The index {path} holds no scene.", "Check the file in QGIS.")
    names = _names(path, rows)
    return tuple(
        IndexedScene(
            name,
            tuple(
                ModalityConfig(
                    modality.name,
                    tuple(_file(path, name, row, str(field)) for field in modality.files),
                )
                for modality in (_present(row, wanted) if fewer else wanted)
            ),
        )
        for name, row in zip(names, rows, strict=True)
    )


def _present(row: _Row, wanted: Sequence[ModalityConfig]) -> Sequence[ModalityConfig]:
    """Returns the modalities that a scene names files of; all, where it names none."""
    present = [m for m in wanted if any(row.files.get(str(field)) for field in m.files)]
    return present or wanted


def _stac_items(path: Path) -> list[_Item] | None:
    """Returns the items of a STAC ItemCollection; None where the file is none."""
    if path.suffix.lower() not in (".json", ".geojson"):
        return None
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        features = content["features"]
        if not all("stac_version" in feature for feature in features):
            return None
    except (ValueError, KeyError, TypeError, OSError):
        return None  # OGR has the word
    try:
        return _ITEMS.validate_python(features)
    except ValidationError as error:
        raise DataError(
            f"{path} is no STAC ItemCollection: {error.errors()[0]['msg']}.",
            "Its features need an `id` and `assets` with a `href` each.",
        ) from error


def _item_rows(items: Sequence[_Item]) -> list[_Row]:
    return [
        _Row(item.id, {key: asset.href for key, asset in item.assets.items()}) for item in items
    ]


def _layer_rows(path: Path, fields: Sequence[str]) -> list[_Row]:
    try:
        return _rows(path, fields)
    except (UnknownFieldError, VectorUnreadableError) as error:  # its remedy is that of labels
        raise type(error)(
            f"The index can't be used: {error}",
            "Give one layer of footprints, with a text field for the file of each modality; where "
            "fields are called otherwise than modalities, say which is which: MODALITY=FIELD.",
        ) from error


def _rows(path: Path, fields: Sequence[str]) -> list[_Row]:
    layer = open_layer(path, None)
    if layer is None:
        raise VectorUnreadableError(
            f"{path} can't be read as an index.",
            "Give a GeoPackage (or another vector file) of footprints, or a STAC ItemCollection.",
        )
    naming = [field for field in NAME_FIELDS if field in layer.fields][:1]
    batches = read_texts(layer, [*fields, *naming])
    columns = [np.concatenate(column) for column in zip(*batches, strict=True)]
    names = columns[-1] if naming else [None] * len(columns[0])
    return [
        _Row(name, dict(zip(fields, row, strict=True)))
        for name, *row in zip(names, *columns[: len(fields)], strict=True)
    ]


def _names(path: Path, rows: Sequence[_Row]) -> list[str]:
    """Returns names as files can have them: what is unfit becomes `_`."""
    digits = len(str(len(rows)))
    names = [
        re.sub(r"[^\w.-]", "_", row.name or f"scene-{n:0{digits}}").lstrip(".") or "_"
        for n, row in enumerate(rows, 1)
    ]
    times = Counter(name.casefold() for name in names)
    for name in names:
        if times[name.casefold()] > 1:
            raise DataError(
                f"Two scenes of {path} would be called {name!r}.",
                f"Give each scene another value in the field {NAME_FIELDS[0]!r}, or another `id`.",
            )
    return names


def _file(index: Path, scene: str, row: _Row, field: str) -> Path:
    text = row.files.get(field)
    if not text:
        raise DataError(
            f"The scene {scene!r} of {index} names no file in {field!r}.",
            f"It has {', '.join(k for k, v in row.files.items() if v) or 'none'}; say which field "
            "or asset holds which modality: MODALITY=FIELD.",
        )
    if text.startswith("/vsi"):  # whether it may be opened is told where it is
        return Path(text)
    parts = urlsplit(text)
    if len(parts.scheme) > 1 and parts.scheme != "file":  # a single letter is a drive
        raise DataError(
            f"The scene {scene!r} of {index} lies elsewhere: {text}.",
            "Download it, and name the local file; GDAL's own paths (/vsicurl/...) are taken.",
        )
    file = index.parent / (unquote(parts.path) if parts.scheme == "file" else text)
    if not file.exists():
        raise FileMissingError(
            f"{file}, of the scene {scene!r} of {index}, is missing.",
            "Check the path; those in an index are relative to its folder.",
        )
    return file
