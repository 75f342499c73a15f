"""Child processes: start one, listen to it, end it with all that it started.

Standard library only; Python 3.9. QGIS's own environment never reaches the child (its GDAL and
PROJ folders would break the backend's), and no process of the child's outlives it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess  # running the backend apart from QGIS is what this is for  # nosec B404
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Callable

POLL_S = 0.1
ORPHAN_S = 0.5
TAIL_LINES = 20
WINDOWS = os.name == "nt"

_DROPPED = re.compile(
    r"(PYTHON|GDAL_|PROJ_|DYLD_)|(VIRTUAL_ENV|LD_LIBRARY_PATH|LD_PRELOAD)$"
    r"|(PIP|UV)_(TARGET|PREFIX|ROOT|USER|PYTHON|SYSTEM_PYTHON|PROJECT_ENVIRONMENT"
    r"|REQUIRE_VIRTUALENV)$",
    re.IGNORECASE,
)
_QGIS_FOLDER = re.compile(r"qgis|osgeo4w", re.IGNORECASE)


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the environment without what QGIS put there for its own libraries."""
    kept = {name: value for name, value in environ.items() if not _DROPPED.match(name)}
    folders = kept.get("PATH", "").split(os.pathsep)
    kept["PATH"] = os.pathsep.join(f for f in folders if not _QGIS_FOLDER.search(f))
    return kept


class Child:
    """A process in a group of its own, and threads that drain what it writes.

    Attributes:
        tail: The last lines of standard error.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: str,
        environment: Mapping[str, str],
        on_error_line: Callable[[str], object] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        """Starts it.

        Args:
            command: Program and arguments.
            folder: Working folder.
            environment: Environment variables, all of them.
            on_error_line: Called in a thread with each line of standard error; None sends standard
                error where standard output goes.
            inherited: File descriptors that it holds open as long as it lives (not on Windows).

        Raises:
            OSError: It can't be started.
        """
        # A group of its own, so that all its processes can be ended together; and no window.
        group = (
            {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
            if WINDOWS
            else {"start_new_session": True, "pass_fds": tuple(inherited)}
        )
        self._process = subprocess.Popen(  # a list of arguments, no shell  # nosec B603
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if on_error_line else subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            text=True,
            encoding="utf-8",
            errors="replace",
            **group,
        )
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._threads = [threading.Thread(target=self._drain_output, daemon=True)]
        if on_error_line:
            self._threads.append(
                threading.Thread(target=self._drain_errors, args=(on_error_line,), daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def _drain_output(self) -> None:
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(None)

    def _drain_errors(self, on_line: Callable[[str], object]) -> None:
        with self._process.stderr as errors:
            for line in errors:
                self.tail.append(line.rstrip())
                with contextlib.suppress(OSError, ValueError):  # a full disk must not fill the pipe
                    on_line(line)

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
        """Returns how it ended; waits for that."""
        return self._process.wait()

    def tell(self, line: str) -> None:
        """Writes the last line of its standard input."""
        # Where it has ended or no longer listens, the steps that follow are less polite.
        with contextlib.suppress(OSError):
            self._process.stdin.write(line)
            self._process.stdin.close()

    def terminate(self) -> None:
        """Asks all its processes to end."""
        self._end_tree(force=False)

    def kill(self) -> None:
        """Ends all its processes."""
        self._end_tree(force=True)

    def _end_tree(self, force: bool) -> None:
        """Ends the process and all that it started."""
        if WINDOWS:  # a process without a window can't be asked there, only ended
            taskkill = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
            subprocess.run(  # a list of arguments, no shell  # nosec B603
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


class Stop:
    """Ends a process in steps, each a time after the wish to end it.

    Attributes:
        asked: Whether that wish has been uttered.
    """

    def __init__(self, *steps: tuple[float, Callable[[], None]]) -> None:
        self._steps = deque(steps)
        self._since = 0.0
        self.asked = False

    def advance(self) -> None:
        """Takes the next step if its time has come; to be called again and again."""
        if not self.asked:
            self.asked = True
            self._since = time.monotonic()
        if self._steps and time.monotonic() - self._since >= self._steps[0][0]:
            self._steps.popleft()[1]()
