"""The page of benchmarks shows what was measured, and refuses what can't be traced."""

import json

import pytest

from training.figures import tables
from training.page import LackingResultError, benchmarks, read

MACHINE = {"processor": "a processor", "cores": 2, "threads": 1, "load": 0.5, "gpu": None}
HERE = {"time": "2026-01-02T03:04:05+00:00", "commit": "abc", "machine": MACHINE, "versions": {}}


def row(method, accuracy, few=None):
    means = {"overall_accuracy": accuracy, "overall_accuracy_sd": 0.01}
    means |= {"average_accuracy": 0.5, "kappa": 0.4, "runs": 2, "seconds": 3.0}
    return {"method": method, "few": few} | means


def recipe(*rows):
    sitting = HERE | {"command": "python -m training.run nc_landsat"}
    return {"recipe": "r", "summary": list(rows), "differences": [], "sittings": [sitting]}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()

    def write(**contents):
        for name, content in contents.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        return benchmarks(tmp_path / "generated", folder)

    return write


def section(page, title):
    return page.partition(f"\n### {title}\n")[2].partition("\n###")[0]


def test_what_is_not_measured_is_said_to_be_so(results):
    page = results()
    for title in ("nc_landsat", "Whole maps, reading and writing included"):
        assert "not yet measured." in section(page, title)


def test_a_recipe_has_a_chart_a_table_and_its_sittings(results, tmp_path):
    own = section(results(nc_landsat=recipe(row("m3amba", 0.75), row("svm", 0.5))), "nc_landsat")
    assert "| m3amba | 75.0 ± 1.0 |" in own
    assert "`python -m training.run nc_landsat`: 2026-01-02 03:04 UTC, commit abc" in own
    assert "(generated/nc_landsat.svg)" in own
    assert (tmp_path / "generated" / "nc_landsat.svg").read_text().startswith("<?xml")


def test_a_learning_curve_has_a_table_for_each_number_of_labels(results):
    rows = [row(method, 0.5 + few / 100, few) for few in (5, 10) for method in ("m3amba", "svm")]
    own = section(results(nc_points_few=recipe(*rows)), "nc_points_few")
    assert own.index("5 labels a class:") < own.index("10 labels a class:")


def test_a_result_is_shown_by_the_benchmark_whose_name_it_bears(results):
    page = results(scan_gpu=HERE | {"rate": 1}, map_base=HERE | {"rate": 2}, stray=HERE)
    scans = section(page, "Time, memory and accuracy of the selective scan on a GPU")
    assert "scan_gpu.json" in scans
    maps = section(page, "Whole maps, reading and writing included")
    assert "| rate | 2 |" in maps
    assert "2 cores, threads: 1, load: 0.5" in maps
    assert "stray.json" in page.partition("## Other files")[2]


@pytest.mark.parametrize("key", ["time", "commit", "machine", "versions"])
def test_a_result_without_its_circumstances_is_refused(tmp_path, key):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({k: v for k, v in HERE.items() if k != key}))
    with pytest.raises(LackingResultError, match=rf"map\.json lacks {key}"):
        read(path)


def test_a_sitting_without_its_command_is_refused(tmp_path):
    path = tmp_path / "nc_landsat.json"
    path.write_text(json.dumps(recipe() | {"sittings": [HERE]}))
    with pytest.raises(LackingResultError, match="sitting 0 lacks command"):
        read(path)


def test_figures_of_one_kind_share_a_table():
    figures = {"batch": 4, "sides": {"8": {"s": 1.0, "ok": True}, "9": {"s": 2e-9, "ok": False}}}
    lone, shared = tables(figures)
    assert lone == (["", ""], [["batch", "4"]])
    assert shared == (["sides", "s", "ok"], [["8", "1", "yes"], ["9", "2e-09", "no"]])


def test_the_longer_side_of_a_table_runs_down():
    (table,) = tables({"a": {"x": 1, "y": 12_345.6, "z": [1, 2]}})
    assert table == (["a", ""], [["x", "1"], ["y", "12,346"], ["z", "1; 2"]])
