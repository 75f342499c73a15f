"""Any exception, explained as one of ours: what the user reads, and the exit status."""

import errno

import click

from m3amba_geo.errors import (
    CancelledError,
    DiskFullError,
    M3ambaError,
    OutOfMemoryError,
    UsageError,
)

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # torch's words
_MEMORY_HINT = "Lower --batch, --memory or --size, or use a machine with more memory."
_CANCEL_HINT = (
    "Nothing half-written is left. A map goes on from its finished blocks when the same command is "
    "given again, a training that has saved its state with --resume."
)


def explain(error: BaseException, *, cancelled: bool = False) -> M3ambaError:
    """Returns the error to report.

    Args:
        error: What ended the job.
        cancelled: Whether the user asked for the end: whatever comes up after that, often an odd
            error from a library torn out of its work, is the consequence.
    """
    if isinstance(error, KeyboardInterrupt | CancelledError) or cancelled:
        return CancelledError("Cancelled.", getattr(error, "hint", "") or _CANCEL_HINT)
    if isinstance(error, M3ambaError):
        return error
    if isinstance(error, click.ClickException):
        return UsageError(error.format_message(), _where_to_look(error))
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" while writing {error.filename}" if error.filename else ""
        return DiskFullError(f"The disk is full{where}.", "Free some space, or write elsewhere.")
    if _is_memory(error):
        return OutOfMemoryError(f"Memory ran out: {_first_line(error)}", _MEMORY_HINT)
    return M3ambaError(
        f"Unexpected {type(error).__name__}: {_first_line(error)}",
        "This is a defect of m3amba-geo: please report it with the traceback on standard error.",
    )


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so in several ways, and must not be imported to ask."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _NO_MEMORY)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


def _where_to_look(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "m3amba-geo"
    return f"`{path} --help` shows how it is used."
