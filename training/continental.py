"""What the map of a continent takes, on paper: `python -m training.continental`.

Arithmetic from the measured rates of whole maps in `results/map.json`, and from the sizes of the
files that `classify` writes. Nothing of this scale has been run. The tables are those of
`docs/continental.md`; `--area` puts a region of yours into their place.
"""

import json
from collections.abc import Iterator, Mapping

import click

from m3amba_geo.config import NetworkConfig
from m3amba_geo.geo.region import Region
from m3amba_geo.geo.windows import default_stride
from m3amba_geo.infer.blocks import blocks_of
from training.bench.record import RESULTS

AREAS = {"France": 0.55e6, "Europe": 10.2e6, "Africa": 30.4e6}  # km2 of land, rounded
PIXELS = (30, 10)  # m
SIDES = (10_000, 30_000, 100_000)  # of one raster, in pixels
METHODS = ("m3amba tiny, bf16", "m3amba small, bf16")
DEPTH = 2  # bytes of a band's pixel


def work(areas: Mapping[str, float], price: float) -> Iterator[str]:
    """Yields the table of time and cost."""
    measured = json.loads((RESULTS / "map.json").read_text())
    cores = measured["machine"]["cores"]
    names = [method.removeprefix("m3amba ") for method in METHODS]
    yield from _head(
        "region", "pixel", "10⁹ pixels",
        *(f"{name}: {what}" for name in names for what in ("core-hours", "cost")),
    )  # fmt: skip
    for area, pixel, pixels in _maps(areas):
        cells = []
        for method in METHODS:
            hours = pixels / measured["pixels_per_second"][method] / 3600 * cores
            cells += [_rounded(hours), _rounded(hours * price)]
        yield _row(area, f"{pixel} m", f"{pixels / 1e9:.1f}", *cells)


def storage(areas: Mapping[str, float], bands: int) -> Iterator[str]:
    """Yields the table of storage: what is read, what unfinished maps take, what remains."""
    yield from _head(
        "region", "pixel", f"rasters of {bands} bands",
        "blocks, map alone", "blocks, with confidence", "blocks, with 10 probabilities, too",
    )  # fmt: skip
    for area, pixel, pixels in _maps(areas):
        sizes = (bands * DEPTH, 1, 5, 5 + 4 * 10)
        yield _row(area, f"{pixel} m", *(_bytes(pixels * size) for size in sizes))


def blocks() -> Iterator[str]:
    """Yields the table of blocks, by the size of a raster."""
    measured = json.loads((RESULTS / "map.json").read_text())["pixels_per_second"]
    patch = NetworkConfig((1,), 2).patch
    yield from _head(
        "raster", "blocks", "rows of a block", "its file, map alone",
        *(f"minutes, {method.removeprefix('m3amba ')}" for method in METHODS),
    )  # fmt: skip
    for side in SIDES:
        found = blocks_of(Region(0, 0, side, side), patch, default_stride(patch))
        rows, columns = found[0].shape
        minutes = (rows * columns / measured[method] / 60 for method in METHODS)
        yield _row(
            f"{side:,} squared", str(len(found)), str(rows), _bytes(rows * columns),
            *map(_rounded, minutes),
        )  # fmt: skip


def _maps(areas: Mapping[str, float]) -> Iterator[tuple[str, int, float]]:
    for name, area in areas.items():
        for pixel in PIXELS:
            yield name, pixel, area * 1e6 / pixel**2


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|---" * len(names) + "|"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rounded(number: float) -> str:
    """Returns two digits: there is no more to it."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.1f}"


def _bytes(count: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if count >= unit:
            return f"{_rounded(count / unit)} {name}"
    return f"{_rounded(count / 1e6)} MB"


@click.command()
@click.option("--area", type=float, metavar="KM2", help="Of your region, instead of continents.")
@click.option("--bands", default=12, show_default=True, help="Of the rasters, 16 bits each.")
@click.option("--price", default=0.05, show_default=True, help="Of one hour of one core.")
def main(area: float | None, bands: int, price: float) -> None:
    """Prints time, cost, storage and blocks of large maps."""
    areas = AREAS if area is None else {"yours": area}
    for table in (work(areas, price), storage(areas, bands), blocks()):
        print(*table, "", sep="\n")


if __name__ == "__main__":
    main()
