"""How much memory there is to work with: what is free, and what a container leaves of it."""

from contextlib import suppress
from pathlib import Path

import psutil

LEAST = 512  # MiB of working memory, however little is free
_SHARE = 4  # of what is free, one part
_MOST = 4096  # MiB; more brings nothing, blocks are seldom read again

# Limit, use, and the entry of memory.stat that says which part of the use can go at any time.
_CONTAINERS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def working_memory(asked: int | None) -> int:
    """Returns the MiB for pixels: what was asked for, or a quarter of what is free."""
    if asked is not None:
        return asked
    return min(max(free_memory() // 2**20 // _SHARE, LEAST), _MOST)


def free_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the bytes that a process may still take, in its container if it is in one."""
    rooms = [int(psutil.virtual_memory().available)]
    for limit, used, spare in _CONTAINERS:
        with suppress(OSError, ValueError):  # no such container, or "max"
            most = int((groups / limit).read_text())
            now = int((groups / used).read_text())
            stat = (groups / limit).with_name("memory.stat").read_text()
            entries = dict(line.split() for line in stat.splitlines())
            rooms.append(max(0, most - now + int(entries.get(spare, 0))))
    return min(rooms)
