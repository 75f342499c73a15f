"""The processes of `torchrun` but the first: that one speaks for all."""

import os

from m3amba_geo.cli.jsonlines import JsonLines
from m3amba_geo.events import Event


def is_follower() -> bool:
    """Whether `torchrun` started this process, and another one is the first."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0"


class Follower(JsonLines):
    """Says nothing: the first process is told of errors and reports them, too.

    What libraries print goes to standard error, so that the standard output of all processes
    together is that of the first.
    """

    def emit(self, event: Event) -> None:
        """Does nothing."""
