"""What tells an input from another one of its name."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from m3amba_geo.files import fingerprint
from m3amba_geo.geo.align import Stack, TrainedModality
from m3amba_geo.geo.labels import Labels
from m3amba_geo.geo.raster import Raster
from m3amba_geo.sources import local_file


def raster_content(raster: Raster) -> str:
    """Returns the fingerprint of a raster: of its files, or of archives that they lie in.

    Of what lies on a server, a sample of it is taken instead (see `Raster.sample`): servers need
    not tell when a file was changed, and not all of them do.
    """
    files = [local_file(name) for name in raster.files]
    prints = [fingerprint(file) for file in dict.fromkeys(files) if file and file.exists()]
    if None in files:
        prints.append(raster.sample())
    if raster.scaling is not None:  # it may lie in a file beside, which others write to, too
        prints.append(str(raster.scaling))
    if len(prints) == 1:
        return prints[0]
    return hashlib.sha256(" ".join(prints).encode()).hexdigest()


def content(raster: Raster) -> str:
    """Returns what tells a raster from another of its name, and from itself once it is changed.

    The time of change stands beside the fingerprint, which passes over the middle of a large file.
    What is no file here, but on a server, is known by a sample of it. The folder does not count: a
    worker may know it by another path.
    """
    return json.dumps([_changed(raster), raster_content(raster), str(raster.nodata)])


def stack_contents(stack: Stack, trained: Sequence[TrainedModality]) -> dict[str, str]:
    """Returns what tells the rasters of a stack from others, and what their bands stand for.

    Args:
        stack: A scene, opened for a model.
        trained: The modalities of the model.
    """
    return {
        f"raster {raster.path.name} ({known.name}, {n})": f"{content(raster)} {modality.chosen}"
        for known, modality in zip(trained, stack.modalities, strict=True)
        for n, raster in enumerate(modality.rasters)
    }


def _changed(raster: Raster) -> list[tuple[str, int]]:
    files = [local_file(name) for name in raster.files]
    return [(file.name, file.stat().st_mtime_ns) for file in files if file and file.exists()]


def label_content(path: Path, labels: Labels) -> str:
    """Returns the fingerprint of a label file; of one on a server, that of the pixels it labels."""
    file = local_file(path)
    if file is not None:
        return fingerprint(file)
    return hashlib.sha256(labels.pixels.tobytes() + labels.codes.tobytes()).hexdigest()
