"""Real processes, killed or cut off from the disk at random moments, until their work is done."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from disks import PAGE
from small import bundle_of

from m3amba_geo.bundle import load_bundle, save_bundle
from tests.conftest import make_place, write_raster

ALONE = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # small networks gain nothing by more
KILLED = 1 if os.name == "nt" else -9  # what `Popen.kill` makes a process end with
_DELAY = 0.05  # seconds; the last steps, after the last event but one, take about as long
Result = dict[str, str]
"""What lies in the folder of outputs: names and digests, hidden files among them."""


@dataclass(frozen=True)
class Job:
    """A command that can be given again.

    Attributes:
        command: Its arguments; they may depend on what is in the folder of its outputs.
        result: What is in that folder, so that it can be compared.
        last_phase: Phase of its events that is short and worth more kills; empty for none.
    """

    command: Callable[[Path], list[str]]
    result: Callable[[Path], Result]
    last_phase: str = ""


@dataclass(frozen=True)
class Moment:
    """When to strike: so many seconds after the n-th event, of one phase or of all (`""`).

    Events, not seconds alone, so that a machine with other work to do is struck at the same places.
    """

    phase: str
    event: int
    seconds: float = 0


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it told."""

    status: int
    events: list[dict]
    complaints: str

    @property
    def phase(self) -> str:
        phases = [event["phase"] for event in self.events if event["event"] == "progress"]
        return phases[-1] if phases else "start"

    @property
    def code(self) -> str:
        return self.events[-1].get("code", "") if self.events else ""


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: what it left, and how many events it told, in all and by phase."""

    result: Result
    events: dict[str, int]

    def moment(self, rng: np.random.Generator, job: Job) -> Moment:
        """Returns a random moment, one in three in the last phase."""
        phase = job.last_phase if rng.random() < 1 / 3 else ""
        event = int(rng.integers(self.events[phase]))
        return Moment(phase, event, float(rng.uniform(0, _DELAY)))

    def within(self, phase: str, share: float) -> Moment:
        """Returns the moment when a share of a phase is done."""
        return Moment(phase, int(share * self.events[phase]))


def run(
    job: Job, folder: Path, moment: Moment | None = None, strike: Callable[[], None] | None = None
) -> Ended:
    """Runs a job's command; at the moment, if any, strikes: by default it kills."""
    command = [sys.executable, "-m", "m3amba_geo", *job.command(folder), "--json"]
    events, passed, timer = [], 0, None
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | ALONE,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            if not line.endswith("\n"):  # cut by the kill
                break
            events.append(json.loads(line))
            if timer is None and moment and moment.phase in ("", events[-1].get("phase")):
                passed += 1
                if passed > moment.event:
                    timer = threading.Timer(moment.seconds, strike or process.kill)
                    timer.start()
        process.wait()
        if timer:
            timer.cancel()
        complaints.seek(0)
        return Ended(process.returncode, events, complaints.read())


def uninterrupted(job: Job, folder: Path) -> Reference:
    """Runs a job to its end, in a folder that is there for this."""
    folder.mkdir()
    ended = run(job, folder)
    assert ended.status == 0, ended.complaints
    phases = Counter(event.get("phase") for event in ended.events)
    result = job.result(folder)
    assert not [name for name in result if name.startswith(".")]
    return Reference(result, {"": len(ended.events)} | dict(phases))


def kill(job: Job, folder: Path, reference: Reference, moment: Moment) -> str:
    """Gives the command again and kills it; returns the phase, or `finished` if it was faster.

    What has a final name is whole at all times; in the end all is there and nothing else.
    """
    ended = run(job, folder, moment)
    left = job.result(folder)
    if ended.status == KILLED:
        outputs = {name: digest for name, digest in left.items() if _is_output(name)}
        assert outputs.items() <= reference.result.items(), (moment, left)
        return ended.phase
    # One that was killed after its last step has finished.
    assert ended.status == 0 or ended.code == "output-exists", (ended.events[-1:], ended.complaints)
    assert left == reference.result, (moment, left)
    return "finished"


def fill(job: Job, folder: Path, reference: Reference, moment: Moment, pages: int) -> str:
    """Lets the disk of a folder run full; returns the phase, or `finished` if it was too late."""
    filling = folder / "filling"

    def run_full() -> None:
        free = os.statvfs(folder).f_bavail - pages
        with suppress(OSError):  # the process takes its share meanwhile
            filling.write_bytes(bytes(max(0, free) * PAGE))

    ended = run(job, folder, moment, run_full)
    filling.unlink(missing_ok=True)
    if ended.status == 0:
        return "finished"
    assert (ended.status, ended.code) == (3, "disk-full"), (ended.events[-1:], ended.complaints)
    assert "Traceback" not in ended.complaints
    assert not [name for name in job.result(folder) if _is_output(name)]
    again = run(job, folder)
    assert again.status == 0, (again.events[-1:], again.complaints)
    assert job.result(folder) == reference.result
    return ended.phase


def _is_output(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(".checkpoint")


def empty(folder: Path) -> None:
    """Makes a folder as it was before the first run."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def classification(folder: Path, rows: int = 600) -> Job:
    """A map of four blocks (with 600 rows) by a small network, in a folder of inputs."""
    folder.mkdir(exist_ok=True)
    save_bundle(folder / "m.m3amba", bundle_of({"bands": 4}, (1, 2, 3, 4, 5), patch=8))
    noise = np.random.default_rng(0).normal(0, 1, (4, rows, 96))
    write_raster(folder / "bands.tif", noise.astype(np.float32))
    files = [str(folder / "m.m3amba"), f"bands={folder / 'bands.tif'}"]
    outputs = ["--out", "map.tif", "--confidence", "sure.tif", "--probabilities", "shares.tif"]
    return Job(lambda _: ["classify", *files, *outputs], _map_result, "writing")


def training(folder: Path, epochs: int = 1) -> Job:
    """A training on a small place, taken up where there is something to take up."""
    folder.mkdir(exist_ok=True)
    place = make_place(folder)
    files = [f"optical={place.optical}", f"height={place.height}"]
    labels = ["--labels", str(place.labels), "--field", "class"]
    options = ["--patch", "16", "--epochs", str(epochs), "--batch", "4", "--guide", "none"]
    options += ["--gap", "4", "--threads", "1", "--out", "m.m3amba"]

    def command(out: Path) -> list[str]:
        # Killed between its last two steps, it has left the model beside the checkpoint.
        saved = (out / "m.m3amba.checkpoint").exists()
        again = ["--resume", "--overwrite"] if saved else []
        return ["train", *files, *labels, *options, *again]

    return Job(command, _model_result)


def _map_result(folder: Path) -> Result:
    return {path.name: _digest(path) for path in folder.iterdir()}


def _digest(path: Path) -> str:
    if path.is_dir():
        return "folder"
    content = path.read_bytes()
    if path.suffix == ".json":  # a sidecar: all but the time when the map was made
        content = json.dumps(json.loads(content) | {"created": ""}).encode()
    return hashlib.sha256(content).hexdigest()


def _model_result(folder: Path) -> Result:
    """Of a model, the weights: the file also holds the time when it was made."""
    found = {path.name: "" for path in folder.iterdir()}
    if "m.m3amba" in found:
        digest = hashlib.sha256()
        for name, tensor in sorted(load_bundle(folder / "m.m3amba").network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        found["m.m3amba"] = digest.hexdigest()
    return found
