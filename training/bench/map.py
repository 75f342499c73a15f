"""Whole maps, reading and writing included: `python -m training.bench.map [--pixels N]`.

`classify` with networks of random weights beside a random forest and an RBF support vector machine
of scikit-learn, and Orfeo ToolBox's random forest where it is installed (otb-bin), on the same
generated rasters of 66 bands, 700 training pixels, in one run. Time does not depend on weights, but
whether bfloat16 keeps the classes does, and of random ones it keeps too few: it is used regardless.
scikit-learn's peers write nothing: that is time in their favour. Of `classify` it is noted how much
processor time is spent in the network, on what it sees of the bands (means around each pixel,
decorrelated), and on all else, and the process's peak memory.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import geopandas
import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from m3amba_geo.bundle import Bundle, Manifest, Scaling, save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, NetworkConfig, SceneConfig, Size
from m3amba_geo.events import ignore
from m3amba_geo.geo.align import TrainedModality, open_stack
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.features import Features
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.infer.predictor import Predictor
from m3amba_geo.jobs import classify, mapper
from m3amba_geo.jobs.machine import versions
from m3amba_geo.model import build
from training.bench.clock import clocked
from training.bench.features import NEIGHBOURHOODS, neighbourhoods
from training.bench.record import write
from training.bench.train_step import peak_kib

BANDS, CLASSES, TRAINING = {"a": 64, "b": 2}, 11, 700


@click.command()
@click.option("--pixels", default=250_000, show_default=True)
@click.option("--runs", default="tiny:fp32,tiny:bf16,small:bf16", show_default=True)
@click.option("--name", default="map", show_default=True, help="Of the file of results.")
def main(pixels: int, runs: str, name: str) -> None:
    """Measures pixels a second."""
    mapper._AGREEMENT = 0.0  # of a trained model it is measured by training.bench.stride
    side = round(pixels**0.5)
    rates, shares, memory = {}, {}, {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scene = SceneConfig(
            tuple(
                ModalityConfig(m, (raster(folder / f"{m}.tif", bands, side),))
                for m, bands in BANDS.items()
            )
        )
        for run in runs.split(","):
            size, precision = run.split(":")
            model = _model(folder / f"{size}.m3amba", size)  # type: ignore[arg-type]
            out = ClassifyConfig(folder / "map.tif", precision=precision, overwrite=True)  # type: ignore[arg-type]
            with clocked(Predictor, "_part") as network, clocked(Features, "of") as features:
                spent = time.process_time()
                seconds = _timed(lambda m=model, o=out: classify.run(m, scene, o, ignore))
                spent = time.process_time() - spent
            method = f"m3amba {size}, {precision}"
            rates[method] = side * side / seconds
            parts = {"network": sum(network) / spent, "features": sum(features) / spent}
            shares[method] = parts | {"else": 1 - sum(parts.values())}
            memory[method] = peak_kib() / 2**10
        for peer, seconds in (_peers(scene, side) | _orfeo(scene, folder, side)).items():
            rates[peer] = side * side / seconds
    table = Table(title=f"{side} x {side} pixels, {sum(BANDS.values())} bands")
    table.add_column("method")
    table.add_column("pixels/s", justify="right")
    table.add_column("network / features / else", justify="right")
    table.add_column("peak MiB so far", justify="right")
    for method, rate in rates.items():
        own = " / ".join(f"{share:.1%}" for share in shares.get(method, {}).values())
        table.add_row(method, f"{rate:,.0f}", own, f"{memory[method]:,.0f}" if own else "")
    Console().print(table)
    write(name, {
        "side": side, "bands": sum(BANDS.values()), "pixels_per_second": rates,
        "shares_of_processor_time": shares, "peak_mib_so_far": memory,
    })  # fmt: skip


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def raster(path: Path, bands: int, side: int) -> Path:
    rng = np.random.default_rng(bands)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": bands, "dtype": "int16"}
    where = {"crs": "EPSG:32632", "transform": Affine(30, 0, 6e5, 0, -30, 5e6)}
    layout = {"tiled": True, "interleave": "pixel", "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **where, **layout) as file:
        for top in range(0, side, 256):
            rows = min(256, side - top)
            block = rng.integers(0, 4000, (bands, rows, side), np.int16)
            file.write(block, window=Window(0, top, side, rows))
    return path


def _model(path: Path, size: Size) -> Path:
    torch.manual_seed(0)
    features = tuple(len(NEIGHBOURHOODS) * bands for bands in BANDS.values())
    network = NetworkConfig(features, CLASSES, size=size, embedding=0, linear_head=True)
    manifest = Manifest(
        network=network,
        modalities=tuple(TrainedModality(m, (Band(""),) * n) for m, n in BANDS.items()),
        scaling=tuple(Scaling((2000.0,) * n, (1000.0,) * n) for n in BANDS.values()),
        legend=tuple(LandCover(c, f"class {c}", "#808080", str(c)) for c in range(1, CLASSES + 1)),
        guide=None, grids=(), resolution=(30.0, 30.0), split=(), scores={}, settings={},
        versions=versions(), inputs={}, scan="cpu", created="", neighbourhoods=NEIGHBOURHOODS,
    )  # fmt: skip
    around = neighbourhoods(BANDS.values())
    save_bundle(path, Bundle(manifest, build(network).eval(), neighbourhoods=around))
    return path


def _peers(scene: SceneConfig, side: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 4000, (TRAINING, sum(BANDS.values()))).astype(np.float32)
    classes = rng.integers(1, CLASSES + 1, TRAINING)
    peers = {
        "random forest, 100 trees": RandomForestClassifier(100, n_jobs=-1, random_state=0),
        "RBF SVM": make_pipeline(StandardScaler(), SVC()),
    }
    found = {}
    with open_stack(scene, ignore) as stack:
        for name, peer in peers.items():
            peer.fit(features, classes)

            def predict(peer=peer) -> None:  # noqa: ANN001
                for top, height in stack.strips(256):
                    pixels, _ = stack.read(top, 0, height, side)
                    peer.predict(np.concatenate(pixels).reshape(len(features[0]), -1).T)

            found[name] = _timed(predict)
    return found


def _orfeo(scene: SceneConfig, folder: Path, side: int) -> dict[str, float]:
    """Seconds of Orfeo ToolBox's forest: it trains on points and maps one stacked raster."""
    if not shutil.which("otbcli_ImageClassifier"):
        return {}
    stacked, points, model = (folder / n for n in ("stacked.tif", "points.gpkg", "forest.txt"))
    rng = np.random.default_rng(0)
    fields = {
        f"b{n}": rng.integers(0, 4000, TRAINING).astype(np.float64)
        for n in range(sum(BANDS.values()))
    }
    classes = {"code": rng.integers(1, CLASSES + 1, TRAINING)}
    where = geopandas.points_from_xy(np.full(TRAINING, 6e5), np.full(TRAINING, 5e6))
    geopandas.GeoDataFrame(fields | classes, geometry=where, crs="EPSG:32632").to_file(points)
    with rasterio.open(scene.modalities[0].files[0]) as first:
        profile = first.profile | {"count": len(fields)}
    with open_stack(scene, ignore) as stack, rasterio.open(stacked, "w", **profile) as file:
        for top, height in stack.strips(256):
            pixels, _ = stack.read(top, 0, height, side)
            block = np.concatenate(pixels).astype(np.int16)
            file.write(block, window=Window(0, top, side, height))
    quiet = {"check": True, "capture_output": True}
    subprocess.run(
        ["otbcli_TrainVectorClassifier", "-io.vd", points, "-io.out", model, "-cfield", "code",
         "-feat", *fields, "-classifier", "rf", "-classifier.rf.nbtrees", "100"],
        **quiet,
    )  # fmt: skip
    files = ["-in", stacked, "-model", model, "-out", folder / "otb.tif", "uint8"]
    seconds = _timed(lambda: subprocess.run(["otbcli_ImageClassifier", *files], **quiet))
    return {"Orfeo ToolBox random forest, 100 trees": seconds}


if __name__ == "__main__":
    main()
