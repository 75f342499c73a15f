"""A small sample of `python -m training.bench.kills`: real kills, a disk that really fills."""

import numpy as np
import pytest
from disks import small_disk
from killing import Moment, classification, empty, fill, kill, training, uninterrupted

NEVER = Moment("no phase", 0)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("make", [classification, training])
def test_killed_until_it_is_done(tmp_path, make):
    job = make(tmp_path / "inputs")
    reference = uninterrupted(job, tmp_path / "reference")
    out = tmp_path / "out"
    out.mkdir()
    phases = [kill(job, out, reference, reference.within("", share)) for share in (0.4, 0.5)]
    assert "finished" not in phases
    if job.last_phase:
        phases.append(kill(job, out, reference, reference.within(job.last_phase, 0.5)))
        assert phases[-1] == job.last_phase
    assert kill(job, out, reference, NEVER) == "finished"


def test_a_full_disk_and_room_again(tmp_path):
    job = classification(tmp_path / "inputs")
    reference = uninterrupted(job, tmp_path / "reference")
    rng = np.random.default_rng(0)
    with small_disk(tmp_path / "disk", 4096) as disk:
        for phase in ("mapping", "writing"):
            moment, found = reference.within(phase, 0.3), "finished"
            for _ in range(5):  # the job may be faster than what fills the disk
                if found == "finished":
                    empty(disk)
                    found = fill(job, disk, reference, moment, int(rng.integers(8)))
            assert found == phase
