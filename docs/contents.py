"""The table of contents, read off the start page: its headings, and the pages linked below each."""

import re

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_PAGE = re.compile(r"^- \[([^\]]+)\]\(([\w-]+)\.md\)", re.MULTILINE)


def contents(page: str) -> str:
    """Returns a hidden toctree for each section of the start page, captioned with its heading.

    A page that the start page does not list is in no toctree, which Sphinx reports.
    """
    _, *parts = _HEADING.split(page)
    trees = zip(parts[::2], parts[1::2], strict=True)
    return "".join(_tree(caption, _PAGE.findall(section)) for caption, section in trees)


def _tree(caption: str, pages: list[tuple[str, str]]) -> str:
    entries = [f"{title} <{page}>" for title, page in pages]
    lines = ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""]
    return "\n".join(lines)
