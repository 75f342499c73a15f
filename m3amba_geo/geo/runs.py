"""Masks of a grid as the places where they turn, and how files hold them.

A mask of single pixels then takes as much memory as a list of them, and one of a whole scene takes
none to speak of.
"""

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.geo.marks import Positions

_PIECE = 1 << 22  # bytes at a time, whole numbers


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
    def checked(cls, numbers: NDArray[np.generic], shape: tuple[int, int]) -> Self:
        """Returns the mask that `numbers` has told.

        Raises:
            ValueError: It is none of a grid of this shape.
        """
        *_, size = np.atleast_1d(numbers) if numbers.size else [0]
        turns = numbers[:-1].astype(np.int64, casting="safe")
        ordered = turns.ndim == 1 and turns.size % 2 == 0 and bool((np.diff(turns) > 0).all())
        fits = min(shape) > 0 and size == shape[0] * shape[1]
        if not ordered or not fits or (turns.size and not 0 <= turns[0] < turns[-1] <= size):
            raise ValueError(f"These are not runs of {shape[0]} x {shape[1]} pixels.")
        return cls(turns)

    def numbers(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Returns what files hold: the turns, and the number of pixels `H * W` behind them."""
        return np.append(self.turns, shape[0] * shape[1])

    @property
    def count(self) -> int:
        """The number of its pixels."""
        return int((self.turns[1::2] - self.turns[::2]).sum())

    def parts(self, most: int) -> Iterator[Positions]:
        """Yields its pixels, so many at a time."""
        firsts = self.turns[::2]
        behind: Positions = np.cumsum(self.turns[1::2] - firsts)  # pixels up to the end of each run
        for start in range(0, self.count, most):
            numbers: Positions = np.arange(start, min(start + most, self.count))
            run = np.searchsorted(behind, numbers, side="right")
            pixels: Positions = self.turns[1::2][run] - (behind[run] - numbers)
            yield pixels


def to_text(runs: Runs, shape: tuple[int, int]) -> str:
    """Returns the numbers, compressed, as base64 for JSON."""
    numbers = runs.numbers(shape).astype("<i8")
    return base64.b64encode(zlib.compress(numbers.tobytes(), 9)).decode("ascii")


def from_text(text: str, shape: tuple[int, int]) -> Runs:
    """Returns the mask of `to_text`.

    Raises:
        ValueError: The text is damaged or of another shape.
    """
    try:
        pieces = [*_unpressed(base64.b64decode(text, validate=True))]
    except zlib.error as error:
        raise ValueError(f"the mask is damaged: {error}") from error
    return Runs.checked(np.concatenate([np.zeros(0, np.int64), *pieces]), shape)


def _unpressed(raw: bytes) -> Iterator[Positions]:
    """Yields what was compressed, some at a time; what can't be turns ends it at once.

    Numbers that rise don't compress to a thousandth, as a forged text might that fills memory.
    """
    press = zlib.decompressobj()
    while piece := press.decompress(raw, _PIECE):
        numbers = np.frombuffer(piece, "<i8").astype(np.int64)
        if (np.diff(numbers) < 0).any() or (numbers[:-2] == numbers[1:-1]).any():
            raise ValueError("the mask is damaged: its runs are out of order")
        yield numbers
        raw = press.unconsumed_tail
    if not press.eof:
        raise ValueError("the mask is damaged: it ends early")
