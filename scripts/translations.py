"""Brings the plugin's translation files up to date, and says what is not translated.

`translations.py` rewrites `qgis_plugin/i18n/*.ts` with all texts of today, keeping what is
translated; `translations.py --check` changes nothing and fails where they are not up to date. Qt
Linguist edits the files. Standard library only.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Xml  # only our own files are read

PLUGIN = Path(__file__).resolve().parents[1] / "qgis_plugin"
FOLDER = PLUGIN / "i18n"
CONTEXT = "M3amba"
ATTRIBUTES = {"title", "summary", "tag_words"}  # of algorithms: translated where they are shown


def texts() -> dict[str, str]:
    """Returns every text to translate, and the file where it is first used."""
    found: dict[str, str] = {}
    for path in sorted(PLUGIN.rglob("*.py")):
        for text in _texts_in(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(text, path.relative_to(PLUGIN).as_posix())
    return found


def _texts_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
            if isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                name = getattr(item.targets[0], "id", "") if isinstance(item, ast.Assign) else ""
                if name in ATTRIBUTES and item.value.value:
                    yield item.value.value


def read(path: Path) -> dict[str, str]:
    """Returns the finished translations of a file."""
    messages = Xml.parse(path).getroot().iter("message")
    return {
        message.findtext("source", ""): message.findtext("translation", "")
        for message in messages
        if message.find("translation").get("type") is None
    }


def written(language: str, translated: dict[str, str]) -> str:
    """Returns the content of a translation file."""
    root = Xml.Element("TS", version="2.1", language=language, sourcelanguage="en")
    context = Xml.SubElement(root, "context")
    Xml.SubElement(context, "name").text = CONTEXT
    for text, place in texts().items():
        message = Xml.SubElement(context, "message")
        Xml.SubElement(message, "location", filename=f"../{place}")
        Xml.SubElement(message, "source").text = text
        translation = Xml.SubElement(message, "translation")
        translation.text = translated.get(text, "")
        if not translation.text:
            translation.set("type", "unfinished")
    Xml.indent(root)
    body = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{body}\n'


def main(arguments: argparse.Namespace) -> int:
    """Returns how many files are not as they should be."""
    bad = 0
    for path in sorted(FOLDER.glob("m3amba_*.ts")):
        language = path.stem.split("_", 1)[1]
        translated = read(path)
        missing = [text for text in texts() if text not in translated]
        new = written(language, translated)
        stale = new != path.read_text(encoding="utf-8")
        bad += bool(missing or stale)
        for text in missing:
            sys.stdout.write(f"{path.name}: not translated: {text}\n")
        if stale and arguments.check:
            sys.stdout.write(f"{path.name}: out of date, run scripts/translations.py\n")
        elif stale:
            path.write_text(new, encoding="utf-8")
    return bad if arguments.check else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    sys.exit(min(main(parser.parse_args()), 1))
