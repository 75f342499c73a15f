"""A recipe from rasters to a table: finished runs are kept, and are not run again."""

import json
from dataclasses import replace
from itertools import count

import geopandas as gpd
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small import used_by

from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import GuideConfig, LabelConfig, NetworkConfig, SplitConfig, TrainConfig
from m3amba_geo.errors import DataError, UsageError
from m3amba_geo.events import ignore
from m3amba_geo.jobs import network
from m3amba_geo.model import build
from training import guides, methods, run
from training.cases import cases, read_scene
from training.outcome import Outcome
from training.own import m3amba, uncrossed
from training.recipe import Protocol, Recipe


@pytest.fixture
def recipe(place, tmp_path, monkeypatch):
    protocol = Protocol(methods=("good", "poor"), seeds=2, part="polygon")
    recipe = Recipe("tiny", place.scene, protocol, TrainConfig())
    monkeypatch.setattr(run, "read_recipe", lambda name: recipe)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "RUNS", tmp_path / "runs")
    times = count()
    monkeypatch.setattr(run, "circumstances", lambda: {"time": next(times)})
    return recipe


@pytest.fixture
def calls(monkeypatch):
    """Two methods, one of them wrong about class 1; `calls` counts their runs."""
    made = []

    def method(name, confused):
        def answer(scene, case, budget):
            made.append((name, case.seed))
            if "broken" in made:
                raise DataError("The disk is gone.")
            truth = case.codes[case.test]
            return Outcome(np.where(truth == 1, np.uint16(2), truth) if confused else truth)

        return answer

    known = {"good": method("good", False), "poor": method("poor", True)}
    monkeypatch.setattr(methods, "METHODS", known)
    return made


def kept(tmp_path):
    return json.loads((tmp_path / "results" / "tiny.json").read_text())


def start(*options):
    return CliRunner().invoke(run.main, ["tiny", *options])


def test_a_recipe_goes_on_where_it_stopped(recipe, calls, tmp_path):
    assert start("--seeds", "0").exit_code == 0
    before = kept(tmp_path)["rows"]
    calls.append("broken")
    assert start().exit_code == 1  # in the first run of seed 1
    assert kept(tmp_path)["rows"] == before
    calls.clear()
    result = start()
    assert result.exit_code == 0, result.output
    assert calls == [("good", 1), ("poor", 1)]
    found = kept(tmp_path)
    assert found["rows"][:2] == before
    assert [(r["method"], r["seed"], r["sitting"]) for r in found["rows"]] == [
        ("good", 0, 0), ("poor", 0, 0), ("good", 1, 1), ("poor", 1, 1),
    ]  # fmt: skip
    assert len(found["sittings"]) == 2
    assert "poor" in result.output


def test_processes_share_the_runs_of_a_recipe(recipe, calls, tmp_path):
    good = methods.METHODS["good"]

    def interrupted(scene, case, budget):
        if not calls:
            calls.append("meanwhile")
            assert start().exit_code == 0  # another one, which finds this run taken
        return good(scene, case, budget)

    methods.METHODS["good"] = interrupted
    result = start()
    assert result.exit_code == 0, result.output
    assert calls == ["meanwhile", ("poor", 0), ("good", 1), ("poor", 1), ("good", 0)]
    found = kept(tmp_path)
    assert [(r["method"], r["seed"]) for r in found["rows"]] == calls[1:]
    assert {row["sitting"] for row in found["rows"]} == set(range(len(found["sittings"])))
    assert not [*(tmp_path / "runs").rglob(".*.m3amba-lock")]


def test_a_run_that_is_done_anew_replaces_the_old_one(recipe, calls, tmp_path):
    start()
    before = kept(tmp_path)["rows"]
    calls.clear()
    assert start("--methods", "poor", "--seeds", "1", "--anew").exit_code == 0
    assert calls == [("poor", 1)]
    rows = kept(tmp_path)["rows"]
    assert rows[:3] == before[:3]
    assert [(r["method"], r["seed"], r["sitting"]) for r in rows[3:]] == [("poor", 1, 1)]


def test_a_sitting_without_a_run_left_is_forgotten(recipe, calls, tmp_path):
    start("--methods", "good")
    start("--methods", "poor")
    start("--methods", "good", "--anew")
    found = kept(tmp_path)
    assert len(found["sittings"]) == 2
    assert {(r["method"], r["sitting"]) for r in found["rows"]} == {("poor", 0), ("good", 1)}


def test_summary_and_differences(recipe, calls, tmp_path):
    start()
    found = kept(tmp_path)
    good = found["summary"][0]
    assert (good["overall_accuracy"], good["overall_accuracy_sd"], good["runs"]) == (1, 0, 2)
    lost = [1 - row["overall_accuracy"] for row in found["rows"] if row["method"] == "poor"]
    (between,) = found["differences"]
    assert (between["method"], between["minus"], between["pairs"]) == ("good", "poor", 2)
    assert between["mean"] == pytest.approx(np.mean(lost)) == pytest.approx(1 / 3, abs=0.1)
    digests = {(row["seed"], row["pixels"]) for row in found["rows"]}
    assert len(digests) == 2  # one a seed: both methods had the same pixels


def test_results_on_other_pixels_are_not_mixed(recipe, calls, tmp_path):
    start()
    path = tmp_path / "results" / "tiny.json"
    text = path.read_text()
    path.write_text(text.replace(kept(tmp_path)["rows"][0]["pixels"], "0" * 12))
    result = start()
    assert result.exit_code == 1
    assert "other pixels" in result.output


def test_an_unknown_method_is_refused(recipe, calls):
    result = start("--methods", "good,nonsense")
    assert result.exit_code == 1
    assert "nonsense" in result.output


def test_a_setting_may_be_a_list(recipe, calls, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "_finish", lambda results, recipe, method, *_: seen.append(method))
    start("--methods", "m3amba+neighbourhoods=[5,11]+patch=16,good", "--seeds", "0")
    assert seen == ["m3amba+neighbourhoods=[5,11]+patch=16", "good"]


def test_a_part_of_a_learning_curve(recipe, calls, monkeypatch, tmp_path):
    curve = replace(recipe, protocol=replace(recipe.protocol, few=(2, 3)))
    monkeypatch.setattr(run, "read_recipe", lambda name: curve)
    start("--few", "3", "--methods", "good")
    assert [(row["few"], row["seed"]) for row in kept(tmp_path)["rows"]] == [(3, 0), (3, 1)]
    start("--methods", "good")
    assert len(kept(tmp_path)["rows"]) == 4
    refused = start("--few", "7")
    assert refused.exit_code == 1
    assert "{7}" in refused.output


def test_one_modality_alone(scene, case):
    budget = methods.Budget(TrainConfig(), None, True, ignore)
    found = methods.run("forest@height", scene, case, budget)
    assert found.details["features"] == 1


def test_our_network_with_other_settings(scene, case, monkeypatch):
    seen = []
    monkeypatch.setitem(methods.METHODS, "m3amba", lambda _, __, budget: seen.append(budget.train))
    budget = methods.Budget(TrainConfig(seed=3), None, True, ignore)
    methods.run('m3amba+size="small"+guide.mode="none"@height', scene, case, budget)
    assert seen == [TrainConfig(seed=3, size="small", guide=GuideConfig("none"))]
    for name in ("forest+size=1", "m3amba+size=small", "m3amba+sizes=1"):
        with pytest.raises(UsageError):
            methods.run(name, scene, case, budget)


def test_a_plain_network_ignores_the_fusion_stream():
    network = build(NetworkConfig((2, 3), 4, embedding=5)).eval()
    patches = [torch.randn(1, bands, 32, 32) for bands in (2, 3)]
    guides = [[torch.randn(1, 5) for _ in patches] for _ in range(2)]
    with torch.inference_mode():
        with uncrossed():
            plain = [network(patches, guide)[0] for guide in guides]
        crossed = [network(patches, guide)[0] for guide in guides]
    assert all(torch.equal(one, other) for one, other in zip(*plain, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(*crossed, strict=True))


def test_another_encoder_in_the_place_of_clip():
    with guides.imagenet():
        encoder = network.load_encoder(GuideConfig(), ignore)
    assert "not CLIP" in encoder.identity.source
    images = torch.rand(2, 3, 16, 16)
    embedded = encoder(images)
    assert embedded.shape == (2, encoder.identity.width)
    assert not torch.equal(*embedded)
    assert network.load_encoder(GuideConfig("none"), ignore) is None


@pytest.mark.slow
def test_our_network_trains_on_the_pixels_of_the_case(scene, case, tmp_path):
    config = TrainConfig(split=SplitConfig("none"), guide=GuideConfig("none"), patch=16)
    found = m3amba(scene, case, config, tmp_path, True, ignore)
    assert np.array_equal(used_by(load_bundle(tmp_path / "model.m3amba").areas[0]), case.train)
    assert found.predicted.shape == (case.test.sum(),)
    assert set(np.unique(found.predicted)) <= {1, 2, 3}
    assert found.details["pixels"]["test"] == case.test.sum()


@pytest.mark.slow
def test_points_of_a_case_stay_points(place, tmp_path):
    frame = gpd.read_file(place.labels)
    points = frame.sample_points(12, rng=0).explode()
    classes = frame["class"].loc[points.index]
    gpd.GeoDataFrame({"class": classes}, geometry=points).to_file(tmp_path / "points.gpkg")
    config = replace(place.scene, labels=LabelConfig(tmp_path / "points.gpkg"))
    scene = read_scene(config, ignore)
    (case,) = cases(scene, Protocol(methods=("m3amba",), part="block", block=16), [0])
    settings = TrainConfig(split=SplitConfig("none"), guide=GuideConfig("none"), patch=16)
    m3amba(scene, case, settings, tmp_path / "run", True, ignore)
    bundle = load_bundle(tmp_path / "run" / "model.m3amba")
    assert bundle.manifest.settings["class_balance"] == 0
    assert np.array_equal(used_by(bundle.areas[0]), case.train)
    assert {entry.code for entry in bundle.manifest.legend} == set(case.codes[case.train])
