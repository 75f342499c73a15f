"""One run of the command line: from the first event to the exit status."""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import methodcaller
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import click

from m3amba_geo.cli.cancel import Cancellation
from m3amba_geo.cli.failure import explain
from m3amba_geo.cli.follower import Follower, is_follower, outlast_others
from m3amba_geo.errors import CancelledError, M3ambaError
from m3amba_geo.events import Done, Event, Failed, Listener, Progress

if TYPE_CHECKING:
    from rich.console import Console


class Output(Protocol):
    """Where events go."""

    def emit(self, event: Event) -> None:
        """Takes one event."""

    def show(self, render: "Callable[[Console], None]") -> None:
        """Shows results to people."""

    def settle(self) -> None:
        """Stops whatever moves, so that others may write."""

    def close(self) -> None:
        """Lets go of the terminal or of standard output."""


R = TypeVar("R")


def record(title: str) -> "Callable[[Any, Console], None]":
    """Returns what shows results to people as a titled list of their JSON."""

    def render(results: Any, console: "Console") -> None:  # noqa: ANN401 - anything with to_json
        from m3amba_geo.cli.tables import show_record

        show_record(console, title, results.to_json())

    return render


class Session:
    """Frames a job: `done` or `failed` after all that it says itself, and the exit status.

    Attributes:
        json: Whether a program listens, not a person.
        cancellation: The user's wish to end.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.cancellation = Cancellation()
        self._output: Output | None = None

    def __enter__(self) -> Self:
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        self.cancellation.__enter__()
        if self.json or is_follower():
            self._open_output()  # at once: standard output must stay pure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._output:
            self._output.close()
        self.cancellation.__exit__(kind, error, trace)
        outlast_others()

    def run(
        self,
        work: Callable[[Listener], R],
        render: "Callable[[R, Console], None]",
        verdict: Callable[[R], M3ambaError | None] = lambda _: None,
        to_json: Callable[[R], Mapping[str, Any]] = methodcaller("to_json"),
    ) -> None:
        """Runs a job to its last event but `failed`, which is `guard`'s.

        Args:
            work: The job, given the listener; returns its results.
            render: Writes the results for people.
            verdict: Says of the results whether they are a failure of the command.
            to_json: Turns the results into what the `done` event carries.
        """
        results = work(self._emit)
        self._show(lambda console: render(results, console))
        if failure := verdict(results):
            raise failure
        self.cancellation.close()
        self._emit(Done(to_json(results)))

    def guard(self, work: Callable[[], None]) -> int:
        """Runs a command and returns its exit status, whatever happens."""
        try:
            work()
        except click.exceptions.Exit as ending:
            return ending.exit_code
        except BaseException as error:
            return self._fail(error)
        return 0

    def _emit(self, event: Event) -> None:
        try:
            self._open_output().emit(event)
        except BrokenPipeError as error:
            raise CancelledError("Nobody reads the output any more.") from error
        if isinstance(event, Progress):
            self.cancellation.check()

    def _show(self, render: "Callable[[Console], None]") -> None:
        with suppress(BrokenPipeError):  # `| head` has read enough; the job itself is done
            self._open_output().show(render)

    def _fail(self, error: BaseException) -> int:
        self.cancellation.close()
        known = explain(error, cancelled=self.cancellation.asked)
        with suppress(OSError):
            self._open_output().settle()
            if known.code == M3ambaError.code:
                traceback.print_exception(error)
            self._open_output().emit(Failed(known.code, str(known), known.hint))
        return known.exit_status

    def _open_output(self) -> Output:
        """Returns the output; `--help` never needs one, nor the time to load it."""
        if self._output is None and is_follower():
            self._output = Follower(self.cancellation)
        elif self._output is None and self.json:
            from m3amba_geo.cli.jsonlines import JsonLines

            self._output = JsonLines(self.cancellation)
        elif self._output is None:
            from m3amba_geo.cli.console import for_people

            self._output = for_people()
        return self._output
