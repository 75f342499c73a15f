"""Settings of the documentation: `sphinx-build -W docs docs/_build`."""

from pathlib import Path

from sphinx.application import Sphinx

from m3amba_geo import __version__

project = "m3amba-geo"
author = "The m3amba-geo developers"
project_copyright = author
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Registers what follows."""
    app.connect("source-read", add_contents)


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Appends the table of contents that Sphinx needs; the page itself stays plain Markdown."""
    if name == "index":
        pages = sorted(path.stem for path in Path(app.srcdir).glob("*.md") if path.stem != name)
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *pages, "```", ""])
