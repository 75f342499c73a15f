"""The documentation says what the software does: codes, links, commands, settings."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from runpy import run_path

import click
import pytest

from m3amba_geo import errors
from m3amba_geo.cli import commands
from m3amba_geo.config_file import make_config, read_toml
from m3amba_geo.jobs.checks import CHECKS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "training/*.md", "m3amba_geo/data/*/*.md")
    for page in ROOT.glob(pattern)
)
COMMAND_PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def text_of(page):
    return page.read_text(encoding="utf-8")


def table(heading):
    """Returns the rows of a table of docs/errors.md by the code that each begins with."""
    text = text_of(ROOT / "docs" / "errors.md")
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.M)[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if "|" in line
    ]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def error_classes(root=errors.M3ambaError):
    return [root, *(c for child in root.__subclasses__() for c in error_classes(child))]


def test_every_error_is_documented_with_its_status():
    documented = {code: int(status) for code, (status, *_) in table("Errors").items()}
    assert documented == {c.code: c.exit_status for c in error_classes()}


def test_every_warning_is_documented():
    found = set(warning_codes())
    assert found  # or the search below sees nothing any more
    assert set(table("Warnings")) == found


def test_every_check_of_doctor_is_documented():
    (row,) = (cells for code, cells in table("Warnings").items() if code == "doctor-NAME")
    assert re.findall(r"`([\w-]+)`", row[0])[2:] == list(CHECKS)


def warning_codes() -> Iterator[str]:
    """Yields the code of every `Warned(...)` in the package, through helpers that pass one on."""
    for path in sorted((ROOT / "m3amba_geo").rglob("*.py")):
        tree = ast.parse(text_of(path))
        for call, function in calls(tree, "Warned"):
            code = call.args[0]
            if not isinstance(code, ast.Name):
                yield spelled(code, path)
                continue
            parameters = [argument.arg for argument in function.args.args]
            place = parameters.index(code.id)
            for outer, _ in calls(tree, function.name):
                yield spelled(outer.args[place], path)


def calls(tree, name) -> Iterator[tuple[ast.Call, ast.FunctionDef]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and called(node.func) == name:
                    yield node, function


def called(function):
    return getattr(function, "id", "") or getattr(function, "attr", "")


def spelled(code, path):
    """Returns a code as the documentation spells it: what varies in it is NAME."""
    parts = code.values if isinstance(code, ast.JoinedStr) else [code]
    assert all(isinstance(p, ast.Constant | ast.FormattedValue) for p in parts), (
        f"{path}:{code.lineno}: say the code of a warning where it is made"
    )
    return "".join(p.value if isinstance(p, ast.Constant) else "NAME" for p in parts)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(page)))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), target
        assert goal.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(goal), target


def anchors(page):
    """Returns the anchors of a page's headings, as they are made for Markdown."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=name_of)
def test_commands_can_be_typed(page):
    for line in shell_lines(page):
        program, *arguments = shlex.split(line, comments=True)
        if not program.endswith("m3amba-geo") or "COMMAND" in arguments:
            continue
        name, *options = arguments
        command = commands.get_command(click.Context(commands), name)
        assert command is not None, line
        command.make_context(name, options)


def test_the_readme_shows_the_main_commands():
    shown = " ".join(shell_lines(ROOT / "README.md"))
    assert all(f"m3amba-geo {name} " in shown for name in ("train", "classify", "evaluate", "info"))


def test_every_page_is_in_the_table_of_contents():
    tree = run_path(str(ROOT / "docs" / "contents.py"))["contents"](text_of(ROOT / "docs/index.md"))
    pages = [page.stem for page in (ROOT / "docs").glob("*.md") if page.name != "index.md"]
    assert sorted(re.findall(r"<([\w-]+)>", tree)) == sorted(pages)
    assert ":caption: Reference" in tree


def test_every_key_of_the_settings_is_explained():
    page = run_path(str(ROOT / "docs" / "settings.py"))
    for table in page["TABLES"].values():
        assert set(page["words_of"](table)) == {field.name for field in fields(table)}, table
    rows = page["settings"]().splitlines()
    assert any(
        row.startswith("| `patch` | integer from 8 to 128 in steps of 4 | `32` | ") for row in rows
    )


def shell_lines(page):
    for language, block in FENCE.findall(text_of(page)):
        if language == "sh":
            yield from filter(str.strip, block.replace("\\\n", " ").splitlines())


def test_the_settings_of_the_readme_are_settings(tmp_path):
    blocks = [b for language, b in FENCE.findall(text_of(ROOT / "README.md")) if language == "toml"]
    assert blocks
    for block in blocks:
        path = tmp_path / "m3amba.toml"
        path.write_text(block, encoding="utf-8")
        tables = read_toml(path)
        if "evaluate" in tables:  # the command takes the labels of the scene, see cli/settings.py
            tables["evaluate"].setdefault("labels", tables["scene"][0]["labels"])
        assert make_config(tables, "README.md").scene
