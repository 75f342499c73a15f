"""Makes the backend's environment: plan, environment, packages, check; or leaves nothing behind.

Nothing of QGIS's own is touched. A backend that was in use stays until the new one has passed its
check.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from ..backend import BackendMissingError, Job, run
from ..process import WINDOWS, Child, Stop, child_environment
from ..protocol import Event
from ..translate import tr
from ..version import plugin_version
from . import pythons
from .errors import SetupError, read_failure, without_secrets
from .folder import BackendFolder, Made
from .plan import Build, Plan, check_disk, find_source, make_plan
from .pythons import MANAGED, BasePython

_UNITS = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_FULL = 2**20  # bytes; with less free, an installer failed for want of space
# How far the bar is when each step begins; nearly all of the time is the packages'.
_ENVIRONMENT, _PACKAGES, _CHECK = 0.02, 0.06, 0.92


class Listener(Protocol):
    """Who hears of a set-up, in the thread that runs it."""

    def info(self, text: str) -> None:
        """Takes a line of the log."""

    def phase(self, text: str) -> None:
        """Takes what is being done now."""

    def fraction(self, value: float) -> None:
        """Takes how far it is, 0 to 1."""

    def is_cancelled(self) -> bool:
        """Whether the user wants it to end."""


@dataclass(frozen=True)
class Wish:
    """What the user wants.

    Attributes:
        source: Empty for the package index, else a wheel, a checkout, or a folder of wheels.
        build: What torch is to be built for.
        python: Python to start from; empty finds one.
    """

    source: str = ""
    build: Build = "auto"
    python: str = ""


def make(folder: BackendFolder, wish: Wish, listener: Listener, log: Path) -> Made:
    """Makes a backend and puts it into use.

    Raises:
        SetupError: It did not succeed, or was cancelled; nothing half-made is left.
    """
    with folder.locked() as lock, log.open("a", 1, "utf-8") as written:
        setup = _Setup(folder, listener, lock, written, log)
        try:
            return setup.make(wish)
        except OSError as error:
            raise SetupError(
                "folder",
                tr("{} can't be written: {}.").format(folder.path, error),
                tr("Check its permissions and the space on its disk."),
            ) from error
        finally:
            folder.sweep()


class _Setup:
    def __init__(
        self, folder: BackendFolder, listener: Listener, lock: int, log: TextIO, log_path: Path
    ) -> None:
        self._folder = folder
        self._listener = listener
        self._lock = lock
        self._log = log
        self._log_path = log_path

    def make(self, wish: Wish) -> Made:
        left = self._folder.sweep()
        if left:
            self._info(tr("Removed {} half-made or outdated environments.").format(left))
        plan = make_plan(find_source(wish.source), wish.build)
        for line in plan.lines():
            self._info(line)
        check_disk(self._folder.path, plan)
        target = self._folder.new()
        self._step(tr("Looking for Python"), 0.0)
        base, uv = self._tools(wish, plan)
        self._step(tr("Making the environment"), _ENVIRONMENT)
        python = self._environment(target, base, uv, plan)
        self._step(tr("Installing packages"), _PACKAGES)
        self._packages(python, uv, plan)
        self._step(tr("Checking"), _CHECK)
        self._check(python)
        made = Made(python, plugin_version(), plan.build, time.strftime("%Y-%m-%d"))
        self._folder.use(made)
        self._listener.fraction(1.0)
        self._info(tr("M3amba {} is ready: {}").format(made.version, python))
        return made

    def _tools(self, wish: Wish, plan: Plan) -> tuple[BasePython | None, Path | None]:
        """Returns the Python to start from, and uv; without the one there is the other."""
        found = [pythons.named(wish.python)] if wish.python.strip() else pythons.find_all()
        base = next((python for python in found if python.fits), None)
        uv = pythons.find_uv() or self._fetch_uv(found, plan)
        if base is not None and not (base.makes_environments or uv):
            base = None
        if base is None and uv is None:
            raise SetupError(
                "python",
                tr("There is no Python 3.11 to 3.13 on this machine, and uv can't be had."),
                tr("Install one of them (on Debian with python3-venv), and run the set-up again."),
            )
        said = str(base) if base else tr("Python {}, downloaded by uv").format(MANAGED)
        self._info(tr("Base: {}; installer: {}").format(said, uv or "pip"))
        return base, uv

    def _fetch_uv(self, found: Sequence[BasePython], plan: Plan) -> Path | None:
        """Gets uv out of its wheel, with whatever pip there is; nothing is installed by that."""
        kept = self._folder.path / "tools" / ("uv.exe" if WINDOWS else "uv")
        if kept.is_file() and pythons.runs(kept):
            return kept
        helper = next((python for python in found if python.has_pip), None)
        if helper is None:
            return None
        options = ["--no-deps", "--only-binary", ":all:", *_wheels(plan, "--find-links")]
        with tempfile.TemporaryDirectory(prefix="m3amba-") as scratch:
            command = [str(helper.path), "-I", "-m", "pip", "download", "--no-input", "--dest"]
            try:
                self._run([*command, scratch, *options, "uv"], plan, quiet=True)
                _unpack_uv(next(Path(scratch).glob("uv-*.whl")), kept)
            except (SetupError, StopIteration, OSError, zipfile.BadZipFile) as error:
                if isinstance(error, SetupError) and error.code == "cancelled":
                    raise
                return None
        return kept if pythons.runs(kept) else None

    def _environment(
        self, target: Path, base: BasePython | None, uv: Path | None, plan: Plan
    ) -> Path:
        if uv is not None:
            which = [str(base.path)] if base else [MANAGED, "--managed-python"]
            self._run([str(uv), "venv", "--no-config", "--python", *which, str(target)], plan)
        elif base is not None:
            self._run([str(base.path), "-I", "-m", "venv", str(target)], plan)
        return target / ("Scripts/python.exe" if WINDOWS else "bin/python")

    def _packages(self, python: Path, uv: Path | None, plan: Plan) -> None:
        requirement = plan.source.requirement
        if uv is None:
            pip = [str(python), "-I", "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
            if plan.build in ("cpu", "gpu"):
                self._info(tr("Without uv the build can't be chosen: the index decides."))
            self._run([*pip, *_wheels(plan, "--find-links"), requirement], plan)
            return
        backend = {"cpu": ["--torch-backend", "cpu"], "gpu": ["--torch-backend", "auto"]}
        command = [str(uv), "pip", "install", "--python", str(python)]
        options = [*backend.get(plan.build, []), *_wheels(plan, "--find-links")]
        self._run([*command, *options, requirement], plan)

    def _check(self, python: Path) -> None:
        """Lets `doctor` make everything work once."""

        def hear(event: Event) -> None:
            if event.name in ("note", "warning"):
                self._info(event.text("message"))
            elif event.name == "progress" and event.number("total"):
                share = event.number("done") / event.number("total")
                self._listener.fraction(_CHECK + (1 - _CHECK) * share)

        log = self._log_path.with_suffix(".doctor.log")
        try:
            report = run(Job(python, ["doctor"], log), hear, self._listener.is_cancelled)
        except BackendMissingError as error:
            raise SetupError("check", str(error)) from error
        ending = report.ending
        if ending.status == "cancelled":
            raise _cancelled()
        if ending.status != "done":
            raise SetupError("check", ending.message, ending.hint)

    def _run(self, command: Sequence[str], plan: Plan, quiet: bool = False) -> None:
        """Runs an installer to its end, and says what it says."""
        progress = _Downloads()
        tail: list[str] = []
        self._write("$ " + " ".join(command))
        with tempfile.TemporaryDirectory(prefix="m3amba-") as scratch:
            child = Child(command, scratch, self._variables(), inherited=[self._lock])
            stop = Stop((0.0, child.terminate), (1.5, child.kill))
            try:
                for line in child.lines():
                    if self._listener.is_cancelled():
                        stop.advance()
                    if not line.strip():
                        continue
                    tail.append(without_secrets(line.rstrip()))
                    self._write(tail[-1])
                    if not quiet:
                        self._listener.info(tail[-1])
                        self._tell_downloads(progress, tail[-1])
                exit_code = child.exit_code()
            finally:
                child.close()
        if stop.asked:
            raise _cancelled()
        if exit_code != 0:
            # `python -m venv` keeps to itself why its own pip failed.
            if shutil.disk_usage(self._folder.path).free < _FULL:
                tail.append("No space left on the disk.")
            raise read_failure(tail[-40:], plan.source.wheels is not None)

    def _variables(self) -> dict[str, str]:
        variables = child_environment()
        variables["UV_PYTHON_INSTALL_DIR"] = str(self._folder.path / "python")
        variables["PYTHONUNBUFFERED"] = "1"
        return {**variables, **_uv_variables(variables)}

    def _tell_downloads(self, progress: _Downloads, line: str) -> None:
        progress.feed(line)
        if progress.announced:
            self._listener.fraction(_PACKAGES + (_CHECK - _PACKAGES) * 0.95 * progress.share())

    def _step(self, text: str, fraction: float) -> None:
        if self._listener.is_cancelled():
            raise _cancelled()
        self._listener.phase(text)
        self._listener.fraction(fraction)

    def _info(self, text: str) -> None:
        safe = without_secrets(text)
        self._listener.info(safe)
        self._write(safe)

    def _write(self, text: str) -> None:
        self._log.write(without_secrets(text) + "\n")


class _Downloads:
    """Reads `Downloading torch (180.2MiB)` and ` Downloaded torch`."""

    def __init__(self) -> None:
        self.announced: dict[str, float] = {}
        self._done = 0.0

    def feed(self, line: str) -> None:
        begun = re.match(r"\s*Downloading (\S+) \(([\d.]+)([KMG]iB)\)", line)
        ended = re.match(r"\s*Downloaded (\S+)", line)
        if begun:
            self.announced[begun.group(1)] = float(begun.group(2)) * _UNITS[begun.group(3)]
        elif ended:
            self._done += self.announced.get(ended.group(1), 0.0)

    def share(self) -> float:
        return min(1.0, self._done / max(sum(self.announced.values()), 1.0))


def _wheels(plan: Plan, option: str) -> list[str]:
    folder = plan.source.wheels
    return [] if folder is None else ["--no-index", option, str(folder)]


def _uv_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns what uv should know of how pip is set up here: mirrors and certificates."""
    pairs = {
        "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
        "PIP_EXTRA_INDEX_URL": "UV_INDEX",
        "PIP_FIND_LINKS": "UV_FIND_LINKS",
        "PIP_CERT": "SSL_CERT_FILE",
    }
    return {
        theirs: environ[ours]
        for ours, theirs in pairs.items()
        if environ.get(ours) and theirs not in environ
    }


def _unpack_uv(wheel: Path, target: Path) -> None:
    """Takes the one program out of uv's wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(f"/scripts/{target.name}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as packed, target.open("wb") as program:
            shutil.copyfileobj(packed, program)
    target.chmod(0o700)


def _cancelled() -> SetupError:
    return SetupError("cancelled", tr("Cancelled: nothing was set up."))
