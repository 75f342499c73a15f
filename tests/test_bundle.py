"""The model file: what goes in comes out, and anything else is refused with a reason."""

import json
import pickle
import re
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import bundle_of, legend_of, runs_of, with_manifest

from m3amba_geo import bundle as bundles
from m3amba_geo.bundle import Scaling, load_bundle, read_manifest, save_bundle
from m3amba_geo.errors import FileMissingError, ModelDamagedError, NotAModelError, OutputError
from m3amba_geo.geo.area import GridRecord, TrainingArea
from m3amba_geo.geo.coverage import ENOUGH
from m3amba_geo.model.guide import GuideIdentity


def area(shape, transform, crs, seed=0):
    rng = np.random.default_rng(seed)
    sides = rng.integers(3, size=shape)
    return TrainingArea(GeoBox(shape, transform, crs), runs_of(sides == 1), runs_of(sides == 2))


def example(**changes):
    areas = (
        area((13, 7), Affine(30, 0, 6e5, 0, -30, 5.4e6), "EPSG:32632"),
        area((5, 9), Affine.translation(3, 4) @ Affine.rotation(20), None, 1),
    )
    return with_manifest(bundle_of({"optical": 4, "height": 1}, areas=areas), **changes)


@pytest.fixture
def model(tmp_path):
    save_bundle(tmp_path / "model.m3amba", example())
    return tmp_path / "model.m3amba"


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_what_goes_in_comes_out(tmp_path):
    identity = GuideIdentity("ViT-B-32-quickgelu", "0" * 64, "file:x.pt", 512)
    bundle = example(guide=identity, licence="CC BY 4.0", scores={"kappa": 0.5}, inputs={"a": "b"})
    guide = {"embeddings.0.weight": torch.randn(3, 4, 1, 1), "embeddings.0.bias": torch.randn(3)}
    bundle = replace(bundle, guide_weights=guide)
    save_bundle(tmp_path / "model.m3amba", bundle)
    found = load_bundle(tmp_path / "model.m3amba")
    assert found.manifest == bundle.manifest == read_manifest(tmp_path / "model.m3amba")
    assert same(found.network.state_dict(), bundle.network.state_dict())
    assert same(found.guide_weights, guide)
    assert not found.network.training
    for one, other in zip(found.areas, bundle.areas, strict=True):
        assert one.grid == other.grid
        assert np.array_equal(one.train.turns, other.train.turns)
        assert np.array_equal(one.validation.turns, other.validation.turns)
    assert [path.name for path in tmp_path.iterdir()] == ["model.m3amba"]


def test_it_is_safetensors_with_a_json_manifest(model):
    with safe_open(model, "pt") as file:
        manifest = json.loads(file.metadata()["m3amba"])
        names = set(file.keys())
    assert manifest["format"] == 2
    assert [entry["color"] for entry in manifest["legend"]] == ["#018040", "#028040", "#038040"]
    assert {name.split(".")[0] for name in names} == {"network", "area"}
    assert {"area.0.train", "area.1.validation"} <= names


def test_masks_are_kept_as_runs(model):
    numbers = load_file(model)["area.0.train"].numpy()
    assert np.array_equal(numbers, [*load_bundle(model).areas[0].train.turns, 13 * 7])


def test_the_manifest_is_read_without_the_weights(tmp_path, model):
    content = model.read_bytes()
    (header,) = struct.unpack("<Q", content[:8])
    (tmp_path / "head.m3amba").write_bytes(content[: 8 + header])
    assert read_manifest(tmp_path / "head.m3amba") == read_manifest(model)


def test_a_model_that_can_not_be_written_is_an_error_of_ours(tmp_path):
    with pytest.raises(OutputError):
        save_bundle(tmp_path / "absent" / "model.m3amba", example())


# Not ours


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"123",
        b"12345678",
        b"PK\x03\x04" + bytes(100),
        pickle.dumps({"model_dict": 1}),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 20) + b'{"__metadata__":null}'[:20],
        struct.pack("<Q", 21) + b'{"__metadata__":null}',
        struct.pack("<Q", 4) + b'{"\xff"',
    ],
)
def test_other_files_are_not_models(tmp_path, content):
    path = tmp_path / "model.m3amba"
    path.write_bytes(content)
    for read in (load_bundle, read_manifest):
        with pytest.raises(NotAModelError, match="not a m3amba-geo model") as caught:
            read(path)
        assert "m3amba-geo train" in caught.value.hint


def test_other_safetensors_are_not_models(tmp_path):
    for metadata in (None, {"format": "pt"}, {"m3amba": "{}"}):
        save_file({"a": torch.ones(2)}, tmp_path / "x.m3amba", metadata)
        with pytest.raises(NotAModelError):
            load_bundle(tmp_path / "x.m3amba")


def test_what_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(FileMissingError):
        load_bundle(tmp_path / "absent.m3amba")
    with pytest.raises(NotAModelError, match="can't be read"):
        load_bundle(tmp_path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


def test_code_is_not_run(tmp_path):
    for legacy in (True, False):
        path = tmp_path / "model.m3amba"
        torch.save({"x": Bomb()}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(NotAModelError):
            load_bundle(path)


# Ours, but damaged


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.999])
def test_a_file_that_ends_early_is_damaged(model, share):
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelDamagedError) as caught:
        load_bundle(model)
    assert str(model) in str(caught.value)
    assert "Copy it again" in caught.value.hint


def test_a_longer_file_is_damaged(model):
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ModelDamagedError):
        load_bundle(model)


def test_no_flipped_bit_goes_unnoticed(model):
    content = model.read_bytes()
    rng = np.random.default_rng(0)
    for place in (8, len(content) - 1, *rng.integers(8, len(content), 150)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        model.write_bytes(damaged)
        with pytest.raises((ModelDamagedError, NotAModelError)):
            load_bundle(model)


def rewritten(model, change_manifest=lambda m: None, change_tensors=lambda t: None):
    """Writes the file anew with a checksum that fits, as another program might."""
    with safe_open(model, "pt") as file:
        manifest = json.loads(file.metadata()["m3amba"])
    tensors = load_file(model)
    manifest = change_manifest(manifest) or manifest
    change_tensors(tensors)
    text = json.dumps(manifest)
    save_file(tensors, model, {"m3amba": text, "sha256": bundles._digest(text, tensors)})


def test_a_file_written_anew_without_changes_is_fine(model):
    before = read_manifest(model)
    rewritten(model)
    assert load_bundle(model).manifest == before


MANIFESTS = {
    "newer": lambda m: m.update(format=3),
    "no format": lambda m: m.pop("format"),
    "a list": lambda m: [m],
    "no legend": lambda m: m.pop("legend"),
    "another class": lambda m: m["legend"].append(m["legend"][0]),
    "another band": lambda m: m["scaling"][0]["mean"].append(0.0),
    "another deviation": lambda m: m["scaling"][1]["deviation"].append(1.0),
    "another modality": lambda m: m["modalities"].append(m["modalities"][0]),
    "other bands": lambda m: m["network"].update(bands=[4, 2]),
    "wider": lambda m: m["network"].update(width=16),
    "larger than any memory": lambda m: m["network"].update(width=4096, depth=64, states=256),
    "impossible": lambda m: m["network"].update(patch=-1),
    "surer than it is": lambda m: m.update(temperature=0.5),
    "no temperature": lambda m: m.update(temperature=float("nan")),
    "unknown setting": lambda m: m["network"].update(colour=1),
    "text for a number": lambda m: m.update(resolution=["wide", "high"]),
    "larger grid": lambda m: m["grids"][0].update(shape=[100, 100]),
    "negative grid": lambda m: m["grids"][0].update(shape=[-13, -7]),
    "another grid": lambda m: m["grids"].append(m["grids"][0]),
    "no CRS at all": lambda m: m["grids"][0].update(crs="PROJCS[nothing]"),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_does_not_fit_is_damaged(model, change):
    def changed(manifest):
        result = change(manifest)
        return result if isinstance(result, list) and result[0] is manifest else None

    rewritten(model, changed)
    with pytest.raises(ModelDamagedError):
        load_bundle(model)


TENSORS = {
    "one less": lambda t: t.pop("network.fused_head.conv.bias"),
    "one more": lambda t: t.update({"network.text.weight": torch.ones(1)}),
    "another shape": lambda t: t.update({"network.fused_head.conv.bias": torch.ones(2)}),
    "no mask": lambda t: t.pop("area.1.train"),
    "half a mask": lambda t: t.update({"area.0.train": t["area.0.train"][:3].clone()}),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS.keys())
def test_tensors_that_do_not_fit_are_damage(model, change):
    rewritten(model, change_tensors=change)
    with pytest.raises(ModelDamagedError, match="do not fit the manifest"):
        load_bundle(model)


@pytest.mark.parametrize("value", ["5", "null", '"x"', "{", "\x00"])
def test_a_manifest_that_is_none_is_damaged(model, value):
    tensors = load_file(model)
    save_file(tensors, model, {"m3amba": value, "sha256": "0"})
    with pytest.raises(ModelDamagedError):
        load_bundle(model)


def test_metadata_that_is_no_text_is_damage(tmp_path):
    header = b'{"__metadata__":{"m3amba":5,"sha256":6}}'
    path = tmp_path / "model.m3amba"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelDamagedError):
        load_bundle(path)


def test_a_manifest_is_not_made_that_would_not_be_read():
    with pytest.raises(ValueError, match="differ in number"):
        example(legend=legend_of(1, 2))
    with pytest.raises(ValueError, match="differ in number"):
        example(scaling=(Scaling((0.0,), (1.0,)),))


# Words are words


class Opened:
    """Notes what the process opens, while it is switched on; audit hooks can't be removed."""

    def __init__(self):
        self.on, self.paths = False, []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.on and (event.startswith("socket.") or event == "open"):
            self.paths.append(str(args[0]))


@pytest.fixture(scope="module")
def opened():
    return Opened()


def test_no_word_of_the_manifest_is_taken_for_a_path(tmp_path, opened):
    bait = tmp_path / "bait"
    bait.write_text("never to be read")
    words = str(bait)
    bundle = example(
        guide=GuideIdentity(words, words, f"file:{words}", 512),
        split=(words,),
        settings={"out": words, "guide": {"weights": words}},
        versions={words: words},
        inputs={words: words},
        licence=words,
        created=words,
        scan=words,
    )
    save_bundle(tmp_path / "model.m3amba", bundle)
    opened.on = True
    try:
        load_bundle(tmp_path / "model.m3amba")
    finally:
        opened.on = False
    ours = [path for path in opened.paths if str(tmp_path) in path]
    assert set(ours) == {str(tmp_path / "model.m3amba")}
    assert GridRecord.of(bundle.areas[0].grid) == bundle.manifest.grids[0]


def test_the_plugin_reads_the_same_format_and_expects_the_same_of_models():
    plugin = (Path(bundles.__file__).parents[1] / "qgis_plugin" / "model_file.py").read_text()
    told = dict(re.findall(r"^(FORMAT|ENOUGH) = ([\d.]+)", plugin, re.MULTILINE))
    assert told == {"FORMAT": str(bundles.FORMAT), "ENOUGH": str(ENOUGH)}
