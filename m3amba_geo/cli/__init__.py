"""The command line: one file a command, all of them loaded only when they are asked for."""

import importlib
import keyword
import os
import sys
from collections.abc import Sequence

import click

from m3amba_geo import __version__
from m3amba_geo.cli.run import Session

COMMANDS = (
    "demo", "info", "train", "classify", "mosaic", "sample", "evaluate", "doctor", "import",
    "convert-published",
)  # fmt: skip


class Commands(click.Group):
    """Commands in the order in which a newcomer meets them, each imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command by its name, None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        name += "_" * keyword.iskeyword(name)
        module = importlib.import_module(f"m3amba_geo.cli.{name}")
        command: click.Command = getattr(module, name)
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    \b
    Examples:
      m3amba-geo demo
      m3amba-geo train vnir=b2.tif vnir=b3.tif vnir=b4.tif dem.tif --labels roi.shp
      m3amba-geo classify model.m3amba vnir=b2.tif vnir=b3.tif vnir=b4.tif dem.tif --out map.tif
      m3amba-geo evaluate map.tif --labels check.gpkg --html report.html

    Settings may also stand in a file m3amba.toml in the current folder; options override it.
    """,
)
@click.version_option(__version__, prog_name="m3amba-geo")
def commands() -> None:
    """Land-cover maps from several co-registered rasters and a file of ground truth."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        The exit status: 0 success, 1 internal error, 2 usage, 3 data or machine, 130 cancelled.
    """
    # OpenMP's idle threads must sleep, not spin, while the scan's own threads work: on a machine
    # with other work to do, spinning made a training step eight times slower. OpenMP reads this
    # when torch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with Session(json=_wants_json(given)) as session:
        return session.guard(lambda: _invoke(given, session))


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` is among the options: errors in the options themselves obey it, too."""
    for argument in arguments:
        if argument in ("--json", "--"):
            return argument == "--json"
    return False


def _invoke(arguments: list[str], session: Session) -> None:
    with commands.make_context("m3amba-geo", arguments, obj=session) as context:
        commands.invoke(context)
