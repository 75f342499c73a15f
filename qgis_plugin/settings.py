"""The user's settings and the plugin's folder; the page for them is in `options.py`."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsApplication, QgsSettings

from .backend import find_python
from .setup.folder import BackendFolder

DEVICES = ["auto", "cpu", "cuda", "mps"]


def get(name: str) -> str:
    """Returns a setting (`python`, `device`, `scratch`, `weights`); empty where it is not set."""
    return QgsSettings().value(f"m3amba/{name}", "", type=str) or ""


def put(name: str, value: str) -> None:
    """Keeps a setting."""
    QgsSettings().setValue(f"m3amba/{name}", value.strip())


def folder() -> Path:
    """Returns the plugin's folder in the profile: logs, and the backend that set-up makes."""
    return Path(QgsApplication.qgisSettingsDirPath(), "m3amba")


def backend_folder() -> BackendFolder:
    """Returns where set-up puts the backend."""
    return BackendFolder(folder() / "backend")


def backend_python() -> Path:
    """Returns the Python to run the backend with.

    Raises:
        BackendMissingError: There is none.
    """
    made = backend_folder().current()
    return find_python(get("python"), made.python if made else None)


def device() -> str:
    """Returns the device that algorithms take unless told otherwise."""
    chosen = get("device")
    return chosen if chosen in DEVICES else DEVICES[0]


def child_variables() -> dict[str, str]:
    """Returns the variables that carry the settings to the backend."""
    variables = {}
    if get("scratch"):
        variables = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), get("scratch"))
    if get("weights"):
        variables["M3AMBA_WEIGHTS"] = get("weights")
    return variables
