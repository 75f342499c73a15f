"""Which field of a vector layer holds the classes, where nobody has said."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.errors import UnknownFieldError
from m3amba_geo.geo.vector import VectorLayer, as_text, batches, listed

# Numbers and measures that software adds by itself.
BOOKKEEPING = {
    "id", "fid", "gid", "oid", "uid", "uuid", "cat", "ogc_fid", "gml_id", "objectid", "objectid_1",
    "area", "perimeter", "shape_area", "shape_leng", "shape_length", "shape__area",
    "shape__length", "globalid",
}  # fmt: skip
MOST_CLASSES = 255
FEW_FEATURES = 16
_EXAMPLES = 3


@dataclass(eq=False)
class _Column:
    """What tells whether a field holds classes: a few of its values, and how many there are."""

    kinds: set[str] = field(default_factory=set)
    values: set[Any] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)
    count: int = 0

    def take(self, name: str, column: NDArray[Any]) -> None:
        column = _whole(column)
        kind = column.dtype.kind
        lists = kind == "O" and any(isinstance(value, list | np.ndarray) for value in column)
        self.kinds.add("list" if lists else kind)
        if not self.possible:
            return
        values = [value for value in column.tolist() if value not in (None, "")]
        self.count += len(values)
        if len(self.values) <= MOST_CLASSES:
            self.values.update(values)
        distinct = np.array([*set(values)], column.dtype)
        texts = {text for text in as_text(distinct, name) if text}
        self.examples = sorted(texts.union(self.examples))[: _EXAMPLES + 1]

    @property
    def possible(self) -> bool:
        return self.kinds <= set("OUiu")

    @property
    def fits(self) -> bool:
        distinct = len(self.values)
        is_text = not self.kinds.isdisjoint("OU")
        repeats = distinct < self.count or (is_text and self.count <= FEW_FEATURES)
        return 2 <= distinct <= MOST_CLASSES and repeats


def choose_field(layer: VectorLayer, exclude: Sequence[str]) -> str:
    """Finds the one field that can hold classes.

    A field fits that holds text or integers of 2 to 255 values, some of them repeated (text need
    not repeat in a small file: one polygon a class), and has no bookkeeping name such as `fid`.
    Where none fits, any other text or integer field will do, if there is only one.

    Args:
        layer: The layer.
        exclude: Fields known to hold other things.

    Raises:
        UnknownFieldError: None fits, or more than one; the fields are listed with examples.
    """
    columns = {name: _Column() for name in layer.fields if name not in exclude}
    for _, batch in batches(layer, [*columns], read_geometry=False):
        for name, column in columns.items():
            column.take(name, batch[name])
    columns = {name: column for name, column in columns.items() if column.possible}
    named = {name: column for name, column in columns.items() if name.lower() not in BOOKKEEPING}
    candidates = {name: column for name, column in named.items() if column.fits} or named or columns
    if len(candidates) == 1:
        return next(iter(candidates))
    examples = "; ".join(f"{name} ({_examples(c.examples)})" for name, c in candidates.items())
    found = f"several could: {examples}" if candidates else f"its fields are {listed(layer.fields)}"
    raise UnknownFieldError(
        f"Which field of {layer.path} holds the classes can't be told; {found}.",
        "Name the class field with --field.",
    )


def _whole(column: NDArray[Any]) -> NDArray[Any]:
    """Returns whole numbers as such: drivers give those with gaps, or from a DBF, as fractions."""
    if column.dtype.kind != "f":
        return column
    there = column[np.isfinite(column)]
    return there.astype(np.int64) if (there % 1 == 0).all() else column


def _examples(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_EXAMPLES]) + (", ..." if len(texts) > _EXAMPLES else "")
