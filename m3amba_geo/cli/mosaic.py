"""`m3amba-geo mosaic`: a model and an index of scenes in, a tile for each and a VRT out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.classify import AGAIN_OPTIONS, CLUSTER_OPTIONS, EFFORT_OPTIONS
from m3amba_geo.cli.options import (
    FILE,
    RESAMPLINGS,
    command,
    config_option,
    machine_options,
    network_option,
    program_options,
    setting,
    together,
)
from m3amba_geo.cli.run import Session, record
from m3amba_geo.cli.settings import load, modalities_of
from m3amba_geo.events import Listener
from m3amba_geo.geo.access import reach

if TYPE_CHECKING:
    from m3amba_geo.jobs.mosaic import MosaicResults

EXAMPLES = """
    Fields of the index are called like the modalities of the model:
      m3amba-geo mosaic model.m3amba scenes.gpkg --out region

    Assets of a STAC ItemCollection that are called otherwise:
      m3amba-geo mosaic model.m3amba items.json optical=B03 optical=B04 dem=elevation
"""

MOSAIC_OPTIONS = together(
    setting(
        "--out",
        key="mosaic.out",
        type=FILE,
        metavar="DIR",
        usual="mosaic",
        help="Folder of mosaic.vrt and the tiles.",
    ),
    setting(
        "--resampling",
        key="mosaic.resampling",
        type=click.Choice(RESAMPLINGS),
        usual="bilinear",
        help="How the modalities of a scene are warped onto the first one's grid.",
    ),
)


@command("mosaic", EXAMPLES)
@click.argument("model", type=FILE)
@click.argument("index", type=FILE)
@click.argument("fields", nargs=-1, metavar="[[NAME=]FIELD...]")
@MOSAIC_OPTIONS
@AGAIN_OPTIONS
@EFFORT_OPTIONS
@machine_options("classify")
@CLUSTER_OPTIONS
@network_option()
@config_option()
@program_options()
@click.pass_obj
def mosaic(session: Session, model: Path, index: Path, fields: tuple[str, ...]) -> None:
    """Maps all scenes of INDEX with MODEL, and makes one virtual raster of the maps.

    INDEX is a vector file of footprints (GeoPackage) whose fields name the files of each scene, or
    a STAC ItemCollection with local assets. Later scenes lie on top of earlier ones. Scenes that
    are mapped already are not mapped again.
    """
    config = load()

    def work(emit: Listener) -> "MosaicResults":
        from m3amba_geo.jobs import mosaic as job

        wanted = modalities_of(fields)
        with reach(network=config.allow_network):
            return job.run(model, index, wanted, config.mosaic, config.classify, emit)

    session.run(work, record("Mosaic"))
