"""Whether a map fits into memory and onto the disk, asked before work begins."""

import shutil
from collections.abc import Mapping

from m3amba_geo.errors import DiskFullError, UsageError
from m3amba_geo.geo.maps import Layer
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.journal import Journal
from m3amba_geo.infer.predictor import Predictor

_SHRINKS = 50  # Deflate shrinks maps five- to fiftyfold: below a fiftieth it can't end well


def check_memory(
    layers: Mapping[str, Layer], region: Region, predictor: Predictor, allowed: int
) -> None:
    """Makes sure that rows fit into the working memory.

    Args:
        layers: Outputs.
        region: What is mapped.
        predictor: The model.
        allowed: MiB.

    Raises:
        UsageError: They do not.
    """
    width = region.shape[1]
    waiting = sum(layer.pixel for layer in layers.values()) * width * 2 * predictor.patch
    sums = width * predictor.patch * (predictor.classes * 3 + 2) * 4
    need = (waiting + sums) / 2**20
    if need > allowed:
        raise UsageError(
            f"Rows of {width} pixels need {need:.0f} MiB of working memory; "
            f"--memory allows {allowed}.",
            f"Use --memory {int(need) + 1}, or map in parts with --bounds.",
        )


def check_disk(layers: Mapping[str, Layer], region: Region, journal: Journal) -> None:
    """Makes sure that blocks and outputs have room, as far as that can be known.

    Raises:
        DiskFullError: A disk is certain to run full.
    """
    height, width = region.shape
    needs = [(journal.folder, journal.missing_bytes())]
    needs += [
        (layer.path.resolve().parent, layer.pixel * height * width // _SHRINKS)
        for layer in layers.values()
    ]
    for disk in {folder.stat().st_dev for folder, _ in needs}:
        here = [(folder, need) for folder, need in needs if folder.stat().st_dev == disk]
        folder, need = here[0][0], sum(need for _, need in here)
        free = shutil.disk_usage(folder).free
        if free < need:
            raise DiskFullError(
                f"The disk of {folder} has {free / 2**20:.0f} MiB left; finished blocks and "
                f"outputs need at least {need / 2**20:.0f}.",
                "Free some space, name an output on another disk, or map in parts with --bounds.",
            )
