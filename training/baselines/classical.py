"""Forests, support vectors, discriminants and softmax regression on features of single pixels.

What there is to tune is tuned on training pixels, with groups kept whole.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from training.baselines.features import FEATURES
from training.cases import Case, Scene, tuning_folds
from training.outcome import Outcome

TREES, TREES_TUNING = 500, 100

Grid = dict[str, tuple[Any, ...]]
Tuned = tuple[Any, dict[str, Any]]


def forest(features: str) -> Callable[[Scene, Case], Outcome]:
    """Returns the method: a forest on these features of a pixel."""

    def run(scene: Scene, case: Case) -> Outcome:
        return _run(scene, case, features, _forest)

    return run


def support_vectors(features: str, alike: bool = True) -> Callable[[Scene, Case], Outcome]:
    """Returns the method: support vectors with an RBF kernel on these features of a pixel.

    All features are brought to one size, unless `alike` is False: where theirs tells how much each
    should count.
    """
    scaler = StandardScaler() if alike else "passthrough"

    def run(scene: Scene, case: Case) -> Outcome:
        return _run(scene, case, features, partial(_support_vectors, scaler))

    return run


def discriminant(features: str) -> Callable[[Scene, Case], Outcome]:
    """Returns the method: maximum likelihood with a normal distribution a class on these features.

    The classes share a covariance, shrunk by the formula of Ledoit and Wolf (2004): with few pixels
    in many bands, that of each class would be no more than noise.
    """

    def run(scene: Scene, case: Case) -> Outcome:
        return _run(scene, case, features, _discriminant)

    return run


def regression(features: str) -> Callable[[Scene, Case], Outcome]:
    """Returns the method: a softmax regression on these features of a pixel, as they are."""

    def run(scene: Scene, case: Case) -> Outcome:
        return _run(scene, case, features, _regression)

    return run


def _run(scene: Scene, case: Case, features: str, fit: Callable[..., Tuned]) -> Outcome:
    table = FEATURES[features](scene)  # (H, W, F)
    classes = case.codes[case.train]
    folds = tuning_folds(classes, case.groups[case.train], case.seed)
    model, chosen = fit(table[case.train], classes, folds, case.seed)
    return Outcome(
        model.predict(table[case.test]).astype(np.uint16),
        {"features": table.shape[2], "chosen": chosen},
    )


def _forest(x: NDArray[np.float32], y: NDArray[np.uint16], folds: list[Any], seed: int) -> Tuned:
    root = x.shape[1] ** 0.5
    grid: Grid = {
        "max_features": tuple(sorted({max(1, round(root)), min(x.shape[1], round(3 * root))})),
        "min_samples_leaf": (1, 3),
    }
    forest = RandomForestClassifier(TREES_TUNING, random_state=seed, n_jobs=-1)
    chosen = _tuned(forest, grid, x, y, folds)
    return forest.set_params(n_estimators=TREES, **chosen).fit(x, y), chosen


def _support_vectors(
    scaler: StandardScaler | Literal["passthrough"],
    x: NDArray[np.float32],
    y: NDArray[np.uint16],
    folds: list[Any],
    seed: int,
) -> Tuned:
    grid: Grid = {
        "svc__C": (1, 10, 100, 1000),
        "svc__gamma": tuple(times / x.shape[1] for times in (0.1, 0.5, 2.5)),
    }
    machine = make_pipeline(scaler, SVC(cache_size=1000))
    chosen = _tuned(machine, grid, x, y, folds)
    return machine.set_params(**chosen).fit(x, y), chosen


def _discriminant(
    x: NDArray[np.float32], y: NDArray[np.uint16], folds: list[Any], seed: int
) -> Tuned:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, y), {}


def _regression(
    x: NDArray[np.float32], y: NDArray[np.uint16], folds: list[Any], seed: int
) -> Tuned:
    machine = LogisticRegression(max_iter=1000)
    chosen = _tuned(machine, {"C": (0.1, 1, 10)}, x, y, folds)
    return machine.set_params(**chosen).fit(x, y), chosen


def _tuned(
    model: BaseEstimator,
    grid: Grid,
    x: NDArray[np.float32],
    y: NDArray[np.uint16],
    folds: list[Any],
) -> dict[str, Any]:
    search = GridSearchCV(model, grid, scoring="accuracy", cv=folds, refit=False)
    chosen: dict[str, Any] = search.fit(x, y).best_params_
    return chosen
