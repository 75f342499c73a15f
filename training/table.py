"""Results of a recipe on the terminal, 80 columns wide."""

from rich import box
from rich.console import Group
from rich.table import Table

from training.results import Results, Row


def to_table(results: Results) -> Group:
    """Returns a table, or one for each number of labels a class.

    Each line holds means over the runs of a method, the standard deviation of its overall accuracy,
    and what the first method is better by, with its 95 % interval.
    """
    summary, leads = results.summary(), results.differences()
    curve = dict.fromkeys(row["few"] for row in summary)
    return Group(*(_table(results.recipe.name, few, summary, leads) for few in curve))


def _table(name: str, few: int | None, summary: list[Row], leads: list[Row]) -> Table:
    here = [row for row in summary if row["few"] == few]
    lead_over = {lead["minus"]: lead for lead in leads if lead["few"] == few}
    title = name if few is None else f"{name}, {few} labels a class"
    table = Table(box=box.SIMPLE_HEAD, title=title, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", no_wrap=True)
    for column in ("OA %", "AA %", "kappa", "runs", "s", f"lead of {here[0]['method']}"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in here:
        table.add_row(
            row["method"],
            _overall(row),
            f"{100 * row['average_accuracy']:.1f}",
            f"{row['kappa']:.3f}",
            str(row["runs"]),
            f"{row['seconds']:.0f}",
            _lead(lead_over.get(row["method"])),
        )
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
