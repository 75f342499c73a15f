"""`[NAME=]RASTER...`: which files make up which modality."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3amba_geo.errors import UsageError

_SEPARATORS = {"/", os.sep, os.altsep or os.sep}


def parse_modalities(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Returns modalities as `m3amba.toml` has them, in the order of their first files.

    `NAME=a.tif NAME=b.tif` puts two files into one modality; a raster without a name is a modality
    of its own, named by its file. A separator before the `=` makes all of it a path: `./a=b.tif`.

    Raises:
        UsageError: A name or a file is empty, or two modalities would bear the same name. No name
            is made up, since it would travel with the model.
    """
    files: dict[str, list[str]] = {}
    alone: dict[str, str] = {}
    for argument in arguments:
        name, path = split_name(argument)
        stem = name or Path(path).stem
        if stem in alone or (not name and stem in files):
            other = alone.get(stem, f"{stem}={files[stem][0]}")
            raise UsageError(
                f"{other} and {argument} would both make a modality called {stem!r}.",
                f"Name them apart (one={path}), or alike to put them into one modality "
                f"({stem}={path}).",
            )
        if not name:
            alone[stem] = path
        files.setdefault(stem, []).append(path)
    return [{"name": name, "files": paths} for name, paths in files.items()]


def split_name(argument: str) -> tuple[str, str]:
    """Returns the name, empty where there is none, and the path of one argument.

    Raises:
        UsageError: Name or path is empty, or the argument itself is a file and its path is none.
    """
    name, equals, path = argument.partition("=")
    if not equals or any(separator in name for separator in _SEPARATORS):
        return "", argument
    if not name.strip() or not path:
        raise UsageError(
            f"{argument!r} is not of the form NAME=RASTER.",
            f"Write ./{argument} if that is the name of a file.",
        )
    if Path(argument).exists() and not Path(path).exists():
        raise UsageError(
            f"{argument} would be the file {path}, in a modality called {name!r}, and there is no "
            "such file.",
            f"Write ./{argument} for the file of that name.",
        )
    return name.strip(), path
