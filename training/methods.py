"""The methods that recipes name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from m3amba_geo.config import TrainConfig
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Listener
from training.baselines import classical, fit, nets
from training.cases import Case, Scene
from training.outcome import Outcome
from training.own import m3amba


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


def _pixelwise(run: Callable[[Scene, Case], Outcome]) -> Method:
    return lambda scene, case, budget: run(scene, case)


def _net(run: Callable[[Scene, Case, bool], Outcome]) -> Method:
    return lambda scene, case, budget: run(scene, case, budget.quick)


METHODS: dict[str, Method] = {
    "m3amba": _own,
    "forest": _pixelwise(classical.forest("raw")),
    "forest-local": _pixelwise(classical.forest("local")),
    "forest-profiles": _pixelwise(classical.forest("profiles")),
    "forest-means": _pixelwise(classical.forest("means")),
    "svm": _pixelwise(classical.support_vectors("raw")),
    "svm-local": _pixelwise(classical.support_vectors("local")),
    "svm-profiles": _pixelwise(classical.support_vectors("profiles")),
    "svm-means": _pixelwise(classical.support_vectors("means")),
    "cnn": _net(fit.net(nets.cnn)),
    "convnext": _net(fit.net(nets.convnext)),
}


def run(name: str, scene: Scene, case: Case, budget: Budget) -> Outcome:
    """Runs a method; `NAME@MODALITY` shows it that modality alone.

    Raises:
        UsageError: There is no such method or modality.
    """
    method, _, modality = name.partition("@")
    if method not in METHODS:
        raise UsageError(f"No method {method!r}.", f"Name some of {', '.join(METHODS)}.")
    return METHODS[method](scene.only(modality) if modality else scene, case, budget)
