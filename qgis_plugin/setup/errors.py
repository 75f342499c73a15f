"""What can go wrong in a set-up, and how an installer's words are read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..translate import tr


class SetupError(Exception):
    """A set-up that did not succeed; what it had made is gone.

    Attributes:
        code: Stable name of the reason.
        message: What happened.
        hint: What to do.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint} [{code}]".replace("  ", " "))
        self.code = code
        self.message = message
        self.hint = hint


_NETWORK = re.compile(
    r"dns error|failed to lookup|name or service not known|temporary failure in name resolution"
    r"|failed to fetch|connection (refused|reset|timed out|broken)|network is unreachable"
    r"|no route to host|operation timed out|timeout|newconnectionerror|proxyerror"
    r"|ssl|certificate|client error|tunnel",
    re.IGNORECASE,
)
_DISK = re.compile(r"no space left|disk full|not enough space|quota exceeded", re.IGNORECASE)
_ABSENT = re.compile(
    r"no solution found|no matching distribution|could not find a version|not found in the"
    r"|no interpreter found",
    re.IGNORECASE,
)


def read_failure(lines: Iterable[str], offline: bool) -> SetupError:
    """Returns the error that an installer's last lines speak of."""
    told = [line.strip() for line in lines if line.strip()]
    text = "\n".join(told)
    last = " ".join(told[-6:])
    if _DISK.search(text):
        return SetupError(
            "disk-full",
            tr("The disk is full: {}").format(last),
            tr("Free some space and run the set-up again; finished downloads are kept."),
        )
    if _NETWORK.search(text) and not offline:
        return SetupError(
            "network",
            tr("The package index can't be reached: {}").format(last),
            tr(
                "Check network and proxy (HTTPS_PROXY) and run the set-up again; finished "
                "downloads are kept. Behind a mirror of the index, choose the build “index”. "
                "Without a network, name a folder of wheels."
            ),
        )
    if _ABSENT.search(text):
        where = tr("folder of wheels") if offline else tr("package index")
        return SetupError(
            "not-found",
            tr("A package is missing in the {}: {}").format(where, last),
            tr("The page on QGIS in the documentation says how to fill a folder of wheels.")
            if offline
            else tr("Name a folder of wheels, or the m3amba-geo wheel of the plugin's version."),
        )
    return SetupError("install", tr("The installation failed: {}").format(last), tr("See the log."))


_SECRETS = (
    (re.compile(r"(://)[^/@\s]+@"), r"\1***@"),
    (re.compile(r"(?i)((?:token|key|password|passwd|secret|signature|sig)=)[^&\s]+"), r"\1***"),
    (re.compile(r"(?i)((?:bearer|basic) )\S+"), r"\1***"),
)


def without_secrets(text: str) -> str:
    """Returns a line without user names, passwords and tokens of addresses."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
