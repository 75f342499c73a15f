"""Damaged inputs: `python -m training.bench.corrupt [--count N]`.

Bundles, rasters and label files with flipped bits, without their end, or with a hole are read, each
in a process of its own: within 10 s of processor time and with little memory, they must give a
coded error or be read.
The first that does not ends the command and stays in `training/runs/corrupt`.

The command may be stopped, and goes on; its state lies there, too.
"""

import json
import shutil
import sys
from collections import Counter

import click
import numpy as np

from training.bench import record

sys.path.insert(0, str(record.ROOT / "tests"))  # as pytest does: the harness is the tests'

from tests.faults.corrupting import make_inputs, outcome

RUNS = record.ROOT / "training" / "runs" / "corrupt"
KINDS = ("bundle", "raster", "vector")
SEED = 0


@click.command()
@click.option("--count", default=500, show_default=True, help="Inputs of all kinds together.")
def main(count: int) -> None:
    """Reads so many damaged inputs and writes what came of them."""
    inputs = make_inputs(RUNS / "inputs")
    saved = RUNS / "tally.json"
    tallies = json.loads(saved.read_text()) if saved.exists() else {kind: {} for kind in KINDS}
    for number in range(sum(sum(tally.values()) for tally in tallies.values()), count):
        kind, folder = KINDS[number % len(KINDS)], RUNS / "input"
        shutil.rmtree(folder, ignore_errors=True)
        # Seeded by the number, so that a command that is taken up goes on with the same inputs.
        code = outcome(inputs, kind, folder, np.random.default_rng([SEED, number]))
        tallies[kind] = Counter(tallies[kind]) + Counter([code])
        saved.write_text(json.dumps(tallies))
        print(f"{number + 1:4} of {count}: {kind}, {code}", flush=True)
    print(record.write("corrupt", {"inputs": count, "failures": 0, "outcomes": tallies}))
    shutil.rmtree(RUNS)


if __name__ == "__main__":
    main()
