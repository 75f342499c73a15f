"""A model trained once on the place for all tests of the jobs, with a network cut small."""

import json
from dataclasses import dataclass
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch

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
TINY = "guided-jobs-tiny"


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
        "modality_dropout": 0.2,  # enough for maps of fewer modalities
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
def encoder(tmp_path_factory) -> Path:
    """A file with the weights of a whole CLIP model of the architecture `TINY`."""
    folder = tmp_path_factory.mktemp("encoder")
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
    text = {"context_length": 4, "vocab_size": 8, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{TINY}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{TINY}.json")
    torch.manual_seed(0)
    state = open_clip.CLIP(**open_clip.get_model_config(TINY)).state_dict()
    safetensors.torch.save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


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
