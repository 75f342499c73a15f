"""The published benchmarks that `m3amba-geo import` knows: shapes, classes, names of variables.

Where copies come from and what is known of them is told in docs/import.md. Names are compared as
`plain` leaves them: in lower case, without the scene's own name and without punctuation.
"""

import re
from dataclasses import dataclass

_SCENES = re.compile(r"^(houston2013|houston13|houston|muufl|augsburg|trento|italy|berlin)(?=.)")


@dataclass(frozen=True)
class Source:
    """A raster of a benchmark.

    Attributes:
        name: Of the modality, and of its GeoTIFF.
        bands: Numbers of bands that copies have.
        names: What files or variables with it are called.
    """

    name: str
    bands: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """A published scene.

    Attributes:
        name: As on the command line.
        shape: Rows and columns; copies may be turned over the diagonal, which is kept.
        modalities: Its rasters; those of `optional` may be missing.
        classes: Names of the classes 1, 2, ...
        pixels: Labelled pixels as published: training, test and all.
        coarse: Rows and columns of the first modality in copies where it is on its own, coarser
            grid of the same place.
        optional: Modalities that not all copies have.
    """

    name: str
    shape: tuple[int, int]
    modalities: tuple[Source, ...]
    classes: tuple[str, ...]
    pixels: dict[str, int]
    coarse: tuple[int, int] | None = None
    optional: tuple[str, ...] = ()


LABELS = {
    "train": ("trlabel", "tr", "trmap", "train", "trainimage", "masktrain", "masktrain150"),
    "test": ("tslabel", "te", "temap", "ts", "test", "testimage", "masktest", "masktest150"),
    "all": ("gt", "allgrd", "groundtruth", "labels", "label", "hsi.sceneLabels.labels"),
}  # fmt: skip
CLASS_NAMES = "hsi.sceneLabels.Materials_Type"

_HSI = ("hsi", "hs", "hsidata", "datahslr", "houston", "hsi.Data")
_LIDAR = ("lidar", "lidardata", "dsm", "datadsm", "hsi.Lidar[0].z", "hsi.Lidar.z")
_SAR = ("sar", "sardata", "datasarhr")
_URBAN = ("Forest", "Residential area", "Industrial area", "Low plants")

_ALL = (
    Benchmark(
        "houston2013",
        (349, 1905),
        (Source("hsi", (144,), _HSI), Source("lidar", (1,), _LIDAR)),
        (
            "Healthy grass", "Stressed grass", "Synthetic grass", "Trees", "Soil", "Water",
            "Residential", "Commercial", "Road", "Highway", "Railway", "Parking lot 1",
            "Parking lot 2", "Tennis court", "Running track",
        ),
        {"train": 2832, "test": 12197, "all": 15029},
    ),
    Benchmark(
        "muufl",
        (325, 220),
        (Source("hsi", (64,), _HSI), Source("lidar", (2,), _LIDAR)),
        (
            "Trees", "Mostly grass", "Mixed ground surface", "Dirt and sand", "Road", "Water",
            "Building shadow", "Building", "Sidewalk", "Yellow curb", "Cloth panels",
        ),
        {"all": 53687},
    ),
    Benchmark(
        "augsburg",
        (332, 485),
        (
            Source("hsi", (180,), _HSI),
            Source("sar", (4,), _SAR),
            Source("dsm", (1,), ("dsm", "datadsm")),
        ),
        (*_URBAN, "Allotment", "Commercial area", "Water"),
        {"train": 761, "test": 77533, "all": 78294},
        optional=("dsm",),
    ),
    Benchmark(
        "trento",
        (166, 600),
        (Source("hsi", (63,), _HSI), Source("lidar", (1, 2), _LIDAR)),
        ("Apple trees", "Buildings", "Ground", "Woods", "Vineyard", "Roads"),
        {"train": 819, "test": 29395, "all": 30214},
    ),
    Benchmark(
        "berlin",
        (1723, 476),
        (Source("hsi", (244,), _HSI), Source("sar", (4,), _SAR)),
        (*_URBAN, "Soil", "Allotment", "Commercial area", "Water"),
        {"train": 2820, "test": 461851, "all": 464671},
        coarse=(797, 220),
    ),
)  # fmt: skip

BENCHMARKS = {benchmark.name: benchmark for benchmark in _ALL}


def plain(name: str) -> str:
    """Returns a name as this table has them; names inside structures stay as they are."""
    if "." in name:
        return name
    return _SCENES.sub("", re.sub(r"[\W_]+", "", name.lower()))
