"""Scenes in memory, and the cases that methods are compared on: the same pixels for all.

Letters: H, W the grid's rows and columns, C_n bands of modality n.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from m3amba_geo.config import SceneConfig, SplitBy, SplitConfig
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Listener
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.labels import Labels, read_legend
from m3amba_geo.geo.legend import Legend
from m3amba_geo.geo.raster import Mask, Pixels
from m3amba_geo.geo.split import Side, split_labels
from m3amba_geo.jobs.ground_truth import labels_on
from training.recipe import Protocol


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene, read whole.

    Attributes:
        config: Where it came from.
        grid: Its grid.
        legend: Its classes.
        pixels: For each modality `(C_n, H, W)` float32.
        valid: `(H, W)`, where every modality is valid.
        labels: Labels on valid pixels.
        test: Labels given for the test, or None.
    """

    config: SceneConfig
    grid: GeoBox
    legend: Legend
    pixels: tuple[Pixels, ...]
    valid: Mask
    labels: Labels
    test: Labels | None

    def only(self, modality: str) -> "Scene":
        """Returns the scene as seen by one modality; labels and validity stay those of all.

        Raises:
            UsageError: There is no such modality.
        """
        names = [m.name for m in self.config.modalities]
        if modality not in names:
            raise UsageError(f"No modality {modality!r}.", f"Name one of {', '.join(names)}.")
        n = names.index(modality)
        config = replace(self.config, modalities=(self.config.modalities[n],))
        return replace(self, config=config, pixels=(self.pixels[n],))


@dataclass(frozen=True, eq=False)
class Case:
    """What a method learns from and is scored on.

    Attributes:
        seed: Seed of the parting and of the method.
        fold: Which unit is held out, from 0.
        few: Training labels a class; None for all.
        codes: `(H, W)` uint16 class codes of training and test pixels, 0 elsewhere.
        groups: `(H, W)` unit of each labelled pixel: what cross-validation never tears apart.
        train: `(H, W)` training pixels.
        test: `(H, W)` test pixels.
    """

    seed: int
    fold: int
    few: int | None
    codes: NDArray[np.uint16]
    groups: NDArray[np.int64]
    train: Mask
    test: Mask

    @property
    def key(self) -> tuple[int | None, int, int]:
        """What tells the cases of a recipe apart."""
        return self.few, self.seed, self.fold

    @property
    def pixels(self) -> str:
        """Returns a digest of codes and sides: equal where methods saw the same pixels."""
        digest = hashlib.sha256(np.where(self.train | self.test, self.codes, 0).tobytes())
        digest.update(np.packbits(self.train).tobytes() + np.packbits(self.test).tobytes())
        return digest.hexdigest()[:12]


def read_scene(config: SceneConfig, emit: Listener) -> Scene:
    """Reads a scene through the same doors as training does.

    Raises:
        M3ambaError: Rasters or labels are not fit.
    """
    assert config.labels is not None
    wanted = [config.labels] + ([config.test_labels] if config.test_labels else [])
    with open_stack(config, emit) as stack:
        legend = read_legend(wanted)
        pixels, valid = stack.read(0, 0, *stack.grid.shape)
        complete = stack.coverage.used(valid) > 0
        given = [labels_on(stack, labels, legend, emit) for labels in wanted]
    test = given[1] if len(given) > 1 else None
    return Scene(config, stack.grid, legend, tuple(pixels), complete, given[0], test)


def cases(scene: Scene, protocol: Protocol, seeds: Iterable[int]) -> Iterator[Case]:
    """Yields every case of a protocol, seed after seed."""
    for seed in seeds:
        for whole in _parted(scene, protocol, seed):
            if not protocol.few:
                yield whole
            for few in protocol.few:
                rng = np.random.default_rng([seed, whole.fold, few])
                yield replace(whole, few=few, train=draw(whole.codes, whole.train, few, rng))


def draw(codes: NDArray[np.uint16], train: Mask, few: int, rng: np.random.Generator) -> Mask:
    """Returns `few` of the training pixels of each class, `(H, W)`; all where there are fewer."""
    drawn = np.zeros_like(train)
    for code in np.unique(codes[train]):
        pixels = np.flatnonzero(train & (codes == code))
        drawn.flat[rng.permutation(pixels)[:few]] = True
    return drawn


def _parted(scene: Scene, protocol: Protocol, seed: int) -> Iterator[Case]:
    if protocol.part == "given":
        assert scene.test is not None
        held = scene.test.spread(scene.test.codes)
        codes = scene.labels.spread(scene.labels.codes)
        test = held > 0
        train = (codes > 0) & ~test
        codes = np.where(test, held, codes)
        yield Case(seed, 0, None, codes, _groups(scene.labels), train, test)
        return
    codes = scene.labels.spread(scene.labels.codes)
    groups = _units(scene.labels, protocol)
    sides = _halves if protocol.folds == 1 else _folds
    for fold, (train, test) in enumerate(sides(scene.labels, groups, protocol, seed)):
        yield Case(seed, fold, None, codes, groups, train, test)


def _units(labels: Labels, protocol: Protocol) -> NDArray[np.int64]:
    """Returns the unit of each labelled pixel, `(H, W)`; blocks as `split_labels` lays them."""
    if protocol.part == "polygon":
        return _groups(labels)
    rows, columns = (np.arange(side) // protocol.block for side in labels.grid.shape)
    return rows[:, None] * (columns[-1] + 1) + columns + 1


def _groups(labels: Labels) -> NDArray[np.int64]:
    return labels.spread(labels.groups.astype(np.int64))


def _halves(
    labels: Labels, groups: NDArray[np.int64], protocol: Protocol, seed: int
) -> Iterator[tuple[Mask, Mask]]:
    """One parting, by the rule of `train --test-share`."""
    by: SplitBy = "polygon" if protocol.part == "polygon" else "block"
    config = SplitConfig(by, 0.0, protocol.test, protocol.gap, protocol.block)
    sides = labels.spread(split_labels(labels, config, np.random.default_rng(seed)).sides)
    yield sides == Side.TRAIN, sides == Side.TEST


def _folds(
    labels: Labels, groups: NDArray[np.int64], protocol: Protocol, seed: int
) -> Iterator[tuple[Mask, Mask]]:
    """Every unit is held out once; held-out pixels near training pixels are not scored."""
    pixels = labels.pixels
    unit = groups.flat[pixels]
    for _, held in GroupKFold(protocol.folds, shuffle=True, random_state=seed).split(
        pixels, groups=unit
    ):
        test = np.zeros(labels.grid.shape, np.bool_)
        test.flat[pixels[held]] = True
        train = labels.spread(np.ones(len(pixels), np.bool_)) & ~test
        distance = ndimage.distance_transform_cdt(~train, "chessboard")
        yield train, test & (distance >= protocol.gap)


def tuning_folds(
    classes: NDArray[np.uint16], groups: NDArray[np.int64], seed: int, most: int = 3
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns `(train, held out)` positions for tuning; no group is on both sides.

    Classes are spread over the folds as evenly as groups allow.

    Args:
        classes: `(n,)` class of each training pixel.
        groups: `(n,)` its unit.
        seed: Of the shuffle.
        most: Folds; fewer where there are fewer groups.

    Raises:
        UsageError: All pixels are of one group.
    """
    folds = min(most, len(np.unique(groups)))
    if folds < 2:
        raise UsageError("All training pixels are of one group.", "Take smaller blocks.")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is left out of a fold
        return list(splitter.split(np.empty((len(classes), 0)), classes, groups))
