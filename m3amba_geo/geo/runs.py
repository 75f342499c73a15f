"""Masks of a grid as the places where they turn, and how files hold them.

A mask of single pixels then takes as much memory as a list of them, and one of a whole scene takes
none to speak of. It is written and read a few pixels at a time.
"""

import base64
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.raster import Mask

_STRIP = 1 << 22  # pixels at a time; of whole bytes


@dataclass(frozen=True, eq=False)
class Runs:
    """A mask of a flattened grid.

    Attributes:
        turns: Positions (2R,), ascending: the first pixel of a run, the first behind it, and so on.
    """

    turns: Positions

    @classmethod
    def of(cls, pixels: Positions) -> Self:
        """Returns the mask of some pixels (N,)."""
        gaps = np.flatnonzero(np.diff(pixels) != 1)
        firsts = pixels[np.concatenate([[0], gaps + 1])] if pixels.size else pixels
        lasts = pixels[np.concatenate([gaps, [-1]])] if pixels.size else pixels
        return cls(np.stack([firsts, lasts + 1], axis=1).ravel())

    @classmethod
    def joined(cls, strips: Iterable[Mask]) -> Self:
        """Returns the mask that strips (n,) make up, one after the other."""
        found, start, inside = [np.zeros(0, np.int64)], 0, False
        for strip in strips:
            found.append(np.flatnonzero(np.diff(strip, prepend=inside)) + start)
            start, inside = start + strip.size, bool(strip[-1])
        found.append(np.full(int(inside), start))
        return cls(np.concatenate(found))

    @property
    def count(self) -> int:
        """The number of its pixels."""
        return int((self.turns[1::2] - self.turns[::2]).sum())

    def parts(self, most: int) -> Iterator[Positions]:
        """Yields its pixels, so many at a time."""
        firsts = self.turns[::2]
        behind = np.cumsum(self.turns[1::2] - firsts)  # pixels up to the end of each run
        for start in range(0, self.count, most):
            numbers = np.arange(start, min(start + most, self.count))
            run = np.searchsorted(behind, numbers, side="right")
            yield self.turns[1::2][run] - (behind[run] - numbers)

    def strips(self, size: int) -> Iterator[Mask]:
        """Yields the mask of a grid of so many pixels in strips (n,)."""
        for start in range(0, size, _STRIP):
            end = min(start + _STRIP, size)
            first, last = np.searchsorted(self.turns, [start, end])
            flips = np.zeros(end - start, np.bool_)
            flips[self.turns[first:last] - start] = True
            flips[0] ^= first % 2 == 1
            yield np.logical_xor.accumulate(flips)


def pack(runs: Runs, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns the mask with eight pixels a byte, `(ceil(H*W/8),)`."""
    return np.concatenate([np.packbits(strip) for strip in runs.strips(shape[0] * shape[1])])


def unpack(bits: NDArray[np.uint8], shape: tuple[int, int]) -> Runs:
    """Returns the mask of packed bits of a grid `(H, W)`.

    Raises:
        ValueError: The number of bits does not fit the shape.
    """
    return _unpacked((bits[n : n + _STRIP // 8] for n in range(0, bits.size, _STRIP // 8)), shape)


def to_text(runs: Runs, shape: tuple[int, int]) -> str:
    """Returns the packed mask, compressed, as base64 for JSON."""
    press = zlib.compressobj(9)
    pieces = [press.compress(np.packbits(strip)) for strip in runs.strips(shape[0] * shape[1])]
    return base64.b64encode(b"".join([*pieces, press.flush()])).decode("ascii")


def from_text(text: str, shape: tuple[int, int]) -> Runs:
    """Returns the mask of `to_text`.

    Raises:
        ValueError: The text is damaged or of another shape.
    """
    try:
        return _unpacked(_unpressed(base64.b64decode(text, validate=True)), shape)
    except zlib.error as error:
        raise ValueError(f"the mask is damaged: {error}") from error


def _unpressed(raw: bytes) -> Iterator[NDArray[np.uint8]]:
    """Yields what was compressed, as much at a time as a strip takes."""
    press = zlib.decompressobj()
    while piece := press.decompress(raw, _STRIP // 8):
        yield np.frombuffer(piece, np.uint8)
        raw = press.unconsumed_tail


def _unpacked(pieces: Iterable[NDArray[np.uint8]], shape: tuple[int, int]) -> Runs:
    size = max(0, shape[0]) * max(0, shape[1])

    def strips() -> Iterator[Mask]:
        left = size
        for piece in pieces:
            if piece.size > -(-left // 8):  # at once: a forged text unpacks to all of memory
                raise _unfit(shape)
            yield np.unpackbits(piece, count=min(left, 8 * piece.size)).astype(np.bool_)
            left -= min(left, 8 * piece.size)
        if left or not size:
            raise _unfit(shape)

    return Runs.joined(strips())


def _unfit(shape: tuple[int, int]) -> ValueError:
    return ValueError(f"These bytes can't be a mask of {shape[0]} x {shape[1]} pixels.")
