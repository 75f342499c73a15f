"""A map that was stopped goes on where it was, or says why it does not."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import bundle_of, with_manifest

from m3amba_geo.bundle import save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, SceneConfig
from m3amba_geo.errors import (
    DiskFullError,
    JournalError,
    M3ambaError,
    OutputBusyError,
    OutputExistsError,
)
from m3amba_geo.events import Note, Progress, Warned, ignore
from m3amba_geo.files import locked
from m3amba_geo.infer import blocks
from m3amba_geo.infer.journal import Journal, work_folder
from m3amba_geo.jobs import classify, space
from tests.conftest import write_raster

pytestmark = pytest.mark.usefixtures("one_thread")

PATCH, SHAPE = 16, (120, 40)
ROWS = 28  # of a block, here


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "_EXTRA", 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.m3amba"
    save_bundle(path, model_of())
    return path


def model_of(**options):
    """Does with fewer modalities, so that what pixels are made from is an output, too."""
    bundle = bundle_of({"a": 2, "b": 1}, patch=PATCH, **options)
    return with_manifest(bundle, modality_dropout=0.3)


@pytest.fixture
def scene(tmp_path):
    bands = np.random.default_rng(0).normal(0, 1, (2, *SHAPE)).astype(np.float32)
    other = bands[:1] + 1
    bands[0, 20:30, 10:25] = np.nan
    other[0, 20:30, 15:30] = np.nan  # 100 pixels lack both
    files = (write_raster(tmp_path / f"{m}.tif", b) for m, b in (("a", bands), ("b", other)))
    return SceneConfig(tuple(ModalityConfig(f.stem, (f,)) for f in files))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "map.tif"


def config_of(out, **options):
    names = ("confidence", "probabilities")
    return ClassifyConfig(out=out, **{n: out.with_name(f"{n}.tif") for n in names} | options)


class Stopped(BaseException):
    """As a kill, but for what a process can still do on its way out."""


def stop_at(phase, done):
    def tell(event):
        if isinstance(event, Progress) and event.phase == phase and event.done >= done:
            raise Stopped

    return tell


def run(model, scene, out, emit=ignore, **options):
    return classify.run(model, scene, config_of(out, **options), emit)


def contents(out):
    """Outputs by name; of the sidecar, which says when the map was made, the name only."""
    return {
        path.name: b"" if path.name.endswith(".json") else path.read_bytes()
        for path in out.parent.iterdir()
        if path.is_file()
    }


@pytest.fixture
def expected(model, scene, tmp_path):
    """What an uninterrupted run leaves."""
    folder = tmp_path / "expected"
    folder.mkdir()
    run(model, scene, folder / "map.tif")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    return contents(folder / "map.tif")


def stopped(model, scene, out, phase="mapping", done=60, **options):
    with pytest.raises(Stopped):
        run(model, scene, out, stop_at(phase, done), **options)


@pytest.mark.parametrize(
    ("phase", "done"), [("mapping", 30), ("mapping", 60), ("mapping", 115), ("writing", 1)]
)
def test_a_stopped_map_goes_on_and_is_the_same(model, scene, out, expected, phase, done):
    stopped(model, scene, out, phase, done)
    assert contents(out) == {}
    kept = [path.name for path in work_folder(out).glob("*.block")]
    made = {30: 1, 60: 2, 115: 4, 1: 5}[done]
    assert len(kept) == made
    events = []
    results = run(model, scene, out, events.append)
    assert contents(out) == expected
    assert not work_folder(out).exists()
    assert f"{made} of 5 blocks" in " ".join(e.message for e in events if isinstance(e, Note))
    rows = [e.done for e in events if isinstance(e, Progress) and e.phase == "mapping"]
    assert rows[:1] == {1: [42], 2: [70], 4: [120], 5: []}[made]
    assert sum(results.pixels.values()) == SHAPE[0] * SHAPE[1]
    assert results.pixels["nodata"] == 100


def test_a_stopped_map_says_what_is_kept(model, scene, out):
    events = []

    def tell(event):
        events.append(event)
        stop_at("mapping", 60)(event)

    with pytest.raises(Stopped):
        run(model, scene, out, tell)
    assert "Kept" in events[-1].message
    assert "2 of 5 blocks" in events[-1].message
    assert str(work_folder(out)) in events[-1].message


def test_before_the_first_block_nothing_is_kept(model, scene, out):
    stopped(model, scene, out, done=10)
    assert not list(out.parent.iterdir())


def test_damaged_blocks_are_made_again(model, scene, out, expected):
    stopped(model, scene, out)
    first, second = sorted(work_folder(out).glob("*.block"))
    first.write_bytes(first.read_bytes()[::-1])
    second.write_bytes(b"")
    (work_folder(out) / ".rows-56-84.77.part.block").write_bytes(b"left by a kill")
    events = []
    run(model, scene, out, events.append)
    assert [e.code for e in events if isinstance(e, Warned)].count("block-damaged") == 2
    assert contents(out) == expected
    assert not work_folder(out).exists()


def touch(scene, model):
    path = scene.modalities[0].files[0]
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1))
    return scene, model, {}


def another_model(scene, model):
    path = scene.modalities[0].files[0].with_name("other.m3amba")
    save_bundle(path, model_of(seed=1))
    return scene, path, {}


def with_mask(scene, model):
    mask = np.ones((1, *SHAPE), np.uint8)
    return scene, model, {"mask": write_raster(scene.modalities[0].files[0].with_name("m"), mask)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (touch, "raster a.tif"),
        (another_model, "model"),
        (with_mask, "mask"),
        (lambda scene, model: (scene, model, {"stride": 8}), "stride"),
        (lambda scene, model: (scene, model, {"batch": 3}), "batch"),
        (lambda scene, model: (scene, model, {"scan": "reference"}), "scan"),
        (lambda scene, model: (scene, model, {"confidence": None}), "set of outputs"),
        (lambda scene, model: (replace(scene, resampling="cubic"), model, {}), "resampling"),
        (lambda s, m: (s, m, {"bounds": (0.0, 0.0, 6.01e5, 1e7)}), "bounds"),
    ],
)
def test_what_changed_is_noticed_and_named(model, scene, out, change, word):
    stopped(model, scene, out)
    before = sorted(work_folder(out).iterdir())
    changed, other, options = change(scene, model)
    with pytest.raises(JournalError, match=rf"begun with another {word}") as caught:
        run(other, changed, out, **options)
    assert "--restart" in caught.value.hint
    assert sorted(work_folder(out).iterdir()) == before
    run(other, changed, out, restart=True, **options)
    assert not work_folder(out).exists()


def test_modalities_that_change_places_are_noticed(scene, out, tmp_path):
    """Named otherwise than in the model, they are taken in the order given."""
    model = tmp_path / "alike.m3amba"
    save_bundle(model, bundle_of({"a": 1, "b": 1}, patch=PATCH))
    (file,) = scene.modalities[1].files
    other = shutil.copy(file, tmp_path / "c.tif")
    one, two = ModalityConfig("x", (file,)), ModalityConfig("y", (Path(other),))
    stopped(model, SceneConfig((one, two)), out)
    with pytest.raises(JournalError, match=r"another raster b.tif \(a, 0\)"):
        run(model, SceneConfig((two, one)), out)


def test_a_scale_that_is_declared_beside_a_file_is_noticed(model, scene, out):
    stopped(model, scene, out)
    first = scene.modalities[0].files[0]
    first.with_name(first.name + ".aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Scale>0.5</Scale></PAMRasterBand></PAMDataset>'
    )
    with pytest.raises(JournalError, match="raster"):
        run(model, scene, out)


def test_what_does_not_change_the_map_may_change(model, scene, out, expected):
    stopped(model, scene, out)
    run(model, scene, out, memory=100, overwrite=True)
    assert contents(out) == expected


def test_an_unreadable_journal_is_refused(model, scene, out, expected):
    stopped(model, scene, out)
    journal = work_folder(out) / "journal.json"
    good = journal.read_text()
    for text in ("", "{}", "[]", good.replace('"format": 1', '"format": 2')):
        journal.write_text(text)
        with pytest.raises(JournalError) as caught:
            run(model, scene, out)
        assert "--restart" in caught.value.hint
    run(model, scene, out, restart=True)
    assert contents(out) == expected


# Stopped on the last steps


@pytest.mark.parametrize("renamed", range(6))
def test_a_run_killed_while_outputs_get_their_names(
    model, scene, out, expected, renamed, monkeypatch
):
    """Some are named, some are not: the same command, without --overwrite, finishes the rest."""
    killed_while_naming(model, scene, out, renamed, monkeypatch)
    assert len([path for path in contents(out) if not path.startswith(".")]) == renamed
    killed_while_naming(model, scene, out, 0, monkeypatch)
    assert [path for path in contents(out) if ".part" in path]
    run(model, scene, out)
    assert contents(out) == expected
    assert not work_folder(out).exists()


def killed_while_naming(model, scene, out, renamed, monkeypatch):
    replace_file, count = Path.replace, []

    def fail_later(self, target):
        if ".block" not in self.name and "journal" not in self.name:
            count.append(self)
            if len(count) > renamed:
                raise Stopped
        return replace_file(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_later)
        patch.setattr("m3amba_geo.files._drop", lambda _: None)  # a killed process tidies nothing
        stopped_anywhere(model, scene, out)


def stopped_anywhere(model, scene, out):
    with pytest.raises(Stopped):
        run(model, scene, out)


@pytest.mark.parametrize("method", ["note_published", "remove"])
def test_a_run_killed_when_all_is_named(model, scene, out, expected, method, monkeypatch):
    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Journal, method, stop)
        stopped_anywhere(model, scene, out)
    assert contents(out) == expected
    assert work_folder(out).exists()
    results = run(model, scene, out)
    assert contents(out) == expected
    assert not work_folder(out).exists()
    assert results.pixels["nodata"] == 100


@pytest.mark.parametrize("gone", ["map.tif", "map.qml", "confidence.tif"])
def test_what_was_published_and_is_gone_is_made_again(
    model, scene, out, expected, gone, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda _: None)  # a block is held by another program
        run(model, scene, out)
    out.with_name(gone).unlink()
    next(work_folder(out).glob("*.block")).unlink()
    run(model, scene, out)
    assert contents(out) == expected
    assert not work_folder(out).exists()


def test_a_map_of_somebody_else_is_not_replaced_unasked(model, scene, out):
    stopped(model, scene, out)
    out.write_text("mine")
    with pytest.raises(OutputExistsError):
        run(model, scene, out)
    assert out.read_text() == "mine"
    assert len(list(work_folder(out).glob("*.block"))) == 2
    run(model, scene, out, overwrite=True)
    with pytest.raises(OutputExistsError):
        run(model, scene, out)
    work_folder(out).mkdir()  # a run that was killed between its last two steps
    with pytest.raises(OutputExistsError):
        run(model, scene, out)
    assert not work_folder(out).exists()


# Two runs, too little room


@pytest.mark.parametrize("name", ["map.tif", "probabilities.tif"])
def test_two_runs_into_one_output_are_refused(model, scene, out, name):
    with locked(out.with_name(name)), pytest.raises(OutputBusyError, match=name) as caught:
        run(model, scene, out)
    assert caught.value.code == "output-busy"
    assert not list(out.parent.iterdir())
    run(model, scene, out)


def test_blocks_count_as_space_until_they_are_there(model, scene, out, monkeypatch):
    row = SHAPE[1] * (1 + 1 + 4 + 3 * 4)
    need = row * SHAPE[0] + 5 * 32 + sum(n * SHAPE[0] * SHAPE[1] // 50 for n in (1, 1, 4, 12))

    def free(bytes_left):
        monkeypatch.setattr(
            space.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, bytes_left)
        )

    free(need - 1)
    with pytest.raises(DiskFullError, match="finished blocks and outputs"):
        run(model, scene, out)
    assert not list(out.parent.iterdir())
    free(need)
    stopped(model, scene, out)
    free(need - 2 * (ROWS * row + 32) - 1)
    with pytest.raises(DiskFullError):
        run(model, scene, out)
    assert len(list(work_folder(out).glob("*.block"))) == 2
    free(need - 2 * (ROWS * row + 32))
    run(model, scene, out)


def test_errors_keep_what_is_finished(model, scene, out, expected, monkeypatch):
    from m3amba_geo.infer import journal

    write, count = journal.write_block, []

    def full(path, *rest):
        count.append(path)
        if len(count) == 4:
            raise DiskFullError("full", "free some")
        write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_block", full)
        with pytest.raises(M3ambaError):
            run(model, scene, out)
    assert len(list(work_folder(out).glob("*.block"))) == 3
    run(model, scene, out)
    assert contents(out) == expected
