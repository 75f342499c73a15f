"""Pictures of maps as PNG, through matplotlib's object interface: no pyplot, no global state."""

from io import BytesIO
from math import ceil
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Patch
from numpy.typing import NDArray

from m3amba_geo.geo.legend import Legend

INK, FRAME, NODATA = "#22272b", "#9aa1a6", "#e6e8ea"
PANEL_INCHES, DPI = 4.2, 160
MAX_SIDE = 900  # pixels of a picture of a map


def map_picture(codes: NDArray[np.uint16], legend: Legend, max_side: int = MAX_SIDE) -> bytes:
    """Returns a PNG of the map alone, one picture pixel a map pixel or, where larger, thinned.

    Args:
        codes: `(H, W)` codes of the legend; 0 (nodata) becomes transparent.
        legend: Classes and their colours.
        max_side: Longest side of the picture in pixels.
    """
    file = BytesIO()
    imsave(file, _colors(legend)[thin(codes, max_side)], format="png")
    return file.getvalue()


def side_by_side(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    codes: NDArray[np.uint16],
    legend: Legend,
    title: str,
) -> bytes:
    """Returns a PNG of image, labels and map beside each other, above one legend.

    Args:
        image: `(H, W, 3)` colours.
        labels: `(H, W)` codes of the legend, 0 where unlabelled.
        codes: `(H, W)` codes of the map, 0 where nodata.
        legend: Classes and their colours; those that occur are shown.
        title: Line above the three.
    """
    height, width = labels.shape
    colors = _colors(legend)
    colors[0] = (*_rgb(NODATA), 255)
    panels = {"Image": thin(image), "Labels": colors[thin(labels)], "Map": colors[thin(codes)]}
    handles, names = _legend_entries(legend, labels, codes)
    columns = _legend_columns(names)
    panel_height = float(np.clip(PANEL_INCHES * height / width, 1.2, 3 * PANEL_INCHES))
    legend_height = 0.26 * ceil(len(names) / columns)
    size = (3 * PANEL_INCHES, panel_height + legend_height + 0.85)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    figure.suptitle(title, x=0.004, ha="left", fontsize=14, color=INK, parse_math=False)
    for axes, (name, pixels) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        _show(axes, name, pixels)
    _add_legend(figure, handles, names, columns)
    return _png(figure)


def thin(pixels: NDArray[Any], max_side: int = MAX_SIDE) -> NDArray[Any]:
    """Returns every k-th row and column, with the smallest k that respects `max_side`."""
    height, width = pixels.shape[:2]
    return pixels[lattice((height, width), max_side)]


def lattice(shape: tuple[int, int], max_side: int = MAX_SIDE) -> tuple[slice, slice]:
    """Returns the rows and columns that `thin` takes of a raster."""
    step = max(1, ceil(max(shape) / max_side))
    rows, columns = (slice((min(step, side) - 1) // 2, side, step) for side in shape)
    return rows, columns


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(round(255 * share) for share in to_rgb(color))


def _colors(legend: Legend) -> NDArray[np.uint8]:
    """Returns `(65536, 4)`, the RGBA of every code; those not in the legend are transparent."""
    colors = np.zeros((2**16, 4), dtype=np.uint8)
    for cover in legend:
        colors[cover.code] = (*_rgb(cover.color), 255)
    return colors


def _legend_entries(
    legend: Legend, labels: NDArray[np.uint16], codes: NDArray[np.uint16]
) -> tuple[list[Patch], list[str]]:
    present = np.union1d(labels, codes)
    shown = [(c.color, c.name) for c in legend if c.code in present]
    if 0 in present:
        shown.append((NODATA, "unlabelled or no data"))
    patches = [Patch(facecolor=color, edgecolor=FRAME, linewidth=0.6) for color, _ in shown]
    return patches, [name for _, name in shown]


def _legend_columns(names: list[str]) -> int:
    """Returns as many columns as fit below the three panels, about 13 characters an inch."""
    longest = max(map(len, names), default=1)
    return int(np.clip(3 * PANEL_INCHES * 11 // (longest + 6), 1, max(1, len(names))))


def _show(axes: Axes, name: str, pixels: NDArray[np.uint8]) -> None:
    """Classes are never blended with their neighbours; colours of an image may be."""
    axes.imshow(pixels, interpolation="antialiased" if name == "Image" else "nearest")
    axes.set_title(name, fontsize=11, loc="left", color=INK)
    axes.set(xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.6)


def _add_legend(figure: Figure, handles: list[Patch], names: list[str], columns: int) -> None:
    """Sets names last: matplotlib would drop those with a leading `_` and read `$` as math."""
    legend = figure.legend(
        handles, [str(i) for i in range(len(names))],
        loc="outside lower center", ncols=columns, frameon=False, fontsize=10, labelcolor=INK,
        handlelength=1.4, handleheight=1.0, columnspacing=1.8,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def _png(figure: Figure) -> bytes:
    """Draws; a script that matplotlib's font lacks shows as boxes and is no reason to warn."""
    file = BytesIO()
    with catch_warnings():
        simplefilter("ignore", UserWarning)
        FigureCanvasAgg(figure).print_figure(file, format="png")
    return file.getvalue()
