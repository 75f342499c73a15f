"""Charts of accuracy, as SVG, through matplotlib's object interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, PAPER, FRAME, OURS, OTHERS = "#22272b", "white", "#9aa1a6", "#1f7a5c", "#bcc5cc"
OWN = "m3amba"
SHADES = ("#3c6e9f", "#c98a2b", "#8b5fa8", "#b4534b", "#5f7f3a", "#4d9aa3", "#7a6a58", "#d07ba6")

Row = dict[str, Any]


def draw(summary: Sequence[Row], path: Path) -> None:
    """Draws the overall accuracy of each method: bars, or curves over the labels of a class.

    Args:
        summary: That of a recipe's results, a row for each method and number of labels.
        path: SVG file, replaced where it exists.
    """
    curve = any(row["few"] is not None for row in summary)
    methods = list(dict.fromkeys(row["method"] for row in summary))
    height = 3.4 if curve else 0.7 + 0.3 * len(methods)
    figure = Figure(figsize=(7.2, height), facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    (_curves if curve else _bars)(axes, summary, methods)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.tick_params(color=FRAME, labelcolor=INK)
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):  # the same figures, the same file
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})


def _bars(axes: Axes, summary: Sequence[Row], methods: Sequence[str]) -> None:
    means = [100 * row["overall_accuracy"] for row in summary]
    spreads = [100 * (row["overall_accuracy_sd"] or 0) for row in summary]
    colors = [OURS if method == OWN else OTHERS for method in methods]
    axes.barh(methods, means, xerr=spreads, color=colors, height=0.68, ecolor=INK, capsize=2.5)
    axes.invert_yaxis()
    for place, (method, mean) in enumerate(zip(methods, means, strict=True)):
        ink = PAPER if method == OWN else INK
        axes.text(1.5, place, f"{mean:.1f}", va="center", color=ink, fontsize=9)
    axes.set_xlim(0, 100)
    axes.set_xlabel("overall accuracy, %: mean, and standard deviation over runs", color=INK)


def _curves(axes: Axes, summary: Sequence[Row], methods: Sequence[str]) -> None:
    shades = iter(SHADES * len(methods))
    for method in methods:
        rows = [row for row in summary if row["method"] == method]
        own = method == OWN
        axes.plot(
            [row["few"] for row in rows],
            [100 * row["overall_accuracy"] for row in rows],
            color=OURS if own else next(shades),
            linewidth=2.6 if own else 1.2,
            marker="o",
            markersize=5 if own else 3,
            label=method,
        )
    axes.set_xscale("log")
    counts = sorted({row["few"] for row in summary})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training labels a class", color=INK)
    axes.set_ylabel("overall accuracy, %", color=INK)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
