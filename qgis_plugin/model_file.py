"""Reads what a model file says of itself, without the backend: safetensors' header is plain JSON.

Standard library only. What is needed here, and no more: modalities, bands, classes.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from .translate import tr

FORMAT = 2
ENOUGH = 0.2  # as geo/coverage.py of the backend: modality dropout of models that do with fewer
_MOST_HEADER = 100_000_000  # bytes; safetensors' own limit


class NotAModelError(ValueError):
    """The file is no model that this version can read."""


@dataclass(frozen=True)
class Model:
    """What a model was trained on.

    Attributes:
        modalities: Names and numbers of bands, in order.
        classes: Names of the classes.
        fewer: Whether it does with fewer modalities.
    """

    modalities: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]
    fewer: bool = False

    def __str__(self) -> str:
        return ", ".join(tr("{} ({} bands)").format(name, n) for name, n in self.modalities)


def read_model(path: Path) -> Model:
    """Returns what a model file says of itself.

    Raises:
        NotAModelError: It can't be read, is something else, or of another format.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else _MOST_HEADER + 1
            header = file.read(size) if size <= _MOST_HEADER else b""
        manifest = json.loads(json.loads(header)["__metadata__"]["m3amba"])
    except OSError as error:
        raise NotAModelError(tr("{} can't be read: {}.").format(path, error.strerror)) from error
    except (ValueError, KeyError, TypeError) as error:
        message = tr("{} is no model of m3amba-geo, or it is damaged.").format(path)
        raise NotAModelError(message) from error
    if manifest.get("format") != FORMAT:
        raise NotAModelError(
            tr("{} has format {}; this plugin reads {}. Update plugin and backend.").format(
                path, manifest.get("format"), FORMAT
            )
        )
    return Model(
        tuple((m["name"], len(m["bands"])) for m in manifest["modalities"]),
        tuple(entry["name"] for entry in manifest["legend"]),
        manifest.get("modality_dropout", 0) >= ENOUGH,
    )
