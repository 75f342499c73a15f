"""A backend that plays one scene: `fake_backend.py SCENE -I -m m3amba_geo COMMAND ...`.

Standard library only: it stands in for the real one where its behaviour, not its work, matters.
"""

# ruff: noqa: T201 - printing is what it is for

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

METADATA = Path(__file__).resolve().parents[2] / "metadata.txt"
VERSION = next(
    line.split("=")[1].strip()
    for line in METADATA.read_text(encoding="utf-8").splitlines()
    if line.startswith("version=")
)

RASTER = {
    "file": "a.tif", "crs": "EPSG:32633", "width": 1, "height": 1, "pixel": "10 x 10", "bands": 1,
    "type": "uint8", "nodata": "none", "overlap": 0.5, "same_grid": False,
}  # fmt: skip


def say(event, **fields):
    print(json.dumps({"v": 1, "event": event, **fields}), flush=True)


def done():
    names = (
        "PYTHONPATH",
        "GDAL_DATA",
        "PROJ_LIB",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "PATH",
        "HOME",
    )
    environment = {name: os.environ.get(name) for name in names}
    results = {"argv": sys.argv[2:], "cwd": str(Path.cwd()), "environment": environment}
    results |= {"overall_accuracy": 0.5, "kappa": 0.25, "healthy": True, "rasters": [RASTER]}
    say("done", results=results)


def success():
    say("progress", phase="train", done=1, total=4, unit="epochs", message="")
    say("metric", metric="validation_accuracy", value=0.75, step=1)
    say("note", message=json.dumps(sys.argv[5:-2]))
    kept = ("TMPDIR", "M3AMBA_WEIGHTS")
    say("note", message=f"variables {[f'{name}={os.environ.get(name)}' for name in kept]}")
    say("warning", code="no-guide", message="a warning")
    say("artifact", path="model.m3amba", role="model")
    done()


def later_version():
    time.sleep(60)


def noisy():
    print("a library's chatter", flush=True)
    print('{"event": "no version"}\n[1, 2]\n"text"\n{"v": 1, "event"', flush=True)
    say("a-later-kind", anything=1)
    done()


def flood():
    for number in range(20000):
        say("note", message="x" * 100)
        print("y" * 100, number, file=sys.stderr)
    done()


def failed():
    print("Traceback of the failure", file=sys.stderr)
    say("failed", code="no-overlap", message="Rasters do not overlap.", hint="Check their CRS.")
    sys.exit(3)


def truncated():
    print('{"v": 1, "event": "do', end="", flush=True)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def usage():
    print("Usage: m3amba-geo ...", file=sys.stderr)
    sys.exit(2)


def missing():
    print(f"{sys.executable}: No module named m3amba_geo", file=sys.stderr)
    sys.exit(1)


def patient():
    """Silent until it is cancelled, as the real one says it."""
    assert json.loads(sys.stdin.readline()) == {"cancel": True}
    say("failed", code="cancelled", message="Cancelled.", hint="")
    sys.exit(130)


def stubborn():
    """Deaf to all but SIGKILL, and so is its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", deaf])
    say("note", message=str(child.pid))
    time.sleep(60)


def orphan():
    """Ends well, but leaves a child behind that holds its output open."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    say("note", message=str(child.pid))
    done()


if __name__ == "__main__":
    assert sys.argv[2:5] == ["-I", "-m", "m3amba_geo"]
    assert sys.argv[-2:] == ["--json", "--cancel-on-stdin"]
    scene = sys.argv[1]
    say("started", job=sys.argv[5], version="99.0" if scene == "later_version" else VERSION)
    globals()[scene]()
