"""Outputs that are whole or absent, and names for the content of inputs."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from m3amba_geo.errors import (
    DiskFullError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    OutputFolderError,
    UsageError,
)

ScratchOf = Callable[[Path], Path]
"""Gives an output its temporary name."""

_FULL = 1 << 16  # bytes; with less free, a write of any size may fail
_SAMPLE = 1 << 20  # bytes read from either end of a large file for its fingerprint
_NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP}  # of file systems that sync no folders


def check_output(path: Path, *, overwrite: bool) -> None:
    """Makes sure, before any work is done, that `path` can be written.

    Raises:
        OutputFolderError: The folder is missing or not writable.
        OutputExistsError: The file exists and may not be replaced.
        OutputError: There is a folder of that name.
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
    if path.is_dir():
        raise OutputError(f"{path} is a folder.", "Name a file for the output.")
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already.", "Add --overwrite to replace it, or name another output."
        )


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Makes sure that no output would take the place of an input, or of another output.

    Raises:
        UsageError: One would, whether it may be overwritten or not.
    """
    read = {path.resolve() for path in inputs}
    written: set[Path] = set()
    for path in outputs:
        target = path.resolve()
        if target in read:
            raise UsageError(
                f"{path} is an input of this command, and can't be its output.",
                "Name another output.",
            )
        if target in written:
            raise UsageError(
                f"Two outputs have the same name: {path}.", "Name a file of its own for each."
            )
        written.add(target)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; a clean exit makes it `path`, else it is removed.

    Raises:
        OutputError: Writing failed (disk full, no permission), whatever library said so.
    """
    with together() as scratch_of:
        yield scratch_of(path)


@contextmanager
def together() -> Iterator[ScratchOf]:
    """Yields a function that gives outputs temporary names; a clean exit makes all real, else none.

    Files reach the disk before they get their names, and the names before this returns, so that a
    power loss leaves the old files or the new ones, never half of one. Suffixes are kept, since
    drivers go by them.

    Raises:
        OutputError: Writing failed (disk full, no permission), whatever library said so.
    """
    scratches: dict[Path, Path] = {}

    def scratch_of(path: Path) -> Path:
        target = path.resolve()  # a link stays a link
        # A number of no process: those of two machines may write one file of shared storage.
        number = secrets.randbelow(10**12)
        name = f".{target.stem}.{number}.part{target.suffix}"  # as `drop_scratches` knows it
        return scratches.setdefault(target, target.with_name(name))

    try:
        yield scratch_of
        for scratch in scratches.values():
            with scratch.open("rb+") as handle:
                os.fsync(handle.fileno())
        for target, scratch in scratches.items():
            scratch.replace(target)
        for folder in dict.fromkeys(target.parent for target in scratches):
            sync_folder(folder)
    except OSError as error:
        if not scratches:  # it has nothing to do with them
            raise
        blamed = [t for t, s in scratches.items() if str(s) == error.filename] or [*scratches]
        raise output_error(error, blamed[0]) from error
    finally:
        for scratch in scratches.values():
            _drop(scratch)


@contextmanager
def locked(*paths: Path) -> Iterator[None]:
    """Keeps other runs from writing the same outputs for the time of a `with` block.

    The locks are the system's own: they go with the process, however it ends. A file that a killed
    process leaves behind as `.NAME.m3amba-lock` locks nothing, and the next run removes it.

    Raises:
        OutputBusyError: Another run has one of them.
        OutputError: The folder is not fit for a lock.
    """
    with ExitStack() as locks:
        for path in dict.fromkeys(path.resolve() for path in paths):
            lock = FileLock(path.with_name(f".{path.name}.m3amba-lock"), timeout=0)
            try:
                locks.enter_context(lock)
            except Timeout as error:
                raise OutputBusyError(
                    f"Another run is writing {path}.",
                    "Wait until it has ended, or name another output.",
                ) from error
            except OSError as error:
                raise output_error(error, path) from error
            locks.callback(_drop, Path(lock.lock_file))  # while it is held: see filelock
        yield


def drop_scratches(*paths: Path) -> None:
    """Removes what killed runs have left half-written beside outputs that are locked."""
    for path in paths:
        target = path.resolve()
        left = re.compile(rf"\.{re.escape(target.stem)}\.\d+\.part{re.escape(target.suffix)}")
        with suppress(PermissionError):  # a folder may be written, and not listed
            for found in target.parent.iterdir():
                if left.fullmatch(found.name):
                    _drop(found)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder outlast a power loss; Windows sees to that itself."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written, and not listed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(handle)


def _drop(path: Path) -> None:
    with suppress(OSError):  # on a read-only disk even that nothing is there is an error
        path.unlink()


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


def library_error(error: Exception, path: Path) -> OutputError:
    """Returns our error for a library's on writing `path`, where it does not say why.

    The half-written file must still be there, and fill the disk if that is the reason.
    """
    if shutil.disk_usage(path.resolve().parent).free < _FULL:
        return disk_full(path)
    return OutputError(
        f"{path} can't be written: {error.__cause__ or error}.", "Check the disk and the path."
    )


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
    """Returns a name for a file's or folder's content that is cheap for any size.

    Of a file it is the SHA-256 of the size and of the first and last MiB: enough to notice another
    file, not proof against someone who wants to deceive.
    """
    if path.is_dir():  # a file geodatabase, for example
        parts = sorted(part for part in path.rglob("*") if part.is_file())
        lines = [f"{part.relative_to(path).as_posix()} {fingerprint(part)}\n" for part in parts]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    with path.open("rb") as handle:
        digest.update(handle.read(_SAMPLE))
        if size > _SAMPLE:
            handle.seek(max(_SAMPLE, size - _SAMPLE))
            digest.update(handle.read())
    return digest.hexdigest()
