"""Any exception, explained as one of ours: what the user reads, and the exit status."""

import click

from m3amba_geo import errors
from m3amba_geo.errors import M3ambaError, UsageError


def explain(error: BaseException, *, cancelled: bool = False) -> M3ambaError:
    """Returns the error to report, those of the command line itself included; see `errors`."""
    if isinstance(error, click.ClickException) and not cancelled:
        return UsageError(error.format_message(), _where_to_look(error))
    return errors.explain(error, cancelled=cancelled)


def _where_to_look(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "m3amba-geo"
    return f"`{path} --help` shows how it is used."
