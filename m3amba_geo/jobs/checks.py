"""The checks of `doctor`: each looks at one thing and says how to mend it.

Versions are read, but trust is in doing: each check makes the thing work once, on a few numbers.
"""

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from m3amba_geo import __version__
from m3amba_geo.config import GuideConfig

Status = Literal["ok", "warn", "fail"]

_PACKAGE = "m3amba-geo"
REINSTALL = (
    "Install m3amba-geo anew, in an environment of its own: "
    "`python -m venv m3amba`, then `pip install m3amba-geo` in it."
)
_SCRATCH = 2 * 2**30  # bytes that should be free
_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Stable name.
        status: `warn` where something is slower or missing that can be done without.
        detail: What was found.
        remedy: What to do about it; empty where all is well.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def _python() -> Check:
    detail = f"{platform.python_version()} on {platform.platform()}, {sys.executable}"
    if sys.maxsize < 2**32:
        return Check("python", "fail", f"{detail}, 32 bits", "Use a Python of 64 bits.")
    return Check("python", "ok", detail)


def _packages() -> Check:
    """Compares what is installed with what this version asks for."""
    found, wrong = [], []
    for name, least in _requirements():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        found.append(f"{name} {version}")
        if _numbers(version) < _numbers(least):
            wrong.append(f"{name} {version} is older than {least}")
    if wrong:
        return Check("packages", "fail", ", ".join(wrong), REINSTALL)
    return Check("packages", "ok", ", ".join([f"{_PACKAGE} {__version__}", *found]))


def _requirements() -> list[tuple[str, str]]:
    """Returns names and least versions, without extras."""
    try:
        lines = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:  # run from a folder, not installed
        return []
    matches = (re.match(r"([\w.-]+)(?:.*?>=([\d.]+))?", line) for line in lines if ";" not in line)
    return [(match[1], match[2] or "0") for match in matches if match]


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the release part of a version, zeros at its end dropped: they do not count."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else [0]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _torch() -> Check:
    """Takes a gradient whose value is known."""
    import torch

    x = torch.full((8, 8), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad((x @ x).sum(), x)
    if not torch.allclose(gradient, torch.full((8, 8), 8.0)):
        return Check("torch", "fail", f"{torch.__version__} computes wrong gradients", REINSTALL)
    return Check("torch", "ok", f"{torch.__version__} computes")


def _torchvision() -> Check:
    """A torchvision built for another torch is a common reason why the CLIP guide fails."""
    import torch

    version = metadata.version("torchvision")
    try:
        importlib.import_module("torchvision").ops.nms(torch.eye(1, 4), torch.ones(1), 0.5)
    except Exception as error:
        return Check(
            "torchvision",
            "fail",
            f"{version} does not work with torch {torch.__version__}: {error}",
            "Install the two that belong together: `pip install --upgrade torch torchvision`.",
        )
    wanted = [need for need in metadata.requires("torchvision") or [] if "torch" in need]
    return Check("torchvision", "ok", f"{version} works with torch (asks for {', '.join(wanted)})")


def _numba() -> Check:
    """Compiles and runs a loop."""
    import numba
    import numpy as np

    total = numba.njit(lambda values: values.sum())(np.arange(5.0))
    if total != 10.0:
        return Check("numba", "fail", f"{numba.__version__} computes {total}, not 10", REINSTALL)
    return Check("numba", "ok", f"{numba.__version__} compiles and computes")


def _gdal() -> Check:
    """Looks a CRS up and transforms with it: another program's GDAL or PROJ data breaks this."""
    import pyogrio
    import rasterio
    from rasterio.crs import CRS
    from rasterio.warp import transform

    versions = f"GDAL {rasterio.__gdal_version__}, rasterio {rasterio.__version__}"
    polluted = [name for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA") if name in os.environ]
    remedy = f"Unset {', '.join(polluted)} and try again." if polluted else REINSTALL
    try:
        (east,), (north,) = transform(CRS.from_epsg(4326), CRS.from_epsg(32617), [-81.0], [35.0])
    except Exception as error:
        return Check("gdal", "fail", f"{versions}, does not know EPSG codes: {error}", remedy)
    if abs(east - 500_000) > 1 or abs(north - 3_873_043) > 1:
        return Check("gdal", "fail", f"{versions}, transforms to {east}, {north}", remedy)
    missing = {"ESRI Shapefile", "GPKG", "GeoJSON"} - set(pyogrio.list_drivers())
    if missing:
        return Check("gdal", "fail", f"{versions}, can't read {', '.join(missing)}", remedy)
    return Check("gdal", "ok", f"{versions}, pyogrio {pyogrio.__version__}")


def _processor() -> Check:
    import torch

    from m3amba_geo.jobs.memory import free_memory

    detail = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use"
    memory = free_memory()
    detail = f"{detail}, {_gib(memory)} of memory free"
    if memory < _MEMORY:
        return Check("cpu", "warn", detail, "Close other programs, or keep to --size tiny.")
    return Check("cpu", "ok", detail)


def _cuda() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("cuda", "ok", _use_cuda())
    if shutil.which("nvidia-smi") is None:
        return Check("cuda", "ok", "no NVIDIA GPU")
    driver = _nvidia_driver()
    if not driver:
        return Check("cuda", "ok", "no NVIDIA GPU that its driver knows of")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
    return Check(
        "cuda",
        "warn",
        f"{driver}, which torch (built for {built}) can't use",
        "Install the build of torch that fits the driver: `uv pip install torch torchvision "
        "--torch-backend auto`.",
    )


def _use_cuda() -> str:
    """Computes on every GPU and returns what they are."""
    import torch

    names = []
    for number in range(torch.cuda.device_count()):
        torch.ones(8, 8, device=f"cuda:{number}").matmul(torch.ones(8, 8, device=f"cuda:{number}"))
        torch.cuda.synchronize(number)
        free, total = torch.cuda.mem_get_info(number)
        names.append(
            f"{torch.cuda.get_device_name(number)} ({_gib(free)} of {_gib(total)} free) computes"
        )
    return ", ".join(names)


def _nvidia_driver() -> str:
    """Returns the name of the GPU and the version of its driver; empty where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else ""


def _mps() -> Check:
    import torch

    if not torch.backends.mps.is_available():
        return Check("mps", "ok", "no GPU by Apple")
    torch.ones(8, 8, device="mps").sum().item()
    return Check("mps", "ok", "computes; m3amba-geo has never been tried on it")


def _scan() -> Check:
    from m3amba_geo.model import scan

    words = {name: why or "usable" for name, why in scan.availability().items()}
    detail = ", ".join(f"{name}: {word}" for name, word in words.items())
    if words.get("cpu") != "usable":
        remedy = "Training on a processor needs the compiled scan: install numba anew."
        return Check("scan", "warn", detail, remedy)
    return Check("scan", "ok", detail)


def _mamba() -> Check:
    try:
        return Check("mamba-ssm", "ok", metadata.version("mamba-ssm"))
    except metadata.PackageNotFoundError:
        return Check("mamba-ssm", "ok", "not installed; it is optional")


def _guide() -> Check:
    from m3amba_geo.model import weights

    architecture = GuideConfig().architecture
    place = next(iter(weights.local_places(architecture, None)), None)
    if place is not None:
        return Check("guide", "ok", f"{architecture} at {place.path}")
    return Check(
        "guide",
        "warn",
        f"no weights of {architecture} on this machine",
        f"With --guide clip they are downloaded. {weights.remedies(architecture)}",
    )


def _scratch() -> Check:
    folder = Path(tempfile.gettempdir())
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"m3amba")
    free = shutil.disk_usage(folder).free
    detail = f"{_gib(free)} free in {folder}"
    if free < _SCRATCH:
        return Check("scratch", "warn", detail, "Free some space, or set TMPDIR to another disk.")
    return Check("scratch", "ok", detail)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


CHECKS: dict[str, Callable[[], Check]] = {
    "python": _python,
    "packages": _packages,
    "torch": _torch,
    "torchvision": _torchvision,
    "numba": _numba,
    "gdal": _gdal,
    "cpu": _processor,
    "cuda": _cuda,
    "mps": _mps,
    "scan": _scan,
    "mamba-ssm": _mamba,
    "guide": _guide,
    "scratch": _scratch,
}
