"""The size of a network: what is asked for, or what fits labels, bands, pixels and device."""

from dataclasses import replace

import pytest

from m3amba_geo.bundle import read_manifest
from m3amba_geo.config import WIDTH_AND_DEPTH
from m3amba_geo.events import Note, ignore
from m3amba_geo.jobs import network, train
from m3amba_geo.jobs.network import choose_size
from tests.jobs.conftest import QUICK_SIZE, quick


@pytest.mark.parametrize(
    ("labels", "bands", "pixels", "on_cpu", "size"),
    [
        (50, 4, 10**6, False, "tiny"),
        (19_999, 4, 10**6, True, "tiny"),
        (20_000, 4, 10**6, True, "small"),
        (10_000, 200, 10**6, True, "small"),  # hyperspectral
        (10**6, 4, 10**6, True, "small"),  # base takes a GPU
        (10**6, 4, 10**9, True, "tiny"),  # a map by small would take a CPU most of a day
        (10**6, 4, 10**9, False, "base"),
        (199_999, 4, 10**9, False, "small"),
    ],
)
def test_labels_bands_pixels_and_device_decide(labels, bands, pixels, on_cpu, size):
    assert choose_size(labels, bands, pixels, on_cpu) == size


def test_the_size_that_fits_is_taken_and_told(place, tmp_path, monkeypatch):
    monkeypatch.setitem(WIDTH_AND_DEPTH, "small", QUICK_SIZE)
    monkeypatch.setattr(network, "_SMALL_FROM", 1)
    events = []
    results = train.run([place.scene], quick(tmp_path, epochs=1), events.append)
    assert read_manifest(results.model).network.size == "small"
    (note,) = (e.message for e in events if isinstance(e, Note) and "Size" in e.message)
    assert "small" in note
    assert f"{results.pixels['train']:,}" in note


def test_a_size_that_is_asked_for_is_taken(place, tmp_path, monkeypatch):
    monkeypatch.setitem(WIDTH_AND_DEPTH, "small", QUICK_SIZE)
    results = train.run([place.scene], quick(tmp_path, epochs=1, size="small"), ignore)
    assert read_manifest(results.model).network.size == "small"


def test_a_first_model_keeps_its_size(trained, place, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "_SMALL_FROM", 1)
    config = replace(quick(tmp_path, epochs=1), out=tmp_path / "next.m3amba")
    results = train.run([place.scene], config, ignore, init=trained.model)
    assert read_manifest(results.model).network.size == "tiny"
