"""Puts scenes where the recipes look for them: `python -m training.prepare SOURCE`.

SOURCE holds the folders `indian_pines`, `amazon_landsat`, `nc_landsat` (those that are there are
taken; see training/README.md for where to get them). Indian Pines comes as an array without a
georeference and becomes two GeoTIFFs, VNIR and SWIR.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

DATA = Path(__file__).parent / "data"
VNIR_BANDS = 62  # of the 200 corrected bands of AVIRIS


def indian_pines(source: Path, target: Path) -> None:
    """Splits the cube into VNIR and SWIR; labels are taken as they are."""
    cube = np.load(source / "Indian_pines_corrected.npy").transpose(2, 0, 1)  # (C, H, W)
    parts = {"vnir": cube[:VNIR_BANDS], "swir": cube[VNIR_BANDS:]}
    for name, bands in parts.items():
        _write(target / f"{name}.tif", bands.astype(np.uint16))
    for name in ("train_map", "test_map"):
        with rasterio.open(source / f"{name}.tif") as file:
            _write(target / f"{name}.tif", file.read().astype(np.uint8), nodata=0)
    truth = np.load(source / "Indian_pines_gt.npy").astype(np.uint8)[None]  # (1, H, W)
    _write(target / "ground_truth.tif", truth, nodata=0)


def _write(path: Path, bands: np.ndarray, nodata: float | None = None) -> None:
    count, height, width = bands.shape
    # Pixel space, rows downwards: an identity transform is what rasterio takes for "none".
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype,
        nodata=nodata, compress="deflate", interleave="pixel", transform=Affine.identity(),
    ) as file:  # fmt: skip
        file.write(bands)


def main(source: Path) -> None:
    for folder in sorted(source.iterdir()):
        target = DATA / folder.name
        if folder.name == "indian_pines":
            target.mkdir(parents=True, exist_ok=True)
            indian_pines(folder, target)
        elif folder.name in ("amazon_landsat", "nc_landsat"):
            shutil.copytree(folder, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            continue
        print(f"{folder.name}: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
