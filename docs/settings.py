"""The tables of `m3amba.toml`, from the dataclasses that check them.

Types, bounds and defaults are those of pydantic's JSON schema; words are those of the docstrings.
"""

import inspect
import json
import re
from typing import Any

from pydantic import TypeAdapter

from m3amba_geo import config

TABLES = {
    "Shared": config.Config,
    "[[scene]]": config.SceneConfig,
    "[scene.labels], [scene.test_labels], [evaluate.labels]": config.LabelConfig,
    "[train]": config.TrainConfig,
    "[train.split]": config.SplitConfig,
    "[train.guide]": config.GuideConfig,
    "[classify]": config.ClassifyConfig,
    "[mosaic]": config.MosaicConfig,
    "[evaluate]": config.EvaluateConfig,
}
_HEAD = ["| key | value | default | meaning |", "|---|---|---|---|"]
_ATTRIBUTE = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)
_BOUNDS = {
    "minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below",
    "multipleOf": "in steps of",
}  # fmt: skip

Schema = dict[str, Any]


def settings() -> str:
    """Returns a section of Markdown for each table, with a row for each key."""
    return "".join(_section(name, table) for name, table in TABLES.items())


def _section(name: str, table: type) -> str:
    keys: Schema = TypeAdapter(table).json_schema()["properties"]
    words = words_of(table)
    rows = [
        f"| `{key}` | {_kind(value)} | {_default(value)} | {words[key]} |"
        for key, value in keys.items()
    ]
    summary = inspect.cleandoc(table.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return "\n".join(["", f"## {name}", "", summary, "", *_HEAD, *rows, ""])


def words_of(table: type) -> dict[str, str]:
    """Returns what the docstring of a table says of each key."""
    _, _, attributes = inspect.cleandoc(table.__doc__ or "").partition("Attributes:\n")
    return {name: " ".join(words.split()) for name, words in _ATTRIBUTE.findall(attributes)}


def _kind(value: Schema) -> str:
    """Returns what may be given, in words."""
    value = value.get("anyOf", [value])[0]  # the other is null
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if value.get("type") == "array":
        several = f"{value['maxItems']} of" if "prefixItems" in value else "list of"
        return f"{several}: {_kind(value.get('items') or value['prefixItems'][0])}"
    kind = value.get("format") or value.get("type", "table")
    bounds = [f"{word} {value[bound]:g}" for bound, word in _BOUNDS.items() if bound in value]
    return " ".join([kind, *bounds])


def _default(value: Schema) -> str:
    """Returns the default as it is written in TOML; nothing stands for what is chosen, or none."""
    return "" if value.get("default") is None else f"`{json.dumps(value['default'])}`"
