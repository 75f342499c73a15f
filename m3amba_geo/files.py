"""Outputs that are whole or absent, and names for the content of inputs."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m3amba_geo.errors import (
    DiskFullError,
    OutputError,
    OutputExistsError,
    OutputFolderError,
)

_SAMPLE = 1 << 20  # bytes read from either end of a large file for its fingerprint


def check_output(path: Path, *, overwrite: bool) -> None:
    """Makes sure, before any work is done, that `path` can be written.

    Raises:
        OutputFolderError: The folder is missing or not writable.
        OutputExistsError: The file exists and may not be replaced.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise OutputFolderError(
            f"The folder {folder} of the output {path.name} does not exist.",
            "Create the folder, or name another output.",
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise output_error(error, path) from error
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already.", "Add --overwrite to replace it, or name another output."
        )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; a clean exit makes it `path`, else it is removed.

    The file reaches the disk before it gets its name, so that a power loss leaves the old file or
    the new one, never half of one. The suffix is kept, since drivers go by it.

    Raises:
        OutputError: Writing failed (disk full, no permission), whatever library said so.
    """
    scratch = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield scratch
        with scratch.open("rb+") as handle:
            os.fsync(handle.fileno())
        scratch.replace(path)
    except OSError as error:
        raise output_error(error, path) from error
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file that is whole or absent."""
    with whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def output_error(error: OSError, path: Path) -> OutputError:
    """Returns our error for an operating system's error on writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputFolderError(
            f"{path.resolve().parent} is not writable: {error.strerror}.",
            "Choose a folder that you may write to.",
        )
    return OutputError(f"{path} can't be written: {error}.", "Check the disk and the path.")


def disk_full(path: Path) -> DiskFullError:
    """Returns the error for a full disk under `path`."""
    return DiskFullError(
        f"The disk is full: {path} could not be written.",
        "Free some space, or name an output on another disk; nothing half-written was left.",
    )


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a whole file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """Returns a name for a file's content that is cheap for any size.

    It is the SHA-256 of the size and of the first and last MiB: enough to notice another file,
    not proof against someone who wants to deceive.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    with path.open("rb") as handle:
        digest.update(handle.read(_SAMPLE))
        if size > _SAMPLE:
            handle.seek(max(_SAMPLE, size - _SAMPLE))
            digest.update(handle.read())
    return digest.hexdigest()
