"""Settings from a file `m3amba.toml`, or from tables that options have filled.

Relative paths in a file are relative to its folder.
"""

import os
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from m3amba_geo.config import Config
from m3amba_geo.errors import DataError, FileMissingError, UsageError
from m3amba_geo.sources import is_virtual


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the tables of a TOML file, paths made absolute, nothing checked yet.

    Raises:
        FileMissingError: The file is not there.
        UsageError: The file is not TOML.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows marks UTF-8
    except FileNotFoundError as error:
        raise FileMissingError(f"{path} is missing.", "Check the path of the settings.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not TOML: {error}",
            "See the README for an example; write paths with / or in 'single quotes'.",
        ) from error
    _spell_out(tables)
    folder = path.parent.resolve()
    return {key: _absolute(table, folder) for key, table in tables.items()}


def make_config(tables: dict[str, Any], source: str) -> Config:
    """Returns checked settings; `source` names where they came from in the error.

    Raises:
        UsageError: A key is unknown or a value does not fit, with the key named.
    """
    try:
        return TypeAdapter(Config).validate_python(tables)
    except ValidationError as error:
        raise UsageError(
            f"Settings of {source} do not fit: {complaints(error)}.",
            "Check names and values: `m3amba-geo COMMAND --help` lists those that are options, the "
            "README shows such a file.",
        ) from error


def complaints(error: ValidationError) -> str:
    """Returns what is wrong with each key."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())


def _spell_out(tables: dict[str, Any]) -> None:
    """Turns `modalities = {vnir = ["a.tif"]}` and `labels = "roi.shp"` into full tables."""
    scenes = tables.get("scene", [])
    for scene in scenes if isinstance(scenes, list) else []:
        if isinstance(scene, dict):
            _spell_out_modalities(scene)
            _spell_out_labels(scene)
    if isinstance(tables.get("evaluate"), dict):
        _spell_out_labels(tables["evaluate"])


def _spell_out_modalities(scene: dict[str, Any]) -> None:
    modalities = scene.get("modalities")
    if isinstance(modalities, dict):
        scene["modalities"] = [
            {"name": name, "files": [files] if isinstance(files, str) else files}
            for name, files in modalities.items()
        ]


def _spell_out_labels(table: dict[str, Any]) -> None:
    for key in ("labels", "test_labels"):
        if isinstance(table.get(key), str):
            table[key] = {"path": table[key]}


def _absolute(node: Any, folder: Path, key: str = "") -> Any:  # noqa: ANN401 - a TOML tree
    if isinstance(node, dict):
        return {k: _absolute(v, folder, k) for k, v in node.items()}
    if isinstance(node, list):
        return [_absolute(v, folder, key) for v in node]
    if isinstance(node, str) and key in _PATHS and not is_virtual(node):
        # os.path leaves `~x.tif` as it is where no user is called so; pathlib would raise.
        return str(folder / os.path.expanduser(node))  # noqa: PTH111
    return node


def _path_keys(table: type) -> Iterator[str]:
    """Yields the keys of a table, and of those within it, that hold paths."""
    for key, hint in get_type_hints(table).items():
        for kind in _kinds(hint):
            if kind is Path:
                yield key
            elif isinstance(kind, type) and is_dataclass(kind):
                yield from _path_keys(kind)


def _kinds(hint: Any) -> Iterator[Any]:  # noqa: ANN401 - what a type may be written as
    """Yields what a type is made of: `tuple[Path, ...] | None` holds paths."""
    yield hint
    for part in get_args(hint):
        yield from _kinds(part)


_PATHS = frozenset(_path_keys(Config))
