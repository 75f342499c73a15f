"""Disks that are small, full, or not to be written to; they need the right to mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096  # bytes; a tmpfs hands out whole pages


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no right to mount a file system here: {error}")


@contextmanager
def small_disk(folder: Path, pages: int) -> Iterator[Path]:
    """Makes `folder` a file system of so many pages."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def nearly_full(folder: Path, pages: int) -> Iterator[None]:
    """Fills a small disk up to so many free pages."""
    free = os.statvfs(folder).f_bavail
    filling = folder / "filling"
    filling.write_bytes(bytes((free - pages) * PAGE))
    assert os.statvfs(folder).f_bavail == pages
    try:
        yield
    finally:
        filling.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Takes the right to write into `folder`; for root, who has it always, by a mount."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    _run("mount", "--bind", folder, folder)
    try:
        _run("mount", "-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
