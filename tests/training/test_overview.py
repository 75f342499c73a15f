"""The tables of accuracies and leads are those of the results."""

import json

import pytest

from training.overview import COMPARED, README, accuracies, inserted, leads


def runs(few=None, **accuracies):
    """Rows of methods, from the overall accuracy of each seed."""
    common = {"few": few, "fold": 0, "seconds": 90, "sitting": 0}
    return [
        {"method": method.replace("_", "-"), "seed": seed, "overall_accuracy": accuracy} | common
        for method, each in accuracies.items()
        for seed, accuracy in enumerate(each)
    ]


@pytest.fixture
def lines(tmp_path):
    """Writes a result, and returns the cells of each line of the table."""

    def of(name, rows, gpu=None):
        content = {"rows": rows, "sittings": [{"machine": {"gpu": gpu}}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        table = accuracies(tmp_path).splitlines()[2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]

    return of


@pytest.mark.parametrize(("page", "table"), [(README, accuracies), (COMPARED, leads)])
def test_pages_show_the_results_as_they_are(page, table):
    text = page.read_text(encoding="utf-8")
    assert inserted(text, table()) == text


def test_the_best_is_bold_and_what_is_missing_a_dash(lines):
    rows = runs(m3amba=[0.4, 0.6], svm_fractions=[0.7, 0.8], forest=[0.2, 0.2], lda_local=[0.5, 0])
    ((_, _, *cells),) = lines("nc_landsat", rows, gpu="a card")
    same = "- / **75.0** / - / -"
    assert cells == ["50.0 ± 14.1 (2)", same, "25.0 lda-local", "-", "2 min (GPU)"]


def test_what_rounds_to_the_best_is_as_good(lines):
    ((*_, ours, same, _, _, _),) = lines(
        "nc_landsat", runs(m3amba=[0.7501], lda_fractions=[0.7504])
    )
    assert (ours, same) == ("**75.0** (1)", "- / - / **75.0** / -")


def test_methods_are_compared_on_the_runs_of_ours(lines):
    rows = runs(m3amba=[0.5, 0.5], forest=[0.2, 0.4, 0.9], cnn=[0.3])
    ((*_, other, nets, _),) = lines("nc_landsat", rows)
    assert (other, nets) == ("30.0 forest", "30.0 (1)")


def test_a_net_that_lacks_runs_is_not_the_best(lines):
    rows = runs(m3amba=[0.5, 0.5], cnn=[0.9], convnext=[0.6, 0.6])
    ((_, _, ours, _, _, nets, _),) = lines("nc_landsat", rows)
    assert (ours, nets) == ("50.0 ± 0.0 (2)", "90.0 (1) / **60.0** (2)")


def test_a_learning_curve_has_a_line_for_each_number_of_labels(lines):
    found = lines("nc_points_few", runs(10, m3amba=[0.6]) + runs(5, m3amba=[0.5]))
    assert [cells[1] for cells in found] == ["points, 5 a class", "points, 10 a class"]


def test_recipes_without_a_run_of_ours_have_no_line(lines):
    assert not lines("nc_landsat", runs(forest=[0.5]))


def test_an_interrupted_run_has_no_time(lines):
    rows = runs(m3amba=[0.5, 0.6])
    rows[0]["seconds"] = None
    ((*_, time),) = lines("nc_landsat", rows)
    assert time == "2 min"
    rows[1]["seconds"] = None
    ((*_, time),) = lines("nc_landsat", rows)
    assert time == "-"
