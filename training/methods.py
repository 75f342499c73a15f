"""The methods that recipes name."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from m3amba_geo.config import TrainConfig
from m3amba_geo.config_file import make_config
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Listener
from training import guides
from training.baselines import classical, fit, nets
from training.cases import Case, Scene
from training.outcome import Outcome
from training.own import m3amba, uncrossed
from training.warmup import warmed


@dataclass(frozen=True)
class Budget:
    """What a run may use beside the case itself.

    Attributes:
        train: Settings of our own network.
        folder: Where models and maps may lie.
        quick: Nets take a few steps only: to see that everything runs, not to measure.
        emit: Told of progress.
    """

    train: TrainConfig
    folder: Path
    quick: bool
    emit: Listener


Method = Callable[[Scene, Case, Budget], Outcome]


def _own(scene: Scene, case: Case, budget: Budget) -> Outcome:
    return m3amba(scene, case, budget.train, budget.folder, budget.quick, budget.emit)


def _plain(scene: Scene, case: Case, budget: Budget) -> Outcome:
    with uncrossed():
        return _own(scene, case, budget)


def _random_clip(scene: Scene, case: Case, budget: Budget) -> Outcome:
    train = replace(budget.train, guide=guides.random_clip(budget.folder.parent.parent))
    return _own(scene, case, replace(budget, train=train))


def _imagenet(scene: Scene, case: Case, budget: Budget) -> Outcome:
    with guides.imagenet():
        return _own(scene, case, replace(budget, train=replace(budget.train, guide=guides.FIXED)))


def _warmed(scene: Scene, case: Case, budget: Budget) -> Outcome:
    with warmed():
        return _own(scene, case, budget)


def _pixelwise(run: Callable[[Scene, Case], Outcome]) -> Method:
    return lambda scene, case, budget: run(scene, case)


def _net(run: Callable[[Scene, Case, bool], Outcome]) -> Method:
    return lambda scene, case, budget: run(scene, case, budget.quick)


METHODS: dict[str, Method] = {
    "m3amba": _own,
    "m3amba-plain": _plain,
    "m3amba-random-clip": _random_clip,
    "m3amba-imagenet": _imagenet,
    "m3amba-warmed": _warmed,
    "forest": _pixelwise(classical.forest("raw")),
    "forest-local": _pixelwise(classical.forest("local")),
    "forest-profiles": _pixelwise(classical.forest("profiles")),
    "forest-means": _pixelwise(classical.forest("means")),
    "forest-fractions": _pixelwise(classical.forest("fractions")),
    "svm": _pixelwise(classical.support_vectors("raw")),
    "svm-local": _pixelwise(classical.support_vectors("local")),
    "svm-profiles": _pixelwise(classical.support_vectors("profiles")),
    "svm-means": _pixelwise(classical.support_vectors("means")),
    "svm-fractions": _pixelwise(classical.support_vectors("fractions", alike=False)),
    "lda": _pixelwise(classical.discriminant("raw")),
    "lda-local": _pixelwise(classical.discriminant("local")),
    "lda-profiles": _pixelwise(classical.discriminant("profiles")),
    "lda-means": _pixelwise(classical.discriminant("means")),
    "lda-fractions": _pixelwise(classical.discriminant("fractions")),
    "logistic-fractions": _pixelwise(classical.regression("fractions")),
    "cnn": _net(fit.net(nets.cnn)),
    "convnext": _net(fit.net(nets.convnext)),
}


def run(name: str, scene: Scene, case: Case, budget: Budget) -> Outcome:
    """Runs a method; `NAME@MODALITY` shows it that modality alone.

    Our own network takes other settings than the recipe's, too: `m3amba+size="small"+patch=16`.

    Raises:
        UsageError: There is no such method, setting or modality.
    """
    method, _, modality = name.partition("@")
    method, *settings = method.split("+")
    if method not in METHODS:
        raise UsageError(f"No method {method!r}.", f"Name some of {', '.join(METHODS)}.")
    if settings and not method.startswith("m3amba"):
        raise UsageError(f"{method} has no settings.", "Only those of our own network change.")
    if settings:
        budget = replace(budget, train=_changed(budget.train, settings))
    return METHODS[method](scene.only(modality) if modality else scene, case, budget)


def _changed(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """Returns settings with some of them changed, each written as in TOML."""
    try:
        changes = tomllib.loads("\n".join(settings))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{settings} is no TOML: {error}.", 'Such as: size="small".') from error
    return make_config({"train": _merged(asdict(config), changes)}, "the method").train


def _merged(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    nested = {k: _merged(table[k], v) for k, v in changes.items() if isinstance(v, dict)}
    return table | changes | nested
