"""Processor time of parts of a program."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def clocked(owner: type, name: str) -> Iterator[list[float]]:
    """Yields the seconds of processor time that threads spend in a method."""
    seconds: list[float] = []
    method = getattr(owner, name)

    def timed(*args: object) -> object:
        start = time.thread_time()
        result = method(*args)
        seconds.append(time.thread_time() - start)
        return result

    setattr(owner, name, timed)
    try:
        yield seconds
    finally:
        setattr(owner, name, method)
