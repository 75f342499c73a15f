"""Peak memory of `classify` by the size of the raster: `python -m training.bench.memory [SIDE...]`.

The network is a mere stand-in (width 8, depth 1): what is measured is reading and writing. Each
size is mapped in a process of its own, which then says what Linux has noted as its peak.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from m3amba_geo.bundle import Bundle, Manifest, Scaling, save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, NetworkConfig, SceneConfig
from m3amba_geo.events import ignore
from m3amba_geo.geo.align import TrainedModality
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.labels import LandCover
from m3amba_geo.model import build
from training.bench import record

SIDES = (1024, 2048, 4096)
BANDS, CLASSES = 4, 5
STRIP = 256  # rows generated at a time
LIMIT = 1.15  # of the peak of the smallest


def make_model(path: Path) -> None:
    """Writes a model of fresh weights."""
    torch.manual_seed(0)
    network = NetworkConfig((BANDS,), CLASSES, width=8, depth=1, embedding=0)
    manifest = Manifest(
        network=network,
        modalities=(TrainedModality("bands", (Band(""),) * BANDS),),
        scaling=(Scaling((1000.0,) * BANDS, (300.0,) * BANDS),),
        legend=tuple(LandCover(n, f"class {n}", "#808080", str(n)) for n in range(1, CLASSES + 1)),
        guide=None,
        grids=(),
        resolution=(30.0, 30.0),
        split=(),
        scores={},
        settings={},
        versions={},
        inputs={},
        scan="",
        created="",
    )
    save_bundle(path, Bundle(manifest, build(network).eval()))


def make_raster(path: Path, side: int) -> None:
    """Writes noise over a smooth ground, in strips, tiled as maps usually are."""
    rng = np.random.default_rng(side)
    ground = 1000 + 300 * np.sin(np.linspace(0, 20, side, dtype=np.float32))
    profile = {
        "driver": "GTiff", "height": side, "width": side, "count": BANDS, "dtype": "uint16",
        "crs": "EPSG:32632", "transform": Affine(30, 0, 600_000, 0, -30, 5_400_000),
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, STRIP):
            strip = ground + 50 * rng.standard_normal((BANDS, STRIP, side), np.float32)
            file.write(strip.astype(np.uint16), window=Window(0, top, side, STRIP))


def classify(model: Path, raster: Path, out: Path) -> int:
    """Makes a map with everything beside it and returns the process's peak in MiB."""
    from m3amba_geo.jobs import classify as job

    scene = SceneConfig((ModalityConfig("bands", (raster,)),))
    config = ClassifyConfig(
        out=out,
        confidence=out.with_name("confidence.tif"),
        probabilities=out.with_name("probabilities.tif"),
        overwrite=True,
    )
    job.run(model, scene, config, ignore)
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) // 1024


def measure(side: int, folder: Path) -> int:
    """Returns the peak in MiB of mapping a raster of `side` squared."""
    model, raster = folder / "model.m3amba", folder / f"{side}.tif"
    if not model.exists():
        make_model(model)
    make_raster(raster, side)
    command = [sys.executable, "-m", "training.bench.memory", "--one", model, raster]
    answer = subprocess.run(
        [*command, folder / "map.tif"], cwd=record.ROOT, capture_output=True, text=True, check=True
    )
    return int(answer.stdout)


def main(sides: tuple[int, ...]) -> None:
    """Measures, prints a table and writes `training/results/memory.json`."""
    figures: dict[str, Any] = {"bands": BANDS, "classes": CLASSES, "peak_mib": {}}
    peaks = figures["peak_mib"]
    print(f"{'side':>6} {'peak MiB':>9} {'of the first':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            peaks[side] = measure(side, Path(folder))
            print(f"{side:6} {peaks[side]:9} {peaks[side] / peaks[sides[0]]:13.3f}", flush=True)
    figures["growth"] = round(max(peaks.values()) / peaks[sides[0]], 3)
    figures["limit"] = LIMIT
    print(record.write("memory", figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(classify(*map(Path, sys.argv[2:])))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIDES)
