"""What the backend says, understood: one stream of events in, one ending out.

The backend writes one JSON object a line, `{"v": 1, "event": ...}`, and exactly one last event,
`done` or `failed`. Standard library only; Python 3.9, which QGIS 3.22 ships on Windows.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .translate import tr

VERSION = 1
CANCEL_LINE = '{"cancel":true}\n'
LAST_EVENTS = ("done", "failed")

EXIT_CODES: Mapping[int, str] = {
    0: "success",
    1: "internal error",
    2: "usage error",
    3: "error in the data or the environment",
    130: "cancelled",
}


def out_of_memory_hint() -> str:
    """Returns what to do where memory ran out."""
    return tr(
        "Lower the working memory, or the windows or patches a step; close other programs, choose "
        "a smaller size of the network, or use a machine with more memory."
    )


@dataclass(frozen=True)
class Event:
    """One thing the backend said; `fields` are those of `m3amba_geo.events`."""

    name: str
    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        """Returns a field as text, empty where it is missing."""
        value = self.fields.get(key)
        return "" if value is None else str(value)

    def number(self, key: str) -> float:
        """Returns a field as a number, 0 where it is missing or none."""
        value = self.fields.get(key)
        return float(value) if isinstance(value, (int, float)) else 0.0


@dataclass(frozen=True)
class Ending:
    """How a job ended. `code`, `message` and `hint` are empty where it is `done`."""

    status: Literal["done", "failed", "cancelled"]
    results: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    hint: str = ""


def parse_line(line: str) -> Event | None:
    """Returns the event of a line, None for a foreign line (a library's chatter, half a line)."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if (
        not isinstance(record, dict)
        or not isinstance(record.get("event"), str)
        or "v" not in record
    ):
        return None
    return Event(record["event"], record)


class EventStream:
    """Takes the lines of one job in order and knows, at the end, how it ended."""

    def __init__(self) -> None:
        self._last: Event | None = None
        self._said_more = False
        self._other_version: object = None

    def feed(self, line: str) -> Event | None:
        """Returns the event of a line; None for foreign lines and whatever follows the last one."""
        event = parse_line(line)
        if event is None:
            return None
        if event.fields["v"] != VERSION:
            self._other_version = event.fields["v"]
            return None
        if self._last is not None:
            self._said_more = True
            return None
        if event.name in LAST_EVENTS:
            self._last = event
        return event

    def end(self, exit_code: int, cancelled: bool = False) -> Ending:
        """Returns the ending, once the process has ended.

        Args:
            exit_code: As `subprocess` gives it: negative for the signal that ended the process.
            cancelled: Whether the caller asked the job to stop.
        """
        last = self._last
        if self._said_more:
            return _broken("It went on after its last event.")
        if last is None:
            return self._end_without_word(exit_code, cancelled)
        if last.name == "failed":
            code = last.text("code") or "internal"
            status: Literal["failed", "cancelled"] = (
                "cancelled" if code == "cancelled" else "failed"
            )
            return Ending(status, {}, code, last.text("message"), last.text("hint"))
        if exit_code != 0:
            return _broken(f"It said that it was done, but ended with {describe_exit(exit_code)}.")
        results = last.fields.get("results")
        return Ending("done", results if isinstance(results, Mapping) else {})

    def _end_without_word(self, exit_code: int, cancelled: bool) -> Ending:
        if cancelled or exit_code == 130:
            return Ending("cancelled", {}, "cancelled", "The job was cancelled.")
        if self._other_version is not None:
            return _broken(f"It speaks version {self._other_version}, the plugin {VERSION}.")
        if exit_code in (1, 2, 3):
            code = "usage" if exit_code == 2 else "internal"
            message = tr("The backend stopped: {}.").format(describe_exit(exit_code))
            return Ending("failed", {}, code, message, tr("See the last lines of its log."))
        message = tr(
            "The backend was stopped before it could finish: probably out of memory ({})."
        ).format(describe_exit(exit_code))
        return Ending("failed", {}, "out-of-memory", message, out_of_memory_hint())


def describe_exit(exit_code: int) -> str:
    """Returns what an exit code of the backend means, in words."""
    if exit_code < 0:
        try:
            return f"signal {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"signal {-exit_code}"
    meaning = EXIT_CODES.get(exit_code, "unknown")
    return f"exit code {exit_code}, {meaning}"


def _broken(what: str) -> Ending:
    return Ending(
        "failed",
        {},
        "protocol",
        tr("The plugin can't understand the backend. {}").format(what),
        tr("Install the plugin and m3amba-geo in the same version."),
    )
