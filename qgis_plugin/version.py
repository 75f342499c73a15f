"""The plugin's version, as its metadata states it."""

import re
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=None)
def plugin_version() -> str:
    """Returns the version of the plugin; the backend must have the same one."""
    here = Path(__file__).resolve().parent
    # Beside the code in an installed plugin, one folder up in a checkout.
    places = [folder / "metadata.txt" for folder in (here, here.parent)]
    text = next(path for path in places if path.is_file()).read_text(encoding="utf-8")
    found = re.search(r"^version=(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""
