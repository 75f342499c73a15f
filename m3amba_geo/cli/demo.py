"""`m3amba-geo demo`: the whole path on a small scene that comes along."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import FILE, command, program_options
from m3amba_geo.cli.run import Session, record
from m3amba_geo.events import Listener

if TYPE_CHECKING:
    from m3amba_geo.jobs.demo import DemoResults

EXAMPLES = """
    Into ./m3amba-demo:
      m3amba-geo demo

    Into a folder of your choice:
      m3amba-geo demo ~/try-m3amba
"""


@command("demo", EXAMPLES)
@click.argument("folder", metavar="[DIR]", default="m3amba-demo", type=FILE)
@program_options()
@click.pass_obj
def demo(session: Session, folder: Path) -> None:
    """Trains, maps and evaluates a Landsat scene of North Carolina in a few minutes.

    DIR is made if it is not there (default: ./m3amba-demo); all that is written lies in it.
    """

    def work(emit: Listener) -> "DemoResults":
        from m3amba_geo.jobs import demo as job

        return job.run(folder, emit)

    session.run(work, record("Demo"))
