"""Windowed prediction: a map from windows on a lattice, blended, row by row.

The lattice is fixed by the raster's size (`geo.windows`), batches run along a row of the lattice,
and every pixel sums its windows from the top left to the bottom right. So a map does not depend
on how many rows are handed on at a time.

Letters: P patch side, Q classes, W width of the region, h rows handed on.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo.errors import NoOverlapError, OutOfMemoryError
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.coverage import Used
from m3amba_geo.geo.features import Features, read_features
from m3amba_geo.geo.raster import Mask, Pixels
from m3amba_geo.geo.windows import blend_weights, starts
from m3amba_geo.model.device import autocast
from m3amba_geo.model.guided import GuidedM3amba

Shares = NDArray[np.float32]
_Ground = Future[tuple[list[Pixels], Used]]

CPU_BATCH, GPU_BATCH = 16, 64
# Windows that one thread of a CPU computes by itself. Small layers gain more from that than from
# sharing out every operation, and what is computed together does not depend on how many there are.
CPU_SHARE = 2
# Places of the windows that precision is judged by, as shares of the raster's height and width.
_PROBES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))


@dataclass(frozen=True)
class Region:
    """Part of a grid: pixels from `top`, `left` (inclusive) to `bottom`, `right` (exclusive)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class Rows:
    """Finished rows of a map.

    Attributes:
        top: First row, counted in the grid.
        shares: `(Q, h, W)` float32 probabilities; they sum to 1 where pixels are mapped.
        used: `(h, W)` what each pixel is made from; 0 where it is not mapped.
    """

    top: int
    shares: Shares
    used: Used


class Predictor:
    """A model ready to predict patches on its device."""

    def __init__(
        self,
        model: GuidedM3amba,
        features: Sequence[Features],
        device: torch.device,
        batch: int | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.model = model.to(device).eval()
        self.features = features
        self.device = device
        self.precision = precision
        self.patch = model.network.config.patch
        self.classes = model.network.config.classes
        self.batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
        self._threads = ThreadPoolExecutor(
            torch.get_num_threads(), "predict", initializer=torch.set_num_threads, initargs=(1,)
        )

    def shares(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        """For each modality `(B, C_n, P, P)` returns probabilities `(B, Q, P, P)`.

        Where the device runs out of memory the batch is halved, for good, and tried again.

        Raises:
            OutOfMemoryError: A single patch is too large for the device.
        """
        count, done, parts = len(patches[0]), 0, []
        while done < count:
            try:
                parts.append(self._shares([p[done : done + self.batch] for p in patches]))
                done += len(parts[-1])
            except torch.OutOfMemoryError as error:
                if self.batch == 1:
                    raise OutOfMemoryError(
                        f"One patch of {self.patch} pixels does not fit the memory of "
                        f"{self.device}.",
                        "Use --device cpu, or a smaller model.",
                    ) from error
                self.batch = max(1, self.batch // 2)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _shares(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        if self.device.type != "cpu":
            return self._part(patches)
        firsts = range(0, len(patches[0]), CPU_SHARE)
        parts = [[p[n : n + CPU_SHARE] for p in patches] for n in firsts]
        return np.concatenate(list(self._threads.map(self._part, parts)))

    @torch.inference_mode()
    def _part(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        tensors = [torch.from_numpy(patch).to(self.device) for patch in patches]
        with autocast(self.device, self.precision):
            _, fused = self.model(tensors)
        shares: Shares = fused.float().softmax(dim=1).cpu().numpy()
        return shares

    def read(
        self, stack: Stack, top: int, left: int, height: int, width: int
    ) -> tuple[list[Pixels], Used]:
        """Returns a window of the rasters as the network wants it, and what is there of it."""
        pixels, valid = read_features(stack, self.features, top, left, height, width)
        return pixels, stack.coverage.used(valid)


def agreement(stack: Stack, predictor: Predictor) -> float:
    """Returns the share of valid pixels whose class is the same in float32, from a few windows.

    The windows lie spread over the raster, wherever the map is wanted, so that two parts of one
    map are made in one precision. Without a valid pixel under them the share is 0.
    """
    patch, reduced = predictor.patch, predictor.precision
    height, width = stack.grid.shape
    same: list[Mask] = []
    for down, right in _PROBES:
        top, left = (max(0, int(f * (s - patch))) for f, s in ((down, height), (right, width)))
        pixels, used = predictor.read(stack, top, left, patch, patch)
        patches = [modality[None] for modality in pixels]
        classes = []
        for precision in (reduced, torch.float32):
            predictor.precision = precision
            classes.append(predictor.shares(patches)[0].argmax(axis=0))
        same.append((classes[0] == classes[1])[used > 0])
    predictor.precision = reduced
    tried = np.concatenate(same)
    return float(tried.mean()) if tried.size else 0.0


def map_rows(stack: Stack, predictor: Predictor, stride: int, region: Region) -> Iterator[Rows]:
    """Yields the finished rows of a region from its top to its bottom.

    Memory: `Q * P * W` sums and the pixels of two batches of windows, as the next is read ahead.

    Args:
        stack: The rasters, in the modalities' order of the model.
        predictor: The model.
        stride: Pixels between windows.
        region: What to map.
    """
    patch = predictor.patch
    height, width = stack.grid.shape
    tops = _reaching(starts(height, patch, stride), patch, region.top, region.bottom)
    lefts = _reaching(starts(width, patch, stride), patch, region.left, region.right)
    batches = [lefts[n : n + predictor.batch] for n in range(0, len(lefts), predictor.batch)]
    sums = _Sums(predictor.classes, patch, region, int(tops[0]))
    with ThreadPoolExecutor(1) as reader:  # one thread: GDAL's files are not to be shared

        def read(top: int, lefts: NDArray[np.int64]) -> _Ground:
            width = int(lefts[-1]) + patch - int(lefts[0])
            return reader.submit(predictor.read, stack, top, int(lefts[0]), patch, width)

        ahead = (read(int(top), lefts) for top in tops for lefts in batches)
        ground = next(ahead)
        for n, top in enumerate(tops):
            for columns in batches:
                pixels, used = ground.result()
                ground = next(ahead, ground)  # is read while this batch is computed
                _add_batch(predictor, sums, int(top), columns, pixels, used)
            finished = int(tops[n + 1]) if n + 1 < len(tops) else region.bottom
            if finished > region.top:
                yield sums.pop(finished)


def _reaching(firsts: NDArray[np.int64], patch: int, low: int, high: int) -> NDArray[np.int64]:
    return firsts[(firsts + patch > low) & (firsts < high)]


def _add_batch(
    predictor: Predictor,
    sums: "_Sums",
    top: int,
    lefts: NDArray[np.int64],
    pixels: Sequence[Pixels],
    used: Used,
) -> None:
    """Predicts some windows of one lattice row from the pixels under them, and adds them up."""
    patch, start = predictor.patch, int(lefts[0])
    sums.note(top, start, used)
    useful = [x for x in (lefts - start) if used[:, x : x + patch].any()]
    if not useful:
        return
    shares = predictor.shares(
        [np.stack([modality[:, :, x : x + patch] for x in useful]) for modality in pixels]
    )
    for x, share in zip(useful, shares, strict=True):
        sums.add(top, start + int(x), share)


class _Sums:
    """Weighted sums of the windows that reach the rows not handed on yet."""

    def __init__(self, classes: int, patch: int, region: Region, top: int) -> None:
        self._weights = blend_weights(patch)
        self._region = region
        self._top = top  # row of the grid that the sums begin with
        width = region.right - region.left
        self._sums = np.zeros((classes, patch, width), np.float32)
        self._total = np.zeros((patch, width), np.float32)
        self._used = np.zeros((patch, width), np.uint8)

    def note(self, top: int, left: int, used: Used) -> None:
        """Takes in what pixels are made from; it is the same in all windows."""
        self._slide(top)
        there, here = self._columns(left, used.shape[1])
        self._used[:, there] |= used[:, here]

    def add(self, top: int, left: int, shares: Shares) -> None:
        """Adds a window's probabilities `(Q, P, P)`."""
        self._slide(top)
        there, here = self._columns(left, shares.shape[2])
        self._sums[:, :, there] += (shares * self._weights)[:, :, here]
        self._total[:, there] += self._weights[:, here]

    def pop(self, bottom: int) -> Rows:
        """Returns the rows above `bottom` that have not been returned yet."""
        top = max(self._top, self._region.top)
        rows = slice(top - self._top, min(bottom, self._region.bottom) - self._top)
        total = np.maximum(self._total[rows], np.finfo(np.float32).tiny)
        shares = (self._sums[:, rows] / total).astype(np.float32, copy=False)
        used = self._used[rows].copy()
        self._slide(bottom)
        return Rows(top, shares, used)

    def _columns(self, left: int, width: int) -> tuple[slice, slice]:
        """Returns where a window's columns fall in the region, and which of its own they are."""
        low, high = max(left, self._region.left), min(left + width, self._region.right)
        first = self._region.left
        return slice(low - first, high - first), slice(low - left, high - left)

    def _slide(self, top: int) -> None:
        """Lets go of the rows above `top`."""
        gone = min(top - self._top, self._total.shape[0])
        if gone <= 0:
            return
        kept = self._total.shape[0] - gone
        for array in (self._sums, self._total, self._used):
            array[..., :kept, :] = array[..., gone:, :]
            array[..., kept:, :] = 0
        self._top = top


def region_of(grid: GeoBox, bounds: tuple[float, float, float, float] | None) -> Region:
    """Returns the pixels of a grid within `(left, bottom, right, top)` in its CRS.

    Raises:
        NoOverlapError: The bounds lie outside the grid.
    """
    height, width = grid.shape
    if bounds is None:
        return Region(0, 0, height, width)
    left, bottom, right, top = bounds
    corners = [grid.wld2pix(x, y) for x in (left, right) for y in (bottom, top)]
    columns, rows = zip(*corners, strict=True)
    region = Region(
        max(0, round(min(rows))),
        max(0, round(min(columns))),
        min(height, round(max(rows))),
        min(width, round(max(columns))),
    )
    if region.bottom <= region.top or region.right <= region.left:
        raise NoOverlapError(
            f"The bounds {bounds} do not meet the raster.",
            "Give left, bottom, right, top in the CRS of the reference raster.",
        )
    return region
