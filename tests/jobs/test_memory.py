"""Free memory is that of the container, where there is one."""

from types import SimpleNamespace

import pytest

from m3amba_geo.jobs import memory

GIB = 2**30


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))


def container(folder, names, limit, used, stat):
    for name, text in zip((*names, "memory.stat"), (limit, used, stat), strict=True):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


def test_without_a_container_it_is_the_machines(tmp_path):
    assert memory.free_memory(tmp_path) == 8 * GIB


@pytest.mark.parametrize(
    ("limit", "used", "expected"), [(3 * GIB, GIB, 2.5), ("max", GIB, 8), (GIB, 2 * GIB, 0)]
)
def test_a_container_leaves_what_its_limit_leaves(tmp_path, limit, used, expected):
    names = ("memory.max", "memory.current")
    folder = container(tmp_path, names, limit, used, f"anon 1\ninactive_file {GIB // 2}")
    assert memory.free_memory(folder) == expected * GIB


def test_containers_of_the_older_kind(tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    container(folder, names, 2 * GIB, GIB, "total_inactive_file 0")
    assert memory.free_memory(tmp_path) == GIB


@pytest.mark.parametrize(("free", "expected"), [(8, 2048), (1, 512), (0, 512), (100, 4096)])
def test_a_quarter_of_it_works(monkeypatch, free, expected):
    monkeypatch.setattr(memory, "free_memory", lambda: free * GIB)
    assert memory.working_memory(None) == expected
    assert memory.working_memory(100) == 100
