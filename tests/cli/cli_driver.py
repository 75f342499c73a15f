"""The command line around a fake `info` job: `python cli_driver.py SCENARIO [ARGUMENT...]`."""

import errno
import logging
import os
import subprocess
import sys
import time
import types
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import m3amba_geo.jobs
from m3amba_geo.cli import main
from m3amba_geo.errors import FileMissingError
from m3amba_geo.events import Artifact, Metric, Note, Progress, Started, Warned


@dataclass(frozen=True)
class Results:
    files: tuple[Path, ...]
    score: float = float("nan")

    def to_json(self):
        return asdict(self)


def chatter(files, emit):
    sys.stdout.write("a library prints\n")
    os.write(1, b"a library in C prints\n")
    subprocess.run(["echo", "a child prints"], check=True)
    logging.getLogger("library").warning("a library logs")
    warnings.warn("a library warns", stacklevel=1)
    emit(Note("half-way [not markup]"))
    emit(Warned("odd", "something is odd"))
    emit(Metric("loss", float("inf"), 1))
    emit(Progress("reading", 1, 2, "files"))
    emit(Progress("reading", 2, 2, "files", "loss 0.5"))
    emit(Artifact("map.tif", "map"))
    return Results(tuple(files))


def wait(files, emit):
    """Sleeps with a half-written file, which a clean end removes."""
    half = files[0]
    half.write_text("half")
    try:
        emit(Progress("waiting", 0, 1, "years"))
        time.sleep(60)
    finally:
        half.unlink()


def deaf(_files, emit):
    """Loses the interrupt, as callbacks from C do."""
    try:
        emit(Progress("waiting", 0, 1, "years"))
        time.sleep(60)
    except KeyboardInterrupt:
        for number in range(6000):
            emit(Progress("waiting", number, 6000, "ticks"))
            time.sleep(0.01)
    return Results(())


def odd(_files, emit):
    """Ends an interrupt in an error of its own, as libraries do."""
    try:
        emit(Progress("waiting", 0, 1, "years"))
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("initialization failed") from None


def flood(_files, emit):
    for number in range(100_000):
        emit(Note(f"line {number}"))
        emit(Progress("flooding", number, 100_000, "lines"))
    return Results(())


def long(_files, _emit):
    return types.SimpleNamespace(to_json=lambda: {f"key_{n}": "x" * 80 for n in range(1500)})


def boom(_files, _emit):
    raise ValueError("unforeseen\nsecond line")


def missing(files, _emit):
    raise FileMissingError(f"{files[0]} is missing.", "Check the path.")


def memory(_files, _emit):
    raise MemoryError("Unable to allocate 3 TiB")


def full(_files, _emit):
    raise OSError(errno.ENOSPC, "No space left on device", "map.tif")


def unfit(_files, _emit):
    return types.SimpleNamespace(to_json=lambda: {"what": object()})


def install(scenario):
    def run(files, emit, _layer=None):
        emit(Started("info", "0"))
        return scenario(files, emit)

    m3amba_geo.jobs.info = types.SimpleNamespace(run=run)


if __name__ == "__main__":
    install(globals()[sys.argv.pop(1)])
    sys.exit(main())
