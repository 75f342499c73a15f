"""Training, validation and test pixels that lie apart.

Pixels of one polygon resemble each other, and windows of a network overlap: a random choice of
pixels would measure memory. So whole units (polygons or blocks) go to one side, and held-out
pixels that lie close to others are not used at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from m3amba_geo.config import SplitConfig
from m3amba_geo.errors import NoLabelsError
from m3amba_geo.geo.labels import Labels

Sides = NDArray[np.uint8]


class Side(IntEnum):
    """What a pixel is used for."""

    TRAIN = 1
    VALIDATION = 2
    TEST = 3
    GAP = 4
    """Held out, but too close to pixels of other sides to be used."""


NAMES = {Side.VALIDATION: "validation", Side.TEST: "test"}


@dataclass(frozen=True, eq=False)
class Split:
    """Which pixel is used for what.

    Attributes:
        sides: `Side` of each labelled pixel (N,) uint8.
        notes: What could not be had as asked, in words.
        by: Units that were parted: polygon, block, or none.
    """

    sides: Sides
    notes: tuple[str, ...] = ()
    by: str = "none"


def split_labels(labels: Labels, config: SplitConfig, rng: np.random.Generator) -> Split:
    """Parts labelled pixels.

    Every class stays in training. The rarest class is served first: random units are held out as
    long as that brings the class nearer to the wanted share, at least one where the class has two.
    Test pixels are chosen first, and keep the gap to training and validation, as validation
    decides when training stops.

    Args:
        labels: Labels on the grid.
        config: Units, shares, gap.
        rng: Source of the random choice.

    Raises:
        NoLabelsError: No pixel is labelled.
    """
    if not labels.codes.size:
        raise NoLabelsError(
            "No pixel is labelled.", "Check that labels and raster show the same place."
        )
    sides = np.full(labels.codes.shape, Side.TRAIN, np.uint8)
    wanted = [(Side.TEST, config.test), (Side.VALIDATION, config.validation)]
    wanted = [(side, share) for side, share in wanted if share > 0]
    if config.by == "none" or not wanted:
        return Split(sides, ("Nothing is held out: every labelled pixel trains.",))
    by, notes = _unit(labels, config)
    units = _Units.of(labels, by, config.block)
    for side, share in wanted:
        units.hold_out(side, share, rng)
    sides = units.sides[units.unit_of_pixel]
    held_out = np.isin(sides, [Side.VALIDATION, Side.TEST])
    notes += _apply_gap(sides, labels, config.gap)
    lost = int((sides[held_out] == Side.GAP).sum())
    if 2 * lost > int(held_out.sum()):
        remedy = "larger blocks (train.split.block in m3amba.toml) or " if by == "block" else ""
        notes.append(
            f"{lost:,} of {int(held_out.sum()):,} held-out pixels lie within {config.gap} pixels "
            f"of others and are not used; {remedy}a smaller --gap keeps more."
        )
    for side, _ in wanted:
        notes += _missing(sides, labels, side, by)
    return Split(sides, tuple(notes), by)


def _unit(labels: Labels, config: SplitConfig) -> tuple[str, list[str]]:
    """Decides on the unit; polygons that are one a class can't be parted, blocks can."""
    if config.by != "auto":
        return config.by, []
    if labels.kind != "polygons":
        return "block", []
    groups, first = np.unique(labels.groups, return_index=True)
    if len(groups) > len(np.unique(labels.codes[first])):
        return "polygon", []
    return "block", ["Every class is a single polygon: labels are parted by blocks instead."]


@dataclass(eq=False)
class _Units:
    """Units of labelled pixels and the side of each.

    Attributes:
        unit_of_pixel: Unit of each labelled pixel (N,), 0..U-1.
        counts: Pixels of each unit and class (U, Q), sparse.
        sides: Side of each unit (U,).
        training: Pixels of each class that are left in training (Q,).
        total: Pixels of each class (Q,).
    """

    unit_of_pixel: NDArray[np.int64]
    counts: sparse.csr_array
    sides: Sides = field(init=False)
    training: NDArray[np.int64] = field(init=False)
    total: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.sides = np.full(self.counts.shape[0], Side.TRAIN, dtype=np.uint8)
        self.total = np.asarray(self.counts.sum(axis=0)).astype(np.int64)
        self.training = self.total.copy()

    @classmethod
    def of(cls, labels: Labels, by: str, block: int) -> "_Units":
        """Numbers the units; blocks are anchored at the grid's origin."""
        ids: NDArray[Any] = labels.groups
        if by == "block":
            width = labels.grid.shape[1]
            rows, columns = np.divmod(labels.pixels, width)
            ids = rows // block * (width // block + 1) + columns // block
        unit_ids, unit = np.unique(ids, return_inverse=True)
        codes, index = np.unique(labels.codes, return_inverse=True)
        ones = np.ones(len(ids), dtype=np.int64)
        counts = sparse.coo_array((ones, (unit, index)), shape=(len(unit_ids), len(codes)))
        return cls(unit, counts.tocsr())

    def hold_out(self, side: Side, share: float, rng: np.random.Generator) -> None:
        """Moves units from training to a side, for a share of each class's pixels."""
        held = np.zeros_like(self.total)
        by_class = self.counts.tocsc()
        for c in np.argsort(self.total, kind="stable").tolist():
            entries = slice(by_class.indptr[c], by_class.indptr[c + 1])
            units, sizes = by_class.indices[entries], by_class.data[entries]
            free = self.sides[units] == Side.TRAIN
            shuffled = rng.permutation(np.flatnonzero(free))
            units, sizes = units[shuffled], sizes[shuffled]
            for unit in self._choose(units, sizes, share * self.total[c], held, c):
                self.sides[unit] = side

    def _choose(
        self,
        units: NDArray[np.int64],
        sizes: NDArray[np.int64],
        wanted: float,
        held: NDArray[np.int64],
        c: int,
    ) -> Iterator[int]:
        """Yields units that bring class `c` nearer to what is wanted; keeps count in `held`."""
        for unit, size in zip(units.tolist(), sizes.tolist(), strict=True):
            if held[c] >= wanted:
                break
            if size < 2 * (wanted - held[c]) and self._take(unit, held):
                yield unit
        if held[c] == 0:  # all too large: the smallest is nearest, and better than none
            smallest_first = units[np.argsort(sizes, kind="stable")].tolist()
            yield from (unit for unit in smallest_first if held[c] == 0 and self._take(unit, held))

    def _take(self, unit: int, held: NDArray[np.int64]) -> bool:
        """Takes a unit out of training, unless a class would be left without."""
        entries = slice(self.counts.indptr[unit], self.counts.indptr[unit + 1])
        classes, sizes = self.counts.indices[entries], self.counts.data[entries]
        if (self.training[classes] <= sizes).any():
            return False
        self.training[classes] -= sizes
        held[classes] += sizes
        return True


def _apply_gap(sides: Sides, labels: Labels, gap: int) -> list[str]:
    """Turns held-out pixels that lie too close to others into GAP; edits `sides` in place.

    A class that would lose all its pixels on a side keeps them, and a note says so.
    """
    notes = []
    for side, others in (
        (Side.VALIDATION, [Side.TRAIN]),
        (Side.TEST, [Side.TRAIN, Side.VALIDATION]),
    ):
        ours = sides == side
        if gap < 2 or not ours.any():
            continue
        near = np.zeros_like(ours)
        near[ours] = _near(labels, ours, np.isin(sides, others), gap)
        kept = set(labels.codes[ours & ~near].tolist())
        emptied = [code for code in np.unique(labels.codes[near]).tolist() if code not in kept]
        if emptied:
            near &= ~np.isin(labels.codes, emptied)
            names = ", ".join(_name(labels, code) for code in emptied)
            notes.append(
                f"All {NAMES[side]} pixels of {names} lie within {gap} pixels of others; they are "
                "used nevertheless, and may flatter."
            )
        sides[near] = Side.GAP
    return notes


def _near(
    labels: Labels, ours: NDArray[np.bool_], others: NDArray[np.bool_], gap: int
) -> NDArray[np.bool_]:
    """Says which of our pixels are less than the gap away from others (Chebyshev)."""
    places = np.stack(np.divmod(labels.pixels, labels.grid.shape[1]), axis=1)  # (N, 2)
    if not others.any():
        return np.zeros(int(ours.sum()), np.bool_)
    tree = KDTree(places[others], balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(places[ours], p=np.inf, distance_upper_bound=gap)  # inf beyond
    near: NDArray[np.bool_] = np.isfinite(distance)
    return near


def _missing(sides: Sides, labels: Labels, side: Side, by: str) -> list[str]:
    absent = np.setdiff1d(labels.codes, labels.codes[sides == side]).tolist()
    if not absent:
        return []
    names = ", ".join(_name(labels, code) for code in absent)
    return [f"No {NAMES[side]} pixels for {names}: too few {by}s to spare one."]


def _name(labels: Labels, code: int) -> str:
    return next((f"{entry.name!r}" for entry in labels.legend if entry.code == code), f"{code}")
