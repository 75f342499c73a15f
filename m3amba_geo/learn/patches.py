"""Patches of training scenes: indexed, cut when they are needed, changed at random.

Letters: P patch side, C_n bands of modality n.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m3amba_geo.config import TrainConfig
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.cache import Cached
from m3amba_geo.geo.features import Features, read_features
from m3amba_geo.geo.marks import Marks
from m3amba_geo.geo.raster import Mask, Pixels
from m3amba_geo.geo.windows import starts
from m3amba_geo.learn.borders import border, joined

CELL = 8  # pixels; as the published training stride
UNLABELLED = -1

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class LabelledScene:
    """A scene and the class of its pixels.

    Attributes:
        stack: The rasters.
        train: Class index of training pixels.
        validation: The same for validation pixels.
    """

    stack: Stack
    train: Marks[np.int32]
    validation: Marks[np.int32]


@dataclass(frozen=True, order=True)
class Window:
    """Top left pixel of a patch in one of the scenes; it may lie outside the raster."""

    scene: int
    top: int
    left: int


@dataclass(frozen=True)
class Batch:
    """Patches for one step.

    Attributes:
        windows: Where they were cut, `B` of them.
        patches: For each modality `(B, C_n, P, P)` float32 features, 0 where invalid.
        clean: The same before they were disturbed; turned alike.
        classes: `(B, P, P)` int64 class index, `UNLABELLED` where unknown.
        valid: `(B, P, P)` bool, where a pixel counts: every modality is valid.
        there: `(N, B, P, P)` bool, where each modality is, on such pixels: valid, and not silenced.
        taught: `(B, Q, P, P)` float32 shares of the classes that a teacher gives to unlabelled
            pixels, 0 where it gives none; None without a teacher.
    """

    windows: list[Window]
    patches: list[Tensor]
    clean: list[Tensor]
    classes: Tensor
    valid: Tensor
    there: Tensor
    taught: Tensor | None = None

    def counts(self) -> Tensor:
        """Returns `(3,)` int64: labelled pixels, valid pixels, taught pixels."""
        taught = self.valid.new_zeros(()) if self.taught is None else self.taught.any(1)
        known = (self.classes != UNLABELLED, self.valid, taught)
        return torch.stack([pixels.sum() for pixels in known])

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device."""
        return Batch(
            self.windows,
            [patch.to(device) for patch in self.patches],
            [patch.to(device) for patch in self.clean],
            self.classes.to(device),
            self.valid.to(device),
            self.there.to(device),
            None if self.taught is None else self.taught.to(device),
        )


@dataclass(frozen=True)
class _Patch:
    window: Window
    pixels: list[Pixels]
    clean: list[Pixels]
    classes: NDArray[np.int32]
    counts: Mask
    valid: list[Mask]


class Patches:
    """All patches there are to train on, one a labelled cell of the scenes.

    A cell is a square of `CELL` pixels with a training pixel in it; every epoch visits each cell
    once, in a window placed at random around it.

    Args:
        scenes: Where they lie.
        features: What the network sees of each modality.
        patch: Side of a patch.
        step: Windows begin at multiples of so many pixels: more than 1, such as `CELL`, makes
            those that training may see few enough to be counted.
        cache: Bytes of features that may be kept.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        features: Sequence[Features],
        patch: int,
        step: int = 1,
        cache: int = 1 << 30,
    ) -> None:
        self.scenes, self.features = scenes, features
        self._coverage = scenes[0].stack.coverage
        self._read = [
            Cached(partial(read_features, scene.stack, features), cache // len(scenes))
            for scene in scenes
        ]
        self.patch = patch
        self.step = step
        self.cells = np.concatenate([_cells(n, s.train) for n, s in enumerate(scenes)])  # (n, 3)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.cells)

    def batch(self, step: int, config: TrainConfig, part: slice = slice(None)) -> Batch:
        """Returns the batch of a step, or a part of it.

        A patch depends on the seed and its number in the run alone. So a run that is taken up
        again sees what it would have seen, and so do several processes that share a batch.
        """
        numbers = range(step * config.batch, (step + 1) * config.batch)[part]
        return _batch([self._visit(number, config) for number in numbers])

    def training_windows(self) -> set[Window]:
        """Returns every window that `batch` may come to."""
        return {
            Window(int(cell[0]), int(top), int(left))
            for cell in self.cells
            for tops, lefts in [self._starts(cell)]
            for top in tops
            for left in lefts
        }

    def patch_at(self, window: Window) -> list[Pixels]:
        """Returns the patch in a window, for each modality `(C_n, P, P)`, unchanged."""
        return self._cut(window, self.scenes[window.scene].train).pixels

    def validation_windows(self, rng: np.random.Generator, most: int | None) -> list[Window]:
        """Returns windows that cover the validation pixels, at most `most` of them at random."""
        windows = []
        for n, scene in enumerate(self.scenes):
            shape = scene.validation.shape
            tops, lefts = (starts(side, self.patch, self.patch // 2) for side in shape)
            for top in tops:
                _, columns = scene.validation.lines(int(top), self.patch)
                columns.sort()
                first, last = np.searchsorted(columns, [lefts, lefts + self.patch])
                windows += [Window(n, int(top), int(left)) for left in lefts[first < last]]
        if most is not None and len(windows) > most:
            kept = rng.choice(len(windows), most, replace=False)
            windows = [windows[i] for i in sorted(kept)]
        return windows

    def validation_batches(self, windows: Sequence[Window], size: int) -> Iterator[Batch]:
        """Yields the windows' patches, unchanged, with the classes of validation pixels."""
        for first in range(0, len(windows), size):
            some = windows[first : first + size]
            yield _batch([self._cut(w, self.scenes[w.scene].validation) for w in some])

    def _starts(self, cell: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Returns the tops and the lefts of the windows that hold a cell."""
        scene, *corner = (int(value) for value in cell)
        shape = self.scenes[scene].train.shape
        return [
            _around(start, side, self.patch, self.step)
            for start, side in zip(corner, shape, strict=True)
        ]

    def _random_window(self, cell: NDArray[np.int64], rng: np.random.Generator) -> Window:
        top, left = (int(s[rng.integers(len(s))]) for s in self._starts(cell))
        return Window(int(cell[0]), top, left)

    def _visit(self, number: int, config: TrainConfig) -> _Patch:
        epoch, place = divmod(number, len(self.cells))
        order = _order(config.seed, epoch, len(self.cells))
        rng = np.random.default_rng([config.seed, 2, number])
        patch = self._seen(self.cells[order[place]], rng)
        # What is made of two can't be counted beforehand, as fixed embeddings want it.
        if self.step == 1 and rng.random() < config.borders:
            other = self._seen(self.cells[rng.integers(len(self.cells))], rng)
            patch = self._joined(patch, other, border(self.patch, rng))
        pixels = [disturb(p, rng, config) for p in patch.clean]
        valid = silence(patch.valid, rng, config.modality_dropout)
        # What is invalid stays 0, as it is when a map is made.
        pixels = [p * v for p, v in zip(pixels, valid, strict=True)]
        return replace(patch, pixels=pixels, valid=valid)

    def _seen(self, cell: NDArray[np.int64], rng: np.random.Generator) -> _Patch:
        """Returns a patch around a cell, placed, turned and mirrored at random."""
        window = self._random_window(cell, rng)
        cut = self._cut(window, self.scenes[window.scene].train)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        turned = partial(_turned, turns=turns, mirrored=mirrored)
        clean = [turned(p) for p in cut.pixels]
        return _Patch(
            window, clean, clean, turned(cut.classes), turned(cut.counts), [*map(turned, cut.valid)]
        )

    def _joined(self, first: _Patch, second: _Patch, beyond: Mask) -> _Patch:
        """Returns the first patch with what lies beyond a border taken from the second."""
        valid = [np.where(beyond, b, a) for a, b in zip(first.valid, second.valid, strict=True)]
        clean = [
            joined(a, b, f.sides, beyond) * v
            for a, b, f, v in zip(first.clean, second.clean, self.features, valid, strict=True)
        ]
        classes = np.where(beyond, second.classes, first.classes)
        counts = np.where(beyond, second.counts, first.counts)
        return _Patch(first.window, clean, clean, classes, counts, valid)

    def _cut(self, window: Window, classes: Marks[np.int32]) -> _Patch:
        side = self.patch
        pixels, valid = self._read[window.scene](window.top, window.left, side, side)
        cut = classes.window(window.top, window.left, side, side, UNLABELLED)
        counts = self._coverage.used(valid) > 0
        cut[~counts] = UNLABELLED
        return _Patch(window, pixels, pixels, cut, counts, valid)


def _batch(patches: Sequence[_Patch]) -> Batch:
    classes = torch.from_numpy(np.stack([p.classes for p in patches]).astype(np.int64))
    return Batch(
        [p.window for p in patches],
        _stacked([p.pixels for p in patches]),
        _stacked([p.clean for p in patches]),
        classes,
        torch.from_numpy(np.stack([p.counts for p in patches])),
        torch.from_numpy(np.stack([p.counts & np.stack(p.valid) for p in patches], 1)),
    )


def _stacked(patches: Sequence[list[Pixels]]) -> list[Tensor]:
    """Returns, for each modality, `(B, C_n, P, P)`."""
    return [torch.from_numpy(np.stack(same)) for same in zip(*patches, strict=True)]


@lru_cache(2)  # a batch may end one epoch and begin the next
def _order(seed: int, epoch: int, cells: int) -> NDArray[np.int64]:
    """Returns the order in which an epoch visits the cells."""
    return np.random.default_rng([seed, 1, epoch]).permutation(cells)


def _cells(scene: int, classes: Marks[np.int32]) -> NDArray[np.int64]:
    """Returns `(n, 3)`: scene, top and left pixel of each cell with a training pixel."""
    rows, columns = np.divmod(classes.pixels, classes.shape[1])
    cells = np.unique(np.stack([rows // CELL, columns // CELL], 1), axis=0) * CELL
    return np.insert(cells, 0, scene, axis=1)


def _around(cell: int, side: int, patch: int, step: int) -> NDArray[np.int64]:
    """Returns the starts of windows that hold the cell and, if they can, lie inside."""
    first = -((patch - CELL - cell) // step) * step
    return np.arange(first, cell + 1, step).clip(0, max(side - patch, 0))


def _turned(array: NDArray[Number], turns: int, mirrored: bool) -> NDArray[Number]:
    array = np.rot90(array, turns, axes=(-2, -1))
    return np.ascontiguousarray(array[..., ::-1] if mirrored else array)


def disturb(patch: Pixels, rng: np.random.Generator, config: TrainConfig) -> Pixels:
    """Returns `(C, P, P)` with noise, a shift of each band, and some bands silenced."""
    bands = patch.shape[0]
    strength = config.noise * rng.random()
    patch = patch + strength * rng.standard_normal(patch.shape, np.float32)
    patch += config.noise * rng.standard_normal((bands, 1, 1), np.float32)
    silent = np.less(rng.random(bands), config.band_dropout)
    if not silent.all():
        patch[silent] = 0
    return patch


def silence(valid: list[Mask], rng: np.random.Generator, chance: float) -> list[Mask]:
    """Returns where modalities are valid once some of them, by this chance, are taken for missing.

    Any that leave one are as likely as others.
    """
    if len(valid) > 1 and rng.random() < chance:
        silent = int(rng.integers(1, 2 ** len(valid) - 1))  # a bit for each modality
        valid = [v & (not silent >> n & 1) for n, v in enumerate(valid)]
    return valid
