"""Train and classify with a guide: a tiny CLIP stands in for the real one."""

import shutil

import pytest
import rasterio
import safetensors.torch
import torch
from safetensors import safe_open

from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import WIDTH_AND_DEPTH, ClassifyConfig, GuideConfig
from m3amba_geo.errors import WeightsUnavailableError
from m3amba_geo.events import Note, Warned, ignore
from m3amba_geo.jobs import classify, train
from tests.conftest import make_place
from tests.jobs.conftest import QUICK_SIZE, TINY, quick

pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(autouse=True)
def no_other_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("M3AMBA_WEIGHTS", str(tmp_path / "no weights"))


@pytest.fixture(scope="module")
def guided(tmp_path_factory, encoder):
    """The place, the model, and the linear embeddings as they were when training began."""
    folder = tmp_path_factory.mktemp("guided")
    place, events = make_place(folder), []
    config = quick(folder, epochs=3, guide=GuideConfig("clip", TINY, encoder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WIDTH_AND_DEPTH, "tiny", QUICK_SIZE)
        results = train.run([place.scene], config, events.append)
    return place, results, events


def mapped(guided, out, **options):
    place, results, _ = guided
    config = ClassifyConfig(out=out, **options)
    with rasterio.open(classify.run(results.model, place.scene, config, ignore).map) as file:
        return file.read(1)


def test_a_guided_model_is_trained_and_maps(guided, encoder, tmp_path):
    place, _, events = guided
    assert any(TINY in event.message for event in events if isinstance(event, Note))
    codes = mapped(guided, tmp_path / "map.tif", guide_weights=encoder)
    assert (codes == place.truth).mean() > 0.6  # chance: a third


def test_the_model_names_the_encoder_and_does_not_hold_it(guided, encoder):
    _, results, _ = guided
    bundle = load_bundle(results.model)
    identity = bundle.manifest.guide
    assert (identity.architecture, identity.width) == (TINY, 24)
    assert identity.source == "file:weights.safetensors"
    assert bundle.manifest.network.embedding == 24
    names = {f"embeddings.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")}
    assert bundle.guide_weights.keys() == names
    frozen = safetensors.torch.load_file(encoder)
    with safe_open(results.model, "pt") as file:
        held = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 - not a mapping
    # No tensor of the tower of any size to speak of is among those held.
    large = [tensor for tensor in frozen.values() if tensor.numel() > 64]
    assert large
    for tensor in large:
        assert not any(t.shape == tensor.shape and torch.equal(t, tensor) for t in held)


def test_the_linear_embeddings_were_trained_through_the_encoder(guided, encoder, tmp_path):
    place, results, _ = guided
    config = quick(tmp_path, epochs=1, learning_rate=1e-9, guide=GuideConfig("auto", TINY, encoder))
    start = load_bundle(train.run([place.scene], config, ignore).model)
    trained = load_bundle(results.model)
    for name, tensor in start.guide_weights.items():
        assert not torch.allclose(trained.guide_weights[name], tensor, atol=1e-5), name


def test_without_the_very_weights_no_map_is_made(guided, encoder, tmp_path):
    with pytest.raises(WeightsUnavailableError, match="not here"):
        mapped(guided, tmp_path / "map.tif")
    state = {k: v + 1 for k, v in safetensors.torch.load_file(encoder).items()}
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsUnavailableError, match="sha256"):
        mapped(guided, tmp_path / "map.tif", guide_weights=tmp_path / "other.safetensors")
    assert not (tmp_path / "map.tif").exists()


def test_the_weights_folder_is_looked_into(guided, encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("M3AMBA_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    shutil.copy(encoder, tmp_path / "weights" / f"{TINY}.safetensors")
    by_file = mapped(guided, tmp_path / "file.tif", guide_weights=encoder)
    assert (mapped(guided, tmp_path / "folder.tif") == by_file).all()


def test_a_guided_model_is_fine_tuned_with_its_guide(guided, encoder, tmp_path):
    place, results, _ = guided
    config = quick(tmp_path, epochs=1, guide=GuideConfig("auto", weights=encoder))
    tuned = load_bundle(train.run([place.scene], config, ignore, init=results.model).model)
    assert tuned.manifest.guide.sha256 == load_bundle(results.model).manifest.guide.sha256


def test_auto_without_weights_goes_on_loudly_and_the_model_says_so(tmp_path, monkeypatch):
    place, events = make_place(tmp_path), []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    config = quick(tmp_path, epochs=1, guide=GuideConfig("auto"))
    results = train.run([place.scene], config, events.append)
    assert "guide-none" in {event.code for event in events if isinstance(event, Warned)}
    manifest = load_bundle(results.model).manifest
    assert manifest.guide is None
    assert manifest.network.embedding == 0
    assert manifest.settings["guide"]["mode"] == "auto"
