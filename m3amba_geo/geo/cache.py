"""A cache of square blocks, for windows of a scene that come again and again."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from m3amba_geo.geo.raster import Mask, Pixels

Window = tuple[list[Pixels], list[Mask]]
Read = Callable[[int, int, int, int], Window]

_BLOCK = 128  # side of the blocks in pixels


class Cached:
    """What a function reads, through a cache.

    Args:
        read: Returns arrays `(C_n, h, w)` and validity `(h, w)` of each modality for top, left,
            height and width of a window. What a pixel holds must not depend on the window.
        most: Bytes that the cache may hold; one block is always kept.
    """

    def __init__(self, read: Read, most: int) -> None:
        self._read, self._most = read, most
        self._blocks: OrderedDict[tuple[int, int], Window] = OrderedDict()

    def __call__(self, top: int, left: int, height: int, width: int) -> Window:
        """Returns the arrays and the validity of a window."""
        pixels: list[Pixels] = []
        valid: list[Mask] = []
        for row in range(top // _BLOCK, (top + height - 1) // _BLOCK + 1):
            for column in range(left // _BLOCK, (left + width - 1) // _BLOCK + 1):
                ys, by = _overlap(row, top, height)
                xs, bx = _overlap(column, left, width)
                block_pixels, block_valid = self._block(row, column)
                if not pixels:
                    pixels = [np.empty((len(p), height, width), p.dtype) for p in block_pixels]
                    valid = [np.empty((height, width), np.bool_) for _ in block_valid]
                for n in range(len(pixels)):
                    pixels[n][:, ys, xs] = block_pixels[n][:, by, bx]
                    valid[n][ys, xs] = block_valid[n][by, bx]
        return pixels, valid

    def _block(self, row: int, column: int) -> Window:
        key = (row, column)
        if key not in self._blocks:
            block = self._read(row * _BLOCK, column * _BLOCK, _BLOCK, _BLOCK)
            size = sum(array.nbytes for array in (*block[0], *block[1]))
            while self._blocks and (len(self._blocks) + 1) * size > self._most:
                self._blocks.popitem(last=False)
            self._blocks[key] = block
        self._blocks.move_to_end(key)
        return self._blocks[key]


def _overlap(block: int, start: int, length: int) -> tuple[slice, slice]:
    """Returns where a block falls in a window, and the same stretch within the block."""
    first = max(start, block * _BLOCK)
    last = min(start + length, (block + 1) * _BLOCK)
    return slice(first - start, last - start), slice(first - block * _BLOCK, last - block * _BLOCK)
