"""What every figure is kept with: machine, commit, versions, time; and the file it is kept in."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "training" / "results"
PACKAGES = ("m3amba-geo", "numba", "llvmlite", "numpy", "torch")


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write figures and their circumstances to `training/results/<name>.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**circumstances(), **figures}, indent=2) + "\n")
    partial.replace(path)
    return path


def circumstances() -> dict[str, Any]:
    """Where, when and with what the figures are taken; call it when they are."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "gpu": gpu,
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
    }


def _commit() -> str:
    """The commit, with a plus where files differ from it, results aside; empty outside git."""
    status = ("status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(ROOT)}")
    try:
        commit, changes = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
            for words in (("rev-parse", "--short=12", "HEAD"), status)
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _processor() -> str:
    """Name of the processor; only Linux says more than the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
