"""Settings of the documentation: `sphinx-build -W docs docs/_build`.

Pages are plain Markdown that also reads well without Sphinx. What only Sphinx can make is added as
they are read: the table of contents, the options of all commands, the settings, the benchmarks.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from contents import contents  # noqa: E402
from settings import settings  # noqa: E402

from m3amba_geo import __version__  # noqa: E402
from m3amba_geo.cli import COMMANDS  # noqa: E402
from training.page import benchmarks  # noqa: E402

project = "m3amba-geo"
author = "The m3amba-geo developers"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx_click"]
exclude_patterns = ["_build", "generated"]
nitpicky = True
smartquotes = False  # it would make dashes of options
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

OPTIONS = f"""
```{{eval-rst}}
.. click:: m3amba_geo.cli:commands
   :prog: m3amba-geo
   :nested: full
   :commands: {", ".join(COMMANDS)}
```
"""

ADDED: dict[str, Callable[[str], str]] = {
    "index": contents,
    "command-line": lambda page: OPTIONS,
    "settings": lambda page: settings(),
    "benchmarks": lambda page: benchmarks(DOCS / "generated"),
}


def setup(app: Sphinx) -> None:
    """Registers what follows."""
    app.connect("source-read", add)


def add(app: Sphinx, name: str, source: list[str]) -> None:
    """Adds to a page what can't stand in plain Markdown, or is not to be written twice."""
    if name in ADDED:
        source[0] += ADDED[name](source[0])
