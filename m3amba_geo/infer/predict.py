"""Windowed prediction: a map from windows on a lattice, blended, row by row.

The lattice is fixed by the raster's size (`geo.windows`), batches run along a row of the lattice,
and every pixel sums its windows from the top left to the bottom right. So a map does not depend
on how many rows are handed on at a time.

Letters: P patch side, Q classes, W width of the region, h rows handed on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
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

CPU_BATCH, GPU_BATCH = 16, 64
# Windows that one thread of a CPU computes by itself. Small layers gain more from that than from
# sharing out every operation, and what is computed together does not depend on how many there are.
CPU_SHARE = 2
_AHEAD = 2  # batches: one is read and one is computed or waits, while the sums take in another
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
        on_cpu = device.type == "cpu"
        self.batch = batch or (CPU_BATCH if on_cpu else GPU_BATCH)
        self.together = CPU_SHARE if on_cpu else self.batch  # windows computed at once
        self._threads = torch.get_num_threads() if on_cpu else 1

    @contextmanager
    def threads(self) -> Iterator[Executor]:
        """Yields the threads for `start`; in the end they drop what has not begun."""
        pool = ThreadPoolExecutor(
            self._threads, "predict", initializer=torch.set_num_threads, initargs=(1,)
        )
        with _dropping(pool):
            yield pool

    def start(
        self, threads: Executor, patches: Sequence[NDArray[np.float32]]
    ) -> list[Future[Shares]]:
        """For each modality `(B, C_n, P, P)` returns what becomes `(b, Q, P, P)` probabilities.

        Where the device runs out of memory less is computed at once, from then on.

        Raises:
            OutOfMemoryError: By the futures: a single patch is too large for the device.
        """
        firsts = range(0, len(patches[0]), self.together)
        parts = [[p[n : n + self.together] for p in patches] for n in firsts]
        return [threads.submit(self._fitting, part) for part in parts]

    def shares(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        """For each modality `(B, C_n, P, P)` returns probabilities `(B, Q, P, P)`."""
        with self.threads() as threads:
            return joined(self.start(threads, patches))

    def _fitting(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        count, done, parts = len(patches[0]), 0, []
        while done < count:
            try:
                parts.append(self._part([p[done : done + self.together] for p in patches]))
                done += len(parts[-1])
            except torch.OutOfMemoryError as error:
                if self.together == 1:
                    raise OutOfMemoryError(
                        f"One patch of {self.patch} pixels does not fit the memory of "
                        f"{self.device}.",
                        "Use --device cpu, or a smaller model.",
                    ) from error
                self.together = max(1, self.together // 2)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

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


def joined(parts: Sequence[Future[Shares]]) -> Shares:
    """Returns `(B, Q, P, P)` of what `Predictor.start` has started, once it is there."""
    return np.concatenate([part.result() for part in parts])


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

    Reading, computing and summing go on at the same time: one thread reads batches and hands their
    windows to those that compute, without waiting for them.

    Memory: `Q * P * W` sums and the pixels of three batches of windows.

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
    reader = ThreadPoolExecutor(1, "read")  # one thread: GDAL's files are not to be shared
    with predictor.threads() as threads, _dropping(reader):

        def begin(top: int, lefts: NDArray[np.int64]) -> _Begun:
            return _begin(predictor, threads, stack, top, lefts)

        begun = _ahead(reader.submit(begin, int(top), lefts) for top in tops for lefts in batches)
        for n in range(len(tops)):
            for _ in batches:
                sums.take(next(begun).result())
            finished = int(tops[n + 1]) if n + 1 < len(tops) else region.bottom
            if finished > region.top:
                yield sums.pop(finished)


@contextmanager
def _dropping(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Shuts a pool down in the end; what has not begun by then is not wanted any more."""
    try:
        yield
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(items: Iterator[Future["_Begun"]]) -> Iterator[Future["_Begun"]]:
    """Yields items, each when so many later ones have been asked for."""
    waiting: deque[Future[_Begun]] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


def _reaching(firsts: NDArray[np.int64], patch: int, low: int, high: int) -> NDArray[np.int64]:
    return firsts[(firsts + patch > low) & (firsts < high)]


@dataclass(frozen=True)
class _Begun:
    """Windows of one row of the lattice that are read, and being computed.

    Attributes:
        top, left: First pixel of the first window.
        used: `(P, w)`, what the pixels under them are made from.
        useful: Lefts of those with a pixel to map.
        parts: Their probabilities, in this order.
    """

    top: int
    left: int
    used: Used
    useful: list[int]
    parts: list[Future[Shares]]


def _begin(
    predictor: Predictor, threads: Executor, stack: Stack, top: int, lefts: NDArray[np.int64]
) -> _Begun:
    """Reads the pixels under some windows of one lattice row, and has these computed."""
    patch, left = predictor.patch, int(lefts[0])
    pixels, used = predictor.read(stack, top, left, patch, int(lefts[-1]) + patch - left)
    useful = [int(x) for x in lefts if used[:, x - left : x - left + patch].any()]
    if not useful:
        return _Begun(top, left, used, [], [])
    columns = [slice(x - left, x - left + patch) for x in useful]
    patches = [np.stack([modality[:, :, c] for c in columns]) for modality in pixels]
    return _Begun(top, left, used, useful, predictor.start(threads, patches))


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

    def take(self, begun: _Begun) -> None:
        """Takes in the next windows, once they are computed."""
        self._slide(begun.top)
        there, here = self._columns(begun.left, begun.used.shape[1])
        self._used[:, there] |= begun.used[:, here]  # the same in all windows
        if begun.useful:
            for left, share in zip(begun.useful, joined(begun.parts), strict=True):
                self._add(left, share)

    def _add(self, left: int, shares: Shares) -> None:
        """Adds a window's probabilities `(Q, P, P)`."""
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
