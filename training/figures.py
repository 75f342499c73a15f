"""The figures of a benchmark, nested as they are, as tables."""

from collections.abc import Iterator, Mapping
from itertools import groupby, takewhile
from typing import Any

Table = tuple[list[str], list[list[str]]]
Record = tuple[tuple[str, ...], dict[str, Any]]  # where it stands, and its plain values


def tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    """Yields head and rows: records beside each other that hold the same keys share a table.

    The longer side of a table runs down the page.
    """
    for keys, group in groupby(_records(figures, ()), key=lambda record: tuple(record[1])):
        records = list(group)
        shared = _shared(records)
        corner = _plain(*shared)
        names = [_plain(*path[len(shared) :]) for path, _ in records]
        values = [[_shown(record[key]) for key in keys] for _, record in records]
        columns = [_plain(key) for key in keys]
        if len(records) == 1 or len(names) < len(columns):
            names, columns = columns, names
            values = [list(column) for column in zip(*values, strict=True)]
        yield [corner, *columns], [[n, *v] for n, v in zip(names, values, strict=True)]


def _records(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Record]:
    """Yields what each mapping holds itself, then what those within it hold."""
    own = {key: value for key, value in node.items() if not isinstance(value, Mapping)}
    if own:
        yield path, own
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _records(value, (*path, key))


def _shared(records: list[Record]) -> tuple[str, ...]:
    """Returns the beginning that all paths have in common; the whole of a lone one."""
    levels = zip(*(path for path, _ in records), strict=False)
    return tuple(names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels))


def _plain(*keys: str) -> str:
    return " ".join(keys).replace("_", " ")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value in (None, "") else str(value)
