"""One way to translate the plugin's texts: `.ts` files, read as they are.

Nothing is compiled and nothing binary is shipped: a table of some two hundred texts needs neither.
Importing this needs no QGIS, so that every file of the plugin may use it.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("i18n")
_table: dict[str, str] = {}


def tr(text: str) -> str:
    """Returns the text in the user's language, where there is a translation.

    The text is a literal in the call, or `scripts/translations.py` does not find it.
    """
    return _table.get(text, text)


def install(locale: str) -> None:
    """Takes the texts of a locale such as `fr` or `fr_CA`; English stays where there are none."""
    _table.clear()
    for name in (locale, locale.split("_")[0]):
        path = FOLDER / f"m3amba_{name}.ts"
        if name and path.is_file():
            _table.update(read_ts(path))
            return


def read_ts(path: Path) -> dict[str, str]:
    """Returns the finished translations of a `.ts` file by their English texts."""
    from qgis.PyQt.QtCore import QXmlStreamReader  # only where a language asks for it

    reader = QXmlStreamReader(path.read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    source = ""
    while not reader.atEnd():
        reader.readNext()
        if not reader.isStartElement():
            continue
        if reader.name() == "source":
            source = reader.readElementText()
        elif reader.name() == "translation":
            finished = reader.attributes().value("type") == ""
            text = reader.readElementText()
            if finished and text:
                texts[source] = text
    return texts
