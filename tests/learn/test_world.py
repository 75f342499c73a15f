"""Several processes that train together, real ones: the same curve as one, and one end for all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sharing import CONFIG, HALF, hurry, make_patches, train

from m3amba_geo.errors import DeviceUnavailableError
from m3amba_geo.learn import loop, teachers
from m3amba_geo.learn.world import ALONE, World, join

LIMIT = 600  # seconds; some twenty on two cores that have nothing else to do
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def launch(folder, scenario):
    """Runs a scenario of `sharing` in two processes; returns status and complaints."""
    command = ["--standalone", "--nproc-per-node", "2", HERE / "sharing.py", folder, scenario]
    with subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *command],
        env=os.environ
        | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            complaints = process.communicate(timeout=LIMIT)[1]
            return process.returncode, complaints
        finally:
            process.terminate()  # it ends its processes, too; killed, it would leave them


def left(folder, name):
    """Returns weights, losses and scores of a training."""
    with safe_open(folder / name, "pt") as file:
        told = json.loads(file.metadata()["told"])
        return {key: file.get_tensor(key) for key in file.keys()}, told  # noqa: SIM118


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def apart(one, other):
    """Returns the largest difference of two lists of losses, relative."""
    assert len(one) == len(other)
    return np.max(np.abs(np.subtract(one, other)) / np.abs(other))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Trainings by one process and by two."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        for room, name in ((loop, "_VALIDATIONS"), (teachers, "_SURE")):
            patch.setattr(room, name, getattr(room, name))
        hurry()
        train(folder, "one", ALONE)
        status, complaints = launch(folder, "together")
        assert status == 0, complaints
        (folder / "two.half").rename(folder / "from_two.checkpoint")
        train(folder, "from_two", ALONE, resume=True)
    return folder


@pytest.mark.slow
def test_the_curve_is_that_of_one_process(both):
    (weights, one), (other_weights, two) = left(both, "one-0"), left(both, "two-0")
    assert len(one["losses"]) == 2 * HALF
    assert apart(two["losses"], one["losses"]) < 1e-4
    assert two["scores"] == pytest.approx(one["scores"])
    for name, tensor in weights.items():
        assert torch.allclose(other_weights[name], tensor, rtol=1e-3, atol=1e-4), name


@pytest.mark.slow
def test_dividing_by_ones_own_labels_would_be_noticed(both):
    patches = make_patches()
    shares = [
        [int(patches.batch(step, CONFIG, World(rank, 2).part(5)).counts()[0]) for rank in (0, 1)]
        for step in range(2 * HALF)
    ]
    assert max(max(pair) / max(1, min(pair)) for pair in shares) > 3
    assert apart(left(both, "wrong-0")[1]["losses"], left(both, "one-0")[1]["losses"]) > 1e-2


@pytest.mark.slow
def test_all_processes_hold_the_same_to_the_last_bit(both):
    (weights, told), (others, told_others) = (left(both, f"two-{rank}") for rank in (0, 1))
    assert same(weights, others)
    assert told == told_others


@pytest.mark.slow
def test_a_run_of_two_goes_on_with_two_and_with_one(both):
    (weights, two), (again, told), (alone, by_one) = (
        left(both, name) for name in ("two-0", "again-0", "from_two-0")
    )
    assert same(again, weights)
    assert told["losses"] == two["losses"][HALF:]
    assert told["scores"] == two["scores"]
    assert apart(by_one["losses"], two["losses"][HALF:]) < 1e-4
    assert all(torch.allclose(alone[n], weights[n], rtol=1e-3, atol=1e-4) for n in weights)


@pytest.mark.slow
def test_no_thread_is_left_to_trip_over_the_end_of_the_interpreter(both):
    assert [json.loads((both / f"threads-{rank}").read_text()) for rank in (0, 1)] == [[], []]


@pytest.mark.slow
def test_gradients_are_summed_and_what_nobody_has_stays_away(both):
    for rank in (0, 1):
        loss, gradients = json.loads((both / f"gradients-{rank}").read_text())
        assert loss == 1.0
        assert gradients == [[[3.0] * 3] * 2, [[5.0] * 3] * 2, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "code", "origin"),
    [
        ("failing", "disk-full", 1),
        ("other_data", "usage", 1),
        ("killed", "process-lost", 0),
    ],
)
def test_an_error_in_one_process_ends_all(tmp_path, scenario, code, origin):
    _, complaints = launch(tmp_path, scenario)
    ended = {p.name: json.loads(p.read_text()) for p in tmp_path.glob("ended-*")}
    assert ended.keys() == ({"ended-0"} if scenario == "killed" else {"ended-0", "ended-1"}), (
        complaints
    )
    codes, statuses, messages, hints = zip(*ended.values(), strict=True)
    assert set(codes) == {code}
    assert len(set(statuses)) == 1
    assert all(hints)
    told = dict(zip(ended, messages, strict=True))
    assert told["ended-0"].startswith("Process 1: ") == (origin == 1)
    assert not list(tmp_path.glob("two-*"))


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.setenv("RANK", "3")  # of something else
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with join() as world:
        assert world == ALONE
        assert world.leads
        parameter = torch.nn.Parameter(torch.ones(1))
        assert world.sum_gradients(torch.tensor(2.0, requires_grad=True), [parameter]) == 2
        assert parameter.grad is None
        assert world.sum(torch.ones(2)).tolist() == [1, 1]
        world.agree("anything")


@pytest.mark.parametrize(("count", "size"), [(8, 2), (7, 3), (3, 3), (2, 4), (0, 2)])
def test_parts_are_even_and_leave_nothing_out(count, size):
    parts = [range(count)[World(rank, size).part(count)] for rank in range(size)]
    assert [n for part in parts for n in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_parts_of_a_batch_are_the_batch():
    patches = make_patches()
    whole = patches.batch(3, CONFIG)
    parts = [patches.batch(3, CONFIG, World(rank, 2).part(CONFIG.batch)) for rank in (0, 1)]
    for n, modality in enumerate(whole.patches):
        assert torch.equal(torch.cat([part.patches[n] for part in parts]), modality)
    assert torch.equal(torch.cat([part.classes for part in parts]), whole.classes)
    assert torch.equal(torch.cat([part.valid for part in parts]), whole.valid)
    assert torch.equal(sum(part.counts() for part in parts), whole.counts())


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    world = World(3, 4)
    assert world.own_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert chosen == [1]
    assert world.own_device(torch.device("cpu")) == torch.device("cpu")
    assert ALONE.own_device(torch.device("cuda")) == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceUnavailableError, match="this machine has 2"):
        world.own_device(torch.device("cuda"))
    with pytest.raises(DeviceUnavailableError, match="mps"):
        world.own_device(torch.device("mps"))
