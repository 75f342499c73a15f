"""Recipes: one scene, how its labels are parted, which methods run on it, with which seeds."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from m3amba_geo.config import STRICT, Count, SceneConfig, TrainConfig
from m3amba_geo.config_file import complaints, make_config, read_toml
from m3amba_geo.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"

Part = Literal["given", "polygon", "block"]


@dataclass(frozen=True, config=STRICT)
class Protocol:
    """How often, and on which pixels, methods are compared: the table `[protocol]`.

    Attributes:
        methods: Names from `training.methods`, the one that others are compared with first.
            `NAME@MODALITY` sees that modality alone.
        seeds: Number of seeds, 0, 1, ... A seed parts the labels (unless they come parted) and
            drives all that is random in a method.
        part: `given` takes the scene's labels and test labels as they are; else whole polygons
            (patches of a label raster), or blocks, are held out.
        folds: 1 holds out `test` of the labels; more hold out every unit once.
        test: Share of the labels that is held out, by the rule of `train --test-share`.
        block: Side of the blocks in pixels.
        gap: Held-out pixels nearer than this to a training pixel are not scored.
        few: Learning curve: training labels a class, drawn from the training pixels at random; a
            class with fewer gives all it has. Empty trains on all labels.
    """

    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Count = 3
    part: Part = "given"
    folds: Count = 1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.5
    block: Count = 64
    gap: Annotated[int, Field(ge=0)] = 0
    few: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A recipe, read and checked.

    Attributes:
        name: Its file's name.
        scene: Rasters and labels.
        protocol: How methods are compared.
        train: Settings of our own network; its `split` says what it takes from the training
            pixels to validate on.
    """

    name: str
    scene: SceneConfig
    protocol: Protocol
    train: TrainConfig


def read_recipe(name: str, folder: Path = RECIPES) -> Recipe:
    """Returns the recipe `NAME.toml`.

    Raises:
        FileMissingError: There is no such recipe.
        UsageError: It is not TOML, or a value does not fit.
    """
    path = folder / f"{name}.toml"
    tables = read_toml(path)
    protocol = _protocol(tables.pop("protocol", {}), path)
    config = make_config(tables, str(path))
    if len(config.scene) != 1:
        raise UsageError(f"{path} has {len(config.scene)} scenes.", "A recipe has one [[scene]].")
    (scene,) = config.scene
    if scene.labels is None:
        raise UsageError(f"{path} names no labels.", "Add `labels` to its [[scene]].")
    if (protocol.part == "given") != (scene.test_labels is not None):
        raise UsageError(
            f"{path}: part = {protocol.part!r} does not fit its labels.",
            "Give test_labels with part = 'given', and only with it.",
        )
    return Recipe(name, scene, protocol, config.train)


def _protocol(table: dict[str, Any], path: Path) -> Protocol:
    try:
        return TypeAdapter(Protocol).validate_python(table)
    except ValidationError as error:
        raise UsageError(
            f"[protocol] of {path} does not fit: {complaints(error)}.",
            "See `Protocol` in training/recipe.py.",
        ) from error
