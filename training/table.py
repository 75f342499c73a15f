"""Results of a recipe on the terminal."""

from rich import box
from rich.table import Table

from training.results import Results, Row


def to_table(results: Results) -> Table:
    """Returns mean +- standard deviation of each method, and the first one's lead over it."""
    leads = {(d["few"], d["minus"]): d for d in results.differences()}
    first = next((row["method"] for row in results.summary()), "")
    table = Table(box=box.SIMPLE_HEAD, title=results.recipe.name, pad_edge=False)
    for name in ("labels", "method"):
        table.add_column(name)
    for name in ("OA %", "AA %", "kappa", "runs", "s", f"{first} minus it, 95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in results.summary():
        table.add_row(
            "all" if row["few"] is None else str(row["few"]),
            row["method"],
            _spread(row, "overall_accuracy", 100, 1),
            _spread(row, "average_accuracy", 100, 1),
            _spread(row, "kappa", 1, 3),
            str(row["runs"]),
            f"{row['seconds']:.0f}",
            _lead(leads.get((row["few"], row["method"]))),
        )
    return table


def _spread(row: Row, measure: str, times: float, digits: int) -> str:
    sd = row[f"{measure}_sd"]
    beside = "" if sd is None else f" ± {times * sd:.{digits}f}"
    return f"{times * row[measure]:.{digits}f}{beside}"


def _lead(lead: Row | None) -> str:
    if lead is None:
        return ""
    if lead["low"] is None:
        return f"{100 * lead['mean']:+.1f}"
    return f"{100 * lead['mean']:+.1f} ({100 * lead['low']:+.1f} to {100 * lead['high']:+.1f})"
