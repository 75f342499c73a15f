"""The tables of accuracies and leads are those of the results."""

import json

import pytest

from training.overview import TABLES, accuracies, inserted, leads, sensors


def runs(few=None, **accuracies):
    """Rows of methods, from the overall accuracy of each seed; `__` in a name stands for `@`."""
    common = {"few": few, "fold": 0, "seconds": 90, "sitting": 0}
    common |= {"train_pixels": 100, "test_pixels": 100, "pixels": "a digest"}
    return [
        {"method": name, "seed": seed, "overall_accuracy": accuracy} | common
        for method, each in accuracies.items()
        for name in [method.replace("__", "@").replace("_", "-")]
        for seed, accuracy in enumerate(each)
    ]


@pytest.fixture
def lines(tmp_path):
    """Writes a result, and returns the cells of each line of the table."""

    def of(name, rows, gpu=None, table=accuracies):
        content = {"rows": rows, "sittings": [{"machine": {"gpu": gpu}}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        rows = table(tmp_path).splitlines()[2:]
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]

    return of


@pytest.mark.parametrize(("page", "table"), TABLES)
def test_pages_show_the_results_as_they_are(page, table):
    text = page.read_text(encoding="utf-8")
    assert table() in text
    assert inserted(text, table) == text


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


def test_nothing_is_the_best_of_one(lines):
    ((_, _, ours, *_),) = lines("indian_pines_one", runs(m3amba=[0.5], cnn=[]))
    assert ours == "50.0 (1)"


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


def test_leads_are_over_the_best_of_each_kind(lines):
    rows = runs(
        m3amba=[0.8, 0.9], lda=[0.7, 0.7], forest_local=[0.6, 0.9], svm_fractions=[0.85], cnn=[1, 1]
    )
    ((_, _, *cells),) = lines("nc_transfer", rows, table=leads)
    usual, same = "+10.0 (-117.1 to 137.1) forest-local", "-5.0 (one run) svm-fractions"
    assert cells == [usual, same, "-15.0 (-78.5 to 48.5)", "-"]


def test_intervals_allow_for_training_sets_that_overlap(lines):
    rows = runs(m3amba=[0.8, 0.9], forest=[0.7, 0.7])
    lines("nc_transfer", rows)
    (_, _, parted, *_), (_, _, given, *_) = lines("nc_landsat", rows, table=leads)
    assert (given, parted) == ("+15.0 (-48.5 to 78.5) forest", "+15.0 (-95.0 to 125.0) forest")


def test_two_sensors_are_compared_with_the_better_one(lines):
    rows = runs(
        m3amba=[0.8, 0.8], m3amba__vnir=[0.7, 0.7], m3amba__swir=[0.6, 0.7], forest=[0.5, 0.5]
    )
    ((_, _, *cells),) = lines("nc_landsat", rows, table=sensors)
    assert cells == ["+10.0 (10.0 to 10.0) over vnir", "-", "-", "-"]
    assert not lines("nc_landsat", runs(m3amba=[0.8], forest=[0.5]), table=sensors)
