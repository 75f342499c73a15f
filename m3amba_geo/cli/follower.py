"""The processes of `torchrun` but the first: that one speaks for all."""

import os
import signal
import threading

from m3amba_geo.cli.jsonlines import JsonLines
from m3amba_geo.events import Event, Failed

PATIENCE = 10.0  # seconds that the first process has to say what is wrong, while we could end


def is_one_of_several() -> bool:
    """Whether `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_follower() -> bool:
    """Whether `torchrun` started this process, and another one is the first."""
    return is_one_of_several() and os.environ.get("RANK") != "0"


def outlast_others() -> None:
    """Lets a process that is done end by itself: `torchrun` stops the rest when one has failed."""
    if is_one_of_several():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Follower(JsonLines):
    """Says nothing: the first process is told of errors and reports them, too.

    What libraries print goes to standard error, so that the standard output of all processes
    together is that of the first.
    """

    def emit(self, event: Event) -> None:
        """Lets the first process speak of a failure: at our end `torchrun` would stop it."""
        if isinstance(event, Failed) and not self._cancellation.asked:
            stopped = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stopped.set())
            stopped.wait(PATIENCE)
