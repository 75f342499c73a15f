"""The tables of accuracies in README and of leads in docs/compared.md.

`python -m training.overview` writes both anew, with a line for each recipe, or for each number of
labels a class. All of a line are means over the runs of our network, the same pixels; of a method
that lacks some of these the accuracies say how many there are.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from training.page import RESULTS
from training.paired import spread
from training.results import Row, key, median_seconds

ROOT = Path(__file__).parents[1]
README, COMPARED = ROOT / "README.md", ROOT / "docs" / "compared.md"
BEGIN, END = "<!-- from here: python -m training.overview -->\n", "<!-- to here -->\n"

OURS = "m3amba"
SAME = ("forest-fractions", "svm-fractions", "lda-fractions", "logistic-fractions")
NETS = ("cnn", "convnext")
OTHERS = tuple(
    f"{method}{features}"
    for method in ("forest", "svm", "lda")
    for features in ("", "-local", "-profiles")
)
ACCURACIES = (
    "scene",
    "labels",
    "M3amba",
    "our features: forest / SVM / LDA / SR",
    "usual features: best forest, SVM or LDA",
    "CNN / ConvNeXt",
    "a run",
)
LEADS = (
    "scene",
    "labels",
    "the best forest, SVM or LDA on usual features",
    "the best method on our features",
    "CNN",
    "ConvNeXt",
)
LINES = {
    "indian_pines": ("Indian Pines, VNIR and SWIR", "fixed, inside the test fields"),
    "indian_pines_one": ("the same, all bands as one modality", "fixed"),
    "indian_pines_blocks": ("the same, VNIR and SWIR", "half of the blocks of 24 pixels"),
    "indian_pines_few": ("the same", "fixed, {} a class"),
    "indian_pines_one_few": ("the same, all bands as one modality", "fixed, {} a class"),
    "nc_landsat": ("North Carolina, Landsat-7", "half of the polygons"),
    "nc_transfer": ("the same", "all polygons, tested on points"),
    "nc_points": ("the same", "points, five folds of blocks"),
    "nc_points_few": ("the same", "points, {} a class"),
    "amazon_landsat": ("Amazon, Landsat-5 and SRTM", "half of the polygons"),
}


@click.command()
def main() -> None:
    """Writes the tables into their pages."""
    for page, table in ((README, accuracies()), (COMPARED, leads())):
        text = page.read_text(encoding="utf-8")
        page.write_text(inserted(text, table), encoding="utf-8")


def inserted(text: str, table: str) -> str:
    """Returns the text with the table between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def accuracies(results: Path = RESULTS) -> str:
    """Returns the overall accuracies of all recipes that have been run, as Markdown."""
    return _table(ACCURACIES, (_accuracies(line) for line in _lines(results)))


def leads(results: Path = RESULTS) -> str:
    """Returns what our network is ahead by, with intervals of 95 %, as Markdown."""
    lines = (_leads(line) for line in _lines(results))
    return _table(LEADS, (cells for cells in lines if set(cells[2:]) != {"-"}))


@dataclass(frozen=True)
class _Line:
    """A recipe, or one number of labels a class of it.

    Attributes:
        result: The recipe's file.
        scene: What is mapped.
        labels: What it is learnt from.
        few: Labels a class; None for all.
        runs: Of each method on the cases that our network has run, and of our network.
    """

    result: Mapping[str, Any]
    scene: str
    labels: str
    few: int | None
    runs: Mapping[str, Sequence[Row]]

    def best(self, methods: Sequence[str]) -> str:
        """Returns the method of the best mean, whether or not it has a run."""
        return max(methods, key=lambda method: _mean(self.runs[method]))


def _lines(results: Path) -> Iterator[_Line]:
    for name, (scene, labels) in LINES.items():
        path = results / f"{name}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        ours = [row for row in result["rows"] if row["method"] == OURS]
        for few in sorted({row["few"] for row in ours}, key=lambda few: few or 0):
            cases = {key(row) for row in ours if row["few"] == few}
            runs = {
                method: _runs(result["rows"], method, cases)
                for method in (OURS, *SAME, *OTHERS, *NETS)
            }
            yield _Line(result, scene, labels.format(few), few, runs)


def _accuracies(line: _Line) -> list[str]:
    """Returns what `ACCURACIES` says."""
    own, other = line.runs[OURS], line.best(OTHERS)
    shown = [_mean(line.runs[method]) for method in (OURS, *SAME, other)]
    nets = [line.runs[net] for net in NETS if line.runs[net]]
    best = max(*shown, *(_mean(rows) for rows in nets if len(rows) == len(own)))
    first, *middle, last = (_cell(mean, best) for mean in shown)
    sd = spread([row["overall_accuracy"] for row in own])
    return [
        line.scene,
        line.labels,
        f"{first}{'' if sd is None else f' ± {_percent(sd)}'} ({len(own)})",
        " / ".join(middle),
        f"{last} {other}" if line.runs[other] else last,
        " / ".join(f"{_cell(_mean(rows), best)} ({len(rows)})" for rows in nets) or "-",
        _time(own, line.result["sittings"]),
    ]


def _leads(line: _Line) -> list[str]:
    """Returns what `LEADS` says."""
    methods = [line.best(OTHERS), line.best(SAME), *NETS]
    found = {
        entry["minus"]: entry
        for entry in line.result["differences"]
        if entry["method"] == OURS and entry["few"] == line.few
    }
    return [line.scene, line.labels, *(_lead(found.get(method)) for method in methods)]


def _lead(entry: Mapping[str, Any] | None) -> str:
    """Returns a lead in points, its interval or that it is of one run, and over which method."""
    if entry is None:
        return "-"
    low, high = entry["low"], entry["high"]
    within = "one run" if low is None else f"{_percent(low)} to {_percent(high)}"
    name = "" if entry["minus"] in NETS else f" {entry['minus']}"
    return f"{100 * entry['mean']:+.1f} ({within}){name}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in (head, *lines)]
    rows.insert(1, "|---" * len(head) + "|")
    return "\n".join(rows) + "\n"


def _runs(rows: Sequence[Row], method: str, cases: set[Any]) -> list[Row]:
    return [row for row in rows if row["method"] == method and key(row) in cases]


def _mean(rows: Sequence[Row]) -> float:
    """Returns the mean overall accuracy; -1 of no rows."""
    return float(np.mean([row["overall_accuracy"] for row in rows])) if rows else -1.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _cell(mean: float, best: float) -> str:
    if mean < 0:
        return "-"
    return f"**{_percent(mean)}**" if _percent(mean) == _percent(best) else _percent(mean)


def _time(own: Sequence[Row], sittings: Sequence[Mapping[str, Any]]) -> str:
    """Returns the median time of runs, and the kind of machine of most of them."""
    machines = (sittings[row["sitting"]]["machine"] for row in own)
    ((gpu, _),) = Counter(bool(machine["gpu"]) for machine in machines).most_common(1)
    seconds = median_seconds(own)
    return "-" if seconds is None else f"{seconds / 60:.0f} min" + (" (GPU)" if gpu else "")


if __name__ == "__main__":
    main()
