"""`m3amba-geo sample`: a map in, points drawn at random out, for people to label."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import (
    FILE,
    command,
    config_option,
    network_option,
    program_options,
)
from m3amba_geo.cli.run import Session, record
from m3amba_geo.cli.settings import load
from m3amba_geo.events import Listener
from m3amba_geo.geo.access import reach

if TYPE_CHECKING:
    from m3amba_geo.jobs.sample import SampleResults

EXAMPLES = """
    Points to label in QGIS (the field `class`), for `evaluate --probability-sample` thereafter:
      m3amba-geo sample map.tif --out sample.gpkg

    More of them, and at least 75 on each class:
      m3amba-geo sample map.tif --out sample.gpkg --points 800 --least 75
"""


@command("sample", EXAMPLES)
@click.argument("map_path", metavar="MAP", type=FILE)
@click.option(
    "--out", type=FILE, default="sample.gpkg", metavar="FILE", show_default=True,
    help="GeoPackage of the points.",
)  # fmt: skip
@click.option(
    "--points", type=click.IntRange(1), default=500, show_default=True, metavar="N",
    help="How many points, more or less, shared out by the area of the classes.",
)  # fmt: skip
@click.option(
    "--least", type=click.IntRange(2), default=50, show_default=True, metavar="N",
    help="How many on each class of the map at least.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draw.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@network_option()
@config_option()
@program_options()
@click.pass_obj
def sample(
    session: Session,
    map_path: Path,
    out: Path,
    points: int,
    least: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Draws a random sample of the pixels of MAP, for people to say what is there.

    Each class of the map is drawn from by itself. The points say nothing of what the map shows.
    """
    network = load().allow_network

    def work(emit: Listener) -> "SampleResults":
        from m3amba_geo.jobs import sample as job

        with reach(network=network):
            return job.run(
                map_path, out, emit, points=points, least=least, seed=seed, overwrite=overwrite
            )

    session.run(work, record("Sample"))
