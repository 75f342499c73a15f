"""A published benchmark as it was downloaded in, GeoTIFFs and settings to train with out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3amba_geo import __version__
from m3amba_geo.errors import BenchmarkUnclearError
from m3amba_geo.events import Artifact, Listener, Note, Progress, Started, Warned
from m3amba_geo.files import check_output, drop_scratches, locked, output_error, together
from m3amba_geo.geo.benchmarks import Benchmark
from m3amba_geo.geo.colors import fill_in
from m3amba_geo.geo.legend import LandCover, Legend
from m3amba_geo.geo.maps import Layer, names_path, open_map, pieces
from m3amba_geo.jobs.benchmark_files import Candidate, Parts, find_parts
from m3amba_geo.jobs.results import Results

Codes = NDArray[np.uint8]

# Types that a GeoTIFF holds and every program reads. Pixels are read as float32 in any case.
_TYPES = {
    "bool": "uint8", "int8": "int16", "int64": "int32", "uint64": "uint32", "float64": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class ImportResults(Results):
    """What an import left behind.

    Attributes:
        settings: The `m3amba.toml`.
        legend: Classes as CSV.
        rasters: What lies in each raster.
        pixels: Labelled pixels of each label raster.
        classes: Names of the classes, from code 1.
    """

    settings: Path
    legend: Path
    rasters: dict[str, str]
    pixels: dict[str, int]
    classes: tuple[str, ...]


def run(
    benchmark: Benchmark, folder: Path, out: Path, emit: Listener, *, overwrite: bool = False
) -> ImportResults:
    """Imports a benchmark.

    Args:
        benchmark: Which one.
        folder: The MATLAB files.
        out: Where rasters and settings go; made if it is missing.
        emit: Told what was taken for what.
        overwrite: Whether existing outputs may be replaced.

    Raises:
        BenchmarkUnclearError: The files are not clearly those of the benchmark.
        M3ambaError: A file is damaged, or an output can't be written; nothing half-written is left.
    """
    emit(Started("import", __version__))
    parts = find_parts(benchmark, folder, emit)
    labels = _labels(parts, benchmark, emit)
    legend = _legend(parts.classes)
    codes = {f"labels_{role}" if role != "all" else "labels": v for role, v in labels.items()}
    files = {name: out / f"{name}.tif" for name in (*parts.modalities, *codes)}
    settings, classes = out / "m3amba.toml", out / "legend.csv"
    outputs = [*files.values(), settings, classes]
    _check_outputs(out, outputs, overwrite=overwrite)
    grid = GeoBox(parts.shape, Affine.identity(), None)
    rasters = {}
    with locked(settings), together() as scratch_of:
        drop_scratches(*outputs, *map(names_path, files.values()))
        for done, (name, path) in enumerate(files.items(), 1):
            if name in codes:
                cube, layer = codes[name][..., None], Layer(path, "uint8", 0, ("class",), legend)
            else:
                cube = _cube(parts.modalities[name], parts.shape, emit)
                names = tuple(f"{name} {i}" for i in range(1, cube.shape[2] + 1))
                layer = Layer(path, str(cube.dtype), None, names)
            with open_map(layer, grid, scratch_of) as writer:
                for piece in pieces(parts.shape):
                    writer.write(cube[piece.slices].transpose(2, 0, 1))  # (C, h, w)
            rasters[path.name] = " x ".join(map(str, cube.shape)) + f" {cube.dtype}"
            emit(Progress("importing", done, len(files), "rasters"))
        scratch_of(classes).write_text(_csv(legend), encoding="utf-8")
        toml = _toml(benchmark, list(parts.modalities), "labels_test" in codes)
        scratch_of(settings).write_text(toml, encoding="utf-8")
    for path in (*files.values(), classes):
        emit(Artifact(str(path), path.stem))
    emit(Artifact(str(settings), "settings"))
    pixels = {name: int(np.count_nonzero(value)) for name, value in codes.items()}
    return ImportResults(settings, classes, rasters, pixels, parts.classes)


def _check_outputs(out: Path, files: list[Path], *, overwrite: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, out) from error
    for file in files:
        check_output(file, overwrite=overwrite)


def _labels(parts: Parts, benchmark: Benchmark, emit: Listener) -> dict[str, Codes]:
    """Returns `(H, W)` codes for training and test, or all of them where they are not parted."""
    classes = len(parts.classes)
    whole = _codes(parts.labels["all"], classes) if "all" in parts.labels else None
    found: dict[str, Codes] = {}
    for role in ("train", "test"):
        if role in parts.labels:
            found[role] = _side(parts.labels[role], parts.shape, classes, whole)
    if whole is not None and len(found) == 1:
        ((own, codes),) = found.items()
        found["test" if own == "train" else "train"] = np.where(codes > 0, np.uint8(0), whole)
        emit(Note(f"Labels that are not for {own} are taken for the other side."))
    if whole is not None and not found:
        found["all"] = whole
    if "test" not in found and "train" in found:
        found["all"] = found.pop("train")
    _compare(found, benchmark, emit)
    return {role: found[role] for role in ("train", "test", "all") if role in found}


def _side(part: Candidate, shape: tuple[int, int], classes: int, whole: Codes | None) -> Codes:
    """Returns `(H, W)` codes, also where a copy lists rows and columns of pixels, from 0."""
    if part.shape == shape:
        return _codes(part, classes)
    places = part.read()
    if whole is None or places.min() < 0 or (places.max(axis=0) >= shape).any():
        raise BenchmarkUnclearError(
            f"{part} should list rows and columns of labelled pixels, counted from 0.",
            "Keep the file with all labels (gt) beside it, as in the copy it came with.",
        )
    rows, columns = places.astype(np.intp).T
    codes = np.zeros(shape, np.uint8)
    codes[rows, columns] = whole[rows, columns]
    if np.count_nonzero(codes) < len(places):
        raise BenchmarkUnclearError(
            f"{part} lists pixels twice, or pixels without a label.",
            "Fetch the files anew, all from one copy.",
        )
    return codes


def _codes(part: Candidate, classes: int) -> Codes:
    """Returns classes 1..Q, 0 where there is none (-1 in some copies)."""
    values = part.read()
    values = np.where(values == -1, 0, values)
    if not np.isin(values, np.arange(classes + 1)).all():
        odd = [v for v in np.unique(values).tolist() if v not in range(classes + 1)]
        raise BenchmarkUnclearError(
            f"{part} holds {', '.join(f'{v:g}' for v in odd[:5])}; labels are 1 to {classes}, "
            "and 0 or -1 where there is none.",
            "Check that the file is the ground truth of this benchmark.",
        )
    return values.astype(np.uint8)


def _compare(found: Mapping[str, Codes], benchmark: Benchmark, emit: Listener) -> None:
    """Says whether there are as many labelled pixels as were published."""
    for role, codes in found.items():
        count, published = int(np.count_nonzero(codes)), benchmark.pixels.get(role)
        if published is None or count == published:
            emit(
                Note(f"{count:,} labelled pixels ({role}){', as published' if published else ''}.")
            )
        else:
            emit(
                Warned(
                    "benchmark-labels",
                    f"{count:,} labelled pixels ({role}); {published:,} were published: figures "
                    "are not comparable with those of papers.",
                )
            )
    if "test" in found and (both := int(((found["train"] > 0) & (found["test"] > 0)).sum())):
        emit(Warned("benchmark-labels", f"{both:,} pixels are both for training and for test."))


def _cube(part: Candidate, shape: tuple[int, int], emit: Listener) -> NDArray[Any]:
    """Returns `(H, W, C)` in a type that a GeoTIFF can hold."""
    cube = part.read()
    cube = cube.reshape(*cube.shape[:2], -1)  # (H, W, C)
    if cube.shape[:2] != shape:
        rows, columns = (np.arange(n) * m // n for n, m in zip(shape, cube.shape, strict=False))
        cube = cube[rows[:, None], columns]
        emit(Note(f"{part.name} was on a coarser grid: pixels were repeated, as its authors do."))
    wanted = np.dtype(_TYPES.get(cube.dtype.name, cube.dtype.name))
    if wanted.kind in "iu" and cube.dtype.kind in "iu" and cube.size:
        limits = np.iinfo(wanted)
        if cube.min() < limits.min or cube.max() > limits.max:
            wanted = np.dtype("float32")
    return cube.astype(wanted, copy=False)


def _legend(names: tuple[str, ...]) -> Legend:
    colors = fill_in(names, [""] * len(names))
    return tuple(
        LandCover(code, name, color, str(code))
        for code, (name, color) in enumerate(zip(names, colors, strict=True), 1)
    )


def _csv(legend: Legend) -> str:
    quoted = (f'{e.code},"{e.name.replace(chr(34), "")}",{e.color}' for e in legend)
    return "\n".join(["code,name,color", *quoted]) + "\n"


def _toml(benchmark: Benchmark, modalities: list[str], split: bool) -> str:
    rasters = "\n".join(f'{name} = "{name}.tif"' for name in modalities)
    if split:
        labels = 'labels = "labels_train.tif"\ntest_labels = "labels_test.tif"'
        parting = 'by = "none" # train on every training pixel, as papers do; nothing to stop by'
    else:
        labels = 'labels = "labels.tif"'
        parting = "test = 0.3 # the files part training and test nowhere: blocks are kept out"
    return (
        f"# {benchmark.name}, imported by m3amba-geo {__version__}.\n"
        f"[[scene]]\n{labels}\n\n[scene.modalities]\n{rasters}\n\n[train.split]\n{parting}\n"
    )
