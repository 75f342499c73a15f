"""Training on principal components: encoded once, found again, mapped as any model is."""

import os
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from safetensors.numpy import load_file
from small import Interrupted, stop_after

from m3amba_geo.bundle import load_bundle, read_manifest
from m3amba_geo.cli import main
from m3amba_geo.config import WIDTH_AND_DEPTH, ClassifyConfig, GuideConfig, SplitConfig
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Note, Progress, Warned, ignore
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.features import read_features
from m3amba_geo.jobs import classify, info, train
from m3amba_geo.model.guide import ClipGuide, Encoder, load_encoder
from tests.conftest import make_place, write_raster
from tests.jobs.conftest import QUICK_SIZE, TINY, quick


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with nothing kept and no other weights, and with networks cut small."""
    monkeypatch.setenv("M3AMBA_WEIGHTS", str(tmp_path / "no weights"))
    monkeypatch.setenv("M3AMBA_CACHE", str(tmp_path / "cache"))
    for size in ("tiny", "small"):
        monkeypatch.setitem(WIDTH_AND_DEPTH, size, QUICK_SIZE)
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
def encoded(monkeypatch):
    """Counts the images that the encoder sees."""
    counted, call = [], Encoder.__call__

    def counting(self, images):
        counted.append(len(images))
        return call(self, images)

    monkeypatch.setattr(Encoder, "__call__", counting)
    return counted


def settings(folder, encoder, embedding="pca", **changes):
    folder.mkdir(exist_ok=True)
    guide = GuideConfig("clip", TINY, encoder, embedding)
    return quick(folder, **{"epochs": 2, "guide": guide} | changes)


def kept(folder):
    """The only file of embeddings."""
    (path,) = folder.iterdir()
    return path


def test_a_model_is_trained_on_components_and_maps(place, encoder, tmp_path, machine):
    config = settings(tmp_path / "a", encoder, epochs=5)
    results = train.run([place.scene], config, ignore)
    bundle = load_bundle(results.model)
    assert bundle.manifest.embedding == "pca"
    assert bundle.manifest.settings["guide"]["embedding"] == "pca"
    assert "principal components" in info.run([results.model], ignore).models[
        str(results.model)
    ]["guide"]  # fmt: skip
    out = ClassifyConfig(tmp_path / "map.tif", guide_weights=encoder)
    with rasterio.open(classify.run(results.model, place.scene, out, ignore).map) as file:
        assert (file.read(1) == place.truth).mean() > 0.6  # chance: a third
    # What the map was made with is what training saw.
    guide = ClipGuide(load_encoder(config.guide, ignore), bundle.manifest.network.bands)
    guide.load_state_dict(bundle.guide_weights)
    found = load_file(kept(machine))
    with open_stack(place.scene, ignore, bundle.manifest.modalities) as stack, torch.no_grad():
        for (_, top, left), values in zip(found["windows"], found["values"], strict=True):
            patch, _ = read_features(stack, bundle.features, int(top), int(left), 16, 16)
            made = torch.cat(guide([torch.from_numpy(p)[None] for p in patch])).numpy()
            np.testing.assert_allclose(values, made, rtol=1e-4, atol=1e-5)
        pixels, _ = read_features(stack, bundle.features, 0, 0, *stack.grid.shape)
        images = [e(torch.from_numpy(p)) for p, e in zip(pixels, guide.embeddings, strict=True)]
    assert torch.equal(images[1][0], images[1][2])  # one band makes a grey image
    assert abs(np.corrcoef(images[0].flatten(1).numpy())[0, 1]) < 0.3


def test_the_next_training_on_the_scene_encodes_nothing(place, encoder, tmp_path, encoded):
    everything = {"split": SplitConfig(by="none")}  # so that a seed does not choose the pixels
    events = []
    first = settings(tmp_path / "a", encoder, **everything)
    train.run([place.scene], first, events.append)
    windows = [e for e in events if isinstance(e, Progress) and e.phase == "embedding"]
    assert sum(encoded) == 2 * (len(windows) + 1)
    assert windows[-1].done == windows[-1].total == len(windows)
    before = len(encoded)
    train.run([place.scene], replace(first, out=tmp_path / "b", seed=3), ignore)
    train.run([place.scene], replace(first, out=tmp_path / "c", size="small"), ignore)
    assert len(encoded) == before


def test_what_embeddings_depend_on_makes_files_of_its_own(place, encoder, tmp_path, machine):
    def files(**changes):
        config = settings(tmp_path / "a", encoder, **{"epochs": 1} | changes)
        train.run([place.scene], config, ignore, overwrite=True)
        return len(list(machine.iterdir()))

    assert files() == 1
    assert files(noise=0.5, epochs=2) == 1
    assert files(patch=24) == 2
    assert files(seed=1) == 3  # parts the labels anew: another scaling, other components
    with rasterio.open(place.height) as file:
        pixels = file.read()
    pixels[0, 0, 0] += 1  # nowhere near a label
    write_raster(place.height, pixels)
    os.utime(place.height, (1, 1))
    assert files() == 4


def test_a_resumed_training_ends_at_the_same_weights(place, encoder, tmp_path, monkeypatch):
    config = settings(tmp_path / "whole", encoder)
    whole = load_bundle(train.run([place.scene], config, ignore).model)
    monkeypatch.setenv("M3AMBA_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("m3amba_geo.learn.embeddings._KEEP_EVERY", 0.0)
    config = settings(tmp_path / "parts", encoder)
    with pytest.raises(Interrupted):
        train.run([place.scene], config, stop_after(9, "embedding"))
    with pytest.raises(Interrupted):
        train.run([place.scene], config, stop_after(5))
    parts = load_bundle(train.run([place.scene], config, ignore, resume=True).model)
    for one, other in (
        (whole.network.state_dict(), parts.network.state_dict()),
        (whole.guide_weights, parts.guide_weights),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("first", "asked"), [("pca", "learned"), ("learned", "pca")])
def test_the_kind_of_the_first_model_is_kept(place, encoder, tmp_path, encoded, first, asked):
    start = train.run([place.scene], settings(tmp_path / "a", encoder, first), ignore).model
    encoded.clear()
    events = []
    config = settings(tmp_path / "b", encoder, asked, epochs=1)
    tuned = load_bundle(train.run([place.scene], config, events.append, init=start).model)
    assert tuned.manifest.embedding == first
    assert tuned.manifest.settings["guide"]["embedding"] == first
    assert any(f"--embedding {first}, not {asked}" in e.message
               for e in events if isinstance(e, Note))  # fmt: skip
    before = load_bundle(start).guide_weights
    unchanged = [torch.equal(before[n], t) for n, t in tuned.guide_weights.items()]
    assert all(unchanged) if first == "pca" else not any(unchanged)
    assert bool(encoded) == (first == "learned")  # the same scene and components: all are there


def test_components_without_a_guide_are_refused(place, tmp_path):
    config = quick(tmp_path, guide=GuideConfig("none", embedding="pca"))
    with pytest.raises(UsageError, match="--embedding pca"):
        train.run([place.scene], config, ignore)


def test_components_without_weights_go_on_loudly(place, tmp_path, machine, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    events = []
    config = quick(tmp_path, epochs=1, guide=GuideConfig("auto", embedding="pca"))
    manifest = read_manifest(train.run([place.scene], config, events.append).model)
    assert "guide-none" in {event.code for event in events if isinstance(event, Warned)}
    assert (manifest.guide, manifest.embedding) == (None, "learned")
    assert not machine.exists()


@pytest.mark.parametrize("embedding", ["learned", "pca"])
def test_from_the_command_line(encoder, tmp_path, machine, embedding):
    place = make_place(tmp_path)
    arguments = [
        "train", f"optical={place.optical}", f"height={place.height}",
        "--labels", place.labels, "--field", "class", "--out", tmp_path / "m.m3amba",
        "--guide", "clip", "--guide-architecture", TINY, "--guide-weights", encoder,
        "--embedding", embedding, "--epochs", "1", "--patch", "16", "--gap", "4",
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    assert read_manifest(tmp_path / "m.m3amba").embedding == embedding
    assert machine.exists() == (embedding == "pca")
