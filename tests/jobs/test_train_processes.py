"""`torchrun -m m3amba_geo train`, as it is typed: one model, one voice, one end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import GuideConfig, SplitConfig, TrainConfig
from m3amba_geo.events import ignore
from m3amba_geo.jobs import train

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LIMIT = 600  # seconds; some twenty on two cores that have nothing else to do


def torchrun(folder, *options):
    """Gives the command in a folder; returns status, events and complaints."""
    launch = "-m torch.distributed.run --standalone --nproc-per-node 2 -m m3amba_geo train"
    rasters = "optical=optical.tif height=height.tif --labels labels.gpkg --field class"
    settings = "--patch 16 --epochs 1 --guide none --gap 4 --threads 1 --json"
    with subprocess.Popen(
        [sys.executable, *f"{launch} {rasters} {settings}".split(), *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, complaints = process.communicate(timeout=LIMIT)
        finally:
            process.terminate()  # it ends its processes, too; killed, it would leave them
    return process.returncode, [json.loads(line) for line in out.splitlines()], complaints


def test_two_processes_make_the_model_of_one(place, tmp_path):
    before = set(tmp_path.iterdir())
    status, events, complaints = torchrun(tmp_path, "--batch", "4")
    assert status == 0, complaints
    assert set(tmp_path.iterdir()) == before | {tmp_path / "model.m3amba"}
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("started", "done")
    assert (names.count("started"), names.count("artifact"), names.count("done")) == (1, 1, 1)
    assert any("2 processes share" in e["message"] for e in events if e["event"] == "note")
    together = load_bundle(tmp_path / "model.m3amba")
    config = TrainConfig(
        out=tmp_path / "one.m3amba", patch=16, epochs=1, batch=4, threads=1,
        split=SplitConfig(gap=4), guide=GuideConfig(mode="none"),
    )  # fmt: skip
    alone = load_bundle(train.run([place.scene], config, ignore).model)
    assert together.manifest.scores == pytest.approx(alone.manifest.scores)
    weights, others = together.network.state_dict(), alone.network.state_dict()
    assert all(torch.allclose(weights[n], others[n], rtol=1e-2, atol=1e-3) for n in weights)


@pytest.mark.parametrize(
    ("options", "code", "exit_status"),
    [
        (["--batch", "1"], "usage", 2),
        (["--out", "optical.tif"], "usage", 2),
        (["--out", "old"], "output-exists", 3),
    ],
)
def test_all_processes_end_with_the_same_error(place, tmp_path, options, code, exit_status):
    (tmp_path / "old").touch()
    status, events, complaints = torchrun(tmp_path, *options)
    assert status != 0
    assert [e["code"] for e in events if e["event"] == "failed"] == [code]
    assert re.findall(r"exitcode +: (\S+)", complaints) == [str(exit_status)] * 2
    assert place.optical.exists()
    assert not list(tmp_path.glob("*m3amba*"))


def test_a_mistake_in_the_settings_is_told_by_the_first_process(place, tmp_path):
    _, events, _ = torchrun(tmp_path, "--neighbourhoods", "4")
    assert [e["code"] for e in events if e["event"] == "failed"] == ["usage"]
