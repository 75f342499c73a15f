"""Patches of training scenes: indexed, cut when they are needed, changed at random.

Letters: P patch side, C_n bands of modality n.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m3amba_geo.config import TrainConfig
from m3amba_geo.geo.align import Stack, valid_in_all
from m3amba_geo.geo.marks import Marks
from m3amba_geo.geo.raster import Mask, Pixels
from m3amba_geo.geo.stats import BandStatistics
from m3amba_geo.geo.windows import starts

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


@dataclass(frozen=True)
class Batch:
    """Patches for one step.

    Attributes:
        patches: For each modality `(B, C_n, P, P)` float32, scaled, 0 where invalid.
        classes: `(B, P, P)` int64 class index, `UNLABELLED` where unknown.
        valid: `(B, P, P)` bool, where every modality is valid.
    """

    patches: list[Tensor]
    classes: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device."""
        return Batch(
            [patch.to(device) for patch in self.patches],
            self.classes.to(device),
            self.valid.to(device),
        )


@dataclass(frozen=True)
class Window:
    """Top left pixel of a patch in one of the scenes; it may lie outside the raster."""

    scene: int
    top: int
    left: int


class Patches:
    """All patches there are to train on, one a labelled cell of the scenes.

    A cell is a square of `CELL` pixels with a training pixel in it; every epoch visits each cell
    once, in a window placed at random around it.
    """

    def __init__(
        self, scenes: Sequence[LabelledScene], statistics: Sequence[BandStatistics], patch: int
    ) -> None:
        self.scenes = scenes
        self.statistics = statistics
        self.patch = patch
        self.cells = np.concatenate([_cells(n, s.train) for n, s in enumerate(scenes)])  # (n, 3)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.cells)

    def batch(self, step: int, config: TrainConfig) -> Batch:
        """Returns the batch of a step; it depends on the seed and the step alone.

        So a run that is taken up again sees what it would have seen.
        """
        first = step * config.batch
        chosen = []
        for position in range(first, first + config.batch):
            epoch, place = divmod(position, len(self.cells))
            order = np.random.default_rng([config.seed, 1, epoch]).permutation(len(self.cells))
            chosen.append(self.cells[order[place]])
        rng = np.random.default_rng([config.seed, 2, step])
        return self._stack([self._random_patch(cell, rng, config) for cell in chosen])

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
            yield self._stack(
                [
                    self._cut(w, self.scenes[w.scene].validation)
                    for w in windows[first : first + size]
                ]
            )

    def _random_patch(
        self, cell: NDArray[np.int64], rng: np.random.Generator, config: TrainConfig
    ) -> tuple[list[Pixels], NDArray[np.int32], list[Mask]]:
        scene, row, column = (int(value) for value in cell)
        shape = self.scenes[scene].train.shape
        top, left = (
            _placed(start, side, self.patch, rng)
            for start, side in zip((row, column), shape, strict=True)
        )
        patches, classes, valid = self._cut(Window(scene, top, left), self.scenes[scene].train)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        patches = [_turned(p, turns, mirrored) for p in patches]
        valid = [_turned(v, turns, mirrored) for v in valid]
        # What is invalid stays 0, as it is when a map is made.
        patches = [disturb(p, rng, config) * v for p, v in zip(patches, valid, strict=True)]
        return (
            silence_modality(patches, rng, config.modality_dropout),
            _turned(classes, turns, mirrored),
            valid,
        )

    def _cut(
        self, window: Window, classes: Marks[np.int32]
    ) -> tuple[list[Pixels], NDArray[np.int32], list[Mask]]:
        side = self.patch
        stack = self.scenes[window.scene].stack
        pixels, valid = stack.read_cached(window.top, window.left, side, side)
        patches = [s.scale(p, v) for s, p, v in zip(self.statistics, pixels, valid, strict=True)]
        cut = classes.window(window.top, window.left, side, side, UNLABELLED)
        cut[~valid_in_all(valid)] = UNLABELLED
        return patches, cut, valid

    @staticmethod
    def _stack(parts: Sequence[tuple[list[Pixels], NDArray[np.int32], list[Mask]]]) -> Batch:
        modalities = zip(*(patches for patches, _, _ in parts), strict=True)
        return Batch(
            [torch.from_numpy(np.stack(same)) for same in modalities],
            torch.from_numpy(np.stack([classes for _, classes, _ in parts]).astype(np.int64)),
            torch.from_numpy(np.stack([valid_in_all(valid) for _, _, valid in parts])),
        )


def _cells(scene: int, classes: Marks[np.int32]) -> NDArray[np.int64]:
    """Returns `(n, 3)`: scene, top and left pixel of each cell with a training pixel."""
    rows, columns = np.divmod(classes.pixels, classes.shape[1])
    cells = np.unique(np.stack([rows // CELL, columns // CELL], 1), axis=0) * CELL
    return np.insert(cells, 0, scene, axis=1)


def _placed(cell: int, side: int, patch: int, rng: np.random.Generator) -> int:
    """Returns a random start of a window that holds the cell and, if it can, lies inside."""
    start = int(rng.integers(cell + CELL - patch, cell + 1))
    return min(max(start, 0), max(side - patch, 0))


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


def silence_modality(
    patches: list[Pixels], rng: np.random.Generator, chance: float
) -> list[Pixels]:
    """Returns the patches with one modality silenced, at most, and never the only one."""
    if len(patches) > 1 and rng.random() < chance:
        silent = int(rng.integers(len(patches)))
        patches = [np.zeros_like(p) if n == silent else p for n, p in enumerate(patches)]
    return patches
