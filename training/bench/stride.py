"""What the stride of windows costs and is worth: `python -m training.bench.stride [FOLDER]`.

The model of `make demo` maps its scene at several strides. Of each map it is noted: the accuracy
on points that training never saw; the share of pixels whose class is another than at the smallest
stride; how much more often neighbours differ across the middle of an overlap, where one window
takes over from the next, than elsewhere; and the time. A map of the usual stride in bfloat16 shows
how many classes of a trained model stay the same.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from m3amba_geo.config import (
    ClassifyConfig,
    EvaluateConfig,
    LabelConfig,
    ModalityConfig,
    SceneConfig,
)
from m3amba_geo.events import ignore
from m3amba_geo.geo.codes import read_label_raster
from m3amba_geo.geo.windows import default_stride, starts
from m3amba_geo.jobs import classify, evaluate
from m3amba_geo.jobs.demo import MODALITIES
from training.bench.network import timed
from training.bench.record import write

PATCH, STRIDES = 32, (32, 28, 24, 16, 8)


@click.command()
@click.argument("folder", default="demo", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Compares strides on the demo's scene."""
    data = folder / "data"
    scene = SceneConfig(
        tuple(
            ModalityConfig(name, tuple(data / f"lsat7_2000_{band}.tif" for band in bands))
            for name, bands in MODALITIES.items()
        )
    )
    labels = EvaluateConfig(LabelConfig(data / "landsat96_points.gpkg", field="label"))
    model = folder / "model.m3amba"
    maps, figures = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for stride in STRIDES:
            out = Path(place) / f"{stride}.tif"
            config = ClassifyConfig(out, stride=stride)
            seconds = timed(lambda c=config: classify.run(model, scene, c, ignore))
            maps[stride] = read_label_raster(out).values
            figures[stride] = {
                "seconds": seconds,
                "overall_accuracy": evaluate.run(out, labels, ignore).accuracy.overall,
                "seams": seams(maps[stride], stride),
            }
        reduced = Path(place) / "bf16.tif"
        classify.run(model, scene, ClassifyConfig(reduced, precision="bf16"), ignore)
        same = read_label_raster(reduced).values == maps[default_stride(PATCH)]
    finest = maps[STRIDES[-1]]
    mapped = finest > 0
    equal = float(same[mapped].mean())
    table = Table(title="Strides of windows of 32 pixels")
    for name in ("stride", "seconds", "accuracy", "other class than finest", "seams"):
        table.add_column(name, justify="right")
    for stride, row in figures.items():
        row["other_class"] = float((maps[stride] != finest)[mapped].mean())
        table.add_row(
            str(stride), f"{row['seconds']:.1f}", f"{row['overall_accuracy']:.2%}",
            f"{row['other_class']:.2%}", f"{row['seams']:.3f}",
        )  # fmt: skip
    Console().print(table, f"Equal classes in bfloat16: {equal:.3%}")
    write("stride", {"patch": PATCH, "strides": figures, "equal_classes_in_bf16": equal})


def seams(codes: NDArray[np.int64], stride: int) -> float:
    """Returns how often neighbours differ where windows take over, over how often elsewhere."""
    counts = np.zeros((2, 2))  # at seams or not; pairs, and pairs that differ
    for image in (codes, codes.T):
        first = starts(image.shape[0], PATCH, stride)
        middles = (first[:-1] + PATCH + first[1:]) // 2  # row that the next window has more of
        at = np.isin(np.arange(1, image.shape[0]), middles)
        above, below = image[:-1], image[1:]
        both = (above > 0) & (below > 0)
        for which in (True, False):
            rows = at == which
            counts[int(which)] += both[rows].sum(), ((above != below) & both)[rows].sum()
    rates = counts[:, 1] / counts[:, 0]
    return float(rates[1] / rates[0])


if __name__ == "__main__":
    main()
