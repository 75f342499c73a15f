"""Features as training fits them, but of no training: numbers do not change the time."""

from collections.abc import Iterable

import numpy as np

from m3amba_geo.config import TrainConfig
from m3amba_geo.geo.features import Neighbourhood

NEIGHBOURHOODS = TrainConfig().neighbourhoods


def neighbourhoods(bands: Iterable[int]) -> tuple[tuple[Neighbourhood, ...], ...]:
    """Returns the usual neighbourhoods of modalities with so many bands."""
    return tuple(
        tuple(Neighbourhood(side, np.zeros(count), np.eye(count)) for side in NEIGHBOURHOODS)
        for count in bands
    )
