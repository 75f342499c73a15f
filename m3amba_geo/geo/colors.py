"""Colours of classes: read from text, or chosen so that classes can be told apart."""

import colorsys
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Colours that readers of land-cover maps expect; the first word found in a class's name wins.
_FAMILIAR = {
    "water": "#3a7ebf", "wetland": "#6fb7a8", "forest": "#2d6a4f", "shrub": "#a3b65a",
    "grass": "#c9d77b", "herb": "#b9d98c", "crop": "#e9c46a", "cultivated": "#e9c46a",
    "agric": "#e9c46a", "urban": "#c8553d", "developed": "#c8553d", "built": "#c8553d",
    "bare": "#b8a088", "barren": "#b8a088", "soil": "#b8a088", "sand": "#e6d5a8",
    "sediment": "#e6d5a8", "snow": "#dfeaf2", "ice": "#dfeaf2",
}  # fmt: skip


def parse_color(text: str) -> str | None:
    """Returns `#rrggbb` for `#rgb`, `#rrggbb`, `#rrggbbaa` or `r,g,b[,a]`; None for other text."""
    text = text.strip().lower()
    if found := re.fullmatch(r"#?([0-9a-f]{6})(?:[0-9a-f]{2})?", text):
        return f"#{found[1]}"
    if found := re.fullmatch(r"#([0-9a-f])([0-9a-f])([0-9a-f])", text):
        return "#" + "".join(digit * 2 for digit in found.groups())
    parts = re.fullmatch(r"(?:rgba?\()?\s*(\d+)[,\s]+(\d+)[,\s]+(\d+)(?:[,\s]+[\d.]+)?\s*\)?", text)
    if parts and all(int(part) <= 255 for part in parts.groups()):
        return "#{:02x}{:02x}{:02x}".format(*map(int, parts.groups()))
    return None


def fill_in(names: Sequence[str], given: Sequence[str]) -> list[str]:
    """Fills in missing colours: familiar ones by name, then those farthest from all in use."""
    colors = list(given)
    for i, name in enumerate(names):
        familiar = next((c for word, c in _FAMILIAR.items() if word in name.lower()), "")
        if not colors[i] and familiar not in colors:
            colors[i] = familiar
    palette = _palette()
    # Distance to black and white, too: paper and nodata are one or the other.
    nearest = np.full(len(palette), np.inf)
    for color in ["#000000", "#ffffff", *filter(None, colors)]:
        nearest = np.minimum(nearest, _distance(palette, color))
    for i, color in enumerate(colors):
        if not color:
            colors[i] = "#{:02x}{:02x}{:02x}".format(*palette[np.argmax(nearest)])
            nearest = np.minimum(nearest, _distance(palette, colors[i]))
    return colors


@cache
def _palette() -> NDArray[np.uint8]:
    """Candidate colours (N,3), neither pale nor dark."""
    lattice = (
        colorsys.hls_to_rgb(hue / 180, lightness, saturation)
        for lightness in (0.45, 0.6, 0.35, 0.72)
        for saturation in (0.65, 0.4)
        for hue in range(180)
    )
    return np.array([[round(255 * channel) for channel in color] for color in lattice], np.uint8)


def _distance(palette: NDArray[np.uint8], color: str) -> NDArray[np.float64]:
    """Squared distance in RGB, green counted most, as eyes do."""
    channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    difference: NDArray[np.float64] = palette.astype(np.float64) - channels
    total: NDArray[np.float64] = (difference**2) @ np.array([2.0, 4.0, 3.0])
    return total
