"""Draws an image, its labels, its map and the map's confidence beside each other.

`python docs/figures/maps.py SCENE FOLDER NAME` writes docs/images/NAME.png. FOLDER holds rasters,
labels, `map.tif` with its sidecar, and `confidence.tif`; SCENE says how the files are called.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from m3amba_geo.config import LabelConfig, ModalityConfig, SceneConfig
from m3amba_geo.events import ignore
from m3amba_geo.geo.align import open_stack
from m3amba_geo.geo.labels import read_labels
from m3amba_geo.geo.legend import Legend
from m3amba_geo.jobs.sidecar import read_sidecar

IMAGES = Path(__file__).parents[1] / "images"
_LINE, _SWATCH = 115, 6  # letters under the figure, and for a swatch of colour
INK, FRAME, NODATA = "#22272b", "#9aa1a6", "#e6e8ea"
# Rasters of the image, the bands of them that are red, green and blue, and labels.
SCENES: dict[str, tuple[tuple[str, ...], tuple[int, ...], LabelConfig]] = {
    "nc": (
        ("lsat7_2000_50.tif", "lsat7_2000_40.tif", "lsat7_2000_30.tif"),
        (0, 1, 2),
        LabelConfig(Path("landsat96_polygons.shp"), field="label"),
    ),
    "pines": (("vnir.tif",), (49, 27, 16), LabelConfig(Path("test_map.tif"))),
}


def main(scene: str, folder: Path, name: str) -> None:
    """Draws one scene."""
    files, colors, labels = SCENES[scene]
    rasters = {"image": files, "map": ("map.tif",), "confidence": ("confidence.tif",)}
    config = SceneConfig(
        tuple(
            ModalityConfig(name, tuple(folder / file for file in own))
            for name, own in rasters.items()
        )
    )
    sidecar = read_sidecar(folder / "map.tif")
    assert sidecar is not None
    with open_stack(config, ignore) as stack:
        height, width = stack.grid.shape
        (image, codes, confidence), valid = stack.read(0, 0, height, width)
        where = LabelConfig(folder / labels.path, field=labels.field)
        reference = read_labels(where, stack.grid, sidecar.legend, ignore)
    inside = valid[1]
    panels = {
        "image": _stretched(image[list(colors)], valid[0]),
        "labels": _painted(reference.spread(reference.codes), sidecar.legend),
        "map": _painted(np.where(inside, codes[0], 0).astype(np.uint16), sidecar.legend),
        "confidence": np.where(inside, confidence[0], np.nan),
    }
    _draw(panels, sidecar.legend, IMAGES / f"{name}.png")


def _stretched(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Returns `(H, W, 3)` in 0..1: each band from its 2nd to its 98th percentile."""
    low, high = (np.percentile(bands[:, valid], q, axis=1)[:, None, None] for q in (2, 98))
    return np.where(valid, np.clip((bands - low) / (high - low), 0, 1), 1).transpose(1, 2, 0)


def _painted(codes: NDArray[np.uint16], legend: Legend) -> NDArray[np.float32]:
    """Returns `(H, W, 3)` in 0..1: the colour of each code."""
    colors = np.full((2**16, 3), to_rgb(NODATA), np.float32)
    for cover in legend:
        colors[cover.code] = to_rgb(cover.color)
    return colors[codes]


def _draw(panels: dict[str, NDArray[Any]], legend: Legend, path: Path) -> None:
    height, width = panels["confidence"].shape
    longest = max(len(cover.name) for cover in legend)
    columns = min(len(legend), max(1, _LINE // (longest + _SWATCH)))
    rows = -(-len(legend) // columns)
    size = (8.4, 7.9 * height / width + 0.5 + 0.24 * rows)
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    for axes, (name, pixels) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        shown = axes.imshow(pixels, vmin=0, vmax=1, cmap="cividis", interpolation="antialiased")
        _bare(axes, name)
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, labelcolor=INK, color=FRAME)
    handles = [Patch(facecolor=c.color, edgecolor=FRAME, linewidth=0.6) for c in legend]
    figure.legend(
        handles, [cover.name for cover in legend], loc="outside lower center",
        ncols=columns, frameon=False, fontsize=9, labelcolor=INK,
    )  # fmt: skip
    file = BytesIO()
    FigureCanvasAgg(figure).print_figure(file, format="png")
    # A palette takes a third of the bytes.
    palette = Image.open(file).convert("RGB").quantize(256, kmeans=4, dither=Image.Dither.NONE)
    palette.save(path, optimize=True)


def _bare(axes: Axes, name: str) -> None:
    axes.set_title(name, fontsize=11, loc="left", color=INK)
    axes.set(xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.6)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
