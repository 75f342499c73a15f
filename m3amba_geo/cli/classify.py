"""`m3amba-geo classify`: a model and rasters in, a map out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import (
    FILE,
    RASTERS,
    command,
    config_option,
    grid_options,
    machine_options,
    network_option,
    program_options,
    setting,
    together,
)
from m3amba_geo.cli.run import Session, record
from m3amba_geo.cli.settings import load, only_scene
from m3amba_geo.events import Listener
from m3amba_geo.geo.access import reach

if TYPE_CHECKING:
    from m3amba_geo.jobs.classify import ClassifyResults

EXAMPLES = """
    A map, and how sure it is:
      m3amba-geo classify model.m3amba image.tif --out map.tif --confidence sure.tif

    The modalities the model was trained on, for a part of the scene:
      m3amba-geo classify model.m3amba vnir=b2.tif vnir=b3.tif dem.tif --bounds 630000 215000 640000 228000

    The scene of m3amba.toml in this folder:
      m3amba-geo classify model.m3amba --out map.tif
"""  # noqa: E501 - a line to copy

OUTPUT_OPTIONS = together(
    setting(
        "--out",
        key="classify.out",
        type=FILE,
        metavar="FILE",
        usual="map.tif",
        help="GeoTIFF of class codes; a style is written beside it.",
    ),
    setting(
        "--confidence",
        key="classify.confidence",
        type=FILE,
        metavar="FILE",
        help="GeoTIFF of the winning class's probability.",
    ),
    setting(
        "--probabilities",
        key="classify.probabilities",
        type=FILE,
        metavar="FILE",
        help="GeoTIFF with a band a class.",
    ),
    setting(
        "--modalities-used",
        key="classify.modalities_used",
        type=FILE,
        metavar="FILE",
        usual="beside the map, where the model does with fewer",
        help="GeoTIFF of the modalities that each pixel is made from.",
    ),
    setting(
        "--bounds",
        key="classify.bounds",
        type=float,
        nargs=4,
        metavar="LEFT BOTTOM RIGHT TOP",
        help="Map only what lies inside, in the CRS of the grid.",
    ),
    setting(
        "--mask",
        key="classify.mask",
        type=FILE,
        metavar="RASTER",
        help="Leave out what is 0 or nodata in this raster on the same grid.",
    ),
)

AGAIN_OPTIONS = together(
    setting(
        "--overwrite",
        key="classify.overwrite",
        is_flag=True,
        help="Replace outputs that exist.",
    ),
    setting(
        "--restart",
        key="classify.restart",
        is_flag=True,
        help="Drop what an unfinished run has left, instead of going on from it.",
    ),
)

CLUSTER_OPTIONS = together(
    setting(
        "--workers",
        key="classify.workers",
        type=int,
        metavar="N",
        help="Make the map with N processes, which share the threads of this machine.",
    ),
    setting(
        "--scheduler",
        key="classify.scheduler",
        metavar="ADDRESS",
        help="Make the map on the machines of a dask cluster (docs/cluster.md).",
    ),
)

EFFORT_OPTIONS = together(
    setting(
        "--stride",
        key="classify.stride",
        type=int,
        usual="chosen from the patch",
        help="Pixels between windows; smaller is smoother and slower.",
    ),
    setting(
        "--batch",
        key="classify.batch",
        type=int,
        usual="chosen for the device",
        help="Windows a step.",
    ),
    setting(
        "--memory",
        key="classify.memory",
        type=int,
        metavar="MIB",
        usual="a quarter of what is free",
        help="Working memory for pixels.",
    ),
    setting(
        "--guide-weights",
        key="classify.guide_weights",
        type=FILE,
        metavar="FILE",
        help="Weights of the CLIP guide that the model was trained with.",
    ),
)


@command("classify", EXAMPLES)
@click.argument("model", type=FILE)
@RASTERS
@OUTPUT_OPTIONS
@AGAIN_OPTIONS
@grid_options()
@EFFORT_OPTIONS
@machine_options("classify")
@CLUSTER_OPTIONS
@network_option()
@config_option()
@program_options()
@click.pass_obj
def classify(session: Session, model: Path, rasters: tuple[str, ...]) -> None:
    """Makes a land-cover map of rasters with MODEL.

    Rasters are named as for `m3amba-geo train`. The map has the grid of the first modality, or that
    of --grid. A modality may be left out, or be nodata in places, if the model was trained for that
    (modality_dropout in m3amba.toml). A run that was stopped goes on where it was when the same
    command is given again.
    """
    config = load(rasters, elsewhere=True)
    scene = only_scene(config)

    def work(emit: Listener) -> "ClassifyResults":
        from m3amba_geo.jobs import classify as job

        with reach(network=config.allow_network):
            return job.run(model, scene, config.classify, emit)

    session.run(work, record("Map"))
