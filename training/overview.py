"""The table of README, "How accurate it is": `python -m training.overview` writes it anew.

A line for each recipe, or for each number of labels a class: overall accuracy of our network, of
what sees the same kind of features, of the best that sees others, of the nets, and what a run
takes. All of a line are means over the runs of our network, the same pixels; of a method that lacks
some of these it says how many there are.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from training.page import RESULTS
from training.paired import spread
from training.results import Row, key, median_seconds

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
    "our features: forest / SVM / LDA / SR",
    "usual features: best forest, SVM or LDA",
    "CNN / ConvNeXt",
    "a run",
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
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for name, (scene, labels) in LINES.items():
        path = results / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            lines += (f"| {' | '.join(cells)} |" for cells in _lines(result, scene, labels))
    return "\n".join(lines) + "\n"


def _lines(result: Mapping[str, Any], scene: str, labels: str) -> Iterator[list[str]]:
    """Yields what `HEAD` says, for each number of labels a class."""
    ours = [row for row in result["rows"] if row["method"] == OURS]
    for few in sorted({row["few"] for row in ours}, key=lambda few: few or 0):
        own = [row for row in ours if row["few"] == few]
        cases = {key(row) for row in own}
        runs = {m: _runs(result["rows"], m, cases) for m in (*SAME, *OTHERS, *NETS)}
        same = [runs[method] for method in SAME]
        other = max(OTHERS, key=lambda method: _mean(runs[method]))
        shown = [_mean(rows) for rows in (own, *same, runs[other])]
        nets = [runs[net] for net in NETS if runs[net]]
        best = max(*shown, *(_mean(rows) for rows in nets if len(rows) == len(own)))
        first, *middle, last = (_cell(mean, best) for mean in shown)
        sd = spread([row["overall_accuracy"] for row in own])
        yield [
            scene,
            labels.format(few),
            f"{first}{'' if sd is None else f' ± {_percent(sd)}'} ({len(own)})",
            " / ".join(middle),
            f"{last} {other}" if runs[other] else last,
            " / ".join(f"{_cell(_mean(rows), best)} ({len(rows)})" for rows in nets) or "-",
            _time(own, result["sittings"]),
        ]


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
