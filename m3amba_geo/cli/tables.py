"""Results as tables, made from what the `done` event carries: one source for both faces."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_LONGEST = 12  # items of a list that are still written out


def show_record(console: Console, title: str, record: Mapping[str, Any]) -> None:
    """Writes plain values as a list of two columns, and lists of records as tables below it."""
    flat = flatten(record)
    tables = {key: value for key, value in flat.items() if is_records(value)}
    values = {k: v for k, v in flat.items() if k not in tables and v not in (None, "")}
    grid = Table(
        title=title or None, title_justify="left", show_header=False, box=None, pad_edge=False
    )
    for key, value in values.items():
        grid.add_row(f"[dim]{escape(words(key))}[/]", escape(format_value(value)))
    console.print(grid)
    for key, rows in tables.items():
        show_rows(console, words(key), rows)


def show_rows(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes records as a table, a column for every key that any of them has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left", pad_edge=False, box=None, header_style="bold")
    for column in columns:
        numbers = all(_is_number(row.get(column)) for row in rows)
        table.add_column(escape(words(column)), justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(escape(format_value(row.get(column))) for column in columns))
    console.print()
    console.print(table)


def is_records(value: object) -> bool:
    """Whether a value is a list of records, none of them missing."""
    return isinstance(value, list | tuple) and bool(value) and all(
        isinstance(item, Mapping) for item in value
    )  # fmt: skip


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of nested records under keys joined by a space."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name} ") if isinstance(value, Mapping) else {name: value})
    return flat


def words(key: str) -> str:
    """Returns a key as words; keys that are files' names stay as they are."""
    return key if "." in key or "/" in key else key.replace("_", " ")


def format_value(value: object) -> str:
    """Returns a value as short text; dates, paths and names as they are."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(map(format_value, value[:_LONGEST]))
        return f"{shown}, ... ({len(value)})" if len(value) > _LONGEST else shown
    return str(value)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
