"""`m3amba-geo info`: what a model, rasters or labels hold, and whether they fit together."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.modalities import split_name
from m3amba_geo.cli.options import command, program_options
from m3amba_geo.cli.run import Session
from m3amba_geo.events import Listener
from m3amba_geo.geo.access import reach

if TYPE_CHECKING:
    from rich.console import Console

    from m3amba_geo.jobs.info import Info

EXAMPLES = """
    A model: classes, bands, validation scores:
      m3amba-geo info model.m3amba

    Before training: CRS, resolution, overlap, nodata, pixels of each class:
      m3amba-geo info image.tif dem.tif roi.shp

    The same with the files of a training as they are named there:
      m3amba-geo info optical=b2.tif optical=b3.tif dem.tif roi.shp
"""


@command("info", EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="[NAME=]FILE...")
@click.option("--layer", metavar="NAME", help="Layer of a label file with several.")
@click.option("--allow-network", is_flag=True, help="Look at files on servers, too.")
@program_options()
@click.pass_obj
def info(session: Session, files: tuple[str, ...], layer: str | None, allow_network: bool) -> None:
    """Says what a model holds, or whether rasters and labels fit together."""

    def work(emit: Listener) -> "Info":
        from m3amba_geo.jobs import info as job

        paths = [Path(path) for _, path in map(split_name, files)]
        with reach(network=allow_network):
            return job.run(paths, emit, layer)

    session.run(work, _render)


def _render(results: "Info", console: "Console") -> None:
    from m3amba_geo.cli.tables import show_record

    found = results.to_json()
    for name, model in found.pop("models", {}).items():
        show_record(console, name, model)
    if found:
        show_record(console, "", found)
