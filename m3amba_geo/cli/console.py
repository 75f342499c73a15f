"""What people see: a progress bar on a terminal, few plain lines in a pipe.

Events go to standard error; only results (tables, paths) go to standard output, so that
`m3amba-geo evaluate map.tif > table.txt` holds the table and nothing else.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from m3amba_geo.events import Artifact, Event, Failed, Note, Progress, Warned

QUIET = 30.0  # seconds between two plain lines of one phase
_PIPE_WIDTH = 120


class PipeConsole(Console):
    """A console that lets its caller know when nobody reads any more."""

    def on_broken_pipe(self) -> None:
        """Sends the rest nowhere, so that the interpreter's last flush is quiet, and tells.

        Raises:
            BrokenPipeError: Always.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """Returns a console; in a pipe it has no colours and a steady width."""
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    width = None if is_terminal or "COLUMNS" in os.environ else _PIPE_WIDTH
    return PipeConsole(stderr=stderr, width=width, highlight=False)


def for_people() -> "Plain":
    """Returns the output that fits where standard error goes."""
    console = make_console(stderr=True)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return Terminal(console) if is_terminal and not console.is_dumb_terminal else Plain(console)


class Plain:
    """Plain lines: what was decided, found and written, and now and then how far it is."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._said: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        """Takes one event; metrics are for programs: people are told in the words of the job."""
        match event:
            case Progress():
                self.progress(event)
            case Note():
                self.say(escape(event.message))
            case Warned():
                self.say(f"[yellow]warning \\[{event.code}]:[/] {escape(event.message)}")
            case Artifact():
                self.say(f"wrote {escape(event.path)} [dim]({escape(event.role)})[/]")
            case Failed():
                self.settle()
                self.fail(event)

    def show(self, render: Callable[[Console], None]) -> None:
        """Writes results to standard output, below whatever progress there was."""
        self.settle()
        render(make_console())

    def settle(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Lets go of the terminal."""
        self.settle()

    def say(self, markup: str) -> None:
        """Writes one line, never wrapped: paths stay whole."""
        self.console.print(markup, soft_wrap=True)

    def fail(self, event: Failed) -> None:
        """Writes what went wrong, and the remedy."""
        self.say(f"[bold red]error \\[{event.code}]:[/] {escape(event.message)}")
        if event.hint:
            self.say(f"[bold]hint:[/] {escape(event.hint)}")

    def progress(self, event: Progress) -> None:
        """Writes the end of a phase, and every half a minute how far it is."""
        now = time.monotonic()
        whole = event.total > 0 and event.done >= event.total
        if not whole and now - self._said.setdefault(event.phase, now) < QUIET:
            return
        self._said[event.phase] = now
        total = f"/{event.total}" if event.total else ""
        message = f", {event.message}" if event.message else ""
        self.say(escape(f"{event.phase}: {event.done}{total} {event.unit}{message}"))


class Terminal(Plain):
    """A bar for each phase; lines scroll above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def progress(self, event: Progress) -> None:
        """Moves the bar of a phase."""
        bars = self._bars or self._open()
        state: dict[str, Any] = {
            "completed": event.done,
            "total": event.total or None,
            "unit": escape(event.unit),
            "about": escape(event.message),
        }
        if event.phase in self._tasks:
            bars.update(self._tasks[event.phase], **state)
        else:
            self._tasks[event.phase] = bars.add_task(escape(event.phase), **state)
        if event.total and event.done >= event.total:
            del self._tasks[event.phase]  # the same phase of a next scene gets a bar of its own

    def settle(self) -> None:
        """Leaves the bars as they are."""
        if self._bars:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()

    def _open(self) -> Bars:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[about]}[/]"),
            console=self.console,
        )
        self._bars.start()
        return self._bars
