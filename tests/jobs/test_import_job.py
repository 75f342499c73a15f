"""Files of the layout of the published copies, cut small through the table."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from scipy.io import savemat

from m3amba_geo.cli import main
from m3amba_geo.config import GuideConfig
from m3amba_geo.config_file import make_config, read_toml
from m3amba_geo.errors import BenchmarkUnclearError, FileMissingError, OutputExistsError
from m3amba_geo.events import Note, Warned
from m3amba_geo.geo.benchmarks import BENCHMARKS, Benchmark
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.geo.legend import legend_of_csv
from m3amba_geo.jobs import import_scene, train

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
ROWS, COLUMNS = 24, 40
BANDS = {"hsi": 6, "lidar": 1, "sar": 4, "dsm": 1}


def small(name: str, **changes: object) -> Benchmark:
    table = BENCHMARKS[name]
    modalities = tuple(
        replace(m, bands=(BANDS["hsi"],)) if m.name == "hsi" else m for m in table.modalities
    )
    settings = {"shape": (ROWS, COLUMNS), "modalities": modalities, "pixels": {}}
    return replace(table, **settings | changes)


def scene(classes: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of a scene: stripes of classes, half of each for training."""
    rng = np.random.default_rng(seed)
    gt = (np.arange(COLUMNS) * classes // COLUMNS + 1).astype(np.uint8)
    gt = np.tile(gt, (ROWS, 1))
    gt[:2] = 0
    train = np.where(np.arange(ROWS)[:, None] < 12, gt, 0).astype(np.uint8)
    return {
        "hsi": (gt[..., None] * 10 + rng.integers(0, 5, (ROWS, COLUMNS, 6))).astype(np.uint16),
        "lidar": rng.random((ROWS, COLUMNS)),
        "lidar2": rng.random((ROWS, COLUMNS, 2)).astype(np.float32),
        "sar": rng.normal(size=(ROWS, COLUMNS, 4)),
        "gt": gt,
        "train": train,
        "test": (gt - train).astype(np.float32),
    }


def write(folder, **files):
    """Writes `stem={variable: array}` as MATLAB files."""
    folder.mkdir(exist_ok=True)
    for stem, content in files.items():
        savemat(folder / f"{stem}.mat", content, do_compression=True)
    return folder


def houston_toolkit(s):
    return {
        "HSI": {"HSI": s["hsi"]}, "LiDAR": {"LiDAR": s["lidar"]}, "gt": {"gt": s["gt"]},
        "TRLabel": {"TRLabel": s["train"]}, "TSLabel": {"TSLabel": s["test"]},
    }  # fmt: skip


def houston_hong(s):
    return {
        "Houston2013_HSI": {"HSI": s["hsi"]}, "Houston2013_DSM": {"DSM": s["lidar"]},
        "Houston2013_TR": {"TR_map": s["train"]}, "Houston2013_TE": {"TE_map": s["test"]},
    }  # fmt: skip


def houston_minus_one(s):
    files = houston_toolkit(s)
    del files["gt"]
    for side, name in (("train", "TRLabel"), ("test", "TSLabel")):
        files[name] = {name: np.where(s[side] == 0, -1.0, s[side])}
    return files


def augsburg_hong(s):
    return {
        "data_HS_LR": {"data_HS_LR": s["hsi"]}, "data_SAR_HR": {"data_SAR_HR": s["sar"]},
        "data_DSM": {"data_DSM": s["lidar"]}, "TrainImage": {"TrainImage": s["train"]},
        "TestImage": {"TestImage": s["test"]},
    }  # fmt: skip


def listed(s, city):
    """The copies that list rows and columns of training and test pixels."""
    index = {f"{city}_{side}": np.argwhere(s[side]) for side in ("train", "test")}
    index[f"{city}_all"] = np.argwhere(s["gt"] >= 0)
    return {
        f"{city}_hsi": {f"{city}_hsi": s["hsi"]}, f"{city}_sar": {f"{city}_sar": s["sar"]},
        f"{city}_gt": {f"{city}_gt": s["gt"]}, f"{city}_index": index,
    }  # fmt: skip


def berlin_coarse(s):
    files = augsburg_hong(s)
    del files["data_DSM"]
    files["data_HS_LR"] = {"data_HS_LR": s["hsi"][::2, ::2]}
    return files


def muufl_struct(s):
    flights = np.empty((1, 2), object)
    flights[:] = [[{"x": 1.0, "z": s["lidar2"]}, {"x": 1.0, "z": s["lidar2"] + 1}]]
    names = np.array([f"material {i}" for i in range(1, 12)], object)
    labels = {"labels": np.where(s["gt"] == 0, -1.0, s["gt"]), "Materials_Type": names}
    hsi = {"Data": s["hsi"], "Lidar": flights, "sceneLabels": labels, "RGB": s["hsi"][..., :3]}
    return {"muufl_gulfport_campus_1_hsi_220_label": {"hsi": hsi}}


def trento_italy(s):
    return {
        "Italy_hsi": {"data": s["hsi"]}, "Italy_lidar": {"data": s["lidar2"]},
        "allgrd": {"mask_test": s["gt"]},
    }  # fmt: skip


def trento_turned(s):
    files = {
        "HSI": {"HSI": s["hsi"].transpose(1, 0, 2)}, "LiDAR": {"LiDAR": s["lidar"].T},
        "TRLabel": {"TRLabel": s["train"].T}, "TSLabel": {"TSLabel": s["test"].T},
    }  # fmt: skip
    return files


COPIES = [
    ("houston2013", houston_toolkit, {}, ["hsi", "lidar"], True),
    ("houston2013", houston_hong, {}, ["hsi", "lidar"], True),
    ("houston2013", houston_minus_one, {}, ["hsi", "lidar"], True),
    ("augsburg", augsburg_hong, {}, ["hsi", "sar", "dsm"], True),
    ("augsburg", lambda s: listed(s, "augsburg"), {}, ["hsi", "sar"], True),
    ("berlin", lambda s: listed(s, "berlin"), {}, ["hsi", "sar"], True),
    ("berlin", berlin_coarse, {"coarse": (12, 20)}, ["hsi", "sar"], True),
    ("muufl", muufl_struct, {}, ["hsi", "lidar"], False),
    ("trento", trento_italy, {}, ["hsi", "lidar"], False),
    ("trento", trento_turned, {}, ["hsi", "lidar"], True),
]


@pytest.mark.parametrize(("name", "layout", "changes", "modalities", "split"), COPIES)
def test_a_published_copy(name, layout, changes, modalities, split, tmp_path):
    table = small(name, **changes)
    truth = scene(len(table.classes))
    folder = write(tmp_path / "in", **layout(truth))
    events = []
    results = import_scene.run(table, folder, tmp_path / "out", events.append)
    assert not [e for e in events if isinstance(e, Warned)]
    config = make_config(read_toml(results.settings), "test")
    (found,) = config.scene
    assert [m.name for m in found.modalities] == modalities
    turn = (lambda a: a.T) if layout is trento_turned else (lambda a: a)
    with rasterio.open(tmp_path / "out" / "hsi.tif") as file:
        assert file.crs is None
        assert file.nodata is None
        assert file.descriptions[:2] == ("hsi 1", "hsi 2")
        expected = truth["hsi"]
        if name == "berlin" and changes:
            expected = expected[::2, ::2].repeat(2, 0).repeat(2, 1)
        assert (file.read(1) == turn(expected[..., 0])).all()
        assert (file.read(6) == turn(expected[..., 5])).all()
    labels = read_label_raster(found.labels.path)
    assert (labels.values == turn(truth["train" if split else "gt"])).all()
    assert len(set(labels.names.values())) == len(table.classes)
    if split:
        assert (read_label_raster(found.test_labels.path).values == turn(truth["test"])).all()
        assert config.train.split.by == "none"
    else:
        assert found.test_labels is None
        assert config.train.split.test > 0
    legend = legend_of_csv(results.legend)
    assert tuple(entry.name for entry in legend) == results.classes
    assert {e.code: e.name for e in legend} == labels.names


def test_the_first_flight_and_the_names_of_the_file(tmp_path):
    table, truth = small("muufl"), scene(11)
    folder = write(tmp_path / "in", **muufl_struct(truth))
    results = import_scene.run(table, folder, tmp_path / "out", lambda _: None)
    assert results.classes[0] == "material 1"
    with rasterio.open(tmp_path / "out" / "lidar.tif") as file:
        assert (file.read() == truth["lidar2"].transpose(2, 0, 1)).all()


def test_it_trains_as_it_is(tmp_path):
    table = small("houston2013", classes=("one", "two", "three"))
    folder = write(tmp_path / "in", **houston_toolkit(scene(3)))
    results = import_scene.run(table, folder, tmp_path / "out", lambda _: None)
    config = make_config(read_toml(results.settings), "test")
    settings = replace(
        config.train, out=tmp_path / "m.m3amba", epochs=1, patch=16, threads=1,
        guide=GuideConfig(mode="none"),
    )  # fmt: skip
    trained = train.run(config.scene, settings, lambda _: None)
    assert trained.classes == ("one", "two", "three")
    assert trained.pixels["test"] == int((scene(3)["test"] > 0).sum())


def without(files, *names):
    return {k: v for k, v in files.items() if k not in names}


S = scene(15)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (without(houston_toolkit(S), "LiDAR"), "lidar .* not found.*HSI of HSI.mat"),
        (without(houston_toolkit(S), "HSI"), "hsi .*6 bands"),
        (without(houston_toolkit(S), "TRLabel", "gt"), "labels"),
        (houston_toolkit(S) | {"DSM": {"DSM": S["lidar"]}}, "more than one array .* lidar"),
        (houston_toolkit(S) | {"other": {"x": S["hsi"]}}, "more than one array .* hsi"),
        (houston_toolkit(S) | {"TRLabel": {"TRLabel": S["train"] * 2}}, "holds 16"),
        (houston_toolkit(S) | {"TRLabel": {"TRLabel": S["train"] + 0.5}}, "labels are 1 to 15"),
        (houston_toolkit(S) | {"TRLabel": {"TRLabel": S["train"] * np.nan}}, "holds nan"),
        ({}, "no MATLAB file"),
    ],
)
def test_what_is_unclear_is_refused(files, words, tmp_path):
    folder = write(tmp_path / "in", **files)
    with pytest.raises(BenchmarkUnclearError, match=words) as caught:
        import_scene.run(small("houston2013"), folder, tmp_path / "out", lambda _: None)
    assert caught.value.hint
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("change", [lambda i: i + 1, lambda i: i[[0, 0]], lambda i: i * 0 + 1])
def test_lists_of_pixels_that_do_not_fit_the_labels(change, tmp_path):
    truth = scene(7)
    for name in ("gt", "train", "test"):  # so that a shift by one leads to no label
        truth[name][:, -1] = truth[name][-1] = 0
    files = listed(truth, "augsburg")
    files["augsburg_index"]["augsburg_test"] = change(files["augsburg_index"]["augsburg_test"])
    folder = write(tmp_path / "in", **files)
    with pytest.raises(BenchmarkUnclearError, match="augsburg_test"):
        import_scene.run(small("augsburg"), folder, tmp_path / "out", lambda _: None)


def test_other_numbers_than_published_are_told(tmp_path):
    truth = scene(15)
    truth["test"] = truth["gt"]
    folder = write(tmp_path / "in", **houston_toolkit(truth))
    count = int((truth["train"] > 0).sum())
    table, events = small("houston2013", pixels={"train": count, "test": 1}), []
    import_scene.run(table, folder, tmp_path / "out", events.append)
    notes = [e.message for e in events if isinstance(e, Note)]
    assert f"{count:,} labelled pixels (train), as published." in notes
    assert "train: TRLabel of TRLabel.mat (24 x 40)." in notes
    warned = [e.message for e in events if isinstance(e, Warned)]
    assert len(warned) == 2
    assert f"{count:,} pixels are both" in warned[1]


def test_a_file_of_matlab_7_3_is_named_where_it_is_missed(tmp_path):
    folder = write(tmp_path / "in", **houston_toolkit(S))
    (folder / "notes.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(200))
    events = []
    import_scene.run(small("houston2013"), folder, tmp_path / "out", events.append)
    assert any("Passed over notes.mat" in e.message for e in events if isinstance(e, Note))
    (folder / "HSI.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(200))
    with pytest.raises(BenchmarkUnclearError, match=r"HSI\.mat is a MATLAB 7\.3 file.*-v7"):
        import_scene.run(small("houston2013"), folder, tmp_path / "other", lambda _: None)


def test_outputs_are_not_replaced_unasked(tmp_path):
    folder = write(tmp_path / "in", **houston_toolkit(S))
    out = tmp_path / "out"
    out.mkdir()
    (out / "m3amba.toml").write_text("mine")
    with pytest.raises(OutputExistsError):
        import_scene.run(small("houston2013"), folder, out, lambda _: None)
    assert [p.name for p in out.iterdir()] == ["m3amba.toml"]
    import_scene.run(small("houston2013"), folder, out, lambda _: None, overwrite=True)
    assert (out / "m3amba.toml").read_text() != "mine"


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileMissingError):
        import_scene.run(small("muufl"), tmp_path / "no", tmp_path / "out", lambda _: None)


def test_the_table():
    for table in BENCHMARKS.values():
        assert len(set(table.classes)) == len(table.classes)
        if "train" in table.pixels:
            assert table.pixels["train"] + table.pixels["test"] == table.pixels["all"]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(BENCHMARKS, "houston2013", small("houston2013"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in", **houston_toolkit(S))
    assert main(["import", "houston2013", "in", "--json"]) == 0
    *_, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert last["results"]["rasters"]["hsi.tif"] == "24 x 40 x 6 uint16"
    assert (tmp_path / "houston2013" / "m3amba.toml").exists()
    assert main(["import", "pavia", "in"]) == 2
    assert "houston2013" in capsys.readouterr().err
