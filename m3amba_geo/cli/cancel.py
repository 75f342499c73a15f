"""Cancelling: Ctrl-C, SIGTERM and standard input become one KeyboardInterrupt."""

import _thread
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from m3amba_geo.errors import CancelledError

PATIENCE = 3.0  # seconds in which a second signal does not disturb the cleaning up
_LONGEST_LINE = 1 << 16


class Cancellation:
    """Whether the user wants the job to end, and the means to end it.

    A signal raises KeyboardInterrupt wherever the main thread is, so that waiting and long loops
    end at once; the job's own `finally` and `with` then remove what is half-written. Some callbacks
    swallow that exception: `check`, called with each event, then ends the job all the same.

    Attributes:
        asked: Whether the user has asked for the end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._closed = False
        self._shielded = False
        self._due = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _signals():
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        for number, handler in self._previous.items():
            if self.asked:  # the process is ending: a second signal must not change how
                signal.signal(number, signal.SIG_IGN)
            else:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def watch(self, descriptor: int) -> None:
        """Cancels on a line `{"cancel":true}` from a file descriptor, or on its end."""
        reader = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        reader.start()

    def check(self) -> None:
        """Ends the job if the user asked for it and the interrupt got lost.

        Raises:
            CancelledError: The job is to end.
        """
        if self.asked and not self._closed:
            raise CancelledError("Cancelled.")

    def close(self) -> None:
        """Cancelling comes too late from here on: the last event is on its way."""
        self._closed = True

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Holds an interrupt back until a line is written whole."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._due and not self._closed:
            self._due = False
            raise KeyboardInterrupt

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._closed or (self.asked and now - self._asked_at < PATIENCE):
            return
        first = not self.asked
        self.asked, self._asked_at = True, now
        if self._shielded and first:
            self._due = True
            return
        raise KeyboardInterrupt

    def _read(self, descriptor: int) -> None:
        """Waits for the word; `os.read`, since a locked `sys.stdin` would hang the interpreter."""
        rest = b""
        while True:
            try:
                chunk = os.read(descriptor, 4096)
            except OSError:
                chunk = b""
            *lines, rest = (rest + chunk).split(b"\n")
            if not chunk or any(map(_is_cancel, lines)):
                break
            rest = rest[-_LONGEST_LINE:]
        if not self._closed:
            _interrupt()


def _is_cancel(line: bytes) -> bool:
    try:
        word = json.loads(line)
    except ValueError:
        return False
    return isinstance(word, dict) and word.get("cancel") is True


def _interrupt() -> None:
    """Interrupts the main thread, in a system call as well where the platform can."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _signals() -> Iterator[signal.Signals]:
    """Ctrl-C and SIGTERM; the end of the terminal, unless `nohup` wants it ignored."""
    yield signal.SIGINT
    yield signal.SIGTERM
    for name in ("SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            yield number
