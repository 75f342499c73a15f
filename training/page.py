"""The page of benchmarks as Markdown: every recipe, every benchmark, whatever has been measured.

What a benchmark is and how it is run stands in the docstring of its script, what a recipe is in the
first comment of its file; the figures are those of `training/results`.
"""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.charts import draw
from training.figures import tables
from training.recipe import RECIPES
from training.table import COLUMNS, cells

HERE = Path(__file__).parent
RESULTS, BENCHES = HERE / "results", HERE / "bench"
CIRCUMSTANCES = ("time", "commit", "machine", "versions")
MISSING = "not yet measured."
SUMMARY = ("recipe", "summary", "differences", "sittings")

Result = dict[str, Any]


class LackingResultError(ValueError):
    """A result lacks what every figure is kept with, or is no JSON."""


def benchmarks(pictures: Path, results: Path = RESULTS) -> str:
    """Returns the sections of the page.

    Args:
        pictures: Folder for the charts; it is beside the page.
        results: Folder of the results.

    Raises:
        LackingResultError: A result can't be shown with its circumstances.
    """
    found = {path.stem: read(path) for path in sorted(results.glob("*.json"))}
    recipes = [path.stem for path in sorted(RECIPES.glob("*.toml"))]
    benches = dict(_benches())
    owners = {name: _owner(name, benches) for name in found if name not in recipes}
    lines = ["", "## Accuracy", ""]
    for name in recipes:
        lines += [f"### {name}", "", _comment(name), "", *_recipe(name, found, pictures)]
    lines += ["## Speed, memory and faults", ""]
    for bench, (title, command, about) in benches.items():
        lines += [f"### {title}", "", about, ""]
        own = [name for name, owner in owners.items() if owner == bench]
        for name in own:
            lines += _bench(name, found[name], command)
        lines += [] if own else [f"`{command}`: {MISSING}", ""]
    others = [name for name, owner in owners.items() if not owner]
    return "\n".join(lines + _others({name: found[name] for name in others}))


def read(path: Path) -> Result:
    """Returns a result that can be shown.

    Raises:
        LackingResultError: It is no JSON, or lacks keys that every result has.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LackingResultError(f"{path} is not JSON: {error}") from error
    if "sittings" in result:
        _demand(result, SUMMARY, path.name)
        for number, sitting in enumerate(result["sittings"]):
            _demand(sitting, (*CIRCUMSTANCES, "command"), f"{path.name}, sitting {number}")
    else:
        _demand(result, CIRCUMSTANCES, path.name)
    return result


def _demand(given: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    missing = [key for key in keys if key not in given]
    if missing:
        raise LackingResultError(
            f"{where} lacks {', '.join(missing)}: write results with training/bench/record.py."
        )


def _comment(name: str) -> str:
    """Returns the comment at the head of a recipe."""
    lines = (RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    head = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    return " ".join(line.removeprefix("#").strip() for line in head)


def _benches() -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yields name, and title, command and account, of every script that is a benchmark."""
    for path in sorted(BENCHES.glob("*.py")):
        head, _, about = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")
        title, _, command = head.partition(": `")
        if command.startswith(f"python -m training.bench.{path.stem}"):
            yield path.stem, (title, command.removesuffix("`."), about.partition("\n\n")[0])


def _owner(name: str, benches: Mapping[str, Any]) -> str:
    """Returns the benchmark whose result this is by its name, such as map of map_base."""
    fitting = [bench for bench in benches if name == bench or name.startswith(f"{bench}_")]
    return max(fitting, key=len, default="")


def _recipe(name: str, found: Mapping[str, Result], pictures: Path) -> Iterator[str]:
    result = found.get(name)
    if result is None or not result["summary"]:
        yield from (f"`python -m training.run {name}`: {MISSING}", "")
        return
    pictures.mkdir(parents=True, exist_ok=True)
    draw(result["summary"], pictures / f"{name}.svg")
    yield from (f"![Overall accuracy of each method]({pictures.name}/{name}.svg)", "")
    for few in dict.fromkeys(row["few"] for row in result["summary"]):
        if few is not None:
            yield from (f"{few} labels a class:", "")
        yield from _markdown(COLUMNS, cells(result, few))
    runs = [f"`{s['command']}`: {_circumstances(s)}" for s in result["sittings"]]
    yield from (_link(name), "", *(f"- {run}" for run in runs), "")


def _bench(name: str, result: Result, command: str) -> Iterator[str]:
    yield from (f"{_link(name)}, `{result.get('command', command)}`: {_circumstances(result)}", "")
    figures = {
        key: value for key, value in result.items() if key not in (*CIRCUMSTANCES, "command")
    }
    for head, rows in tables(figures):
        yield from _markdown(head, rows)


def _others(found: Mapping[str, Result]) -> list[str]:
    """Lists what belongs to no recipe and no benchmark of today."""
    rows = [
        [_link(name), f"`{result.get('command', '')}`", _circumstances(result)]
        for name, result in found.items()
    ]
    head = ("file", "command", "circumstances")
    return ["## Other files", "", *_markdown(head, rows)] if rows else []


def _link(name: str) -> str:
    return f"[{name}.json](../training/results/{name}.json)"


def _circumstances(result: Mapping[str, Any]) -> str:
    """Returns when, at which commit and on which machine figures were taken."""
    machine = result["machine"]
    where = [
        str(machine.get("gpu") or machine["processor"]),
        f"{machine['cores']} cores",
        f"threads: {machine['threads']}",
        f"load: {machine['load']}",
    ]
    time = result["time"][:16].replace("T", " ")
    return f"{time} UTC, commit {result['commit'] or 'unknown'}; {', '.join(where)}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    yield from map(_row, rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
