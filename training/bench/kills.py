"""Kills at random moments: `python -m training.bench.kills [--job JOB] [--count N]`.

`classify` and `train` are processes killed by SIGKILL and given again until they finish; then what
they leave must be what an uninterrupted run leaves: files by checksum, of a model the weights, and
nothing else. With `full-disk`, `classify` runs on a small disk that fills at a random moment; it
must say so, leave no output, and go on when there is room again (mounting takes root).

The command may itself be stopped, and goes on; its state lies in `training/runs/kills`. Figures of
one job leave those of the others in `training/results/kills.json` as they are.
"""

import json
import shutil
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from training.bench import record

sys.path.insert(0, str(record.ROOT / "tests"))  # as pytest does: the harness is the tests'

from tests.faults.killing import (
    Job,
    Reference,
    classification,
    empty,
    fill,
    kill,
    training,
    uninterrupted,
)

RUNS = record.ROOT / "training" / "runs" / "kills"
SEED = 0
DISK, PAGES = 4096, 8  # pages of the small disk; most of them that are left when it fills
MAKE = {"classify": classification, "train": training, "full-disk": classification}
COUNTS = {"classify": 100, "train": 20, "full-disk": 10}


@click.command()
@click.option("--job", type=click.Choice(list(MAKE)), default="classify", show_default=True)
@click.option("--count", type=int, help="Strikes.  [default: 100, 20 and 10]")
def main(job: str, count: int | None) -> None:
    """Strikes until so many have hit, and writes the figures."""
    folder = RUNS / job
    folder.mkdir(parents=True, exist_ok=True)
    victim = MAKE[job](folder / "inputs")
    reference = _reference(victim, folder)
    saved = folder / "tally.json"
    tally = Counter(json.loads(saved.read_text()) if saved.exists() else {})
    wanted = count or COUNTS[job]
    with ExitStack() as disk:
        out = _out(job, folder, disk)
        while (hits := tally.total() - tally["finished"]) < wanted:
            # Seeded by the number, so that a command that is taken up strikes where it would have.
            rng = np.random.default_rng([SEED, tally.total()])
            phase = _strike(job, victim, out, reference, rng)
            tally[phase] += 1
            saved.write_text(json.dumps(tally))
            print(f"{hits:4} of {wanted}: {phase}", flush=True)
            if phase == "finished" or job == "full-disk":
                empty(out)
        if job != "full-disk" and not tally["finished"]:
            raise SystemExit("No run finished: strike more often.")
    _write(job, tally)
    shutil.rmtree(folder)


def _reference(victim: Job, folder: Path) -> Reference:
    saved = folder / "reference.json"
    if not saved.exists():
        shutil.rmtree(folder / "reference", ignore_errors=True)
        reference = uninterrupted(victim, folder / "reference")
        saved.write_text(json.dumps(asdict(reference)))
    return Reference(**json.loads(saved.read_text()))


def _out(job: str, folder: Path, handles: ExitStack) -> Path:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    if job == "full-disk":
        from disks import small_disk

        handles.enter_context(small_disk(out, DISK))
    return out


def _strike(
    job: str, victim: Job, out: Path, reference: Reference, rng: np.random.Generator
) -> str:
    moment = reference.moment(rng, victim)
    if job == "full-disk":
        return fill(victim, out, reference, moment, int(rng.integers(PAGES)))
    return kill(victim, out, reference, moment)


def _write(job: str, tally: Counter[str]) -> None:
    path = record.RESULTS / "kills.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    figures = {name: before[name] for name in MAKE if name in before}
    hits = {phase: n for phase, n in tally.items() if phase != "finished"}
    figures[job] = {
        "strikes": sum(hits.values()),
        "by_phase": hits,
        "finished_runs": tally["finished"],
        "differences": 0,  # the first one ends the command
        **{key: value for key, value in record.circumstances().items() if key in _OWN},
    }
    print(record.write("kills", figures))


_OWN = ("time", "commit")

if __name__ == "__main__":
    main()
