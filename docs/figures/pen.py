"""A pen for block diagrams: boxes, arrows, sums, in units of a tenth of an inch."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

INK, SOFT, PAPER = "#22272b", "#6b747b", "white"
Point = tuple[float, float]


class Pen:
    """Draws on a sheet whose origin is at the bottom left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width / 10, height / 10), facecolor=PAPER)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(
        self,
        center: Point,
        size: Point,
        text: str,
        colors: tuple[str, str],
        note: str = "",
        upright: bool = False,
    ) -> None:
        """A rounded box: a name, and in smaller type below it (or beside it) what it does."""
        (x, y), (w, h), (face, edge) = center, size, colors
        shape = FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.8",
            facecolor=face, edgecolor=edge, linewidth=1.3, zorder=3,
        )  # fmt: skip
        self.axes.add_patch(shape)
        rise = 0.8 * (note.count("\n") + 1) if note else 0
        name, below = ((x - rise, y), (x + 0.95, y)) if upright else ((x, y + rise), (x, y - 0.85))
        turn = 90 if upright else 0
        self.text(name, text, weight="bold", turn=turn)
        self.text(below, note, size=8.2, color=SOFT, turn=turn)

    def frame(self, corner: Point, size: Point, text: str) -> None:
        """A dashed frame around what belongs together, with its name in the upper left corner."""
        shape = FancyBboxPatch(
            corner, *size, boxstyle="round,pad=0,rounding_size=1.2", facecolor="#f6f7f8",
            edgecolor="#9aa1a6", linewidth=1.1, linestyle=(0, (5, 3)), zorder=0,
        )  # fmt: skip
        self.axes.add_patch(shape)
        self.text((corner[0] + 1, corner[1] + size[1] - 1.7), text, align="left", color=SOFT)

    def arrow(
        self,
        points: Sequence[Point],
        color: str = INK,
        *,
        head: bool = True,
        dashed: bool = False,
        above: int = 2,
    ) -> None:
        """A line through points that ends in a head."""
        xs, ys = zip(*points, strict=True)
        dashes = (0, (2, 2)) if dashed else "-"
        self.axes.plot(xs, ys, color=color, linewidth=1.4, linestyle=dashes, zorder=above)
        if head:
            tip = FancyArrowPatch(
                *points[-2:], arrowstyle="-|>,head_length=4.5,head_width=2.4", mutation_scale=1,
                color=color, linewidth=1.4, shrinkA=0, shrinkB=0, zorder=above + 2,
            )  # fmt: skip
            self.axes.add_patch(tip)

    def node(self, center: Point, text: str, radius: float = 1.35) -> None:
        """A circle with a sign: a sum, a product."""
        circle = Circle(center, radius, facecolor=PAPER, edgecolor=INK, linewidth=1.3, zorder=3)
        self.axes.add_patch(circle)
        self.text(center, text, size=11)

    def dot(self, center: Point, color: str) -> None:
        """Where something begins."""
        self.axes.add_patch(Circle(center, 0.65, facecolor=color, edgecolor="none", zorder=7))

    def text(
        self,
        place: Point,
        text: str,
        *,
        size: float = 9.3,
        color: str = INK,
        weight: str = "normal",
        align: str = "center",
        turn: float = 0,
    ) -> None:
        """Words; `$...$` is set as mathematics."""
        self.axes.text(
            *place, text, fontsize=size, color=color, weight=weight, ha=align, va="center",
            zorder=5, linespacing=1.3, rotation=turn,
        )  # fmt: skip

    def square(self, corner: Point, side: float, face: str, edge: str, above: int = 3) -> None:
        """A square, such as a pixel or a band."""
        shape = Rectangle(
            corner, side, side, facecolor=face, edgecolor=edge, linewidth=0.8, zorder=above
        )
        self.axes.add_patch(shape)

    def save(self, path: Path) -> None:
        """Writes SVG with letters as outlines: it looks alike everywhere, and has no date."""
        with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
            FigureCanvasSVG(self.figure).print_svg(path, metadata={"Date": None})
