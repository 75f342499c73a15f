"""Settings: every key checked at the door, relative paths taken from the file's folder."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from m3amba_geo.config import (
    ClassifyConfig,
    Config,
    GuideConfig,
    LabelConfig,
    ModalityConfig,
    SceneConfig,
    SplitConfig,
    TrainConfig,
)
from m3amba_geo.config_file import make_config, read_toml
from m3amba_geo.errors import DataError, FileMissingError, UsageError

EVERYTHING = """
[[scene]]
modalities = { vnir = ["b1.tif", "sub/b2.tif"], dem = "/data/dem.tif" }
labels = "roi.shp"
test_labels = { path = "check.gpkg", layer = "points", legend = "legend.csv" }
grid = "b1.tif"

[[scene]]
modalities = [{ name = "vnir", files = ["c.tif"] }, { name = "dem", files = ["d.tif"] }]

[train]
out = "models/a.m3amba"
epochs = 3
split = { by = "block", validation = 0.3 }
guide = { mode = "clip", weights = "clip.pt" }

[classify]
out = "map.tif"
bounds = [0, 1, 2.5, 3]
mask = "mask.tif"
guide_weights = "clip.pt"

[evaluate]
labels = "check.gpkg"
model = "models/a.m3amba"
report = "r.json"
"""


def config_of(folder, text):
    path = folder / "m3amba.toml"
    path.write_text(text, encoding="utf-8")
    return make_config(read_toml(path), str(path))


def test_everything(tmp_path):
    config = config_of(tmp_path, EVERYTHING)
    first, second = config.scene
    assert first == SceneConfig(
        modalities=(
            ModalityConfig("vnir", (tmp_path / "b1.tif", tmp_path / "sub" / "b2.tif")),
            ModalityConfig("dem", (Path("/data/dem.tif"),)),
        ),
        labels=LabelConfig(tmp_path / "roi.shp"),
        test_labels=LabelConfig(tmp_path / "check.gpkg", "points", legend=tmp_path / "legend.csv"),
        grid=tmp_path / "b1.tif",
    )
    assert [modality.name for modality in second.modalities] == ["vnir", "dem"]
    assert second.labels is None
    assert config.train == TrainConfig(
        out=tmp_path / "models" / "a.m3amba",
        epochs=3,
        split=SplitConfig(by="block", validation=0.3),
        guide=GuideConfig("clip", weights=tmp_path / "clip.pt"),
    )
    assert config.classify == ClassifyConfig(
        out=tmp_path / "map.tif",
        bounds=(0, 1, 2.5, 3),
        mask=tmp_path / "mask.tif",
        guide_weights=tmp_path / "clip.pt",
    )
    assert config.evaluate.labels == LabelConfig(tmp_path / "check.gpkg")
    assert config.evaluate.model == tmp_path / "models" / "a.m3amba"


def test_a_tilde_is_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    config = config_of(tmp_path, "[train]\nout = '~/models/x.m3amba'")
    assert config.train.out == tmp_path / "home" / "models" / "x.m3amba"
    config = config_of(tmp_path, "[train]\nout = '~nobody-of-that-name.m3amba'")
    assert config.train.out == tmp_path / "~nobody-of-that-name.m3amba"


def test_nothing_is_the_defaults(tmp_path):
    assert config_of(tmp_path, "") == Config()


def test_paths_belong_to_the_folder_of_the_file_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "m3amba.toml").write_text("[train]\nout = 'x.m3amba'")
    monkeypatch.chdir(tmp_path)
    tables = read_toml(Path("project/m3amba.toml"))
    assert make_config(tables, "").train.out == tmp_path / "project" / "x.m3amba"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[trian]", "trian"),
        ("[train]\nepoch = 3", "train.epoch"),
        ("[train]\nepochs = 0", "train.epochs"),
        ("[train]\npatch = 30", "train.patch"),
        ("[train]\nsize = 'huge'", "train.size"),
        ("[train]\nlearning_rate = 'fast'", "train.learning_rate"),
        ("[train]\nema = 1.0", "train.ema"),
        ("[train.split]\nvalidation = 1.0", "train.split.validation"),
        ("[train.split]\ngap = -1", "train.split.gap"),
        ("[train.guide]\nmode = 'maybe'", "train.guide.mode"),
        ("[classify]\nbounds = [1, 2, 3]", "classify.bounds.3"),
        ("[classify]\nmemory = 1", "classify.memory"),
        ("[classify]\nstride = 0", "classify.stride"),
        ("[evaluate]", "evaluate.labels"),
        ("[[scene]]", "scene.0.modalities"),
        ("[[scene]]\nmodalities = {}", "scene.0.modalities"),
        ("[[scene]]\nmodalities = { a = [] }", "scene.0.modalities.0.files"),
        ("[[scene]]\nmodalities = { a = 'a.tif' }\nlabels = { feild = 'x' }", "labels.feild"),
        ("scene = 3", "scene"),
        ("train = 3", "train"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, key):
    with pytest.raises(UsageError, match=rf"(^|\W){key}:") as caught:
        config_of(tmp_path, text)
    assert str(tmp_path / "m3amba.toml") in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["[train", "a = ", "[a]\n[a]"])
def test_what_is_no_toml_is_refused(tmp_path, text):
    with pytest.raises(UsageError, match="is not TOML"):
        config_of(tmp_path, text)


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(FileMissingError):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(DataError, match="can't be read"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes("licence = 'für alle'".encode("latin-1"))
    with pytest.raises(UsageError, match="is not TOML"):
        read_toml(tmp_path / "latin.toml")


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        TrainConfig().epochs = 3


def test_settings_survive_json():
    config = TrainConfig(split=SplitConfig(by="block"), guide=GuideConfig("none"))
    adapter = TypeAdapter(TrainConfig)
    assert adapter.validate_json(adapter.dump_json(config)) == config


def test_a_byte_order_mark_is_no_matter(tmp_path):
    path = tmp_path / "m3amba.toml"
    path.write_text("[train]\nseed = 7\n", encoding="utf-8-sig")
    assert read_toml(path)["train"]["seed"] == 7


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_bounds_are_numbers(tmp_path, bad):
    path = tmp_path / "m3amba.toml"
    path.write_text(f"[classify]\nbounds = [0, 0, {bad}, 1]\n")
    with pytest.raises(UsageError, match=r"classify\.bounds"):
        make_config(read_toml(path), str(path))


def test_inputs_are_all_files_that_are_named():
    labels = LabelConfig(Path("roi.shp"), legend=Path("legend.csv"))
    assert {path.name for path in labels.inputs} >= {"roi.shp", "roi.dbf", "legend.csv"}
    assert LabelConfig(Path("roi.gpkg")).inputs == [Path("roi.gpkg")]
    modality = ModalityConfig("a", (Path("a.tif"), Path("b.tif")))
    scene = SceneConfig((modality,), LabelConfig(Path("x")), LabelConfig(Path("y")), Path("g"))
    assert [path.name for path in scene.inputs] == ["a.tif", "b.tif", "x", "y", "g"]
