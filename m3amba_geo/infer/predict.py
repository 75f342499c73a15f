"""Windowed prediction: a map from windows on a lattice, blended, row by row.

The lattice is fixed by the raster's size (`geo.windows`), batches run along a row of the lattice,
and every pixel sums its windows from the top left to the bottom right. So a map does not depend
on how many rows are handed on at a time.

Letters: P patch side, Q classes, W width of the region, h rows handed on.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.coverage import Used
from m3amba_geo.geo.raster import as_here
from m3amba_geo.geo.region import Region
from m3amba_geo.geo.windows import blend_weights, starts
from m3amba_geo.infer.predictor import Predictor, Shares, dropping, joined

_AHEAD = 2  # batches: one is read and one is computed or waits, while the sums take in another
_AT_ONCE = 1 << 18  # probabilities handed on together: a processor's cache holds them


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


def map_rows(stack: Stack, predictor: Predictor, stride: int, region: Region) -> Iterator[Rows]:
    """Yields the finished rows of a region from its top to its bottom.

    Reading, computing and summing go on at the same time: one thread reads batches and hands their
    windows to those that compute, without waiting for them. Whoever may stop before the end closes
    the iterator: the garbage collector could end these threads from one of themselves.

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
    # One thread: GDAL's files are not to be shared.
    reader = ThreadPoolExecutor(1, "read", as_here())
    with predictor.threads() as threads, dropping(reader):

        def begin(top: int, lefts: NDArray[np.int64]) -> _Begun:
            return _begin(predictor, threads, stack, top, lefts)

        begun = _ahead(reader.submit(begin, int(top), lefts) for top in tops for lefts in batches)
        for n in range(len(tops)):
            for _ in batches:
                sums.take(next(begun).result())
            finished = int(tops[n + 1]) if n + 1 < len(tops) else region.bottom
            if finished > region.top:
                yield from sums.pop(finished)


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

    def pop(self, bottom: int) -> Iterator[Rows]:
        """Yields the rows above `bottom` that have not been yielded yet, a few at a time."""
        classes, _, width = self._sums.shape
        step = max(1, _AT_ONCE // (classes * width))
        last = min(bottom, self._region.bottom)
        for top in range(max(self._top, self._region.top), last, step):
            rows = slice(top - self._top, min(top + step, last) - self._top)
            total = np.maximum(self._total[rows], np.finfo(np.float32).tiny)
            shares = (self._sums[:, rows] / total).astype(np.float32, copy=False)
            yield Rows(top, shares, self._used[rows].copy())
        self._slide(bottom)

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
