"""Runs the backend: which Python, which options, how it ended.

Standard library only; Python 3.9.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, TextIO

from .process import Child, Stop, child_environment
from .protocol import CANCEL_LINE, Ending, Event, EventStream
from .translate import tr
from .version import plugin_version

LOGS_KEPT = 20


def setup_hint() -> str:
    """Returns how to come by a backend."""
    return tr(
        "Run “Set up M3amba” in the Processing toolbox, or name a Python that has m3amba-geo "
        "under Settings > Options > M3amba (or in the variable M3AMBA_PYTHON)."
    )


class BackendMissingError(Exception):
    """There is no backend that can be run; the message says what to do."""


class BackendVersionError(BackendMissingError):
    """The backend is of another version than the plugin."""


@dataclass(frozen=True)
class Job:
    """One run of the command line.

    Attributes:
        python: Python that has `m3amba_geo`.
        arguments: The command and its options, without `--json` and `--cancel-on-stdin`; paths
            are absolute, since the job runs in an empty folder.
        log: File that takes all of standard error.
        environment: Variables to set, besides those that the child inherits.
        cancel_grace: Seconds the job has to end by itself once it was asked to.
        terminate_grace: Seconds it then has to end once it was terminated.
    """

    python: Path
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
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


def find_python(
    setting: str, managed: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Path:
    """Returns the Python to run the backend with.

    That is the one in the settings, else `M3AMBA_PYTHON`, else the one that set-up has made.
    `sys.executable` is never it: on Windows and macOS that is QGIS itself. Links are left alone,
    because a virtual environment's Python is one.

    Raises:
        BackendMissingError: There is none, or what is named is no program.
    """
    named = setting.strip() or environ.get("M3AMBA_PYTHON", "").strip()
    if not named and managed is not None:
        return managed
    if not named:
        raise BackendMissingError(f"{tr('M3amba is not set up yet.')} {setup_hint()}")
    python = Path(named).expanduser()
    if not python.is_file() or not os.access(python, os.X_OK):
        message = tr("{} is not a Python that can be run.").format(named)
        raise BackendMissingError(f"{message} {setup_hint()}")
    return python.absolute()


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
        BackendVersionError: It has one of another version than the plugin.
    """
    job.log.write_text(f"$ {shlex.join(job.command_line())}\n", encoding="utf-8")
    # Neutral and empty: QGIS's own folder may be read-only, or hold settings of somebody else's.
    with tempfile.TemporaryDirectory(prefix="m3amba-") as folder, _open(job.log) as log:
        child = _start(job, folder, log.write)
        stream = EventStream()
        stop = Stop(
            (0.0, lambda: child.tell(CANCEL_LINE)),
            (job.cancel_grace, child.terminate),
            (job.cancel_grace + job.terminate_grace, child.kill),
        )
        try:
            for line in child.lines():
                if is_cancelled():
                    stop.advance()
                event = stream.feed(line)
                if event is not None:
                    _check_version(event, job.python)
                    on_event(event)
            ending = stream.end(child.exit_code(), stop.asked)
        finally:
            child.close()
    tail = tuple(child.tail)
    if ending.code == "internal" and any("No module named m3amba_geo" in line for line in tail):
        message = tr("{} has no m3amba-geo.").format(job.python)
        raise BackendMissingError(f"{message} {setup_hint()}")
    return Report(ending, tail)


def _open(log: Path) -> TextIO:
    return log.open("a", 1, "utf-8")


def _start(job: Job, folder: str, write: Callable[[str], object]) -> Child:
    environment = {**child_environment(), **job.environment}
    try:
        return Child(job.command_line(), folder, environment, write)
    except OSError as error:
        message = tr("{} can't be started: {}.").format(job.python, error)
        raise BackendMissingError(f"{message} {setup_hint()}") from error


def _check_version(event: Event, python: Path) -> None:
    """Lets nothing but the plugin's own version begin: options and files may differ."""
    if event.name != "started" or event.text("version") == plugin_version():
        return
    message = tr("{} has m3amba-geo {}; the plugin is {}.").format(
        python, event.text("version"), plugin_version()
    )
    fix = tr(
        "Run “Set up M3amba” in the Processing toolbox, install m3amba-geo=={} there yourself, or "
        "install the plugin of that version."
    ).format(plugin_version())
    raise BackendVersionError(f"{message} {fix}")
