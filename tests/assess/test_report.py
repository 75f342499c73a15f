import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.assess.estimates import estimate
from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.assess.picture import map_picture
from m3amba_geo.assess.report import to_html, to_json, to_table
from m3amba_geo.geo.legend import LandCover

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def printed(evaluation: Evaluation, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(to_table(evaluation))
    return file.getvalue()


class Page(HTMLParser):
    """Collects what a browser would see: tags, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_json_is_strict_and_complete(evaluation):
    report = to_json(evaluation)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["overall_accuracy"] == pytest.approx(74 / 95)
    assert report["kappa"] == pytest.approx(3983 / 5978)
    assert report["confusion_matrix"] == [[21, 6, 0], [5, 31, 1], [7, 2, 22]]
    assert (report["matrix_rows"], report["matrix_columns"]) == ("reference", "map")
    assert (report["classes"], report["codes"]) == (["water", "forest", "urban"], [1, 2, 3])
    assert (report["pixels"], report["counts"]["unmapped"]) == (95, 4)
    assert report["users_accuracy"] == pytest.approx([21 / 33, 31 / 39, 22 / 23])
    assert report["settings"]["labels"] == "roi.gpkg"
    assert report["notes"] == list(evaluation.notes)


def test_json_has_null_where_undefined(evaluation):
    apart = to_json(evaluation)["separated"]
    assert (apart["gap"], apart["pixels"]) == (16, 20)
    assert apart["producers_accuracy"] == [pytest.approx(10 / 13), None, pytest.approx(5 / 7)]


def test_json_of_nothing_scored(legend):
    nothing = Evaluation(Accuracy(legend, np.zeros((3, 3), np.int64)), 0)
    report = json.loads(json.dumps(to_json(nothing), allow_nan=False))
    assert report["overall_accuracy"] is report["kappa"] is report["separated"] is None
    assert report["f1"] == [None, None, None]


def test_table_reads_well_in_a_pipe(evaluation):
    text = printed(evaluation)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert re.search(r"Overall accuracy\s+77\.9 %\s+75\.0 %", text)
    assert re.search(r"Kappa\s+0\.666", text)
    assert re.search(r"1\s+water\s+77\.8\s+63\.6\s+70\.0\s+53\.8\s+27", text)
    assert "rows reference, columns map" in text
    assert "! forest has no pixels far from training." in text
    assert "16+ px from training" in text
    assert "120 labelled pixels: 95 scored, 21 training, 4 unmapped." in text


def test_subsets_of_modalities_are_told_everywhere(evaluation, accuracy):
    subsets = {"vnir, swir": accuracy, HOSTILE: evaluation.separated}
    evaluation = replace(evaluation, subsets=subsets)
    told = to_json(evaluation)["subsets"]
    assert [(s["modalities"], s["pixels"]) for s in told] == [("vnir, swir", 95), (HOSTILE, 20)]
    text = printed(evaluation)
    assert re.search(r"vnir, swir\s+77\.9 %\s+[\d.]+ %\s+0\.666\s+95", text)
    assert max(map(len, text.splitlines())) <= 80
    page = Page(to_html(evaluation))
    assert "Made from vnir, swir" in page.text
    assert f"Made from {HOSTILE}" in page.text
    assert "script" not in page.tags


def test_what_a_sample_says_of_the_whole_map_is_told_everywhere(evaluation, accuracy):
    assert to_json(evaluation)["estimates"] is None
    assert "whole map, estimated" not in to_html(evaluation)
    found = estimate(accuracy, np.full(3, 10**6), np.array([5e8, 3e8, 2e8]), "m2")
    evaluation = replace(evaluation, estimates=found)
    told = json.loads(json.dumps(to_json(evaluation)["estimates"], allow_nan=False))
    overall = 0.5 * 21 / 33 + 0.3 * 31 / 39 + 0.2 * 22 / 23
    assert told["overall_accuracy"]["value"] == pytest.approx(overall)
    water = 0.5 * 21 / 33 + 0.3 * 6 / 39
    assert told["area"][0]["value"] == pytest.approx(water * 1e9)
    assert told["area"][0]["low"] < told["area"][0]["value"] < told["area"][0]["high"]
    text = printed(evaluation)
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(rf"Overall accuracy {100 * overall:.0f} \(\d\d-\d\d\) %", text)
    assert re.search(rf"water\s+50,000\s+{water * 1e5:,.0f} \(\d\d,\d{{3}}-\d\d,\d{{3}}\)", text)
    page = Page(to_html(evaluation)).text
    assert f"{100 * overall:.1f}" in page
    assert "holds if the labels were drawn" in page


def test_areas_are_shown_in_units_that_suit_them(accuracy):
    pixels = np.full(3, 10**6)
    scales = [estimate(accuracy, pixels, np.full(3, s), "m2").scale for s in (1e5, 1e9, 1e12)]
    assert [(scale.unit, scale.digits) for scale in scales] == [("ha", 1), ("ha", 0), ("km²", 0)]
    assert estimate(accuracy, pixels, np.ones(3), "pixels").scale.unit == "pixels"


def test_a_class_that_a_sample_lacks_is_a_dash(legend):
    matrix = np.array([[9, 0, 0], [1, 9, 0], [0, 0, 0]])
    pixels = np.array([500, 500, 0])
    found = estimate(Accuracy(legend, matrix), pixels, pixels.astype(float), "pixels")
    evaluation = Evaluation(Accuracy(legend, matrix), 19, estimates=found)
    assert re.search(r"urban\s+0\s+0 \(0-\d+\)\s+–\s+–", printed(evaluation))  # noqa: RUF001
    assert to_json(evaluation)["estimates"]["producers_accuracy"][2] is None
    assert "urban" in Page(to_html(evaluation)).text


def test_table_shows_undefined_as_a_dash(legend):
    scored = Accuracy(legend, np.array([[2, 0, 0], [1, 0, 0], [0, 0, 0]]))
    text = printed(Evaluation(scored, 3))
    assert re.search(r"2\s+forest\s+0\.0\s+–\s+0\.0\s+0\.0\s+1", text)  # noqa: RUF001
    assert re.search(r"3\s+urban\s+–\s+–\s+–\s+–\s+0", text)  # noqa: RUF001


def test_table_fits_twelve_classes_with_many_pixels(named):
    text = printed(named(*(f"a class with a long name {i}" for i in range(12)), pixels=1_234_567))
    assert max(map(len, text.splitlines())) <= 80
    assert "Confusion matrix, % of reference" in text
    assert "…" not in text.split("Confusion matrix")[0]


def test_table_leaves_out_a_matrix_of_many_classes(named):
    assert "Confusion matrix" not in printed(named(*map(str, range(13))))


def test_table_takes_names_literally(named):
    text = printed(named("[red]a[/red]", "b\x1b[31m", "[/]"))
    assert "[red]a[/red]" in text
    assert "\x1b" not in text


def test_html_stands_alone(evaluation, legend):
    picture = map_picture(np.ones((20, 30), np.uint16), legend)
    html = to_html(evaluation, picture)
    page = Page(html)
    assert "http" not in html
    assert "url(" not in html
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert ("width", "30") in page.attributes
    assert "prefers-color-scheme: dark" in html


def test_html_tells_the_numbers(evaluation):
    text = Page(to_html(evaluation)).text
    for expected in (
        "77.9",
        "0.666",
        "At least 16 pixels",
        "roi.gpkg",
        "sha256:9f86d081",
        "forest",
    ):
        assert expected in text
    assert evaluation.notes[0] in text
    assert "img" not in Page(to_html(evaluation)).tags


def test_html_escapes_all_text(evaluation, accuracy):
    legend = (LandCover(1, HOSTILE, "red;background:url(//evil)", ""), *accuracy.legend[1:])
    hostile = Evaluation(
        Accuracy(legend, accuracy.matrix), 95, 0, {HOSTILE: HOSTILE, "map": HOSTILE},
        notes=(HOSTILE,),
    )  # fmt: skip
    html = to_html(hostile)
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "evil" not in html
    assert HOSTILE in page.text


@pytest.mark.parametrize(("classes", "shown"), [(60, True), (61, False)])
def test_html_has_a_matrix_while_it_can_be_read(named, classes, shown):
    html = to_html(named(*map(str, range(classes))))
    assert ('<table class="matrix' in html) is shown


def test_html_of_nothing_scored(legend):
    html = to_html(Evaluation(Accuracy(legend, np.zeros((3, 3), np.int64)), 0))
    assert "nan" not in Page(html).text.lower().split()
    assert "<td>–</td><td>–</td>" in html  # noqa: RUF001


def luminance(color: np.ndarray) -> float:
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("tint", ["agree", "differ"])
def test_the_strongest_tint_keeps_its_number_readable(evaluation, theme, tint):
    """WCAG 2.2, 1.4.3: contrast of 4.5 at least."""
    html = to_html(evaluation)

    def color(name: str) -> np.ndarray:
        value = re.findall(rf"--{name}: ([^;]+);", html)[theme]
        parts = bytes.fromhex(value[1:]) if value.startswith("#") else map(int, value.split())
        return np.array(list(parts)) / 255

    background = 0.56 * color(tint) + 0.44 * color("paper")
    light, dark = sorted((luminance(color("ink")), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
