"""Tables of README, "How accurate it is", and docs/compared.md: accuracies, leads, second sensors.

`python -m training.overview` writes them anew, with a line for each recipe, or for each number of
labels a class. All of a line are means over the runs of our network, the same pixels; of a method
that lacks some of these the accuracies say how many there are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from training.page import RESULTS
from training.paired import spread
from training.recipe import read_recipe
from training.results import Results, Row, key, median_seconds

ROOT = Path(__file__).parents[1]
README, COMPARED = ROOT / "README.md", ROOT / "docs" / "compared.md"
BEGIN, END = "<!-- {}: python -m training.overview -->\n", "<!-- to here -->\n"

OURS = "m3amba"
SAME = ("forest-fractions", "svm-fractions", "lda-fractions", "logistic-fractions")
NETS = ("cnn", "convnext")
OTHERS = tuple(
    f"{method}{features}"
    for method in ("forest", "svm", "lda")
    for features in ("", "-local", "-profiles")
)
FUSED = (OURS, "forest", "forest-fractions", "logistic-fractions")
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
SENSORS = ("scene", "labels", "M3amba", *FUSED[1:])
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
    for page, table in TABLES:
        text = page.read_text(encoding="utf-8")
        page.write_text(inserted(text, table), encoding="utf-8")


def inserted(text: str, table: Callable[[], str]) -> str:
    """Returns the text with a table between the marks that name it."""
    begin = BEGIN.format(table.__name__)
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n{table()}\n{END}{after}"


def accuracies(results: Path = RESULTS) -> str:
    """Returns the overall accuracies of all recipes that have been run, as Markdown."""
    return _table(ACCURACIES, (_accuracies(line) for line in _lines(results)))


def leads(results: Path = RESULTS) -> str:
    """Returns what our network is ahead by, with intervals of 95 %, as Markdown."""
    lines = (_leads(line) for line in _lines(results))
    return _table(LEADS, (cells for cells in lines if set(cells[2:]) != {"-"}))


def sensors(results: Path = RESULTS) -> str:
    """Returns what two modalities are ahead of the better one by, as Markdown."""
    lines = (_sensors(line) for line in _lines(results))
    return _table(SENSORS, (cells for cells in lines if set(cells[2:]) != {"-"}))


TABLES = ((README, accuracies), (COMPARED, leads), (COMPARED, sensors))
"""Pages, and the tables that they hold."""


@dataclass(frozen=True)
class _Line:
    """A recipe, or one number of labels a class of it.

    Attributes:
        results: Of the recipe.
        scene: What is mapped.
        labels: What it is learnt from.
        few: Labels a class; None for all.
        runs: Of each method on the cases that our network has run.
    """

    results: Results
    scene: str
    labels: str
    few: int | None
    runs: Mapping[str, Sequence[Row]]

    def mean(self, method: str) -> float:
        """Returns the mean overall accuracy; -1 without a run."""
        rows = self.runs.get(method)
        return float(np.mean([row["overall_accuracy"] for row in rows])) if rows else -1.0

    def best(self, methods: Iterable[str]) -> str:
        """Returns the method of the best mean, whether or not it has a run."""
        return max(methods, key=self.mean)


def _lines(folder: Path) -> Iterator[_Line]:
    for name, (scene, labels) in LINES.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        results = Results(path, read_recipe(name), {})
        ours = [row for row in results.rows if row["method"] == OURS]
        for few in sorted({row["few"] for row in ours}, key=lambda few: few or 0):
            cases = {key(row) for row in ours if row["few"] == few}
            runs: dict[str, list[Row]] = {}
            for row in results.rows:
                if key(row) in cases:
                    runs.setdefault(row["method"], []).append(row)
            yield _Line(results, scene, labels.format(few), few, runs)


def _accuracies(line: _Line) -> list[str]:
    """Returns what `ACCURACIES` says."""
    own, other = line.runs[OURS], line.best(OTHERS)
    shown = [line.mean(method) for method in (OURS, *SAME, other)]
    nets = [(line.mean(net), len(line.runs[net])) for net in NETS if net in line.runs]
    rivals = [*shown[1:], *(mean for mean, runs in nets if runs == len(own))]
    best = max(shown[0], *rivals) if max(rivals) >= 0 else None
    first, *middle, last = (_cell(mean, best) for mean in shown)
    sd = spread([row["overall_accuracy"] for row in own])
    return [
        line.scene,
        line.labels,
        f"{first}{'' if sd is None else f' ± {_percent(sd)}'} ({len(own)})",
        " / ".join(middle),
        f"{last} {other}" if other in line.runs else last,
        " / ".join(f"{_cell(mean, best)} ({runs})" for mean, runs in nets) or "-",
        _time(own, line.results.sittings),
    ]


def _leads(line: _Line) -> list[str]:
    """Returns what `LEADS` says."""
    named = (_lead(line, OURS, best, best) for best in map(line.best, (OTHERS, SAME)))
    return [line.scene, line.labels, *named, *(_lead(line, OURS, net) for net in NETS)]


def _sensors(line: _Line) -> list[str]:
    """Returns what `SENSORS` says."""
    cells = []
    for method in FUSED:
        alone = line.best([m for m in line.runs if m.startswith(f"{method}@")] or [""])
        cells.append(_lead(line, method, alone, f"over {alone.partition('@')[2]}"))
    return [line.scene, line.labels, *cells]


def _lead(line: _Line, method: str, other: str, name: str = "") -> str:
    """Returns a lead in points, its interval or that it is of one run, and a name for it."""
    lead = line.results.lead(method, other, line.few)
    if lead is None:
        return "-"
    low, high = lead["low"], lead["high"]
    within = "one run" if low is None else f"{_percent(low)} to {_percent(high)}"
    return f"{100 * lead['mean']:+.1f} ({within}) {name}".strip()


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in (head, *lines)]
    rows.insert(1, "|---" * len(head) + "|")
    return "\n".join(rows) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _cell(mean: float, best: float | None) -> str:
    if mean < 0:
        return "-"
    bold = best is not None and _percent(mean) == _percent(best)
    return f"**{_percent(mean)}**" if bold else _percent(mean)


def _time(own: Sequence[Row], sittings: Sequence[Mapping[str, Any]]) -> str:
    """Returns the median time of runs, and the kind of machine of most of them."""
    machines = (sittings[row["sitting"]]["machine"] for row in own)
    ((gpu, _),) = Counter(bool(machine["gpu"]) for machine in machines).most_common(1)
    seconds = median_seconds(own)
    return "-" if seconds is None else f"{seconds / 60:.0f} min" + (" (GPU)" if gpu else "")


if __name__ == "__main__":
    main()
