"""Set-up of the backend with a stub of it: real installers, no network, real accidents."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from qgis_plugin.setup import environment, plan, pythons
from qgis_plugin.setup.environment import Wish, make
from qgis_plugin.setup.errors import SetupError, read_failure, without_secrets
from qgis_plugin.setup.folder import BackendFolder
from qgis_plugin.setup.plan import find_source, make_plan
from qgis_plugin.version import plugin_version

pytestmark = pytest.mark.skipif(os.name == "nt", reason="paths and signals of Unix")

ROOT = Path(__file__).resolve().parents[2]
VERSION = plugin_version()
DOCTOR = """
import json, sys
def say(event, **fields): print(json.dumps({{"v": 1, "event": event, **fields}}), flush=True)
say("started", job=sys.argv[1], version="{version}")
say("progress", phase="checking", done=1, total=2, unit="checks", message="")
say("note", message="stub: all is well")
if {healthy}: say("done", results={{"healthy": True}})
else: say("failed", code="environment", message="What fails: torch.", hint="Mend it."); sys.exit(3)
"""
SLOW = """
import pathlib, time
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path({marker!r}).write_text("building")
    time.sleep(60)
build_editable = build_wheel
"""


class Told:
    """Keeps what it is told; cancels once `when` says so."""

    def __init__(self, when=lambda: False):
        self.lines, self.fractions, self._when = [], [], when

    def info(self, text):
        self.lines.append(text)

    phase = info

    def fraction(self, value):
        self.fractions.append(value)

    def is_cancelled(self):
        return self._when()


def digest(text):
    raw = hashlib.sha256(text.encode()).digest()
    return f"sha256={urlsafe_b64encode(raw).decode().rstrip('=')}"


def write_wheel(folder, version=VERSION, healthy=True):
    """Writes a wheel of m3amba-geo that has a doctor and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"m3amba_geo-{version}.dist-info"
    files = {
        "m3amba_geo/__init__.py": "",
        "m3amba_geo/__main__.py": DOCTOR.format(version=version, healthy=healthy),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: m3amba-geo\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},{digest(text)},{len(text)}\n" for name, text in files.items())
    path = folder / f"m3amba_geo-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(name, text)
    return path


@pytest.fixture
def wheels(tmp_path):
    return write_wheel(tmp_path / "wheels äö").parent


@pytest.fixture
def slow(tmp_path):
    """A checkout whose installation takes a minute; `marker` appears when it has begun."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    marker = tmp_path / "building"
    (folder / "slow.py").write_text(SLOW.format(marker=str(marker)))
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(f"""
        [build-system]
        requires = []
        build-backend = "slow"
        backend-path = ["."]
        [project]
        name = "m3amba-geo"
        version = "{VERSION}"
        """)
    )
    return folder, marker


@pytest.fixture
def folder(tmp_path):
    return BackendFolder(tmp_path / "profile ü" / "backend")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "setup.log"


@pytest.fixture(params=["uv", "pip"])
def installer(request, monkeypatch):
    """Both ways to install: with uv, and with what Python brings."""
    if request.param == "uv" and pythons.find_uv() is None:
        pytest.skip("uv is not installed")
    if request.param == "pip":
        if not pythons.probe(Path(sys.executable)).makes_environments:
            pytest.skip("this Python has no ensurepip")
        monkeypatch.setattr(pythons, "find_uv", lambda: None)
        monkeypatch.setattr(environment._Setup, "_fetch_uv", lambda *_: None)
    return request.param


@pytest.fixture
def wish(wheels):
    return Wish(str(wheels), python=sys.executable)


def environments(folder):
    return sorted(path.name for path in folder.path.glob("env-*"))


def wait_for(happened, seconds=20):
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happened()


def processes_in(folder):
    """Returns the processes that name a folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(int(entry.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def is_free(folder):
    try:
        with folder.locked():
            return True
    except SetupError:
        return False


def test_set_up_from_a_folder_of_wheels(folder, wish, log, installer):
    told = Told()
    made = make(folder, wish, told, log)
    assert made == folder.current()
    assert made.python.parent.parent.parent == folder.path
    assert (made.version, made.build) == (VERSION, "index")
    assert any("Nothing is downloaded" in line for line in told.lines)
    assert "stub: all is well" in told.lines
    assert told.fractions == sorted(told.fractions)
    assert told.fractions[-1] == 1
    assert "m3amba-geo==" in log.read_text(encoding="utf-8")


def test_a_repair_replaces_the_old_one_when_the_new_one_works(folder, wish, log):
    first = make(folder, wish, Told(), log)
    second = make(folder, wish, Told(), log)
    assert first.python != second.python
    assert folder.current() == second
    assert len(environments(folder)) == 1


def test_one_that_fails_its_check_is_never_used(folder, wish, log, tmp_path):
    good = make(folder, wish, Told(), log)
    ill = Wish(str(write_wheel(tmp_path / "ill", healthy=False).parent), python=sys.executable)
    with pytest.raises(SetupError, match="What fails: torch") as error:
        make(folder, ill, Told(), log)
    assert (error.value.code, error.value.hint) == ("check", "Mend it.")
    assert folder.current() == good
    assert len(environments(folder)) == 1


def test_cancel_ends_all_within_three_seconds(folder, slow, log, installer):
    checkout, marker = slow
    asked = []

    def when():
        if marker.exists() and not asked:
            asked.append(time.monotonic())
        return bool(asked)

    with pytest.raises(SetupError) as error:
        make(folder, Wish(str(checkout), "index", sys.executable), Told(when), log)
    assert error.value.code == "cancelled"
    assert time.monotonic() - asked[0] < 3
    assert environments(folder) == []
    assert processes_in(folder.path) == []


def test_killed_midway_the_next_one_cleans_up(folder, slow, wish, log):
    checkout, marker = slow
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.qgis.test_plugin_setup import BackendFolder, Told, Wish, make\n"
        "make(BackendFolder(Path(sys.argv[2])), Wish(sys.argv[3], 'index', sys.executable),"
        " Told(), Path(sys.argv[4]))\n"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", script, str(ROOT), str(folder.path), str(checkout), str(log)]
    )
    assert wait_for(marker.exists)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert len(environments(folder)) == 1
    assert folder.current() is None
    # The installer outlived it, and holds the lock until it ends.
    with pytest.raises(SetupError) as error:
        make(folder, wish, Told(), log)
    assert error.value.code == "busy"
    left = processes_in(folder.path)
    assert left
    for pid in left:
        os.killpg(os.getpgid(pid), signal.SIGKILL)
    assert wait_for(lambda: is_free(folder))
    made = make(folder, wish, Told(), log)
    assert environments(folder) == [made.python.parent.parent.name]


def test_two_at_once(folder, wish, log):
    with folder.locked(), pytest.raises(SetupError) as error:
        make(folder, wish, Told(), log)
    assert error.value.code == "busy"
    assert make(folder, wish, Told(), log)


def test_no_network(folder, log, installer, monkeypatch):
    nowhere = "http://user:hidden@127.0.0.1:9/simple"
    monkeypatch.setenv("PIP_INDEX_URL", nowhere)
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(environment, "check_disk", lambda *_: None)
    told = Told()
    with pytest.raises(SetupError) as error:
        make(folder, Wish("", "index", sys.executable), told, log)
    assert error.value.code == "network"
    assert "HTTPS_PROXY" in error.value.hint
    assert any("Download: about 3.2 GiB" in line for line in told.lines)
    assert environments(folder) == []
    assert "hidden" not in str(error.value) + log.read_text() + str(told.lines)


def test_a_wheel_that_is_missing(folder, log, installer, tmp_path):
    wheel = write_wheel(tmp_path / "lonely")
    with zipfile.ZipFile(wheel, "a") as archive:
        name = f"m3amba_geo-{VERSION}.dist-info/METADATA"
        text = archive.read(name).decode()
    stripped = tmp_path / "wheels" / wheel.name
    stripped.parent.mkdir()
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(stripped, "w") as new:
        for item in old.namelist():
            content = f"{text}Requires-Dist: torch\n".encode() if item == name else old.read(item)
            new.writestr(item, content)
    with pytest.raises(SetupError) as error:
        make(folder, Wish(str(stripped.parent), python=sys.executable), Told(), log)
    assert error.value.code == "not-found"
    assert "torch" in error.value.message


def test_too_little_space_is_said_before_anything_is_made(folder, wish, log, monkeypatch):
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(SetupError) as error:
        make(folder, wish, Told(), log)
    assert error.value.code == "disk-full"
    assert environments(folder) == []


def test_a_disk_that_runs_full(wheels, log, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a small disk can't be mounted here")
    folder = BackendFolder(disk / "backend")
    monkeypatch.setattr(environment, "check_disk", lambda *_: None)
    filler = disk / "filler"
    try:
        folder.path.mkdir()
        filler.write_bytes(b"x" * 40_000)
        with pytest.raises(SetupError) as error:
            make(folder, Wish(str(wheels), python=sys.executable), Told(), log)
        assert error.value.code == "disk-full"
        assert environments(folder) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_can_not_be_written(wish, log, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError) as error:
        make(BackendFolder(tmp_path / "file" / "backend"), wish, Told(), log)
    assert error.value.code == "folder"


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"python": "gone/bin/python"}', "\0"])
def test_a_damaged_record_is_no_backend(folder, record):
    folder.path.mkdir(parents=True)
    (folder.path / "current.json").write_text(record)
    assert folder.current() is None


def test_sources(tmp_path, wheels):
    assert find_source(" ").requirement == f"m3amba-geo=={VERSION}"
    assert find_source(str(wheels)).wheels == wheels
    wheel = next(wheels.glob("*.whl"))
    assert find_source(str(wheel)) == plan.Source(str(wheel))
    assert find_source(str(ROOT)).requirement == str(ROOT)
    other = write_wheel(tmp_path / "other", version="99.0")
    for place, code in (
        (other, "version"),
        (other.parent, "version"),
        (tmp_path / "absent", "source"),
    ):
        with pytest.raises(SetupError) as error:
            find_source(str(place))
        assert error.value.code == code


@pytest.mark.parametrize(
    ("gpu", "build", "chosen", "said"),
    [
        ("", "auto", "cpu", "no NVIDIA GPU was found"),
        ("RTX 4090, 550.54", "auto", "gpu", "CUDA, for RTX 4090, 550.54"),
        ("RTX 4090, 550.54", "cpu", "cpu", "CPU, as you chose"),
        ("", "index", "index", "whatever the package index has"),
    ],
)
def test_the_build_is_chosen_and_said(monkeypatch, gpu, build, chosen, said):
    monkeypatch.setattr(plan, "nvidia_gpu", lambda: gpu)
    made = make_plan(find_source(""), build)
    assert made.build == chosen
    assert said in " ".join(made.lines())
    assert ("0.6 GiB" in made.lines()[-1]) == (chosen == "cpu")


def record_commands(monkeypatch, commands):
    """Lets no installer run."""
    keep = lambda _, command, *rest: commands.append(command)  # noqa: E731
    monkeypatch.setattr(environment._Setup, "_run", keep)


@pytest.mark.parametrize(
    ("build", "options"),
    [("cpu", ["--torch-backend", "cpu"]), ("gpu", ["--torch-backend", "auto"]), ("index", [])],
)
def test_uv_is_told_the_build(build, options, folder, monkeypatch, tmp_path):
    commands = []
    record_commands(monkeypatch, commands)
    chosen = make_plan(find_source(""), build)
    with (tmp_path / "log").open("w") as log:
        setup = environment._Setup(folder, Told(), 0, log, tmp_path / "log")
        setup._packages(Path("python"), Path("uv"), chosen)
    expected = ["uv", "pip", "install", "--python", "python", *options, f"m3amba-geo=={VERSION}"]
    assert commands == [expected]


def test_without_a_python_uv_brings_one(folder, monkeypatch, tmp_path):
    commands = []
    record_commands(monkeypatch, commands)
    monkeypatch.setattr(pythons, "find_all", list)
    monkeypatch.setattr(pythons, "find_uv", lambda: Path("uv"))
    chosen = make_plan(find_source(""), "cpu")
    with (tmp_path / "log").open("w") as log:
        setup = environment._Setup(folder, Told(), 0, log, tmp_path / "log")
        assert setup._tools(Wish(), chosen) == (None, Path("uv"))
        setup._environment(Path("target"), None, Path("uv"), chosen)
    assert "--managed-python" in commands[0]
    monkeypatch.setattr(pythons, "find_uv", lambda: None)
    with (tmp_path / "log").open("w") as log, pytest.raises(SetupError) as error:
        environment._Setup(folder, Told(), 0, log, tmp_path / "log")._tools(Wish(), chosen)
    assert error.value.code == "python"


@pytest.mark.parametrize(
    ("answer", "fits"),
    [("uv 0.5.4", False), ("uv 0.7.14 (abc 2025-06-23)", True), ("uv 1.0.0", True), ("?", False)],
)
def test_an_older_uv_is_passed_over(tmp_path, answer, fits):
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho '{answer}'\n")
    uv.chmod(0o755)
    assert pythons.runs(uv) == fits


def test_uv_is_taken_out_of_its_wheel(folder, wheels, monkeypatch, tmp_path):
    with zipfile.ZipFile(wheels / "uv-9.9-py3-none-any.whl", "w") as archive:
        archive.writestr("uv-9.9.data/scripts/uv", "#!/bin/sh\necho uv 9.9.0\n")
        info = "uv-9.9.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 9.9\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    helper = next((p for p in pythons.find_all() if p.has_pip), None)
    if helper is None:
        pytest.skip("no Python here has pip")
    chosen = make_plan(find_source(str(wheels)), "auto")
    folder.path.mkdir(parents=True)
    with (tmp_path / "log").open("w") as log, folder.locked() as lock:
        setup = environment._Setup(folder, Told(), lock, log, tmp_path / "log")
        uv = setup._fetch_uv([helper], chosen)
        assert uv == folder.path / "tools" / "uv"
        assert setup._fetch_uv([], chosen) == uv


def test_pythons_that_do_not_fit_are_refused(tmp_path):
    old = tmp_path / "python"
    answer = {"version": [3, 9, 5], "bits": 64, "venv": True, "pip": True}
    answer["implementation"] = "cpython"
    old.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    old.chmod(0o755)
    assert pythons.probe(old).version == (3, 9, 5)
    for path in (old, tmp_path / "absent", Path("/bin/true")):
        with pytest.raises(SetupError) as error:
            pythons.named(str(path))
        assert error.value.code == "python"
    qgis = tmp_path / "QGIS 3.22" / "bin"
    qgis.mkdir(parents=True)
    shutil.copy(old, qgis / "python3")
    found = pythons.find_all({"PATH": str(qgis)})
    assert not [python for python in found if "QGIS" in str(python.path)]


def test_progress_is_read_from_uv():
    downloads = environment._Downloads()
    for line in ("Downloading torch (1.5GiB)", "Downloading scipy (512.0MiB)", " Downloaded torch"):
        downloads.feed(line)
    assert downloads.share() == 0.75


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["error: No space left on device (os error 28)"], "disk-full"),
        (["cause: dns error", "failed to lookup address information"], "network"),
        (["No solution found when resolving dependencies"], "not-found"),
        (["something else"], "install"),
    ],
)
def test_failures_are_told_apart(lines, code):
    assert read_failure(lines, offline=False).code == code


def test_secrets_do_not_reach_the_log():
    text = without_secrets("get https://me:pass@host/simple?token=abc&x=1 Bearer xyz")
    assert "pass" not in text
    assert "abc" not in text
    assert "xyz" not in text
    assert "x=1" in text
