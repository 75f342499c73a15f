"""README's table of accuracies is that of the results."""

import json

import pytest

from training.overview import README, inserted, overview


def summary(few=None, **accuracies):
    return [
        {"method": m.replace("_", "-"), "few": few, "overall_accuracy": a, "runs": 3, "seconds": 90}
        for m, a in accuracies.items()
    ]


@pytest.fixture
def lines(tmp_path):
    """Writes a result, and returns the cells of each line of the table."""

    def of(name, rows, gpu=None):
        runs = [{"method": "m3amba", "few": row["few"], "sitting": 0} for row in rows]
        sittings = [{"machine": {"gpu": gpu}}]
        content = {"summary": rows, "rows": runs, "sittings": sittings}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        table = overview(tmp_path).splitlines()[2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]

    return of


def test_readme_shows_the_results_as_they_are():
    text = README.read_text(encoding="utf-8")
    assert inserted(text, overview()) == text


def test_the_best_is_bold_and_what_is_missing_a_dash(lines):
    rows = summary(m3amba=0.5, svm_fractions=0.75, forest=0.25, lda_local=0.5, cnn=0.25)
    ((_, _, *cells),) = lines("nc_landsat", rows, gpu="a card")
    same = "- / **75.0** / - / -"
    assert cells == ["50.0 (3)", same, "50.0 lda-local", "25.0 (3)", "2 min (GPU)"]


def test_what_rounds_to_the_best_is_as_good(lines):
    ((*_, ours, same, _, _, _),) = lines("nc_landsat", summary(m3amba=0.7501, lda_fractions=0.7504))
    assert (ours, same) == ("**75.0** (3)", "- / - / **75.0** / -")


def test_a_learning_curve_has_a_line_for_each_number_of_labels(lines):
    found = lines("nc_points_few", summary(5, m3amba=0.5) + summary(10, m3amba=0.6))
    assert [cells[1] for cells in found] == ["points, 5 a class", "points, 10 a class"]


def test_recipes_without_a_run_of_ours_have_no_line(lines):
    assert not lines("nc_landsat", summary(forest=0.5))
