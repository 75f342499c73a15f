"""Classes of a map: code, name, colour, and the value that stands for them in the labels."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.errors import ClassMismatchError, FileMissingError, VectorUnreadableError
from m3amba_geo.events import Listener, Warned
from m3amba_geo.geo.colors import fill_in, parse_color

MAX_CODE = 65535
GREY = "#808080"  # of classes that nobody gave a colour, and that are shown beside others


@dataclass(frozen=True)
class LandCover:
    """One class.

    Attributes:
        code: Value in maps, 1..65535.
        name: What people call it.
        color: `#rrggbb`.
        original: The value in the labels, as text.
    """

    code: int
    name: str
    color: str
    original: str


Legend = tuple[LandCover, ...]


@dataclass(frozen=True)
class LabelValue:
    """A value that occurs in labels, and what the labels' file says about it (empty: nothing).

    `code` is one that a legend file assigns to a class known by name; 0 where it does not.
    """

    original: str
    name: str = ""
    color: str = ""
    code: int = 0


def make_legend(values: Iterable[LabelValue]) -> Legend:
    """Gives every value a code, a name and a colour.

    Integers 1..65535 are codes already. Otherwise classes are numbered from 1 in sorted order
    (integers first, by size), around codes that a legend file assigns. A value described twice
    (two files) is one class, and so are a value without a name and one that has it for its name.

    Returns:
        Classes sorted by code.

    Raises:
        ClassMismatchError: Two classes claim one code, or there are more than 65535.
    """
    merged: dict[str, LabelValue] = {}
    for value in values:
        known = merged.get(value.original, value)
        merged[value.original] = LabelValue(
            value.original,
            known.name or value.name,
            known.color or value.color,
            known.code or value.code,
        )
    names = {value.name for value in merged.values() if value.name != value.original}
    classes = sorted(
        (v for v in merged.values() if v.original not in names or v.name not in ("", v.original)),
        key=_order,
    )
    codes = _codes(classes)
    titles = [value.name or value.original for value in classes]
    colors = fill_in(titles, [value.color for value in classes])
    legend = (
        LandCover(code, title, color, value.original)
        for code, title, color, value in zip(codes, titles, colors, classes, strict=True)
    )
    return tuple(sorted(legend, key=lambda land_cover: land_cover.code))


def match(legend: Legend, values: Sequence[str], names: Mapping[str, str]) -> NDArray[np.uint16]:
    """Finds the legend's code for values of labels.

    What a value is called (in `names`, where the labels hold names) is looked for first, as
    numbers may mean other things in other files; then the value itself among the originals, then
    among the names. Names that the legend holds twice decide nothing.

    Returns:
        Codes (N,) uint16; 0 where the legend has no such class.
    """
    titles = Counter(entry.name for entry in legend)
    by_name = {entry.name: entry.code for entry in legend if titles[entry.name] == 1}
    by_original = {entry.original: entry.code for entry in legend}
    codes = [
        by_name.get(names.get(value, ""), 0) or by_original.get(value, by_name.get(value, 0))
        for value in values
    ]
    return np.array(codes, dtype=np.uint16)


def match_all(
    path: Path,
    values: Sequence[str],
    counts: NDArray[np.int64],
    unit: str,
    names: Mapping[str, str],
    legend: Legend,
    emit: Listener,
) -> NDArray[np.uint16]:
    """Finds the legend's code for all values of one label file, and says what the legend lacks.

    Args:
        path: The file, for messages.
        values: Distinct ones (V,).
        counts: How many features or pixels have each (V,).
        unit: Which of the two, for messages.
        names: What values are called, where the file says so.
        legend: The classes.
        emit: Told of what is left out.

    Returns:
        Codes (V,); 0 where the legend has no such class.

    Raises:
        ClassMismatchError: It has none of them.
    """
    codes = match(legend, values, names)
    unknown = sorted(value for value, code in zip(values, codes, strict=True) if code == 0)
    listed = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
    if len(values) and not codes.any():
        classes = ", ".join(land_cover.name for land_cover in legend[:8])
        raise ClassMismatchError(
            f"No class of {path} on the raster is in the legend: it says {listed}; the legend has "
            f"{classes}{', ...' if len(legend) > 8 else ''}.",
            "Values must be spelled as in the labels that were trained on: "
            + ("check --field." if unit == "features" else "give the raster those codes or names."),
        )
    others = _other_names(values, codes, names, legend)
    if others:
        emit(
            Warned(
                "labels-other-names",
                f"{path} has other names for codes of the legend, and is taken by its codes: "
                f"{', '.join(others[:5])}{', ...' if len(others) > 5 else ''}.",
            )
        )
    missed = int(counts[codes == 0].sum())
    if missed:
        emit(
            Warned(
                "labels-unknown-class",
                f"{missed:,} {unit} of {path} have classes that the legend lacks and are left out: "
                f"{listed}.",
            )
        )
    return codes


def _other_names(
    values: Sequence[str], codes: NDArray[np.uint16], names: Mapping[str, str], legend: Legend
) -> list[str]:
    """Says which values were found by their number though the legend calls that otherwise."""
    titles = {entry.code: entry.name for entry in legend if entry.name != entry.original}
    return [
        f"{value} is {names[value]!r} there, {titles[code]!r} here"
        for value, code in zip(values, codes.tolist(), strict=True)
        if value in names and code in titles and names[value].casefold() != titles[code].casefold()
    ]


def read_legend_csv(path: Path, values: Sequence[LabelValue]) -> list[LabelValue]:
    """Adds names and colours from a CSV file with the columns `code,name,color`.

    A row speaks of the value that equals its code. Where none does, it speaks of the value that
    equals its name, and its code becomes the class's code.

    Raises:
        FileMissingError: The file is not there.
        VectorUnreadableError: It is not such a CSV file, or a colour is none.
        ClassMismatchError: A code occurs twice, or no row speaks of any value.
    """
    rows = _csv_rows(path)
    by_code = {row["code"]: row for row in rows}
    if len(by_code) < len(rows):
        raise ClassMismatchError(
            f"{path} lists a code more than once.", "Keep one row for each code."
        )
    by_name = {row["name"]: row for row in rows if row["name"]}
    spoken = [by_code.get(v.original) or by_name.get(v.original) for v in values]
    if values and not any(spoken):
        found = ", ".join(repr(value.original) for value in values[:5])
        raise ClassMismatchError(
            f"No row of the legend {path} speaks of a class of the labels, which are {found}"
            f"{', ...' if len(values) > 5 else ''}.",
            "Write code or name as the labels do; upper and lower case count.",
        )
    described = []
    for value, row in zip(values, spoken, strict=True):
        if row is None:
            described.append(value)
            continue
        code = 0 if row["code"] == value.original else as_code(row["code"])
        described.append(
            LabelValue(value.original, row["name"] or value.name, row["color"] or value.color, code)
        )
    return described


def legend_of_csv(path: Path) -> Legend:
    """Returns the classes that a CSV file with the columns `code,name,color` lists, by code.

    Raises:
        FileMissingError: The file is not there.
        VectorUnreadableError: It is not such a CSV file, or a code is none.
        ClassMismatchError: A code occurs twice.
    """
    rows = _csv_rows(path)
    odd = [row["code"] for row in rows if not as_code(row["code"])]
    if odd:
        raise VectorUnreadableError(
            f"The legend {path} has the code {odd[0]!r}.", f"Codes are whole, 1 to {MAX_CODE}."
        )
    if len({row["code"] for row in rows}) < len(rows):
        raise ClassMismatchError(
            f"{path} lists a code more than once.", "Keep one row for each code."
        )
    return make_legend(LabelValue(row["code"], row["name"], row["color"]) for row in rows)


def as_code(text: str) -> int:
    """Returns the code 1..65535 that a text spells, else 0."""
    number = _integer(text)
    return number if number is not None and 1 <= number <= MAX_CODE else 0


def _integer(text: str) -> int | None:
    """Only canonical spellings: 07 is text, or two originals could share a code."""
    return int(text) if re.fullmatch(r"0|-?[1-9]\d{0,18}", text) else None


def _order(value: LabelValue) -> tuple[bool, int, str]:
    number = _integer(value.original)
    return number is None, number or 0, value.original


def _codes(classes: Sequence[LabelValue]) -> list[int]:
    if len(classes) > MAX_CODE:
        raise ClassMismatchError(
            f"The labels hold {len(classes):,} different values; a map holds {MAX_CODE:,} classes.",
            "Name the field that holds classes with --field.",
        )
    own = [as_code(value.original) for value in classes]
    if all(own):
        return own
    assigned = {value.code for value in classes if value.code}
    if len(assigned) < sum(value.code > 0 for value in classes):
        raise ClassMismatchError(
            "Legend files of two label files give one code to different classes.",
            "Use one legend file for all.",
        )
    free = (code for code in range(1, MAX_CODE + 1) if code not in assigned)
    return [value.code or next(free) for value in classes]


def _csv_rows(path: Path) -> list[dict[str, str]]:
    remedy = "Give a CSV file with the columns code,name,color; name and color may be left out."
    if not path.is_file():
        raise FileMissingError(f"The legend {path} is missing.", "Check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VectorUnreadableError(f"The legend {path} is not UTF-8 text.", remedy) from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=";" if ";" in header else ",")
    rows = []
    for line in reader:
        cells = {str(key).strip().lower(): str(cell or "").strip() for key, cell in line.items()}
        row = {key: cells.get(key, "") for key in ("code", "name", "color")}
        color = row["color"] or cells.get("colour", "")
        if not row["code"] or (color and not parse_color(color)):
            raise VectorUnreadableError(
                f"Line {reader.line_num} of the legend {path} has no code, or {color!r} for a "
                "colour.",
                f"{remedy} Colours look like #2d6a4f.",
            )
        rows.append(row | {"color": (parse_color(color) or "") if color else ""})
    return rows
