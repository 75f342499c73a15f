"""Per-band statistics of training pixels, and the scaling made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.errors import AllNodataError
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.raster import Mask, Pixels

_LIMIT = 10.0  # standard deviations; beyond lie clouds, glints and broken detectors


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation of each band of a modality, `(C,)` float64."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def is_far(self, pixels: Pixels, valid: Mask) -> Mask:
        """Returns `(C, h, w)`, where valid values lie so far out that `scale` cuts them off."""
        distance = np.abs(pixels - self.mean[:, None, None])
        far: Mask = (distance > _LIMIT * self.deviation[:, None, None]) & valid
        return far

    def scale(self, pixels: Pixels, valid: Mask) -> Pixels:
        """Returns `(C, h, w)` in standard deviations from the mean; 0 where invalid."""
        scaled = pixels - self.mean.astype(np.float32)[:, None, None]
        scaled /= self.deviation.astype(np.float32)[:, None, None]
        np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)
        scaled *= valid
        return scaled


def scene_statistics(stacks: Sequence[Stack], chosen: Sequence[Positions]) -> list[BandStatistics]:
    """Returns the statistics of each modality over the valid pixels chosen in each scene.

    Streams over blocks that hold chosen pixels and merges their moments (Chan et al. 1983), so
    that memory does not grow with the scene. A band without spread gets deviation 1.

    Args:
        stacks: The scenes.
        chosen: For each scene the training pixels, as positions in its flattened grid.

    Raises:
        AllNodataError: A modality has no valid pixel among those chosen.
    """
    names = [m.name for m in stacks[0].modalities]
    moments = [_Moments(len(m.chosen)) for m in stacks[0].modalities]
    for values in chosen_pixels(stacks, chosen):
        for moment, part in zip(moments, values, strict=True):
            moment.add(part)
    for name, moment in zip(names, moments, strict=True):
        if moment.count == 0:
            raise AllNodataError(
                f"Modality '{name}' has no valid pixel under the training labels.",
                "Check its nodata value, and that it covers the labels.",
            )
    return [moment.statistics() for moment in moments]


def chosen_pixels(
    stacks: Sequence[Stack], chosen: Sequence[Positions]
) -> Iterator[list[NDArray[np.float32]]]:
    """Yields the valid ones of the pixels chosen in each scene, a part of them at a time.

    Yields:
        For each modality `(C_n, n)`, `n` valid pixels of its own.
    """
    for stack, pixels in zip(stacks, chosen, strict=True):
        for _, values, valid in stack.read_at(pixels):
            yield [v[:, there] for v, there in zip(values, valid, strict=True)]


def scene_ranges(stack: Stack) -> list[BandStatistics]:
    """Returns, for each modality, least value and spread of its bands over all valid pixels.

    Scaling by them is the min-max scaling to 0..1 of the published network. A band without spread
    gets spread 1.

    Raises:
        AllNodataError: A modality has no valid pixel.
    """
    lows = [np.full(len(m.chosen), np.inf) for m in stack.modalities]
    highs = [np.full(len(m.chosen), -np.inf) for m in stack.modalities]
    for top, height in stack.strips():
        pixels, valid = stack.read(top, 0, height, stack.grid.shape[1])
        for n in range(len(lows)):
            values = pixels[n][:, valid[n]]  # (C, n)
            lows[n] = np.minimum(lows[n], values.min(axis=1, initial=np.inf))
            highs[n] = np.maximum(highs[n], values.max(axis=1, initial=-np.inf))
    for modality, low in zip(stack.modalities, lows, strict=True):
        if not np.isfinite(low).all():
            raise AllNodataError(
                f"Modality '{modality.name}' has no valid pixel.", "Check its nodata value."
            )
    return [
        BandStatistics(low, np.where(high > low, high - low, 1.0))
        for low, high in zip(lows, highs, strict=True)
    ]


class _Moments:
    """Count, mean and sum of squared deviations, merged batch by batch in float64."""

    def __init__(self, bands: int) -> None:
        self.count = 0
        self.mean = np.zeros(bands)
        self.squares = np.zeros(bands)

    def add(self, values: NDArray[np.float32]) -> None:
        """Takes in `(C, n)` values."""
        n = values.shape[1]
        if n == 0:
            return
        batch = values.astype(np.float64)
        mean = batch.mean(axis=1)
        shift, total = mean - self.mean, self.count + n
        self.squares += ((batch - mean[:, None]) ** 2).sum(axis=1)
        self.squares += shift**2 * (self.count * n / total)
        self.mean += shift * (n / total)
        self.count = total

    def statistics(self) -> BandStatistics:
        deviation = np.sqrt(self.squares / self.count)
        flat = deviation <= 1e-7 * np.maximum(np.abs(self.mean), 1e-30)
        return BandStatistics(self.mean, np.where(flat, 1.0, deviation))


class Spread:
    """Sums of scaled values and of their products, in float64: they are near 0 and bounded."""

    def __init__(self, bands: int) -> None:
        self.count = 0
        self.sums = np.zeros(bands)
        self.products = np.zeros((bands, bands))

    def add(self, values: Pixels) -> None:
        """Takes in `(C, n)` values."""
        batch = values.astype(np.float64)
        self.count += batch.shape[1]
        self.sums += batch.sum(axis=1)
        self.products += batch @ batch.T

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns mean `(C,)` and covariance `(C, C)`."""
        mean = self.sums / self.count
        return mean, self.products / self.count - np.outer(mean, mean)
