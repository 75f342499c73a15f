"""Outputs that are whole or absent."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from disks import nearly_full, read_only, small_disk

from m3amba_geo.errors import (
    DiskFullError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    OutputFolderError,
    UsageError,
)
from m3amba_geo.files import (
    check_apart,
    check_output,
    checksum,
    drop_scratches,
    fingerprint,
    locked,
    output_error,
    together,
    whole,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_two(folder, error=None):
    """Writes two files that belong together, and fails between them if told so."""
    with together() as scratch_of:
        scratch_of(folder / "a.txt").write_text("new a")
        if error is not None:
            raise error
        scratch_of(folder / "b.txt").write_text("new b")


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "map.tif"
    with whole(path) as scratch:
        scratch.write_text("half")
        assert scratch.parent == tmp_path
        assert scratch.suffix == ".tif"
        assert scratch.name.startswith(".map")
        assert not path.exists()
    assert path.read_text() == "half"
    assert names(tmp_path) == ["map.tif"]


def write_into(*paths):
    with together() as scratch_of:
        for path in paths:
            scratch_of(path).write_text("text")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_fails_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error):
        write_two(tmp_path, error())
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_files_that_belong_together_appear_together(tmp_path):
    (tmp_path / "b.txt").write_text("old")
    write_two(tmp_path)
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["new a", "new b"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "a.txt"
    link.symlink_to(tmp_path / "elsewhere" / "b.txt")
    write_text(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "b.txt").read_text() == "text"


def test_text_is_utf_8(tmp_path):
    write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n"


def test_a_full_disk_leaves_what_was_there(tmp_path):
    with small_disk(tmp_path / "disk", 16) as disk:
        write_text(disk / "a.txt", "old")
        with nearly_full(disk, 3), pytest.raises(DiskFullError, match=r"disk is full.*a\.txt"):
            write_text(disk / "a.txt", "x" * 20_000)
        assert names(disk) == ["a.txt"]
        assert (disk / "a.txt").read_text() == "old"


def test_a_folder_that_may_not_be_written_to(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "a.txt").write_text("old")
    with read_only(folder):
        for attempt in (
            lambda: check_output(folder / "a.txt", overwrite=True),
            lambda: write_text(folder / "a.txt", "new"),
        ):
            with pytest.raises(OutputFolderError, match="is not writable") as caught:
                attempt()
            assert caught.value.code == "output-folder"
            assert str(folder) in str(caught.value)
    assert (folder / "a.txt").read_text() == "old"


def test_outputs_are_checked_before_work_begins(tmp_path):
    path = tmp_path / "map.tif"
    check_output(path, overwrite=False)
    assert names(tmp_path) == []
    with pytest.raises(OutputFolderError, match="does not exist"):
        check_output(tmp_path / "nowhere" / "map.tif", overwrite=True)
    with pytest.raises(OutputFolderError, match="does not exist"):
        check_output(tmp_path / "nowhere" / ".." / "gone" / "map.tif", overwrite=True)
    path.touch()
    check_output(path, overwrite=True)
    with pytest.raises(OutputExistsError, match="exists already") as caught:
        check_output(path, overwrite=False)
    assert "--overwrite" in caught.value.hint
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, OutputFolderError),
        (errno.EROFS, OutputFolderError),
        (errno.EIO, OutputError),
    ],
)
def test_errors_of_the_system_are_explained(tmp_path, number, kind):
    path = tmp_path / "map.tif"
    explained = output_error(OSError(number, os.strerror(number)), path)
    assert type(explained) is kind
    assert str(tmp_path) in str(explained)
    assert explained.hint


def test_the_file_that_failed_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"b\.txt"):
        write_into(tmp_path / "a.txt", tmp_path / "gone" / "b.txt")
    assert names(tmp_path) == []


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum(tmp_path / "a").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("size", [0, 10, 1 << 20, (1 << 20) + 5, (3 << 20) + 5])
def test_fingerprints_tell_files_apart(tmp_path, size):
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    first = fingerprint(path)
    assert fingerprint(path) == first
    path.write_bytes(bytes(size + 1))
    assert fingerprint(path) != first
    if size:
        path.write_bytes(b"\1" + bytes(size - 1))
        assert fingerprint(path) != first
        path.write_bytes(bytes(size - 1) + b"\1")
        assert fingerprint(path) != first


def test_fingerprints_of_folders(tmp_path):
    """Some label formats are folders."""
    folder = tmp_path / "labels.gdb"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "inner" / "b").write_text("b")
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    (folder / "inner" / "b").rename(folder / "inner" / "c")
    assert fingerprint(folder) != first
    (folder / "inner" / "c").rename(folder / "inner" / "b")
    (folder / "a").write_text("x")
    assert fingerprint(folder) != first


def test_an_output_has_one_run_at_a_time(tmp_path):
    out, other = tmp_path / "map.tif", tmp_path / "other.tif"
    with locked(out, out):
        with pytest.raises(OutputBusyError, match=r"map\.tif"), locked(other, out):
            pass
        with locked(other):
            pass
    with locked(out):
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_locks_nothing(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from m3amba_geo.files import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    out = tmp_path / "map.tif"
    with subprocess.Popen(
        [sys.executable, "-c", script, out], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(OutputBusyError), locked(out):
            pass
        process.kill()
    assert [path.name for path in tmp_path.iterdir()] == [".map.tif.m3amba-lock"]
    with locked(out):
        pass
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path):
    out, style = tmp_path / "map.tif", tmp_path / "map.qml"
    kept = {"map.tif", ".map.part.tif", ".map.12.part.qml", ".map.old.12.part.tif", ".map.12.part"}
    for name in kept | {".map.12.part.tif", ".map.7.part.tif"}:
        (tmp_path / name).touch()
    drop_scratches(out)
    assert {path.name for path in tmp_path.iterdir()} == kept
    drop_scratches(out, style)
    assert {path.name for path in tmp_path.iterdir()} == kept - {".map.12.part.qml"}


def test_names_reach_the_disk_after_contents(tmp_path, monkeypatch):
    """In the order that survives a power loss: each file, its name, then the folder."""
    told = []
    fsync, replace = os.fsync, Path.replace

    def sync(handle):
        told.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def rename(self, target):
        told.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    with together() as scratch_of:
        for name in ("a", "b"):
            scratch_of(tmp_path / name).touch()
    assert told == ["file", "file", "name", "name", "folder"]


def test_no_output_takes_the_place_of_an_input_or_of_another_output(tmp_path):
    image, link = tmp_path / "image.tif", tmp_path / "link.tif"
    image.write_bytes(b"")
    link.symlink_to(image)
    check_apart([tmp_path / "map.tif", tmp_path / "map.qml"], [image])
    for output in (image, link, tmp_path / "." / "sub" / ".." / "image.tif"):
        with pytest.raises(UsageError, match="is an input"):
            check_apart([output], [image])
    with pytest.raises(UsageError, match="same name"):
        check_apart([tmp_path / "a", tmp_path / "." / "a"], [])
