"""`m3amba-geo import`: a published benchmark as downloaded in, GeoTIFFs and settings out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import FILE, command, program_options
from m3amba_geo.cli.run import Session, record
from m3amba_geo.events import Listener
from m3amba_geo.geo.benchmarks import BENCHMARKS

if TYPE_CHECKING:
    from m3amba_geo.jobs.import_scene import ImportResults

EXAMPLES = """
    Into ./houston2013, ready for `m3amba-geo train` there:
      m3amba-geo import houston2013 ~/downloads/Houston2013

    Into a folder of your choice:
      m3amba-geo import muufl ~/downloads/MUUFLGulfportSceneLabels --out scenes/muufl
"""


@command("import", EXAMPLES)
@click.argument("dataset", metavar="DATASET", type=click.Choice(tuple(BENCHMARKS)))
@click.argument("folder", metavar="DIR", type=FILE)
@click.option("--out", type=FILE, metavar="DIR", help="Where everything goes. [default: ./DATASET]")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@program_options()
@click.pass_obj
def import_(
    session: Session, dataset: str, folder: Path, out: Path | None, overwrite: bool
) -> None:
    """Turns the MATLAB files of a published benchmark into GeoTIFFs and settings.

    DATASET is houston2013, muufl, augsburg, trento or berlin; DIR holds its .mat files as they were
    downloaded. What was taken for what is told; what is unclear is refused, not guessed.
    """

    def work(emit: Listener) -> "ImportResults":
        from m3amba_geo.jobs import import_scene as job

        return job.run(BENCHMARKS[dataset], folder, out or Path(dataset), emit, overwrite=overwrite)

    session.run(work, record("Imported"))
