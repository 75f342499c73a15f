"""`m3amba-geo convert-published`: the authors' checkpoint and its scene in, a model out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import FILE, RASTERS, command, program_options
from m3amba_geo.cli.run import Session, record
from m3amba_geo.cli.settings import scene_of
from m3amba_geo.events import Listener

if TYPE_CHECKING:
    from m3amba_geo.jobs.convert import ConvertResults

EXAMPLES = """
    A checkpoint of Houston2013, whose rasters and legend `m3amba-geo import` has made:
      m3amba-geo convert-published houston.pth hsi=hsi.tif lidar=lidar.tif --legend legend.csv

    With the very encoder that it was trained with:
      m3amba-geo convert-published muufl.pth hsi.tif lidar.tif --legend legend.csv --guide-weights ViT-B-32.pt --out muufl.m3amba
"""  # noqa: E501 - a line to copy


@command("convert-published", EXAMPLES)
@click.argument("checkpoint", type=FILE)
@RASTERS
@click.option(
    "--legend",
    type=FILE,
    metavar="CSV",
    required=True,
    help="Classes in the network's order: a file with the columns code,name,color.",
)
@click.option(
    "--guide-weights",
    type=FILE,
    metavar="FILE",
    help="Weights of the image encoder it was trained with. [default: as for train --guide clip]",
)
@click.option(
    "--guide-architecture",
    metavar="NAME",
    help="Architecture of the encoder in open_clip. [default: ViT-B-32-quickgelu]",
)
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    default="model.m3amba",
    help="Model file to write. [default: model.m3amba]",
)
@click.option("--overwrite", is_flag=True, help="Replace the model file if it exists.")
@program_options()
@click.pass_obj
def convert_published(
    session: Session,
    checkpoint: Path,
    rasters: tuple[str, ...],
    legend: Path,
    guide_weights: Path | None,
    guide_architecture: str | None,
    out: Path,
    overwrite: bool,
) -> None:
    """Makes a model of CHECKPOINT, a .pth file of M3amba's authors.

    The rasters are those of the scene it was trained on, first the one that the authors call hsi,
    then lidar: the checkpoint does not hold the range of each band, so it is taken from them.
    """

    def work(emit: Listener) -> "ConvertResults":
        from m3amba_geo.config import GuideConfig
        from m3amba_geo.jobs import convert as job

        architecture = guide_architecture or GuideConfig.architecture
        guide = GuideConfig("clip", architecture, guide_weights)
        scene = scene_of(rasters)
        return job.run(checkpoint, scene, legend, guide, out, emit, overwrite=overwrite)

    session.run(work, record("Model"))
