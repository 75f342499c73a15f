"""The scenes of a training: rasters, labels on their grid, labels parted."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.config import LabelConfig, SceneConfig, TrainConfig
from m3amba_geo.errors import NoLabelsError, TooFewClassesError, UsageError
from m3amba_geo.events import Listener, Note, Warned, ignore
from m3amba_geo.geo.align import Stack, TrainedModality, open_stack
from m3amba_geo.geo.area import TrainingArea, reached
from m3amba_geo.geo.labels import Kind, Labels, read_labels, read_legend
from m3amba_geo.geo.legend import MAX_CODE, Legend, as_code
from m3amba_geo.geo.marks import Marks, Positions
from m3amba_geo.geo.raster import same_place
from m3amba_geo.geo.runs import Runs
from m3amba_geo.geo.split import Side, Split, split_labels
from m3amba_geo.jobs.contents import label_content, raster_content
from m3amba_geo.jobs.ground_truth import labels_on
from m3amba_geo.learn.patches import UNLABELLED, LabelledScene

_NOWHERE = Runs.of(np.empty(0, np.int64))
DRAWN_AREAS = 0.5  # class balance of polygons, lines and label rasters


@dataclass(frozen=True)
class TrainingScene:
    """A place to train on.

    Attributes:
        config: Where it came from.
        stack: Its rasters, open.
        labels: Its labels, on the rasters' grid.
        split: Their parting.
        tested: Codes of the pixels of labels for testing alone (T,).
    """

    config: SceneConfig
    stack: Stack
    labels: Labels
    split: Split
    tested: NDArray[np.uint16]

    def on(self, side: Side) -> NDArray[np.bool_]:
        """Returns which labelled pixels are on a side (N,)."""
        chosen: NDArray[np.bool_] = self.split.sides == side
        return chosen

    def pixels_on(self, side: Side) -> NDArray[np.int64]:
        """Returns the labelled pixels of a side, as places in the raster."""
        return self.labels.pixels[self.on(side)]

    def labelled(self, legend: Legend) -> LabelledScene:
        """Returns the scene as patches are cut from it; classes are numbers in the legend."""
        table = np.full(65536, UNLABELLED, np.int32)
        table[[entry.code for entry in legend]] = np.arange(len(legend))
        classes = table[self.labels.codes]
        shape = (self.labels.grid.shape[0], self.labels.grid.shape[1])
        train, validation = (
            Marks(shape, self.labels.pixels[chosen], classes[chosen])
            for side in (Side.TRAIN, Side.VALIDATION)
            for chosen in [self.on(side) & (classes != UNLABELLED)]
        )
        return LabelledScene(self.stack, train, validation)

    def area(self) -> TrainingArea:
        """Returns which pixels training has seen, or was stopped by."""
        sides = (Side.TRAIN, Side.VALIDATION)
        train, validation = (Runs.of(self.pixels_on(side)) for side in sides)
        return TrainingArea(self.stack.grid, train, validation)


def label_configs(scenes: Sequence[SceneConfig]) -> list[LabelConfig]:
    """Returns where the labels of each scene lie.

    Raises:
        UsageError: There is no scene, or one has none.
    """
    if not scenes:
        raise UsageError("No rasters were given.", "Name rasters, or a [[scene]] in m3amba.toml.")
    given = []
    for scene in scenes:
        if scene.labels is None:
            raise UsageError("Training needs ground truth.", "Add --labels FILE.")
        given.append(scene.labels)
    return given


def tell_odd_classes(legend: Legend, emit: Listener) -> None:
    """Warns of values that may not be meant as classes of their own."""
    numbers = [e.original for e in legend if re.fullmatch(r"-?\d+", e.original)]
    odd = [text for text in numbers if not as_code(text)]
    if odd:
        emit(
            Warned(
                "labels-no-code",
                f"Labels hold the values {', '.join(odd[:5])}, which are no codes (1 to "
                f"{MAX_CODE}): they are classes of their own, and all classes are numbered anew. "
                "Where they mean no class, declare them as nodata, or leave the field empty.",
            )
        )
    alike: dict[str, list[str]] = {}
    for entry in legend:
        alike.setdefault(" ".join(entry.name.split()).casefold(), []).append(entry.name)
    for names in alike.values():
        if len(names) > 1:
            found = " and ".join(map(repr, names))
            emit(Warned("classes-alike", f"{found} are different classes, as they are spelled."))


def open_scenes(
    scenes: Sequence[SceneConfig],
    config: TrainConfig,
    legend: Legend,
    trained: tuple[TrainedModality, ...] | None,
    handles: ExitStack,
    emit: Listener,
) -> list[TrainingScene]:
    """Opens every scene, puts its labels on its grid and parts them.

    Args:
        scenes: Where they lie.
        config: How labels are parted.
        legend: Classes of all labels.
        trained: Modalities of a first model, which those of all scenes must fit; else the first
            scene's are.
        handles: What closes the rasters.
        emit: Told of what was assumed.

    Raises:
        M3ambaError: Rasters or labels are not fit.
    """
    opened: list[TrainingScene] = []
    for n, scene in enumerate(scenes):
        stack = handles.enter_context(open_stack(scene, emit, trained))
        trained = trained or modalities_of(stack)
        assert scene.labels is not None
        labels = labels_on(stack, scene.labels, legend, emit)
        tested, parting = np.empty(0, np.uint16), config.split
        if scene.test_labels is not None:  # the user's own parting: as it is, without a gap of ours
            tested = labels_on(stack, scene.test_labels, legend, emit).codes
            parting = replace(parting, test=0.0)
            labels = labels.only(~np.isin(labels.pixels, _covered(scene.test_labels, stack)))
            if not labels.pixels.size:
                raise NoLabelsError(
                    f"Every labelled pixel of {scene.labels.path} is one of "
                    f"{scene.test_labels.path}, which training never sees.",
                    "Give other labels for the test, or keep some out with --test-share.",
                )
        like = next((k for k, other in enumerate(opened) if _alike(other.labels, labels)), n)
        split = split_labels(labels, parting, np.random.default_rng([config.seed, 0, like]))
        opened.append(TrainingScene(scene, stack, labels, split, tested))
    opened = _kept_apart(opened, config.split.gap)
    for note in (note for scene in opened for note in scene.split.notes):
        emit(Warned("split", note))
    return opened


def _alike(one: Labels, other: Labels) -> bool:
    """Whether labels of two scenes are the same ones, as of two dates: they are parted alike."""
    return (
        same_place(one.grid, other.grid)
        and np.array_equal(one.pixels, other.pixels)
        and np.array_equal(one.groups, other.groups)
    )


def _parted_alike(one: TrainingScene, other: TrainingScene) -> bool:
    """Whether two scenes have the same labels, and each of them on the same side."""
    alike = _alike(one.labels, other.labels)
    return alike and np.array_equal(one.split.sides, other.split.sides)


def _kept_apart(scenes: Sequence[TrainingScene], gap: int) -> list[TrainingScene]:
    """Returns the scenes with what one holds out where another one trains set aside."""
    apart = []
    train = [TrainingArea(s.stack.grid, Runs.of(s.pixels_on(Side.TRAIN)), _NOWHERE) for s in scenes]
    for n, scene in enumerate(scenes):
        others = [
            area
            for other, area in zip(scenes, train, strict=True)
            if not _parted_alike(scene, other)
        ]
        held = np.flatnonzero(scene.on(Side.VALIDATION) | scene.on(Side.TEST))
        near = reached(others, scene.stack.grid, scene.labels.pixels[held], max(gap - 1, 0))
        sides, notes = scene.split.sides.copy(), scene.split.notes
        sides[held[near]] = Side.GAP
        if near.any():
            notes += (
                f"{near.sum():,} of {near.size:,} held-out pixels of scene {n + 1} lie where "
                "another scene trains, or nearer than the gap, and are not used.",
            )
        apart.append(replace(scene, split=replace(scene.split, sides=sides, notes=notes)))
    return apart


def _covered(test: LabelConfig, stack: Stack) -> Positions:
    """Returns the pixels of labels for the test, whether training has their classes or not."""
    return read_labels(test, stack.grid, read_legend([test]), ignore).pixels


def with_settled_balance(config: TrainConfig, kinds: Sequence[Kind], emit: Listener) -> TrainConfig:
    """Returns the settings with the weight of rare classes that fits labels of these kinds."""
    if config.class_balance is not None:
        return config
    if any(kind != "points" for kind in kinds):
        return replace(config, class_balance=DRAWN_AREAS)
    emit(
        Note(
            "Labels are points: each counts alike, as if they were drawn at random. Where they "
            f"were not, or rare classes matter more, set class_balance = {DRAWN_AREAS} in [train]."
        )
    )
    return replace(config, class_balance=0.0)


def present_classes(scenes: Sequence[TrainingScene], emit: Listener) -> Legend:
    """Returns the classes that have training pixels, in the labels' own legend.

    Raises:
        NoLabelsError: There is none.
        TooFewClassesError: There is only one.
    """
    legend = scenes[0].labels.legend
    found: set[int] = set()
    for scene in scenes:
        found |= set(np.unique(scene.labels.codes[scene.on(Side.TRAIN)]).tolist())
    absent = [entry.name for entry in legend if entry.code not in found]
    if absent:
        emit(Warned("classes-absent", f"Classes without a training pixel: {', '.join(absent)}."))
    kept = tuple(entry for entry in legend if entry.code in found)
    if not kept:
        raise NoLabelsError(
            "No labelled pixel is left for training.", "Label more, or lower --test-share."
        )
    if len(kept) < 2:
        raise TooFewClassesError(
            f"Only one class has training pixels: {kept[0].name}.",
            "Label a second class on the rasters, or choose another --field.",
        )
    return kept


def modalities_of(stack: Stack) -> tuple[TrainedModality, ...]:
    """Returns what a model remembers of the modalities."""
    return tuple(TrainedModality(m.name, m.bands) for m in stack.modalities)


def count_pixels(scenes: Sequence[TrainingScene]) -> dict[str, int]:
    """Returns the labelled pixels of each side, by its name."""
    counts = {
        side.name.lower(): sum(int(scene.on(side).sum()) for scene in scenes) for side in Side
    }
    return counts | {"test": counts["test"] + sum(scene.tested.size for scene in scenes)}


def split_in_words(scenes: Sequence[TrainingScene], gap: int) -> tuple[str, ...]:
    """Returns how labels were parted, as the model tells it."""
    counts = ", ".join(f"{name} {count}" for name, count in count_pixels(scenes).items())
    units = ", ".join(dict.fromkeys(scene.split.by for scene in scenes))
    words = [
        f"by {units}, gap {gap} pixels; labelled pixels: {counts}",
        *(note.rstrip(".") for scene in scenes for note in scene.split.notes),
    ]
    if untested := _untested(scenes):
        words.append(f"classes without a held-out pixel: {', '.join(untested)}")
    return tuple(words)


def _untested(scenes: Sequence[TrainingScene]) -> list[str]:
    """Returns the classes that no scene measures: with test pixels where any has some.

    Else validation pixels count; where nothing is held out at all, there is none to tell of.
    """
    codes = {
        side: np.concatenate([scene.labels.codes[scene.on(side)] for scene in scenes])
        for side in (Side.TRAIN, Side.VALIDATION, Side.TEST)
    }
    tested = np.concatenate([codes[Side.TEST], *(scene.tested for scene in scenes)])
    measured = tested if tested.size else codes[Side.VALIDATION]
    absent = np.setdiff1d(codes[Side.TRAIN], measured) if measured.size else ()
    return sorted(e.name for e in scenes[0].labels.legend if e.code in absent)


def raster_prints(scenes: Sequence[TrainingScene]) -> dict[str, str]:
    """Returns the fingerprint of each raster, by scene, modality, number in it, and name.

    Folders stay private; files of several dates, each in its folder, may share a name.
    """
    return {
        f"{n}/{modality.name}/{k}/{raster.path.name}": raster_content(raster)
        for n, scene in enumerate(scenes, 1)
        for modality in scene.stack.modalities
        for k, raster in enumerate(modality.rasters, 1)
    }


def label_prints(scenes: Sequence[TrainingScene]) -> dict[str, str]:
    """Returns that of each label file, by scene and name.

    It tells no run from another, labelled pixels do: programs that show a GeoPackage write into it.
    """
    found = {}
    for n, scene in enumerate(scenes, 1):
        assert scene.config.labels is not None
        path = scene.config.labels.path
        found[f"{n}/labels/{path.name}"] = label_content(path, scene.labels)
    return found
