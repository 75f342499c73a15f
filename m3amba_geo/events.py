"""What a job tells its caller while it runs: frozen records, one callback.

A job takes a `Listener` and calls it with events; it never prints. The command line turns events
into a progress bar or, with `--json`, into one JSON object a line (see docs/backend-protocol.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class Event:
    """Base of all events; `name` is the value of the key `event` in JSON."""

    name: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Returns the object that the protocol writes."""
        return {"v": PROTOCOL_VERSION, "event": self.name} | asdict(self)


@dataclass(frozen=True)
class Started(Event):
    """The job has accepted its options."""

    name = "started"
    job: str
    version: str


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` units of a phase are ready."""

    name = "progress"
    phase: str
    done: int
    total: int
    unit: str
    message: str = ""


@dataclass(frozen=True)
class Metric(Event):
    """A measured value; shares (accuracies) lie in 0..1."""

    name = "metric"
    metric: str
    value: float
    step: int | None = None


@dataclass(frozen=True)
class Note(Event):
    """Something decided or found that a log should hold."""

    name = "note"
    message: str


@dataclass(frozen=True)
class Warned(Event):
    """Something that the user should know; `code` is stable."""

    name = "warning"
    code: str
    message: str


@dataclass(frozen=True)
class Artifact(Event):
    """A file is complete at its final path."""

    name = "artifact"
    path: str
    role: str


@dataclass(frozen=True)
class Done(Event):
    """Last event of a job that succeeded."""

    name = "done"
    results: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed(Event):
    """Last event of a job that did not."""

    name = "failed"
    code: str
    message: str
    hint: str


Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A listener for callers that want results only."""
