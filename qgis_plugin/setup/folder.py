"""The folder where set-up keeps backends: which one is in use, one set-up at a time.

Each set-up makes a new folder, and the file `current.json` names the one in use, written last: a
backend that works stays in use until another one does, and what is half-made is never used.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..process import WINDOWS
from ..translate import tr
from .errors import SetupError

CURRENT = "current.json"
_MADE = "env-"


@dataclass(frozen=True)
class Made:
    """A backend that set-up has made and verified.

    Attributes:
        python: Its Python.
        version: Version of m3amba-geo in it.
        build: What torch was built for: `cpu`, `gpu`, or as the index or folder had it.
        when: Date, for people.
    """

    python: Path
    version: str
    build: str
    when: str


class BackendFolder:
    """`env-...` folders, of which `current.json` names one, and a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def current(self) -> Made | None:
        """Returns the backend in use, None where none was made or it is gone."""
        try:
            record = json.loads((self.path / CURRENT).read_text(encoding="utf-8"))
            made = Made(self.path / record.pop("python"), **record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return made if made.python.is_file() else None

    def new(self) -> Path:
        """Returns the path of a new environment; it is not there yet."""
        stamp = f"{_MADE}{time.strftime('%Y%m%d-%H%M%S')}"
        names = (f"{stamp}-{number}" for number in range(1000))
        return next(self.path / name for name in names if not (self.path / name).exists())

    def use(self, made: Made) -> None:
        """Puts a backend into use."""
        record = asdict(made)
        record["python"] = made.python.relative_to(self.path).as_posix()
        scratch = self.path / f"{CURRENT}.new"
        scratch.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        scratch.replace(self.path / CURRENT)

    def sweep(self) -> int:
        """Removes every environment that is not in use, and returns how many there were.

        On Windows a file that is open can't be removed: the next sweep takes it.
        """
        made = self.current()
        used = None if made is None else made.python.relative_to(self.path).parts[0]
        left = [p for p in self.path.glob(f"{_MADE}*") if p.name != used]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return len(left)

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Keeps other set-ups out; yields the lock's descriptor.

        The system lets go of the lock when the last process that holds the descriptor ends, however
        it ends: the installer inherits it, so that none that outlived QGIS is disturbed.

        Raises:
            SetupError: Another set-up is at work (code `busy`), or nothing can be written here.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SetupError(
                "folder",
                tr("{} can't be written: {}.").format(self.path, error.strerror),
                tr("Check its permissions and the space on its disk."),
            ) from error
        try:
            _lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        if WINDOWS:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise SetupError(
            "busy",
            tr("Another set-up of M3amba is at work."),
            tr("Wait until it has ended, in every window of QGIS."),
        ) from error
