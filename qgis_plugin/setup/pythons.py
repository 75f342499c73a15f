"""Finds a Python that a backend can be made with; never QGIS's own.

`sys.executable` is QGIS itself on Windows and macOS, so it is not asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess  # each Python is asked for its version  # nosec B404
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..process import WINDOWS, child_environment
from ..translate import tr
from .errors import SetupError

OLDEST, NEWEST = (3, 11), (3, 13)
OLDEST_UV = (0, 7, 14)  # --torch-backend and --managed-python, out of preview
MANAGED = "3.12"  # what uv is asked for where there is none
_TIMEOUT = 20
_FOREIGN = re.compile(r"qgis|osgeo4w|grass|blender", re.IGNORECASE)
_PROBE = """
import importlib.util, json, sys
has = lambda name: importlib.util.find_spec(name) is not None
print(json.dumps({"version": sys.version_info[:3], "bits": 64 if sys.maxsize > 2**32 else 32,
    "venv": has("venv") and has("ensurepip"), "pip": has("pip"),
    "implementation": sys.implementation.name}))
"""


@dataclass(frozen=True)
class BasePython:
    """A Python on this machine.

    Attributes:
        path: Its program.
        version: Such as `(3, 12, 4)`.
        makes_environments: Whether it has `venv` and `ensurepip`; Debian's may lack them.
        has_pip: Whether it can download packages.
    """

    path: Path
    version: tuple[int, ...]
    makes_environments: bool
    has_pip: bool

    @property
    def fits(self) -> bool:
        """Whether m3amba-geo and all that it needs run on it."""
        return OLDEST <= self.version[:2] <= NEWEST

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def probe(path: Path) -> BasePython | None:
    """Returns what a program says of itself, None where it is no CPython of 64 bits."""
    try:
        answer = subprocess.run(  # a list of arguments, no shell  # nosec B603
            [str(path), "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            **({"creationflags": subprocess.CREATE_NO_WINDOW} if WINDOWS else {}),
        )
        found = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if found["bits"] != 64 or found["implementation"] != "cpython":
        return None
    return BasePython(path, tuple(found["version"]), found["venv"], found["pip"])


def named(text: str) -> BasePython:
    """Returns the Python that the user has named.

    Raises:
        SetupError: It does not fit.
    """
    python = probe(Path(text).expanduser().absolute())
    if python is None or not python.fits:
        found = text if python is None else str(python)
        raise SetupError(
            "python",
            tr("{} is not a Python {} to {} of 64 bits.").format(
                found, _dotted(OLDEST), _dotted(NEWEST)
            ),
            tr("Name another one, or none: set-up finds one or downloads it."),
        )
    return python


def find_all(environ: Mapping[str, str] = os.environ) -> list[BasePython]:
    """Returns the Pythons of this machine, those that fit first."""
    seen, found = set(), []
    for path in _places(environ):
        real = path.resolve()
        if real in seen or _FOREIGN.search(str(real)):
            continue
        seen.add(real)
        python = probe(path)
        if python is not None:
            found.append(python)
            if python.fits and python.makes_environments:
                break  # good enough; asking each one takes time
    return sorted(found, key=lambda python: not python.fits)


def find_uv(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Returns uv, where it is installed, runs, and is new enough for what it is asked."""
    places = [shutil.which("uv", path=_search_path(environ))]
    home = Path.home()
    places += [home / ".local" / "bin" / "uv", home / ".cargo" / "bin" / "uv"]
    for place in places:
        if place and runs(Path(place)):
            return Path(place)
    return None


def runs(uv: Path) -> bool:
    """Whether a uv starts, and knows what it is asked for."""
    try:
        answer = subprocess.run(  # a list of arguments, no shell  # nosec B603
            [str(uv), "--version"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            **({"creationflags": subprocess.CREATE_NO_WINDOW} if WINDOWS else {}),
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    version = re.match(r"uv (\d+)\.(\d+)\.(\d+)", answer.stdout)
    return version is not None and tuple(map(int, version.groups())) >= OLDEST_UV


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yields programs that may be Pythons, newest that fit first."""
    numbers = [f"3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    names = [*(f"python{number}" for number in numbers), "python3", "python"]
    search = _search_path(environ)
    for name in names:
        path = shutil.which(name, path=search)
        if path:
            yield Path(path)
    if WINDOWS:
        yield from _windows_places(environ, [number.replace(".", "") for number in numbers])
    elif sys.platform == "darwin":
        for number in numbers:
            framework = "/Library/Frameworks/Python.framework/Versions"
            yield from Path(framework).glob(f"{number}/bin/python{number}")


def _windows_places(environ: Mapping[str, str], numbers: list[str]) -> Iterator[Path]:
    roots = [
        Path(environ.get("LOCALAPPDATA", ""), "Programs", "Python"),
        Path(environ.get("PROGRAMFILES", "")),
    ]
    for number in numbers:
        for root in roots:
            yield from root.glob(f"Python{number}/python.exe")


def _search_path(environ: Mapping[str, str]) -> str:
    """Returns PATH without QGIS; programs started from a desktop often get a short one."""
    kept = child_environment(environ).get("PATH", "").split(os.pathsep)
    if not WINDOWS:
        kept += ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"]
    return os.pathsep.join(dict.fromkeys(folder for folder in kept if folder))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
