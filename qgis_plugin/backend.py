"""Runs the backend as a child process: start, listen, cancel, clean up.

Standard library only; Python 3.9. QGIS's own environment never reaches the child (its GDAL and
PROJ folders would break the backend's), and no process of the child's outlives the job.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .protocol import CANCEL_LINE, Ending, Event, EventStream

POLL_S = 0.1
ORPHAN_S = 0.5
TAIL_LINES = 20
LOGS_KEPT = 20
WINDOWS = os.name == "nt"

SETUP_HINT = (
    "Set Options > Processing > Providers > M3amba > Python with m3amba-geo installed (or the "
    "variable M3AMBA_PYTHON) to the Python of an environment made by "
    "`python -m venv m3amba` and `pip install m3amba-geo`."
)

_DROPPED = re.compile(
    r"(PYTHON|GDAL_|PROJ_|DYLD_)|(VIRTUAL_ENV|LD_LIBRARY_PATH|LD_PRELOAD)$"
    r"|PIP_(TARGET|PREFIX|ROOT|USER|PYTHON|REQUIRE_VIRTUALENV)$",
    re.IGNORECASE,
)
_QGIS_FOLDER = re.compile(r"qgis|osgeo4w", re.IGNORECASE)


class BackendMissingError(Exception):
    """There is no Python to run the backend with; the message says what to set."""


@dataclass(frozen=True)
class Job:
    """One run of the command line.

    Attributes:
        python: Python that has `m3amba_geo`.
        arguments: The command and its options, without `--json` and `--cancel-on-stdin`; paths
            are absolute, since the job runs in an empty folder.
        log: File that takes all of standard error.
        cancel_grace: Seconds the job has to end by itself once it was asked to.
        terminate_grace: Seconds it then has to end once it was terminated.
    """

    python: Path
    arguments: Sequence[str]
    log: Path
    cancel_grace: float = 2.0
    terminate_grace: float = 0.5

    def command_line(self) -> list[str]:
        """Returns the arguments of the child process, its Python first."""
        options = ["--json", "--cancel-on-stdin"]
        return [str(self.python), "-I", "-m", "m3amba_geo", *self.arguments, *options]


@dataclass(frozen=True)
class Report:
    """How a job ended, and the last lines of its standard error."""

    ending: Ending
    tail: tuple[str, ...]


def find_python(setting: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the Python to run the backend with: the setting, else `M3AMBA_PYTHON`.

    `sys.executable` is never it: on Windows and macOS that is QGIS itself. Links are left alone,
    because a virtual environment's Python is one.

    Raises:
        BackendMissingError: Neither is set, or it names no program.
    """
    named = setting.strip() or environ.get("M3AMBA_PYTHON", "").strip()
    if not named:
        raise BackendMissingError(f"No Python is set for M3amba. {SETUP_HINT}")
    python = Path(named).expanduser()
    if not python.is_file() or not os.access(python, os.X_OK):
        raise BackendMissingError(f"{named} is not a Python that can be run. {SETUP_HINT}")
    return python.absolute()


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the environment without what QGIS put there for its own libraries."""
    kept = {name: value for name, value in environ.items() if not _DROPPED.match(name)}
    folders = kept.get("PATH", "").split(os.pathsep)
    kept["PATH"] = os.pathsep.join(f for f in folders if not _QGIS_FOLDER.search(f))
    return kept


def new_log(folder: Path, command: str) -> Path:
    """Returns the path of a new log file in `folder`, and removes all but the latest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"), key=_age)[LOGS_KEPT - 1 :]:
        old.unlink()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    handle, path = tempfile.mkstemp(prefix=f"{command}-{stamp}-", suffix=".log", dir=folder)
    os.close(handle)
    return Path(path)


def _age(path: Path) -> float:
    return -path.stat().st_mtime


def run(job: Job, on_event: Callable[[Event], None], is_cancelled: Callable[[], bool]) -> Report:
    """Runs a job to its end; both callables are called in this thread.

    Standard output is drained to its end whatever happens, and `is_cancelled` is asked every
    `POLL_S` seconds even while the job is silent.

    Raises:
        BackendMissingError: The Python can't be started, or has no `m3amba_geo`.
    """
    job.log.write_text(f"$ {shlex.join(job.command_line())}\n", encoding="utf-8")
    # Neutral and empty: QGIS's own folder may be read-only, or hold settings of somebody else's.
    with tempfile.TemporaryDirectory(prefix="m3amba-") as folder:
        child = _Child(job, folder)
        stream = EventStream()
        stop = _Stop(child, job)
        try:
            for line in child.lines():
                if is_cancelled():
                    stop.advance()
                event = stream.feed(line)
                if event is not None:
                    on_event(event)
            ending = stream.end(child.exit_code(), stop.asked)
        finally:
            child.close()
    tail = tuple(child.tail)
    if ending.code == "internal" and any("No module named m3amba_geo" in line for line in tail):
        raise BackendMissingError(f"{job.python} has no m3amba-geo. {SETUP_HINT}")
    return Report(ending, tail)


class _Child:
    """The process, and two threads that drain what it writes."""

    def __init__(self, job: Job, folder: str) -> None:
        # A group of its own, so that all its processes can be ended together; and no window.
        group = (
            {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
            if WINDOWS
            else {"start_new_session": True}
        )
        try:
            self._process = subprocess.Popen(
                job.command_line(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment(),
                cwd=folder,
                text=True,
                encoding="utf-8",
                errors="replace",
                **group,
            )
        except OSError as error:
            raise BackendMissingError(
                f"{job.python} can't be started: {error}. {SETUP_HINT}"
            ) from error
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._log = job.log
        self._threads = [
            threading.Thread(target=self._drain_output, daemon=True),
            threading.Thread(target=self._drain_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _drain_output(self) -> None:
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(None)

    def _drain_errors(self) -> None:
        with self._process.stderr as errors, self._log.open("a", 1, "utf-8") as log:
            for line in errors:
                self.tail.append(line.rstrip())
                with contextlib.suppress(OSError):  # a full disk must not fill the pipe
                    log.write(line)

    def lines(self) -> Iterable[str]:
        """Yields lines until the process has ended and all is read; empty ones while it is silent.

        A worker that outlived the process may hold the pipe open for ever: `ORPHAN_S` seconds of
        silence after the process has ended are the end, too.
        """
        reading = True
        ended_at = None
        while reading or self._process.poll() is None:
            try:
                line = self._lines.get(timeout=POLL_S)
                reading = reading and line is not None
                yield line or ""
            except queue.Empty:
                yield ""
                if self._process.poll() is not None:
                    ended_at = ended_at or time.monotonic()
                    if time.monotonic() - ended_at > ORPHAN_S:
                        return

    def exit_code(self) -> int:
        return self._process.wait()

    def ask_to_cancel(self) -> None:
        # Where it has ended or no longer listens, the steps that follow are less polite.
        with contextlib.suppress(OSError):
            self._process.stdin.write(CANCEL_LINE)
            self._process.stdin.close()

    def terminate(self) -> None:
        self._end_tree(force=False)

    def kill(self) -> None:
        self._end_tree(force=True)

    def _end_tree(self, force: bool) -> None:
        """Ends the process and all that it started."""
        if WINDOWS:  # a process without a window can't be asked there, only ended
            taskkill = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
            subprocess.run(
                [str(taskkill), "/T", "/F", "/PID", str(self._process.pid)],
                capture_output=True,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
            return
        # Where nobody of the group is left, Linux says so by the first error, macOS by the other.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL if force else signal.SIGTERM)

    def close(self) -> None:
        """Ends whatever is left, a worker that outlived its parent included."""
        self.kill()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=ORPHAN_S)


class _Stop:
    """Asks, then terminates, then kills, each a grace time after the one before."""

    def __init__(self, child: _Child, job: Job) -> None:
        self._steps = deque(
            [
                (0.0, child.ask_to_cancel),
                (job.cancel_grace, child.terminate),
                (job.cancel_grace + job.terminate_grace, child.kill),
            ]
        )
        self._since = 0.0
        self.asked = False

    def advance(self) -> None:
        """Takes the next step if its time has come; to be called again and again."""
        if not self.asked:
            self.asked = True
            self._since = time.monotonic()
        if self._steps and time.monotonic() - self._since >= self._steps[0][0]:
            self._steps.popleft()[1]()
