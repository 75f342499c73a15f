import io
import json
import pickle
import re
import socket
import zipfile

import open_clip
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from m3amba_geo.config import GuideConfig
from m3amba_geo.errors import FileMissingError, UsageError, WeightsUnavailableError
from m3amba_geo.events import Note, Warned, ignore
from m3amba_geo.model import weights as places
from m3amba_geo.model.guide import (
    ClipGuide,
    Encoder,
    GuideIdentity,
    load_encoder,
    load_encoder_by_identity,
)

TINY = "guide-test-tiny"
OTHER = "guide-test-other"
CLIP = "ViT-B-32-quickgelu"


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("architectures")
    text = {"context_length": 4, "vocab_size": 8, "width": 32, "heads": 2, "layers": 1}
    for name, patch in ((TINY, 16), (OTHER, 8)):
        vision = {"image_size": 32, "patch_size": patch, "width": 32, "head_width": 16, "layers": 2}
        config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(scope="module")
def clip(architectures):
    """A whole CLIP model, text tower and all, as files come from elsewhere."""
    config = open_clip.get_model_config(TINY)
    torch.manual_seed(0)
    return open_clip.CLIP(**config).eval()


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without weights and without a network; returns what tried to connect."""
    attempts = []

    def refuse(*args, **_):
        attempts.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("M3AMBA_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "weights").mkdir()
    return attempts


@pytest.fixture
def file(tmp_path, clip):
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(clip.state_dict(), path)
    return path


def load(path, architecture=TINY, emit=ignore):
    return load_encoder(GuideConfig("auto", architecture, path), emit)


def save_safetensors(state, path):
    safetensors.torch.save_file(state, path)


def save_wrapped(state, path):
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)


def save_half(state, path):
    """As converted from OpenAI's archive: half precision and three numbers on top."""
    numbers = {"input_resolution": torch.tensor(32), "vocab_size": torch.tensor(8)}
    torch.save(numbers | {k: v.half() for k, v in state.items()}, path)


def save_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "save", "tolerance"),
    [
        ("a.safetensors", save_safetensors, 1e-6),
        ("a.pt", torch.save, 1e-6),
        ("a.bin", save_legacy, 1e-6),
        ("a.pth", save_wrapped, 1e-6),
        ("a.pt", save_half, 1e-2),
    ],
)
def test_a_file_gives_the_embeddings_of_the_model_it_came_from(
    tmp_path, clip, name, save, tolerance
):
    save(clip.state_dict(), tmp_path / name)
    encoder = load(tmp_path / name)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(encoder(images), clip.encode_image(images), atol=tolerance)
    digest = places.sha256(tmp_path / name)
    assert encoder.identity == GuideIdentity(TINY, digest, f"file:{name}", 24)


def test_loading_leaves_the_seed_alone_and_names_the_weights(file):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    events = []
    load(file, emit=events.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert [type(event) for event in events] == [Note]
    assert TINY in events[0].message


def test_the_forward_pass_is_the_published_one(file):
    guide = ClipGuide(load(file), (5, 2))
    patches = [torch.randn(3, 5, 8, 8), torch.randn(3, 2, 8, 8)]
    calls = []
    guide.encoder.visual.register_forward_hook(lambda _m, x, _y: calls.append(x[0].shape))
    embeddings = guide(patches)
    assert calls == [(6, 3, 32, 32)]
    for embed, patch, embedding in zip(guide.embeddings, patches, embeddings, strict=True):
        image = functional.interpolate(embed(patch), (32, 32), mode="bicubic", align_corners=False)
        expected = guide.encoder.visual(image)
        assert embedding.shape == (3, 24)
        assert embedding.dtype == torch.float32
        assert torch.allclose(embedding, expected, atol=1e-6)
    assert not torch.allclose(embeddings[0].norm(dim=1), torch.ones(3))


def test_surrounding_autocast_does_not_reach_the_guide(file):
    guide = ClipGuide(load(file), (5,))
    patches = [torch.randn(1, 5, 8, 8)]
    expected = guide(patches)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(guide(patches)[0], expected)


def test_gradients_reach_the_linear_embeddings_and_no_more(file):
    guide = ClipGuide(load(file), (5, 2))
    patches = [torch.randn(2, 5, 8, 8), torch.randn(2, 2, 8, 8)]
    torch.cat(guide(patches)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in guide.parameters())
    assert all(parameter.grad is None for parameter in guide.encoder.visual.parameters())


@pytest.mark.gpu
def test_gradients_on_a_gpu_are_not_too_small_for_its_precision(file):
    guide = ClipGuide(load(file), (5,)).cuda()
    (embedding,) = guide([torch.randn(2, 5, 16, 16, device="cuda")])
    (1e-9 * embedding.sum()).backward()  # as at the start of a training
    assert (guide.embeddings[0].weight.grad != 0).float().mean() > 0.9


def test_the_encoder_is_held_but_not_owned(file):
    guide = ClipGuide(load(file), (5, 2))
    names = {f"embeddings.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")}
    assert set(guide.state_dict()) == names
    assert {name for name, _ in guide.named_parameters()} == names
    guide.train()
    assert not any(module.training for module in guide.encoder.visual.modules())
    assert not any(p.requires_grad for p in guide.encoder.visual.parameters())
    guide.half()
    assert next(guide.encoder.visual.parameters()).dtype == torch.float32
    guide.to("meta")
    assert {p.device.type for p in guide.encoder.visual.parameters()} == {"meta"}


def test_mode_none_has_no_encoder(machine):
    assert load_encoder(GuideConfig("none"), ignore) is None


def test_auto_without_weights_warns_and_opens_no_connection(machine):
    events = []
    assert load_encoder(GuideConfig(), events.append) is None
    (event,) = events
    assert isinstance(event, Warned)
    assert event.code == "guide-none"
    assert all(way in event.message for way in ("--guide clip", "--guide-weights", "--guide none"))
    assert machine == []


def test_auto_takes_the_weights_folder(tmp_path, file, machine):
    file.rename(tmp_path / "weights" / f"{TINY}.safetensors")
    encoder = load_encoder(GuideConfig("auto", TINY), ignore)
    assert encoder.identity.source == f"folder:{TINY}.safetensors"
    assert machine == []


def test_auto_takes_the_hub_cache(tmp_path, file, machine, monkeypatch):
    publish(monkeypatch)
    cache(tmp_path, "owner/repo", "open_clip_model.safetensors", file.read_bytes())
    encoder = load_encoder(GuideConfig("auto", TINY), ignore)
    assert encoder.identity.source == "hub:owner/repo/open_clip_model.safetensors"
    assert machine == []


def test_auto_passes_over_what_lies_in_a_cache_by_chance(tmp_path, monkeypatch):
    publish(monkeypatch)
    (tmp_path / "home" / ".cache" / "clip").mkdir(parents=True)
    save_torchscript(tmp_path / "home" / ".cache" / "clip" / "tiny.pt")
    events = []
    assert load_encoder(GuideConfig("auto", TINY), events.append) is None
    assert "TorchScript" in events[0].message


def test_auto_raises_on_a_damaged_file_in_the_weights_folder(tmp_path):
    (tmp_path / "weights" / f"{TINY}.pt").write_bytes(b"damaged")
    with pytest.raises(WeightsUnavailableError, match="damaged"):
        load_encoder(GuideConfig("auto", TINY), ignore)


def publish(monkeypatch, **entry):
    """Makes open_clip list weights for the tiny architecture."""
    entry = {"url": "https://example.org/x/tiny.pt", "hf_hub": "owner/repo/"} | entry
    table = {TINY: {"test": entry | {"quick_gelu": True}, "gelu": entry}}
    monkeypatch.setattr("open_clip.pretrained._PRETRAINED", table)


def cache(tmp_path, repo, name, content):
    """Lays a file into the hub's cache, as the hub's client does."""
    folder = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("1" * 40)
    (folder / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("1" * 40) / name).write_bytes(content)


def test_only_weights_of_the_stated_activation_are_looked_for():
    gelu = {entry["hf_hub"] for entry in places._published("ViT-B-32")}
    quick = {entry["hf_hub"] for entry in places._published(CLIP)}
    assert "timm/vit_base_patch32_clip_224.openai/" in quick
    assert not gelu & quick


def test_clip_without_network_fails_with_the_three_remedies(machine, tmp_path):
    with pytest.raises(WeightsUnavailableError, match=r"downloaded.*no network") as caught:
        load_encoder(GuideConfig("clip"), ignore)
    assert machine
    hint = caught.value.hint
    for way in ("--guide-weights FILE", str(tmp_path / "weights" / CLIP), "--guide none"):
        assert way in hint


def test_clip_downloads_what_the_hub_holds(monkeypatch, file):
    publish(monkeypatch)

    class Info:
        siblings = (type("Sibling", (), {"rfilename": "open_clip_model.safetensors"}),)

    monkeypatch.setattr("huggingface_hub.model_info", lambda *_, **__: Info)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(file))
    encoder = load_encoder(GuideConfig("clip", TINY), ignore)
    assert encoder.identity.source == "hub:owner/repo/open_clip_model.safetensors"
    Info.siblings = ()
    with pytest.raises(WeightsUnavailableError, match="no open_clip_model"):
        load_encoder(GuideConfig("clip", TINY), ignore)


def test_clip_without_published_weights_says_so():
    with pytest.raises(WeightsUnavailableError, match="lists no published"):
        load_encoder(GuideConfig("clip", TINY), ignore)


def save_torchscript(path):
    """What tells TorchScript from a state dict: code beside the tensors."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/data.pkl", pickle.dumps({}))
        archive.writestr("tiny/constants.pkl", pickle.dumps(()))
        archive.writestr("tiny/code/__torch__/clip.py", "")


def test_torchscript_is_refused_with_a_conversion_that_works(tmp_path, clip, monkeypatch):
    path = tmp_path / "archive.pt"
    save_torchscript(path)
    with pytest.raises(WeightsUnavailableError, match="TorchScript") as caught:
        load(path)
    command = re.search(r'python -c "(.*?)"`', caught.value.hint)[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: clip)
    exec(command, {})
    assert load(tmp_path / "archive-weights.pt").identity.width == 24


class Code:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, clip, legacy):
    path = tmp_path / "evil.pt"
    state = {"state_dict": clip.state_dict(), "extra": Code()}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsUnavailableError, match="never run"):
        load(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.bin"])
@pytest.mark.parametrize("cut", ["half", "empty", "noise"])
def test_a_damaged_file_is_an_error_of_ours(tmp_path, clip, name, cut):
    path = tmp_path / name
    save = {"a.pt": torch.save, "a.bin": save_legacy, "a.safetensors": save_safetensors}[name]
    save(clip.state_dict(), path)
    whole = path.read_bytes()
    noise = bytes(range(256)) * 9
    path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "noise": noise}[cut])
    with pytest.raises(WeightsUnavailableError, match="damaged"):
        load(path)


@pytest.mark.parametrize("content", [{"weight": torch.ones(1)}, torch.ones(1), {"visual.a": 1}])
def test_a_file_without_an_image_tower_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsUnavailableError, match="no weights named `visual"):
        load(tmp_path / "a.pt")


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(io.BytesIO().getvalue())
    with pytest.raises(WeightsUnavailableError, match="none of"):
        load(tmp_path / "a.onnx")
    with pytest.raises(FileMissingError):
        load(tmp_path / "absent.pt")


def test_weights_of_another_architecture_are_refused(file, tmp_path, clip):
    with pytest.raises(WeightsUnavailableError, match=r"conv1\.weight should be .*\(32, 3, 16, 16"):
        load(file, OTHER)
    state = clip.state_dict()
    state["visual.extra"] = state.pop("visual.proj")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(
        WeightsUnavailableError, match=r"missing, such as proj; .*as extra"
    ) as error:
        load(tmp_path / "a.pt")
    assert "another architecture" in error.value.hint


def test_an_unknown_architecture_lists_near_matches(file):
    with pytest.raises(UsageError, match="vit-b-32") as caught:
        load(file, "vit-b-32-QuickGELU")
    assert f"matches: {CLIP}" in caught.value.hint


def test_a_known_checksum_decides_the_architecture(file, monkeypatch):
    openai = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    assert places.known_architectures(openai) == [CLIP]
    assert places.known_architectures("d867053b" + "0" * 56) == [CLIP]
    assert places.known_architectures("0" * 64) == []
    publish(monkeypatch, url=f"https://openaipublic.example/{places.sha256(file)}/tiny.pt")
    events = []
    load(file, emit=events.append)
    assert "known by checksum" in events[0].message
    with pytest.raises(WeightsUnavailableError, match=f"by its checksum as {TINY}, not {OTHER}"):
        load(file, OTHER)


def test_a_model_gets_the_very_encoder_it_was_trained_with(file, tmp_path, machine):
    identity = load(file).identity
    assert load_encoder_by_identity(identity, file, ignore).identity == identity
    with pytest.raises(WeightsUnavailableError, match=r"no file was found"):
        load_encoder_by_identity(identity, None, ignore)
    in_folder = tmp_path / "weights" / f"{TINY}.safetensors"
    in_folder.write_bytes(file.read_bytes())
    found = load_encoder_by_identity(identity, None, ignore)
    assert isinstance(found, Encoder)
    assert found.identity.sha256 == identity.sha256
    with safetensors.safe_open(file, framework="pt") as whole:
        state = {name: whole.get_tensor(name) + 1 for name in whole.keys()}  # noqa: SIM118
    safetensors.torch.save_file(state, in_folder)
    with pytest.raises(WeightsUnavailableError, match="sha256 does not match") as caught:
        load_encoder_by_identity(identity, None, ignore)
    assert "--guide-weights" in caught.value.hint
    assert machine == []
