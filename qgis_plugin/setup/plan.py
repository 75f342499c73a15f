"""What a set-up is going to do, decided and said before anything is downloaded."""

from __future__ import annotations

import re
import shutil
import subprocess  # nvidia-smi is asked for the driver  # nosec B404
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..process import WINDOWS, child_environment
from ..translate import tr
from ..version import plugin_version
from .errors import SetupError

Build = Literal["auto", "cpu", "gpu", "index"]
BUILDS: tuple[Build, ...] = ("auto", "cpu", "gpu", "index")

GIB = 2**30
# torch 2.15 on Linux: disk of the CUDA build as installed, rounded up; the rest are estimates.
_SIZES = {"cpu": (0.6 * GIB, 1.8 * GIB), "gpu": (3.2 * GIB, 6.5 * GIB)}
_UNPACKED = 4  # a folder of wheels grows by no more than this
_LEAST = 0.3 * GIB


@dataclass(frozen=True)
class Source:
    """Where the backend comes from.

    Attributes:
        requirement: What the installer is asked for.
        wheels: Folder that all packages come from; None takes the package index.
    """

    requirement: str
    wheels: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A set-up.

    Attributes:
        source: Where the backend comes from.
        build: What torch is to be built for; `index` takes what the index has.
        reason: Why that build.
        download: Bytes to download, about; 0 from a folder.
        disk: Bytes that the environment takes, about.
    """

    source: Source
    build: Build
    reason: str
    download: float
    disk: float

    def lines(self) -> list[str]:
        """Returns the plan in words."""
        size = (
            tr("Download: about {:.1f} GiB; on disk: about {:.1f} GiB.").format(
                self.download / GIB, self.disk / GIB
            )
            if self.download
            else tr("Nothing is downloaded: all comes from {}. On disk: about {:.1f} GiB.").format(
                self.source.wheels, self.disk / GIB
            )
        )
        return [tr("To install: {}.").format(self.source.requirement), self.reason, size]


def find_source(text: str) -> Source:
    """Returns what a user's words mean: nothing, a wheel, a checkout, or a folder of wheels.

    Raises:
        SetupError: It is none of them.
    """
    version = plugin_version()
    pinned = f"m3amba-geo=={version}"
    if not text.strip():
        return Source(pinned)
    path = Path(text.strip()).expanduser().absolute()
    if path.suffix == ".whl" and path.is_file():
        _check_wheel(path, version)
        return Source(str(path))
    if (path / "pyproject.toml").is_file():
        return Source(str(path))
    if path.is_dir() and any(path.glob("m3amba_geo-*.whl")):
        if not any(path.glob(f"m3amba_geo-{version}-*.whl")):
            raise _other_version(path, version)
        return Source(pinned, path)
    raise SetupError(
        "source",
        tr("{} is no wheel of m3amba-geo, no checkout of it, and no folder with its wheel.").format(
            path
        ),
        tr("Leave it empty to install from the package index."),
    )


def _check_wheel(path: Path, version: str) -> None:
    found = re.match(r"m3amba_geo-([^-]+)-", path.name)
    if found is None or found.group(1) != version:
        raise _other_version(path, version)


def _other_version(path: Path, version: str) -> SetupError:
    return SetupError(
        "version",
        tr("{} does not hold m3amba-geo {}, which this plugin needs.").format(path, version),
        tr("Take the wheel of that version, or the plugin that belongs to the wheel."),
    )


def make_plan(source: Source, build: Build) -> Plan:
    """Returns what is going to happen; a GPU is looked for where that is left open."""
    if source.wheels is not None:
        size = sum(wheel.stat().st_size for wheel in source.wheels.glob("*.whl"))
        reason = tr("Build of torch: the one in the folder of wheels.")
        return Plan(source, "index", reason, 0, size * _UNPACKED + _LEAST)
    gpu = nvidia_gpu() if build == "auto" else ""
    if build == "auto":
        build = "gpu" if gpu else "cpu"
        reason = (
            tr("Build of torch: CUDA, for {}.").format(gpu)
            if gpu
            else tr("Build of torch: CPU, since no NVIDIA GPU was found.")
        )
    else:
        reason = {
            "cpu": tr("Build of torch: CPU, as you chose."),
            "gpu": tr("Build of torch: for this machine's GPU, as you chose."),
            "index": tr("Build of torch: whatever the package index has, as you chose."),
        }[build]
    # On Linux the index has the CUDA build; elsewhere the CPU's, which is smaller.
    download, disk = _SIZES["cpu" if build == "cpu" else "gpu"]
    return Plan(source, build, reason, download, disk)


def nvidia_gpu() -> str:
    """Returns name and driver of the NVIDIA GPU, empty where there is none that works."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        answer = subprocess.run(  # a list of arguments, no shell  # nosec B603
            [program, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            **({"creationflags": subprocess.CREATE_NO_WINDOW} if WINDOWS else {}),
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (answer.stdout.strip().splitlines() or [""])[0]


def check_disk(folder: Path, plan: Plan) -> None:
    """Makes sure that the environment fits on the disk.

    Raises:
        SetupError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if free < plan.disk:
        raise SetupError(
            "disk-full",
            tr("{:.1f} GiB are free in {}; the set-up needs about {:.1f} GiB.").format(
                free / GIB, folder, plan.disk / GIB
            ),
            tr("Free some space, or choose the CPU build, which is smaller."),
        )
