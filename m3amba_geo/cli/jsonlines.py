"""The protocol for programs: one JSON object a line on standard output, and nothing else there."""

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from m3amba_geo.cli.cancel import Cancellation
from m3amba_geo.events import Event

if TYPE_CHECKING:
    from rich.console import Console


class JsonLines:
    """Takes standard output over: whatever else is written there goes to standard error.

    That holds for libraries in C and for child processes as well, since the file descriptor itself
    is redirected.
    """

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._stdout = _descriptor(sys.stdout)
        self._own = -1 if self._stdout is None else os.dup(self._stdout)
        if self._stdout is not None:
            sys.stdout.flush()
            _redirect(self._stdout)

    def emit(self, event: Event) -> None:
        """Writes an event, whole."""
        text = json.dumps(jsonable(event.to_json()), allow_nan=False) + "\n"
        with self._cancellation.shield(), self._lock:
            self._write(text)

    def show(self, render: Callable[["Console"], None]) -> None:
        """Does nothing: the results are in the last event."""

    def settle(self) -> None:
        """Does nothing: nothing moves."""

    def close(self) -> None:
        """Gives standard output back."""
        if self._stdout is not None:
            sys.stdout.flush()
            os.dup2(self._own, self._stdout)
            os.close(self._own)
            self._stdout, self._own = None, -1

    def _write(self, text: str) -> None:
        if self._own < 0:
            if sys.stdout is not None:
                sys.stdout.write(text)
            return
        rest = text.encode("ascii")
        while rest:
            rest = rest[os.write(self._own, rest) :]


def jsonable(value: Any) -> Any:  # noqa: ANN401 - any result
    """Returns a value as JSON knows it: paths as text, numbers of numpy plain, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def _descriptor(stream: Any) -> int | None:  # noqa: ANN401 - sys.stdout may be anything
    try:
        number: int = stream.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or a buffer of a test
        return None
    return number


def _redirect(descriptor: int) -> None:
    target = _descriptor(sys.stderr)
    if target is not None:
        os.dup2(target, descriptor)
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
