"""Training and mapping on a CUDA device, beside the CPU."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from small import Interrupted, stop_after

from m3amba_geo.config import ClassifyConfig
from m3amba_geo.events import Note, Warned, ignore
from m3amba_geo.jobs import classify, train
from tests.jobs.conftest import quick

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("small_network")]


def mapped(model, place, out, device):
    settings = ClassifyConfig(out=out, confidence=out.with_suffix(".sure.tif"), device=device)
    classify.run(model, place.scene, settings, ignore)
    found = []
    for path in (settings.out, settings.confidence):
        with rasterio.open(path) as file:
            found.append(file.read(1))
    return found


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_model_trained_on_a_gpu_maps_there_as_on_the_cpu(place, tmp_path, precision):
    settings = quick(tmp_path, device="cuda", precision=precision)
    events = []
    results = train.run([place.scene], settings, events.append)
    said = [event.message for event in events if isinstance(event, Note | Warned)]
    assert any("Device: cuda" in message for message in said)
    assert not any(isinstance(event, Warned) and "tried" in event.message for event in events)
    assert results.scores["validation_overall_accuracy"] > 0.9
    codes, sure = mapped(results.model, place, tmp_path / "cuda.tif", "cuda")
    beside, beside_sure = mapped(results.model, place, tmp_path / "cpu.tif", "cpu")
    assert (codes == place.truth).mean() > 0.9
    assert (codes == beside).mean() > 0.99
    assert np.abs(sure.astype(float) - beside_sure.astype(float)).mean() < 0.01


def test_training_on_a_gpu_is_taken_up_where_it_stopped(place, tmp_path):
    settings = quick(tmp_path, device="cuda")
    with pytest.raises(Interrupted):
        train.run([place.scene], settings, stop_after(9))
    results = train.run([place.scene], settings, ignore, resume=True)
    whole = replace(settings, out=tmp_path / "whole.m3amba")
    assert results.steps == train.run([place.scene], whole, ignore).steps
    assert results.scores["validation_overall_accuracy"] > 0.9
