"""Labels of a scene, where its rasters have something to say about them."""

import numpy as np

from m3amba_geo.config import LabelConfig
from m3amba_geo.errors import AllNodataError
from m3amba_geo.events import Listener, Warned
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.labels import Labels, read_labels
from m3amba_geo.geo.legend import Legend


def labels_on(stack: Stack, config: LabelConfig, legend: Legend, emit: Listener) -> Labels:
    """Returns labels on a stack's grid, those on pixels that do not count taken away.

    What counts is told by the stack's coverage. Other pixels can neither train nor test, and must
    not count when labels are parted.

    Raises:
        AllNodataError: No label is left.
        M3ambaError: The labels can't be read or lie elsewhere.
    """
    labels = read_labels(config, stack.grid, legend, emit)
    usable = np.zeros(len(labels.pixels), np.bool_)
    for here, _, valid in stack.read_at(labels.pixels):
        usable[here] = stack.coverage.used(valid) > 0
    lost = int((~usable).sum())
    if lost == 0:
        return labels
    if not usable.any():
        raise AllNodataError(
            f"All {lost:,} labelled pixels of {config.path} lie under nodata.",
            "Check the nodata values of the rasters, and that every modality covers the labels.",
        )
    emptied = set(np.unique(labels.codes)) - set(np.unique(labels.codes[usable]))
    names = ", ".join(entry.name for entry in legend if entry.code in emptied)
    emit(
        Warned(
            "labels-nodata",
            f"{lost:,} of {len(usable):,} labelled pixels of {config.path} lie under "
            "nodata of a raster and are not used"
            + (f"; nothing is left of: {names}." if names else "."),
        )
    )
    return labels.only(usable)
