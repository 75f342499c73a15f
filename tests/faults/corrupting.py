"""Inputs with flipped bits, cut ends and holes, each read in a process of its own."""

import multiprocessing
import resource
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from small import bundle_of

from m3amba_geo.bundle import save_bundle
from m3amba_geo.cli.failure import explain
from m3amba_geo.config import ClassifyConfig, LabelConfig, ModalityConfig, SceneConfig
from m3amba_geo.errors import M3ambaError
from m3amba_geo.events import ignore
from m3amba_geo.geo.labels import read_labels, read_legend
from m3amba_geo.geo.raster import open_raster
from m3amba_geo.jobs import classify
from tests.conftest import make_place

SECONDS = 10  # of processor time for one input
PATIENCE = 300  # seconds on the clock: other work may hold the machine up
MIB = 1024  # of memory that one input may take beyond what its process starts with
_HEAD = 4096  # bytes in which most formats keep what matters


@dataclass(frozen=True)
class Inputs:
    """Whole inputs, and what reads each kind of them."""

    folder: Path
    files: dict[str, Path]

    def read(self, kind: str, path: Path) -> None:
        """Does with one file what the command line does with it."""
        if kind == "vector":
            config = LabelConfig(path, field="class")
            with open_raster(self.files["raster"]) as raster:
                read_labels(config, raster.grid, read_legend([config]), ignore)
            return
        files = self.files | {kind: path}
        scene = SceneConfig((ModalityConfig("optical", (files["raster"],)),))
        classify.run(files["bundle"], scene, ClassifyConfig(path.with_name("map.tif")), ignore)


def make_inputs(folder: Path) -> Inputs:
    """Writes a model, a tiled raster and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    place = make_place(folder)
    save_bundle(folder / "m.m3amba", bundle_of({"optical": 4}, patch=16))
    files = {"bundle": folder / "m.m3amba", "raster": place.optical, "vector": place.labels}
    return Inputs(folder, files)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns content with flipped bits, without its end, or with a hole."""
    changed = np.frombuffer(content, np.uint8).copy()
    within = len(changed) if rng.random() < 0.5 else min(len(changed), _HEAD)
    kind = rng.integers(3)
    if kind == 0:
        places = rng.integers(within, size=rng.integers(1, 33))
        changed[places] ^= (1 << rng.integers(8, size=len(places))).astype(np.uint8)
    elif kind == 1:
        changed = changed[: rng.integers(within)]
    else:
        start = rng.integers(within)
        changed[start : start + rng.integers(1, 513)] = rng.integers(256)
    return changed.tobytes()


def outcome(inputs: Inputs, kind: str, folder: Path, rng: np.random.Generator) -> str:
    """Damages one input, reads it, and returns the code of the error, or `read`.

    Raises:
        AssertionError: It hung, took too much memory, ended its process, or got no code.
    """
    folder.mkdir()
    path = folder / inputs.files[kind].name
    path.write_bytes(damaged(inputs.files[kind].read_bytes(), rng))
    torch.set_num_threads(1)  # a child can't share its parent's threads
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_read, args=(lambda: inputs.read(kind, path), theirs.send)
    )
    process.start()
    theirs.close()
    try:
        answer, words = ours.recv() if ours.poll(PATIENCE) else ("", f"no end in {PATIENCE} s")
    except EOFError:
        answer, words = "", "its process ended without a word"
    process.kill()
    process.join()
    assert answer not in ("", M3ambaError.code), f"{path}: {words}"
    return answer


def _read(work: Callable[[], None], tell: Callable[[tuple[str, str]], None]) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        work()
        answer, words = "read", ""
    except BaseException as error:
        known = explain(error)
        answer, words = known.code, "".join(traceback.format_exception(error))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    if grown > MIB:
        answer, words = M3ambaError.code, f"{grown} MiB of memory; {words}"
    tell((answer, words))
