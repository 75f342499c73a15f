"""Results of a recipe as a table; on the terminal it is 80 columns wide."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from training.results import Results, Row

COLUMNS = ("method", "OA %", "AA %", "kappa", "runs", "s", "lead of the first")


def cells(result: Mapping[str, Any], few: int | None) -> list[list[str]]:
    """Returns a line for each method: what `COLUMNS` says.

    Means over the runs of a method, the standard deviation of its overall accuracy, median seconds,
    and what the first method is better by, with its 95 % interval.

    Args:
        result: `summary` and `differences` of a recipe.
        few: Labels a class of the runs that are shown; None where all labels trained.
    """
    lead_over = {lead["minus"]: lead for lead in result["differences"] if lead["few"] == few}
    return [
        [
            row["method"],
            _overall(row),
            f"{100 * row['average_accuracy']:.1f}",
            f"{row['kappa']:.3f}",
            str(row["runs"]),
            "-" if row["seconds"] is None else f"{row['seconds']:.0f}",
            _lead(lead_over.get(row["method"])),
        ]
        for row in result["summary"]
        if row["few"] == few
    ]


def to_table(results: Results) -> Group:
    """Returns a table, or one for each number of labels a class."""
    result = {"summary": results.summary(), "differences": results.differences()}
    curve = dict.fromkeys(row["few"] for row in result["summary"])
    return Group(*(_table(results.recipe.name, few, cells(result, few)) for few in curve))


def _table(name: str, few: int | None, lines: list[list[str]]) -> Table:
    title = name if few is None else f"{name}, {few} labels a class"
    table = Table(box=box.SIMPLE_HEAD, title=title, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        justify = "left" if column == "method" else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def _overall(row: Row) -> str:
    sd = row["overall_accuracy_sd"]
    return f"{100 * row['overall_accuracy']:.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")


def _lead(lead: Row | None) -> str:
    if lead is None:
        return ""
    if lead["low"] is None:
        return f"{100 * lead['mean']:+.1f}"
    return f"{100 * lead['mean']:+.1f} ({100 * lead['low']:+.1f} to {100 * lead['high']:+.1f})"
