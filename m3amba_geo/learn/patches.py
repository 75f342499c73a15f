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
        train: `(H, W)` int32 class index of training pixels, `UNLABELLED` elsewhere.
        validation: The same for validation pixels.
    """

    stack: Stack
    train: NDArray[np.int32]
    validation: NDArray[np.int32]


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
        patches: For each modality `(B, C_n, P, P)` float32, scaled, 0 where invalid.
        classes: `(B, P, P)` int64 class index, `UNLABELLED` where unknown.
        valid: `(B, P, P)` bool, where every modality is valid.
    """

    windows: list[Window]
    patches: list[Tensor]
    classes: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device."""
        return Batch(
            self.windows,
            [patch.to(device) for patch in self.patches],
            self.classes.to(device),
            self.valid.to(device),
        )


class Patches:
    """All patches there are to train on, one a labelled cell of the scenes.

    A cell is a square of `CELL` pixels with a training pixel in it; every epoch visits each cell
    once, in a window placed at random around it.

    Args:
        scenes: Where they lie.
        statistics: Scaling of each modality.
        patch: Side of a patch.
        step: Windows begin at multiples of so many pixels: more than 1, such as `CELL`, makes
            those that training may see few enough to be counted.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        statistics: Sequence[BandStatistics],
        patch: int,
        step: int = 1,
    ) -> None:
        self.scenes = scenes
        self.statistics = statistics
        self.patch = patch
        self.step = step
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
        windows, parts = [], []
        for cell in chosen:
            windows.append(self._random_window(cell, rng))
            parts.append(self._random_patch(windows[-1], rng, config))
        return self._stack(windows, parts)

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
        """Returns the patch in a window, for each modality `(C_n, P, P)`, scaled, unchanged."""
        return self._cut(window, self.scenes[window.scene].train)[0]

    def validation_windows(self, rng: np.random.Generator, most: int | None) -> list[Window]:
        """Returns windows that cover the validation pixels, at most `most` of them at random."""
        windows = []
        for n, scene in enumerate(self.scenes):
            wanted = scene.validation != UNLABELLED
            rows, columns = (starts(side, self.patch, self.patch // 2) for side in wanted.shape)
            for top in rows:
                strip = wanted[top : top + self.patch]
                if strip.any():
                    windows += [
                        Window(n, int(top), int(left))
                        for left in columns
                        if strip[:, left : left + self.patch].any()
                    ]
        if most is not None and len(windows) > most:
            kept = rng.choice(len(windows), most, replace=False)
            windows = [windows[i] for i in sorted(kept)]
        return windows

    def validation_batches(self, windows: Sequence[Window], size: int) -> Iterator[Batch]:
        """Yields the windows' patches, unchanged, with the classes of validation pixels."""
        for first in range(0, len(windows), size):
            some = windows[first : first + size]
            yield self._stack(some, [self._cut(w, self.scenes[w.scene].validation) for w in some])

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

    def _random_patch(
        self, window: Window, rng: np.random.Generator, config: TrainConfig
    ) -> tuple[list[Pixels], NDArray[np.int32], list[Mask]]:
        patches, classes, valid = self._cut(window, self.scenes[window.scene].train)
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
        self, window: Window, classes: NDArray[np.int32]
    ) -> tuple[list[Pixels], NDArray[np.int32], list[Mask]]:
        side = self.patch
        stack = self.scenes[window.scene].stack
        pixels, valid = stack.read_cached(window.top, window.left, side, side)
        patches = [s.scale(p, v) for s, p, v in zip(self.statistics, pixels, valid, strict=True)]
        cut = np.full((side, side), UNLABELLED, np.int32)
        part = classes[window.top : window.top + side, window.left : window.left + side]
        cut[: part.shape[0], : part.shape[1]] = part
        cut[~valid_in_all(valid)] = UNLABELLED
        return patches, cut, valid

    @staticmethod
    def _stack(
        windows: Sequence[Window],
        parts: Sequence[tuple[list[Pixels], NDArray[np.int32], list[Mask]]],
    ) -> Batch:
        modalities = zip(*(patches for patches, _, _ in parts), strict=True)
        return Batch(
            list(windows),
            [torch.from_numpy(np.stack(same)) for same in modalities],
            torch.from_numpy(np.stack([classes for _, classes, _ in parts]).astype(np.int64)),
            torch.from_numpy(np.stack([valid_in_all(valid) for _, _, valid in parts])),
        )


def _cells(scene: int, classes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns `(n, 3)`: scene, top and left pixel of each cell with a training pixel."""
    rows, columns = np.nonzero(classes != UNLABELLED)
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


def silence_modality(
    patches: list[Pixels], rng: np.random.Generator, chance: float
) -> list[Pixels]:
    """Returns the patches with one modality silenced, at most, and never the only one."""
    if len(patches) > 1 and rng.random() < chance:
        silent = int(rng.integers(len(patches)))
        patches = [np.zeros_like(p) if n == silent else p for n, p in enumerate(patches)]
    return patches
