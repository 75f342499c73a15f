"""A checkpoint as the authors write it, made of the golden weights; a tiny CLIP as its encoder."""

import json
import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from m3amba_geo.bundle import load_bundle
from m3amba_geo.cli import main
from m3amba_geo.config import (
    ClassifyConfig,
    EvaluateConfig,
    GuideConfig,
    LabelConfig,
    ModalityConfig,
    SceneConfig,
)
from m3amba_geo.errors import (
    BandMismatchError,
    ClassMismatchError,
    FileMissingError,
    NotAModelError,
    OutputExistsError,
    TrainOverlapError,
    UsageError,
    WeightsUnavailableError,
)
from m3amba_geo.events import Warned, ignore
from m3amba_geo.geo.align import open_stack
from m3amba_geo.jobs import classify, convert, evaluate
from tests.conftest import write_raster

GOLDEN = Path(__file__).parents[1] / "model" / "golden"
ENCODER, NARROW = "convert-tiny", "convert-narrow"
CLASSES = ("Trees", "Grass", "Road", "Water", "Roof", "Soil")


def architecture(folder, name, width):
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
    text = {"context_length": 4, "vocab_size": 8, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": width, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    state = open_clip.CLIP(**open_clip.get_model_config(name)).state_dict()
    safetensors.torch.save_file(state, folder / f"{name}.safetensors")
    return GuideConfig("clip", name, folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    return architecture(tmp_path_factory.mktemp("encoder"), ENCODER, 512)


@pytest.fixture(scope="module")
def content():
    parts = [load_file(GOLDEN / f"small_weights_{n}.safetensors") for n in (1, 2)]
    weights = {k.removeprefix("model_dict."): v for part in parts for k, v in part.items()}
    torch.manual_seed(1)
    return {
        "model_dict": weights,
        "conv_hsi": torch.nn.Conv2d(12, 3, 1).state_dict(),
        "conv_lidar": torch.nn.Conv2d(3, 3, 1).state_dict(),
        "epoch": 100,
    }


@pytest.fixture
def files(tmp_path, content):
    """Checkpoint, scene and legend; the rasters hold a constant band and an invalid pixel."""
    torch.save(content, tmp_path / "houston.pth")
    rng = np.random.default_rng(0)
    hsi = rng.normal(100, 30, (12, 40, 48)).astype(np.float32)
    hsi[3] = 7
    hsi[0, 5, 5] = np.nan
    lidar = rng.random((3, 40, 48)).astype(np.float32)
    write_raster(tmp_path / "hsi.tif", hsi)
    write_raster(tmp_path / "lidar.tif", lidar)
    rows = [f"{code},{name}," for code, name in enumerate(CLASSES, 1)]
    (tmp_path / "legend.csv").write_text("\n".join(["code,name,color", *rows[::-1]]))
    modalities = tuple(ModalityConfig(n, (tmp_path / f"{n}.tif",)) for n in ("hsi", "lidar"))
    return tmp_path / "houston.pth", SceneConfig(modalities), tmp_path / "legend.csv"


def test_the_converted_model_gives_the_authors_logits(files, guide, content, tmp_path):
    events = []
    results = convert.run(*files, guide, tmp_path / "m.m3amba", events.append)
    bundle = load_bundle(results.model)
    golden = load_file(GOLDEN / "small_io.safetensors")
    with torch.no_grad():
        logits, fused = bundle.network(
            [golden["modality_1"], golden["modality_2"]], [golden["clip_1"], golden["clip_2"]]
        )
    for name, found in zip(("logits_1", "logits_2", "logits_fused"), [*logits, fused], strict=True):
        expected = golden[name]
        assert (found - expected).norm() / expected.norm() < 1e-5, name
    for n, key in enumerate(("conv_hsi", "conv_lidar")):
        for end, tensor in content[key].items():
            assert torch.equal(bundle.guide_weights[f"embeddings.{n}.{end}"], tensor)
    manifest = bundle.manifest
    assert [entry.name for entry in manifest.legend] == list(CLASSES)
    assert [m.name for m in manifest.modalities] == ["hsi", "lidar"]
    assert manifest.guide.architecture == ENCODER
    assert manifest.guide.sha256 in results.guide
    assert [e.code for e in events if isinstance(e, Warned)] == ["published-unknown"]
    assert "houston.pth" in str(manifest.settings)
    assert str(tmp_path) not in manifest.__repr__()


def test_pixels_are_scaled_to_0_to_1_over_the_scene(files, guide, tmp_path):
    results = convert.run(*files, guide, tmp_path / "m.m3amba", ignore)
    statistics = load_bundle(results.model).manifest.scaling[0].statistics()
    with open_stack(files[1], ignore) as stack:
        pixels, valid = stack.read(0, 0, *stack.grid.shape)
    scaled = statistics.scale(pixels[0], valid[0])[:, valid[0]]
    flat = np.arange(12) == 3
    assert np.abs(scaled[~flat].min(axis=1)).max() < 1e-6
    assert np.abs(scaled[~flat].max(axis=1) - 1).max() < 1e-6
    assert (scaled[flat] == 0).all()


def test_it_maps_and_its_scene_counts_as_seen(files, guide, tmp_path):
    results = convert.run(*files, guide, tmp_path / "m.m3amba", ignore)
    config = ClassifyConfig(out=tmp_path / "map.tif", guide_weights=guide.weights)
    mapped = classify.run(results.model, files[1], config, ignore)
    assert mapped.pixels["nodata"] == 1
    truth = np.full((1, 40, 48), 2, np.uint8)
    labels = LabelConfig(write_raster(tmp_path / "truth.tif", truth, nodata=0))
    with pytest.raises(TrainOverlapError):
        evaluate.run(mapped.map, EvaluateConfig(labels), ignore)


class Evil:
    def __reduce__(self):
        return pytest.fail, ("code was run",)


def refused(files, guide, tmp_path, error, words):
    with pytest.raises(error, match=words) as caught:
        convert.run(*files, guide, tmp_path / "m.m3amba", ignore)
    assert caught.value.hint
    assert not (tmp_path / "m.m3amba").exists()


def test_code_is_not_run(files, guide, content, tmp_path):
    torch.save(content | {"extra": Evil()}, files[0])
    refused(files, guide, tmp_path, NotAModelError, "more than tensors")
    files[0].write_bytes(pickle.dumps(Evil()))
    refused(files, guide, tmp_path, NotAModelError, "more than tensors")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_torchscript_archive_is_refused(files, guide, tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), files[0])
    refused(files, guide, tmp_path, NotAModelError, "TorchScript")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c["model_dict"], "no checkpoint of the authors"),
        (lambda c: [1], "no checkpoint of the authors: it holds list"),
        (lambda c: {k: v for k, v in c.items() if k != "conv_lidar"}, "it holds model_dict"),
        (lambda c: c | {"model_dict": {}}, "not the weights of a published"),
        (lambda c: c | {"conv_hsi": c["conv_lidar"]}, r"conv_hsi.weight .*\(3, 12, 1, 1\)"),
        (lambda c: c | {"conv_hsi": {"weight": c["conv_hsi"]["weight"]}}, "conv_hsi.bias .* none"),
    ],
)
def test_other_checkpoints_are_refused(damage, words, files, guide, content, tmp_path):
    torch.save(damage(content), files[0])
    refused(files, guide, tmp_path, NotAModelError, words)


def test_what_does_not_fit_is_refused(files, guide, tmp_path):
    checkpoint, scene, legend = files
    turned = SceneConfig(scene.modalities[::-1])
    refused((checkpoint, turned, legend), guide, tmp_path, BandMismatchError, "12 and 3 bands")
    one = SceneConfig(scene.modalities[:1])
    refused((checkpoint, one, legend), guide, tmp_path, BandMismatchError, "given were hsi 12")
    missing = tmp_path / "no.pth"
    refused((missing, scene, legend), guide, tmp_path, FileMissingError, "no.pth")
    narrow = architecture(tmp_path, NARROW, 24)
    refused(files, narrow, tmp_path, WeightsUnavailableError, "24 numbers.*512")
    legend.write_text("code,name\n1,a\n2,b\n")
    refused(files, guide, tmp_path, ClassMismatchError, "6 classes.*lists 2")


def test_what_it_reads_it_never_writes(files, guide):
    checkpoint, scene, legend = files
    for out in (checkpoint, legend, guide.weights, scene.modalities[0].files[0]):
        before = out.read_bytes()
        with pytest.raises(UsageError, match="is an input"):
            convert.run(checkpoint, scene, legend, guide, out, ignore, overwrite=True)
        assert out.read_bytes() == before


def test_the_command(files, guide, tmp_path, capsys):
    out = tmp_path / "published.m3amba"
    arguments = [
        "convert-published", files[0], f"hsi={tmp_path / 'hsi.tif'}", tmp_path / "lidar.tif",
        "--legend", files[2], "--guide-weights", guide.weights,
        "--guide-architecture", ENCODER, "--out", out,
    ]  # fmt: skip
    arguments = [str(a) for a in arguments]
    assert main([*arguments, "--json"]) == 0
    *_, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert last["results"]["bands"] == {"hsi": 12, "lidar": 3}
    assert main(arguments) == OutputExistsError.exit_status
    assert main([*arguments, "--overwrite"]) == 0
    assert "Water" in capsys.readouterr().out
    assert main(["convert-published", str(files[0]), "--legend", str(files[2])]) == 2
    assert "No rasters" in capsys.readouterr().err
