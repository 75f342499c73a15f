"""A model trained once on the place for all tests of the jobs, with a network cut small."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from m3amba_geo.config import (
    WIDTH_AND_DEPTH,
    ClassifyConfig,
    GuideConfig,
    LabelConfig,
    SplitConfig,
    TrainConfig,
)
from m3amba_geo.jobs import classify, train
from tests.conftest import Place, make_place

QUICK_SIZE = (16, 1)


@dataclass(frozen=True)
class Trained:
    """A place, a model of it, its map, and what the jobs told."""

    place: Place
    model: Path
    map: Path
    train_results: train.TrainResults
    classify_results: classify.ClassifyResults
    train_events: list
    classify_events: list


def quick(folder: Path, **changes: object) -> TrainConfig:
    """Settings of a training of a few seconds."""
    settings = {
        "out": folder / "model.m3amba",
        "patch": 16,
        "epochs": 5,
        "learning_rate": 1e-2,
        "ema": 0.9,
        "threads": 1,  # small networks lose more by sharing out than they gain
        "split": SplitConfig(by="polygon", validation=0.25, test=0.25, gap=4),
        "guide": GuideConfig(mode="none"),
    }
    return TrainConfig(**settings | changes)


@pytest.fixture
def small_network(monkeypatch):
    """Makes `tiny` smaller still."""
    monkeypatch.setitem(WIDTH_AND_DEPTH, "tiny", QUICK_SIZE)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    place = make_place(folder)
    train_events, classify_events = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WIDTH_AND_DEPTH, "tiny", QUICK_SIZE)
        trained = train.run([place.scene], quick(folder), train_events.append)
    config = ClassifyConfig(
        out=folder / "map.tif",
        confidence=folder / "confidence.tif",
        probabilities=folder / "probabilities.tif",
    )
    mapped = classify.run(trained.model, place.scene, config, classify_events.append)
    return Trained(place, trained.model, config.out, trained, mapped, train_events, classify_events)


@pytest.fixture
def labels(trained) -> LabelConfig:
    return LabelConfig(trained.place.labels, field="class")
