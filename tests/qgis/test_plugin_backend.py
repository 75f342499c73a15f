import os
import tempfile
import time
from pathlib import Path

import pytest

from qgis_plugin import backend, process
from qgis_plugin.backend import (
    BackendMissingError,
    BackendVersionError,
    Job,
    find_python,
    new_log,
)
from qgis_plugin.process import child_environment

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake backend is a shell script")


@pytest.fixture
def play(fake_python, tmp_path):
    """Plays a scene and returns its report, the events, and the seconds it took."""

    def play(scene, cancel_after=None):
        job = Job(
            fake_python(scene),
            ["train", "a=b c.tif"],
            tmp_path / "log",
            cancel_grace=0.3,
            terminate_grace=0.2,
        )
        events = []
        start = time.monotonic()

        def cancelled():
            return len(events) > cancel_after if cancel_after is not None else False

        report = backend.run(job, events.append, cancelled)
        return report, events, time.monotonic() - start

    return play


def alive(pid):
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid):
    """Waits until a process has ended."""
    deadline = time.monotonic() + 2
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_events_and_results(play):
    report, events, _ = play("success")
    assert [event.name for event in events] == [
        "started", "progress", "metric", "note", "note", "warning", "artifact", "done",
    ]  # fmt: skip
    assert report.ending.status == "done"


def test_the_child_sees_its_arguments_and_none_of_qgis(play, monkeypatch):
    nonsense = {
        "PYTHONPATH": "/nonsense",
        "GDAL_DATA": "/nonsense",
        "PROJ_LIB": "/nonsense",
        "LD_LIBRARY_PATH": "/nonsense",
        "VIRTUAL_ENV": "/nonsense",
    }
    for name, value in nonsense.items():
        monkeypatch.setenv(name, value)
    results = play("success")[0].ending.results
    assert results["argv"][:5] == ["-I", "-m", "m3amba_geo", "train", "a=b c.tif"]
    assert results["cwd"] != str(Path.cwd())
    assert not Path(results["cwd"]).exists()  # was made for the job, and went with it
    assert [results["environment"][name] for name in nonsense] == [None] * len(nonsense)
    assert results["environment"]["HOME"] == os.environ.get("HOME")


def test_foreign_lines_are_skipped(play):
    report, events, _ = play("noisy")
    assert report.ending.status == "done"
    assert [event.name for event in events] == ["started", "a-later-kind", "done"]


def test_a_flood_is_drained_and_kept(play, tmp_path):
    report, events, _ = play("flood")
    assert report.ending.status == "done"
    assert len(events) == 20002
    assert len(report.tail) == process.TAIL_LINES
    assert len((tmp_path / "log").read_text().splitlines()) == 20001  # the command, then the flood


def test_failure_brings_code_hint_and_last_lines(play):
    report, _, _ = play("failed")
    assert (report.ending.code, report.ending.hint) == ("no-overlap", "Check their CRS.")
    assert report.tail == ("Traceback of the failure",)


@pytest.mark.parametrize("scene", ["killed", "truncated"])
def test_sudden_ends_are_probably_out_of_memory(play, scene):
    assert "probably out of memory" in play(scene)[0].ending.message


def test_usage_error(play):
    assert play("usage")[0].ending.code == "usage"


def test_a_python_without_the_backend(play):
    with pytest.raises(BackendMissingError, match="has no m3amba-geo"):
        play("missing")


def test_a_backend_of_another_version_is_refused_before_it_works(play):
    with pytest.raises(BackendVersionError, match=r"m3amba-geo 99\.0.*install m3amba-geo==0\.1\.0"):
        play("later_version")


def test_variables_of_the_settings_reach_the_child(fake_python, tmp_path):
    job = Job(fake_python("success"), ["train"], tmp_path / "log", {"HOME": "elsewhere"})
    results = backend.run(job, lambda event: None, bool).ending.results
    assert results["environment"]["HOME"] == "elsewhere"


def test_a_silent_job_is_cancelled(play):
    report, _, seconds = play("patient", cancel_after=0)
    assert report.ending.status == "cancelled"
    assert seconds < 2


def test_a_stubborn_job_is_killed_with_its_child(play):
    report, events, seconds = play("stubborn", cancel_after=1)
    assert report.ending.status == "cancelled"
    assert seconds < 3
    assert gone(int(events[1].text("message")))


def test_a_child_left_behind_holds_nothing_up(play):
    report, events, seconds = play("orphan")
    assert report.ending.status == "done"
    assert seconds < 3
    assert gone(int(events[1].text("message")))


def test_an_error_of_the_listener_leaves_no_process(fake_python, tmp_path):
    pids = []

    def listen(event):
        if event.name == "note":
            pids.append(int(event.text("message")))
            raise ValueError("the listener's own")

    with pytest.raises(ValueError, match="own"):
        backend.run(Job(fake_python("stubborn"), ["train"], tmp_path / "log"), listen, bool)
    assert gone(pids[0])


def test_the_setting_comes_before_the_variable(fake_python):
    one, other = fake_python("success"), fake_python("failed")
    made, variable = Path("made"), {"M3AMBA_PYTHON": str(other)}
    assert find_python(str(one), made, variable) == one
    assert find_python("", made, variable) == other
    assert find_python("", made, {}) == made


@pytest.mark.parametrize("setting", ["", "  ", "/no/such/python", tempfile.gettempdir()])
def test_no_python_brings_the_remedy(setting):
    with pytest.raises(BackendMissingError, match="Settings > Options > M3amba"):
        find_python(setting, None, {})


def test_a_program_that_can_not_start(tmp_path):
    program = tmp_path / "python"
    program.write_bytes(b"\0 no program")
    program.chmod(0o755)
    with pytest.raises(BackendMissingError, match="can't be started"):
        backend.run(Job(program, ["train"], tmp_path / "log"), print, bool)


def test_clean_environment():
    dirty = {
        "PATH": os.pathsep.join(["/opt/QGIS 3.22/bin", "/OSGeo4W/bin", "/usr/bin"]),
        "PYTHONHOME": "x",
        "PYTHONEXECUTABLE": "x",
        "PIP_TARGET": "x",
        "PIP_INDEX_URL": "kept",
        "GDAL_DRIVER_PATH": "x",
        "PROJ_DATA": "x",
        "LD_PRELOAD": "x",
        "DYLD_INSERT_LIBRARIES": "x",
        "VIRTUAL_ENV": "x",
        "UV_PYTHON": "x",
        "UV_CACHE_DIR": "kept",
        "LANG": "kept",
    }
    assert child_environment(dirty) == {
        "PATH": "/usr/bin",
        "PIP_INDEX_URL": "kept",
        "UV_CACHE_DIR": "kept",
        "LANG": "kept",
    }


def test_old_logs_go(tmp_path):
    for number in range(backend.LOGS_KEPT + 5):
        old = tmp_path / f"{number}.log"
        old.touch()
        os.utime(old, (number, number))
    log = new_log(tmp_path, "train")
    assert log.name.startswith("train-")
    assert len(list(tmp_path.glob("*.log"))) == backend.LOGS_KEPT
    assert not (tmp_path / "0.log").exists()
