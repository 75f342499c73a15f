"""Memory and time of `classify` by the size of the raster: `python -m training.bench.growth`.

Each size is mapped in a process of its own, which then says what Linux has noted as its peak, and
how long it computed from its first rows on: loading is the same for every size. The network is a
mere stand-in (width 8, depth 1), so that reading, blending and writing count; with `--tiny` it is
that of a usual model.

The command may be stopped, and goes on with the size it was at; its state lies in
`training/runs/growth`.

Processor time stands beside the time on the clock, which other work on the machine stretches. That
work slows the processor itself down, too, by a quarter at times. What the network takes for a pixel
tells how fast it was: the number of windows is in proportion to the pixels, and each costs the
same. So beside the exponent of time stands that of time by this clock.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from m3amba_geo.bundle import Bundle, Manifest, Scaling, save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, NetworkConfig, SceneConfig
from m3amba_geo.events import Event, Progress
from m3amba_geo.geo.align import TrainedModality
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.infer.predictor import Predictor
from m3amba_geo.model import build
from training.bench import record
from training.bench.clock import clocked
from training.bench.features import NEIGHBOURHOODS, neighbourhoods
from training.bench.train_step import peak_kib

RUNS = record.ROOT / "training" / "runs" / "growth"
SIDES = {"stand-in": (1024, 2048, 4096, 8192, 16384), "tiny": (1024, 2048, 4096)}
NETWORKS: dict[str, dict[str, Any]] = {"stand-in": {"width": 8, "depth": 1}, "tiny": {}}
BANDS, CLASSES = 4, 5
STRIP = 256  # rows generated at a time
SETTLED = 2048  # from this side on memory is to be flat, within:
FLAT = 1.10
EXPONENT = (0.95, 1.05)  # of time by pixels


def make_model(path: Path, network: str) -> None:
    """Writes a model of fresh weights."""
    torch.manual_seed(0)
    features = (len(NEIGHBOURHOODS) * BANDS,)
    config = NetworkConfig(features, CLASSES, embedding=0, linear_head=True, **NETWORKS[network])
    manifest = Manifest(
        network=config,
        modalities=(TrainedModality("bands", (Band(""),) * BANDS),),
        scaling=(Scaling((1000.0,) * BANDS, (300.0,) * BANDS),),
        legend=tuple(LandCover(n, f"class {n}", "#808080", str(n)) for n in range(1, CLASSES + 1)),
        guide=None, grids=(), resolution=(30.0, 30.0), split=(), scores={}, settings={},
        versions={}, inputs={}, scan="", created="", neighbourhoods=NEIGHBOURHOODS,
    )  # fmt: skip
    around = neighbourhoods([BANDS])
    save_bundle(path, Bundle(manifest, build(config).eval(), neighbourhoods=around))


def make_raster(path: Path, side: int) -> None:
    """Writes noise over a smooth ground, in strips, tiled as maps usually are."""
    rng = np.random.default_rng(side)
    ground = 1000 + 300 * np.sin(np.linspace(0, 20, side, dtype=np.float32))
    profile = {
        "driver": "GTiff", "height": side, "width": side, "count": BANDS, "dtype": "uint16",
        "crs": "EPSG:32632", "transform": Affine(30, 0, 600_000, 0, -30, 5_400_000),
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, STRIP):
            strip = ground + 50 * rng.standard_normal((BANDS, STRIP, side), np.float32)
            file.write(strip.astype(np.uint16), window=Window(0, top, side, STRIP))


def classify(model: Path, raster: Path, out: Path) -> dict[str, float]:
    """Makes a map with everything beside it and returns the process's peak and times."""
    from m3amba_geo.jobs import classify as job

    scene = SceneConfig((ModalityConfig("bands", (raster,)),))
    config = ClassifyConfig(
        out=out,
        confidence=out.with_name("confidence.tif"),
        probabilities=out.with_name("probabilities.tif"),
    )
    started: list[tuple[float, float]] = []

    def tell(event: Event) -> None:
        if isinstance(event, Progress) and not started:
            started.append((time.process_time(), time.perf_counter()))

    with clocked(Predictor, "_part") as network:
        job.run(model, scene, config, tell)
    processor, clock = started[0]
    return {
        "peak_mib": peak_kib() // 1024,
        "processor_seconds": round(time.process_time() - processor, 1),
        "network_seconds": round(sum(network), 1),
        "clock_seconds": round(time.perf_counter() - clock, 1),
    }


def measure(network: str, side: int, folder: Path) -> dict[str, float]:
    """Returns the figures of mapping a raster of `side` squared."""
    shutil.rmtree(folder, ignore_errors=True)  # a size that was stopped is measured from its start
    folder.mkdir(parents=True)
    model, raster = folder / "model.m3amba", folder / "raster.tif"
    make_model(model, network)
    make_raster(raster, side)
    command = [sys.executable, "-m", "training.bench.growth", "--one", str(folder)]
    answer = subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True, check=True)
    shutil.rmtree(folder)
    return json.loads(answer.stdout)


def summary(figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Returns growth of memory and exponents of processor time, and whether they are as wanted."""
    settled = {int(side): found for side, found in figures.items() if int(side) >= SETTLED}
    if len(settled) < 2:
        return {}
    peaks = [found["peak_mib"] for found in settled.values()]
    pixels = np.square(np.array(list(settled), float))
    seconds, network = (
        np.array([found[f"{what}_seconds"] for found in settled.values()])
        for what in ("processor", "network")
    )
    raw, exponent = (
        float(np.polyfit(np.log(pixels), np.log(time), 1)[0])
        for time in (seconds, seconds / (network / pixels))
    )
    growth = max(peaks) / min(peaks)
    return {
        "memory_growth": round(growth, 3),
        "time_exponent": round(raw, 3),
        "time_exponent_by_the_networks_clock": round(exponent, 3),
        "from_side": SETTLED,
        "as_wanted": bool(growth <= FLAT and EXPONENT[0] <= exponent <= EXPONENT[1]),
    }


@click.command()
@click.argument("sides", type=int, nargs=-1)
@click.option("--tiny", is_flag=True, help="The network of a usual model.")
@click.option("--one", type=click.Path(path_type=Path), hidden=True)
def main(sides: tuple[int, ...], tiny: bool, one: Path | None) -> None:
    """Measures rasters of these SIDES that are not measured yet, and writes the figures."""
    if one is not None:
        print(json.dumps(classify(one / "model.m3amba", one / "raster.tif", one / "map.tif")))
        return
    network = "tiny" if tiny else "stand-in"
    RUNS.mkdir(parents=True, exist_ok=True)
    saved = RUNS / f"{network}.json"
    figures = json.loads(saved.read_text()) if saved.exists() else {}
    for side in map(str, sides or SIDES[network]):
        if side not in figures:
            figures[side] = measure(network, int(side), RUNS / network)
            saved.write_text(json.dumps(figures))
        print(f"{side:>6} {figures[side]}", flush=True)
    own = {"bands": BANDS, "classes": CLASSES, "sides": figures, **summary(figures)}
    print(record.write("growth_tiny" if tiny else "growth", {network: own}))
    saved.unlink()


if __name__ == "__main__":
    main()
