"""Draws the network of docs/network.md: `python docs/figures/network.py`.

Writes docs/images/network.svg, block.svg and directions.svg, which are committed.
"""

from pathlib import Path

import matplotlib
from pen import SOFT, Pen

IMAGES = Path(__file__).parents[1] / "images"
FIRST, LAST = ("#dce9f5", "#3c6e9f"), ("#f8e7cd", "#b9771f")  # face and edge
FUSED, CLIP, PLAIN = ("#d9ede4", "#1f7a5c"), ("#e8e2f2", "#6f5699"), ("#eceff1", "#6b747b")


def network() -> Pen:
    """The whole: two of N modalities, the guide, a step, the heads."""
    pen = Pen(101, 60)
    top, middle, bottom = 50.0, 30.0, 10.0
    pen.frame((11.5, 19), (43.5, 22), "semantic guide")
    pen.text((33, 17.2), "without a guide:  $z = s_1 + \\ldots + s_N$", size=8.2, color=SOFT)
    pen.frame((57.5, 2), (29, 56), "one step of 2, 4 or 9")
    pen.text((71.7, 4), "$s_1 \\ldots s_N$ and $z$ enter the next step", size=8.2, color=SOFT)
    for colors, n, y, lane in ((FIRST, "1", top, middle + 5), (LAST, "N", bottom, middle - 5)):
        side = 1 if n == "1" else -1  # of the middle
        edge = colors[1]
        for k in (2, 1, 0):
            pen.square((2.6 + 0.7 * k, y - 3.2 + 0.7 * k), 5, colors[0], edge, above=4 - k)
        pen.text((5.8, y + 4.9 * side), f"modality {n}")
        pen.text((5.1, y - 0.7), f"$C_{n}$", size=9)
        pen.arrow([(9.2, y), (12.8, y)], edge)
        pen.box((21, y), (16.4, 6), "patch embedding", colors, f"$C_{n}\\to E$, LayerNorm")
        pen.arrow([(29.2, y), (61.5, y)], edge)
        pen.text((45, y + 1.5), f"stream $s_{n}$", color=edge)
        pen.arrow([(5.1, y - 3.2 if side > 0 else y + 3.6), (5.1, lane), (12.8, lane)], edge)
        pen.box((18.2, lane), (10.8, 5.6), "to an image", colors, f"$C_{n}\\to 3$, 224²")
        pen.arrow([(23.6, lane), (26.6, lane)], edge)
        pen.arrow([(34.6, lane), (37.6, lane)], edge)
        pen.box((43, lane), (10.8, 5.6), "adapter", colors, f"$F\\to P^2\\to C_{n}\\to E$")
        pen.arrow([(48.4, lane), (51.6, lane), (51.6, middle + 1.4 * side)], edge)
        pen.box((67.6, y), (12.2, 6), "CrossBlock", colors, "Cross-SS2D, MLP")
        pen.arrow([(67.6, middle), (67.6, y - 3 * side)], FUSED[1])
        pen.arrow([(73.7, y), (88.8, y)], edge)
        pen.arrow([(75, y), (75, middle + 1.4 * side)], edge)
        pen.box((92, y), (6.4, 5), "head", colors)
        pen.arrow([(95.2, y), (96.9, y)], edge)
        pen.text((98.8, y), f"$M_{n}$", size=11)
    pen.text((5.8, middle), "$\\vdots$", size=14, color=SOFT)
    pen.box((30.6, middle), (8, 15.6), "CLIP", CLIP, "image\nencoder,\nfrozen")
    pen.node((51.6, middle), "+")
    pen.arrow([(53, middle), (67.6, middle)], FUSED[1], head=False)
    pen.text((61.8, middle + 1.5), "guide $z$", color=FUSED[1])
    pen.node((75, middle), "+")
    pen.arrow([(76.4, middle), (77.8, middle)], FUSED[1])
    pen.box((81.7, middle), (8.2, 8), "FuseBlock", FUSED, "SS2D,\nMLP")
    pen.arrow([(85.8, middle), (88.8, middle)], FUSED[1])
    pen.text((87.6, middle + 1.5), "$z$", color=FUSED[1])
    pen.box((92, middle), (6.4, 5), "head", FUSED)
    pen.arrow([(95.2, middle), (96.9, middle)], FUSED[1])
    pen.text((98.8, middle), "$M_f$", size=11)
    pen.text((96.4, middle - 4.5), "the map is\nargmax $M_f$", size=8.2, color=SOFT)
    return pen


def block() -> Pen:
    """The inside of a CrossBlock."""
    pen = Pen(101, 46)
    gate, x, parts, z, out = 42.0, 33.0, 25.0, 11.0, 21.0
    pen.text((2.6, x), "$x$", size=12, color=FIRST[1])
    pen.text((2.6, z), "$z$", size=12, color=FUSED[1])
    pen.arrow([(4.2, x), (8, x)], FIRST[1])
    pen.arrow([(4.2, z), (8, z)], FUSED[1])
    shared = (
        (10.5, "LayerNorm", ""),
        (18.3, "linear", "$E\\to 2I$"),
        (26.1, "convolution", "$3\\times 3$, SiLU"),
    )
    for place, name, note in shared:
        pen.box((place, 22), (5, 30), name, PLAIN, note, upright=True)
        if place < 26:
            pen.arrow([(place + 2.5, x), (place + 5.3, x)], FIRST[1])
            pen.arrow([(place + 2.5, z), (place + 5.3, z)], FUSED[1])
    pen.text((18.3, 4.4), "the same for $x$ and $z$", size=8.2, color=SOFT)
    pen.arrow([(28.6, x), (46.4, x)], FIRST[1])
    pen.text((43.4, x + 1.4), "$u$", color=FIRST[1])
    pen.arrow([(31, x), (31, parts), (33.2, parts)], FIRST[1])
    pen.box((36.8, parts), (7.2, 5), "linear", FIRST)
    pen.arrow([(40.4, parts), (46.4, parts)], FIRST[1])
    pen.text((43.2, parts + 1.4), "$\\delta, C$", color=FIRST[1])
    pen.arrow([(28.6, z), (33.2, z)], FUSED[1])
    pen.box((36.8, z), (7.2, 5), "linear", FUSED)
    pen.arrow([(40.4, z), (46.4, z)], FUSED[1])
    pen.text((43.2, z + 1.4), "$B$", color=FUSED[1])
    pen.box((56, 22), (19.2, 30), "", CLIP)
    pen.text((56, 34.3), "selective scan", weight="bold")
    pen.text((56, 31.6), "four directions, summed", size=8.2, color=SOFT)
    pen.text((56, 25.6), "$h_t = e^{\\delta_t A}\\, h_{t-1} + \\delta_t\\, B_t\\, u_t$", size=10)
    pen.text((56, 21.2), "$y_t = \\langle C_t, h_t\\rangle + D\\, u_t$", size=10)
    pen.text((56, 16.2), "$A = (A_x + A_z)\\,/\\,2$", size=10)
    pen.text((56, 10.6), "$u, \\delta, C, D$ are of $x$\n$B$ is of $z$", size=8.2, color=SOFT)
    pen.arrow([(65.6, out), (68, out)])
    pen.box((70.3, out), (4.6, 13), "LayerNorm", PLAIN, upright=True)
    pen.arrow([(72.6, out), (74.6, out)])
    pen.node((76, out), "$\\times$")
    pen.arrow([(18.3, 37), (18.3, gate), (76, gate), (76, out + 1.4)], FIRST[1])
    pen.box((56, gate), (6, 3.6), "SiLU", FIRST)
    pen.text((37, gate + 1.4), "gate $g$ of $x$", color=FIRST[1])
    pen.arrow([(77.4, out), (79.4, out)])
    pen.box((81.7, out), (4.6, 13), "linear", PLAIN, "$I\\to E$", upright=True)
    pen.arrow([(84, out), (86, out)])
    pen.node((87.4, out), "+")
    pen.arrow([(6, x), (6, 1.8), (87.4, 1.8), (87.4, out - 1.4)], FIRST[1])
    pen.text((62, 3.2), "residual", color=FIRST[1])
    pen.arrow([(88.8, out), (90.8, out)])
    pen.box((93.1, out), (4.6, 17), "MLP", PLAIN, "$E\\to 4E\\to E$", upright=True)
    pen.text((93.1, 10), "of LayerNorm,\n+ residual", size=8.2, color=SOFT)
    pen.arrow([(95.4, out), (98, out)], FIRST[1])
    pen.text((99.3, out), "$x$", size=12, color=FIRST[1])
    return pen


def directions() -> Pen:
    """The four orders in which the scan goes over a patch."""
    pen = Pen(101, 23)
    pitch, side, low = 24.5, 3.6, 5.0
    colors = (FIRST, LAST, FUSED, CLIP)
    names = ("rows", "columns", "rows, reversed", "columns, reversed")
    for k, (name, (face, edge)) in enumerate(zip(names, colors, strict=True)):
        left = 6.6 + k * pitch
        for cell in range(16):
            corner = (left + side * (cell % 4), low + side * (cell // 4))
            pen.square(corner, side, face, "white")
        order = [(n % 4, 3 - n // 4) for n in range(16)]  # column and height of each cell
        if k % 2:
            order = [(3 - height, 3 - column) for column, height in order]
        if k > 1:
            order.reverse()
        places = [(left + side * (c + 0.5), low + side * (r + 0.5)) for c, r in order]
        for start in range(0, 16, 4):
            pen.arrow(places[start : start + 4], edge, above=6)
            if start:
                pen.arrow(places[start - 1 : start + 1], edge, head=False, dashed=True, above=6)
        pen.dot(places[0], edge)
        pen.text((left + 2 * side, 2.6), name, color=edge)
    return pen


def main() -> None:
    """Writes the pictures."""
    matplotlib.rcParams["mathtext.fontset"] = "dejavuserif"
    for draw in (network, block, directions):
        draw().save(IMAGES / f"{draw.__name__}.svg")


if __name__ == "__main__":
    main()
