"""`m3amba-geo doctor`: what is installed, what computes, and how to mend what does not."""

from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import command, program_options
from m3amba_geo.cli.run import Session
from m3amba_geo.errors import MachineError
from m3amba_geo.events import Event, Listener, Progress

if TYPE_CHECKING:
    from rich.console import Console

    from m3amba_geo.jobs.doctor import Diagnosis

EXAMPLES = """
    Before the first training, or when something does not work:
      m3amba-geo doctor

    For a program:
      m3amba-geo doctor --json
"""

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@command("doctor", EXAMPLES)
@program_options()
@click.pass_obj
def doctor(session: Session) -> None:
    """Checks the installation, devices, scan backends, weights and disk.

    The exit status is 0 unless something fails.
    """

    def work(emit: Listener) -> "Diagnosis":
        from m3amba_geo.jobs import doctor as job

        return job.run(emit if session.json else _only_progress(emit))

    session.run(work, _render, _verdict)


def _only_progress(emit: Listener) -> Listener:
    """The table that follows says all the rest."""

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            emit(event)

    return listen


def _verdict(diagnosis: "Diagnosis") -> MachineError | None:
    failed = diagnosis.failures
    if not failed:
        return None
    return MachineError(
        f"What fails: {'; '.join(f'{check.name} ({check.detail})' for check in failed)}.",
        " ".join(check.remedy for check in failed),
    )


def _render(diagnosis: "Diagnosis", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for check in diagnosis.checks:
        detail = Text(check.detail)
        if check.remedy:
            detail.append(f"\n{check.remedy}", "dim")
        table.add_row(Text(check.status, _STYLES[check.status]), Text(check.name), detail)
    console.print(table)
