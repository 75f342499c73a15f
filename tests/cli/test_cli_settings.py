import types
from pathlib import Path

import pytest

import m3amba_geo.jobs
from m3amba_geo.cli import main
from m3amba_geo.cli.modalities import parse_modalities
from m3amba_geo.errors import UsageError

TOML = """
[[scene]]
modalities = { vnir = ["b2.tif", "b3.tif"], dem = "dem.tif" }
labels = { path = "roi.shp", field = "class" }
grid = "dem.tif"
resampling = "nearest"

[train]
size = "small"
seed = 7

[train.split]
by = "block"
gap = 8

[train.guide]
mode = "none"

[classify]
stride = 8
overwrite = true

[evaluate]
html = "page.html"
"""


class Job:
    """Stands in for a job and keeps what it was given."""

    def __init__(self):
        self.given = ()
        self.keywords = {}

    def run(self, *given, **keywords):
        self.given, self.keywords = given, keywords
        return types.SimpleNamespace(to_json=lambda: {"ok": True})


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fakes = {name: Job() for name in ("train", "classify", "evaluate", "info", "demo")}
    for name, fake in fakes.items():
        monkeypatch.setattr(m3amba_geo.jobs, name, fake, raising=False)
    monkeypatch.setattr("m3amba_geo.cli.evaluate._render", lambda *_: None)
    monkeypatch.setattr("m3amba_geo.cli.evaluate._to_json", lambda _: {})
    return types.SimpleNamespace(**fakes)


@pytest.fixture
def toml(jobs, tmp_path):
    path = tmp_path / "m3amba.toml"
    path.write_text(TOML)
    return path


def files(*items):
    return [(m["name"], m["files"]) for m in parse_modalities(items)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x/a.tif"], [("a", ["x/a.tif"])]),
        (["a.tif", "b.tif"], [("a", ["a.tif"]), ("b", ["b.tif"])]),
        (["v=2.tif", "s=6.tif", "v=1.tif"], [("v", ["2.tif", "1.tif"]), ("s", ["6.tif"])]),
        (["./a=b.tif"], [("a=b", ["./a=b.tif"])]),
        (["/vsicurl/http://h/x?k=a.tif"], [("x?k=a", ["/vsicurl/http://h/x?k=a.tif"])]),
        (["v=x/a=b.tif"], [("v", ["x/a=b.tif"])]),
        ([], []),
    ],
)
def test_modalities(arguments, expected):
    assert files(*arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [["x/a.tif", "y/a.tif"], ["a=1.tif", "a.tif"], ["a.tif", "a=1.tif"], ["=a.tif"], ["a="]],
)
def test_modalities_that_are_unclear(arguments):
    with pytest.raises(UsageError) as caught:
        parse_modalities(arguments)
    assert caught.value.hint


def test_a_file_whose_name_has_an_equals_sign_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("date=2020.tif").touch()
    with pytest.raises(UsageError, match=r"2020\.tif") as caught:
        parse_modalities(["date=2020.tif"])
    assert "./date=2020.tif" in caught.value.hint
    assert files("./date=2020.tif") == [("date=2020", ["./date=2020.tif"])]


def test_defaults_without_a_file(jobs):
    assert main(["train", "v=a.tif", "v=b.tif", "c.tif", "--labels", "roi.shp"]) == 0
    (scene,), config, _ = jobs.train.given
    assert [(m.name, m.files) for m in scene.modalities] == [
        ("v", (Path("a.tif"), Path("b.tif"))),
        ("c", (Path("c.tif"),)),
    ]
    assert scene.labels.path == Path("roi.shp")
    assert scene.labels.all_touched is False
    assert config.size == "auto"
    assert jobs.train.keywords == {"resume": False, "init": None, "overwrite": False}


def test_toml_names_the_rasters_and_options_override(jobs, toml):
    folder = toml.parent
    status = main(
        ["train", "--labels", "other.gpkg", "--size", "base", "--split", "none", "--gap", "0",
         "--seed", "0", "--threads", "2", "--all-touched", "--resume", "--init", "old.m3amba"]
    )  # fmt: skip
    assert status == 0
    (scene,), config, _ = jobs.train.given
    assert [m.files for m in scene.modalities] == [
        (folder / "b2.tif", folder / "b3.tif"),
        (folder / "dem.tif",),
    ]
    assert (scene.labels.path, scene.labels.field) == (Path("other.gpkg"), "class")
    assert scene.labels.all_touched is True
    assert (scene.grid, scene.resampling) == (folder / "dem.tif", "nearest")
    assert (config.size, config.seed, config.threads) == ("base", 0, 2)
    assert (config.split.by, config.split.gap, config.guide.mode) == ("none", 0, "none")
    assert jobs.train.keywords == {
        "resume": True, "init": Path("old.m3amba"), "overwrite": False,
    }  # fmt: skip


def test_toml_alone(jobs, toml):
    assert main(["train"]) == 0
    _, config, _ = jobs.train.given
    assert (config.size, config.seed, config.split.by, config.split.gap) == ("small", 7, "block", 8)


def test_rasters_of_the_command_line_bring_their_own_grid(jobs, toml):
    assert main(["train", "new.tif"]) == 0
    (scene,), *_ = jobs.train.given
    assert [m.name for m in scene.modalities] == ["new"]
    assert scene.grid is None
    assert scene.labels.field == "class"


def test_labels_for_testing_are_read_like_those_for_training(jobs):
    assert main(["train", "a.tif", "--labels", "l.shp", "--field", "f", "--test-labels", "t"]) == 0
    (scene,), *_ = jobs.train.given
    assert (scene.test_labels.path, scene.test_labels.field) == (Path("t"), "f")


def test_config_names_another_file(jobs, toml):
    other = toml.with_name("other.toml")
    toml.rename(other)
    assert main(["train"]) == 2
    assert main(["train", "--config", str(other)]) == 0
    assert main(["train", "--config", "gone.toml"]) == 3


def test_classify_elsewhere(jobs, toml):
    arguments = ["new.tif", "--bounds", "-3", "-2.5", "1e3", "4", "--memory", "64"]
    assert main(["classify", "model.m3amba", *arguments]) == 0
    model, scene, config, _ = jobs.classify.given
    assert model == Path("model.m3amba")
    assert (scene.labels, scene.grid, scene.resampling) == (None, None, "nearest")
    assert config.bounds == (-3, -2.5, 1000, 4)
    assert (config.memory, config.stride, config.overwrite) == (64, 8, True)


def test_classify_the_scene_of_the_file(jobs, toml):
    assert main(["classify", "model.m3amba"]) == 0
    assert [m.name for m in jobs.classify.given[1].modalities] == ["vnir", "dem"]


def test_evaluate_takes_the_labels_of_the_scene(jobs, toml):
    assert main(["evaluate", "map.tif", "--report", "r.json", "--overwrite"]) == 0
    map_path, config, _ = jobs.evaluate.given
    assert map_path == Path("map.tif")
    assert (config.labels.path, config.labels.field) == (toml.parent / "roi.shp", "class")
    assert (config.report, config.html) == (Path("r.json"), toml.parent / "page.html")
    assert config.overwrite
    assert not config.allow_train_overlap


def test_evaluate_on_other_labels(jobs):
    arguments = ["--labels", "l.gpkg", "--layer", "x", "--model", "m", "--allow-train-overlap"]
    assert main(["evaluate", "map.tif", *arguments]) == 0
    config = jobs.evaluate.given[1]
    assert (config.labels.path, config.labels.layer) == (Path("l.gpkg"), "x")
    assert (config.model, config.allow_train_overlap) == (Path("m"), True)


def test_several_scenes(jobs, toml, capsys):
    text = TOML + TOML.split("[train]")[0]
    toml.write_text(text)
    assert main(["evaluate", "map.tif"]) == 2
    assert main(["train"]) == 0
    toml.write_text(text.replace("[evaluate]", '[evaluate]\nlabels = "check.shp"'))
    assert len(jobs.train.given[0]) == 2
    assert main(["train", "--labels", "roi.shp"]) == 2
    assert main(["classify", "model.m3amba"]) == 2
    assert main(["classify", "model.m3amba", "a.tif"]) == 0
    assert jobs.classify.given[1].resampling == "nearest"
    assert main(["evaluate", "map.tif"]) == 0
    assert jobs.evaluate.given[1].labels.path == toml.parent / "check.shp"
    assert "2 scenes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "No rasters were named."),
        (["train", "--labels", "roi.shp"], "No rasters were named."),
        (["train", "a.tif"], "No ground truth was named."),
        (["train", "a.tif", "--labels", "l", "--gap", "-1"], "train.split.gap"),
        (["classify", "model.m3amba"], "No rasters were named."),
        (["classify", "model.m3amba", "a.tif", "--memory", "1"], "classify.memory"),
        (["evaluate", "map.tif"], "No ground truth was named."),
    ],
)
def test_what_is_missing_or_wrong_is_named(jobs, capsys, arguments, words):
    assert main(arguments) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert words in err
    assert "hint: " in err


@pytest.mark.parametrize(
    "text", ["scene = 3", "[scene]\nmodalities = 1", "[train]\nsise = 'tiny'", "train = 1", "["]
)
def test_a_file_that_does_not_fit(jobs, toml, capsys, text):
    toml.write_text(text)
    assert main(["train", "a.tif", "--labels", "l.shp", "--gap", "1"]) == 2
    assert "m3amba.toml" in capsys.readouterr().err


def test_demo_and_info(jobs):
    assert main(["demo"]) == 0
    assert jobs.demo.given[0] == Path("m3amba-demo")
    assert main(["info", "optical=a.tif", "./b=c.tif", "roi.shp"]) == 0
    assert jobs.info.given[0] == [Path("a.tif"), Path("b=c.tif"), Path("roi.shp")]


def test_info_refuses_names_as_training_does(jobs, capsys):
    assert main(["info", "optical="]) == 2
    assert "NAME=RASTER" in capsys.readouterr().err
    assert jobs.info.given == ()
