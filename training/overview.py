"""The table of README, "How accurate it is": `python -m training.overview` writes it anew.

A line for each recipe, or for each number of labels a class: overall accuracy of our network, of
what sees its features, of the best that sees others, of the nets, and what a run takes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from training.page import RESULTS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- from here: python -m training.overview -->\n", "<!-- to here -->\n"

OURS = "m3amba"
SAME = ("forest-fractions", "svm-fractions", "lda-fractions", "logistic-fractions")
NETS = ("cnn", "convnext")
OTHERS = tuple(
    f"{method}{features}"
    for method in ("forest", "svm", "lda")
    for features in ("", "-local", "-profiles")
)
HEAD = (
    "scene",
    "labels",
    "M3amba",
    "what M3amba sees: forest / SVM / LDA / SR",
    "best forest, SVM or LDA on other features",
    "CNN / ConvNeXt",
    "a run",
)
LINES = {
    "indian_pines": ("Indian Pines, VNIR and SWIR", "fixed, inside the test fields"),
    "indian_pines_one": ("the same, all bands as one modality", "fixed"),
    "indian_pines_blocks": ("the same, VNIR and SWIR", "half of the blocks of 24 pixels"),
    "indian_pines_few": ("the same", "fixed, {} a class"),
    "nc_landsat": ("North Carolina, Landsat-7", "half of the polygons"),
    "nc_transfer": ("the same", "all polygons, asked about points"),
    "nc_points": ("the same", "points, five folds of blocks"),
    "nc_points_few": ("the same", "points, {} a class"),
    "amazon_landsat": ("Amazon, Landsat-5 and SRTM", "half of the polygons"),
}

Result = Mapping[str, Any]


@click.command()
def main() -> None:
    """Writes the table into README.md."""
    text = README.read_text(encoding="utf-8")
    README.write_text(inserted(text, overview()), encoding="utf-8")


def inserted(text: str, table: str) -> str:
    """Returns the text with the table between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def overview(results: Path = RESULTS) -> str:
    """Returns the table as Markdown, of all recipes that have been run."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for name, (scene, labels) in LINES.items():
        path = results / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            lines += (f"| {' | '.join(cells)} |" for cells in _lines(result, scene, labels))
    return "\n".join(lines) + "\n"


def _lines(result: Result, scene: str, labels: str) -> Iterator[list[str]]:
    """Yields what `HEAD` says, for each number of labels a class."""
    for few in dict.fromkeys(row["few"] for row in result["summary"]):
        found = {row["method"]: row for row in result["summary"] if row["few"] == few}
        if OURS not in found:
            continue
        same = [found.get(method) for method in SAME]
        other = max((found[m] for m in OTHERS if m in found), key=_overall, default=None)
        rivals = [row for row in (found[OURS], *same, other) if row]
        best = max(map(_shown, rivals), key=float)
        nets = [f"{_shown(found[net])} ({found[net]['runs']})" for net in NETS if net in found]
        yield [
            scene,
            labels.format(few),
            f"{_cell(found[OURS], best)} ({found[OURS]['runs']})",
            " / ".join(_cell(row, best) for row in same) if any(same) else "-",
            f"{_cell(other, best)} {other['method']}" if other else "-",
            " / ".join(nets) or "-",
            _time(result, few),
        ]


def _cell(row: Result | None, best: str) -> str:
    shown = "-" if row is None else _shown(row)
    return f"**{shown}**" if shown == best else shown


def _overall(row: Result) -> float:
    return float(row["overall_accuracy"])


def _shown(row: Result) -> str:
    return f"{100 * _overall(row):.1f}"


def _time(result: Result, few: int | None) -> str:
    """Returns the median time of our network's runs, and the kind of machine of most of them."""
    own = [row for row in result["rows"] if row["method"] == OURS and row["few"] == few]
    machines = (result["sittings"][row["sitting"]]["machine"] for row in own)
    ((gpu, _),) = Counter(bool(machine["gpu"]) for machine in machines).most_common(1)
    (seconds,) = (
        row["seconds"] for row in result["summary"] if (row["method"], row["few"]) == (OURS, few)
    )
    return f"{seconds / 60:.0f} min" + (" (GPU)" if gpu else "")


if __name__ == "__main__":
    main()
