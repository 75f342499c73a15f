"""Codes, names and colours of classes."""

from pathlib import Path

import pytest

from m3amba_geo.errors import ClassMismatchError, FileMissingError, VectorUnreadableError
from m3amba_geo.geo.colors import fill_in, parse_color
from m3amba_geo.geo.legend import LabelValue, make_legend, match, read_legend_csv


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#2D6A4F", "#2d6a4f"), ("2d6a4f", "#2d6a4f"), ("#2d6a4fff", "#2d6a4f"),
        ("#abc", "#aabbcc"),
        ("45,106,79", "#2d6a4f"), ("45, 106, 79, 255", "#2d6a4f"), ("rgb(45 106 79)", "#2d6a4f"),
        ("green-ish", None), ("300,0,0", None), ("", None),
    ],
)  # fmt: skip
def test_colours_are_read(text: str, color: str | None) -> None:
    assert parse_color(text) == color


def test_default_colours_differ_and_repeat() -> None:
    names = ["Water", "mixed forest", "other water", *(f"class {i}" for i in range(300))]
    colors = fill_in(names, [""] * len(names))
    assert colors[:2] == ["#3a7ebf", "#2d6a4f"]
    assert len(set(colors)) == len(colors)
    assert colors == fill_in(names, [""] * len(names))
    assert fill_in(["water", "b"], ["#123456", "#3a7ebf"]) == ["#123456", "#3a7ebf"]


def test_text_spelled_like_numbers() -> None:
    assert [c.code for c in make_legend([LabelValue("11"), LabelValue("2")])] == [2, 11]
    assert [(c.code, c.original) for c in make_legend([LabelValue("07"), LabelValue("7")])] == [
        (1, "7"), (2, "07"),
    ]  # fmt: skip
    assert [c.code for c in make_legend([LabelValue("65536"), LabelValue("7")])] == [1, 2]


def test_a_value_that_is_another_ones_name_is_the_same_class() -> None:
    legend = make_legend([LabelValue("1", "water"), LabelValue("water"), LabelValue("2", "1")])
    assert [(c.code, c.name) for c in legend] == [(1, "water"), (2, "1")]
    assert match(legend, ["water", "2", "dunes"], {}).tolist() == [1, 2, 0]


def test_names_that_occur_twice_decide_nothing() -> None:
    legend = make_legend([LabelValue("1", "crop"), LabelValue("2", "crop")])
    assert match(legend, ["1", "2", "crop"], {"1": "crop", "2": "crop"}).tolist() == [1, 2, 0]


def test_legend_file(tmp_path: Path) -> None:
    path = tmp_path / "legend.csv"
    path.write_text("\ufeffCode;Name;Colour\n5;forest;#010203\n9;lake;\n3;unused;\n", "utf-8")
    values = [LabelValue("forest"), LabelValue("9", color="#0000ff"), LabelValue("moor")]
    legend = make_legend(read_legend_csv(path, values))
    assert [(c.code, c.name, c.color, c.original) for c in legend if c.name != "moor"] == [
        (1, "lake", "#0000ff", "9"), (5, "forest", "#010203", "forest"),
    ]  # fmt: skip
    kept = make_legend(read_legend_csv(path, [LabelValue("9"), LabelValue("3")]))
    assert [(c.code, c.name) for c in kept] == [(3, "unused"), (9, "lake")]


def test_bad_legend_files(tmp_path: Path) -> None:
    values = [LabelValue("1")]
    with pytest.raises(FileMissingError):
        read_legend_csv(tmp_path / "none.csv", values)
    path = tmp_path / "legend.csv"
    for text in ("value,name\n1,a\n", "code,color\n1,reddish\n"):
        path.write_text(text)
        with pytest.raises(VectorUnreadableError, match=r"Line 2 of the legend .*legend\.csv"):
            read_legend_csv(path, values)
    path.write_bytes(b"code,name\n1,for\xeat\n")
    with pytest.raises(VectorUnreadableError, match="UTF-8"):
        read_legend_csv(path, values)
    path.write_text("code,name\n1,a\n1,b\n")
    with pytest.raises(ClassMismatchError, match="more than once"):
        read_legend_csv(path, values)


def test_too_many_or_clashing_classes() -> None:
    with pytest.raises(ClassMismatchError, match="65,536") as caught:
        make_legend(LabelValue(f"v{i}") for i in range(65536))
    assert "--field" in caught.value.hint
    with pytest.raises(ClassMismatchError, match="one code"):
        make_legend([LabelValue("a", code=4), LabelValue("b", code=4)])


def test_a_legend_that_speaks_of_nothing_is_an_error(tmp_path):
    path = tmp_path / "legend.csv"
    path.write_text("code,name\n10,Forest\n20,Water\n")
    values = [LabelValue("forest"), LabelValue("water")]
    with pytest.raises(ClassMismatchError, match="'forest', 'water'") as caught:
        read_legend_csv(path, values)
    assert "upper and lower case" in caught.value.hint
    assert read_legend_csv(path, []) == []
    path.write_text("code\n10\n")
    assert read_legend_csv(path, [LabelValue("10")]) == [LabelValue("10")]  # spoken of, if briefly
