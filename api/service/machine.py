"""What of the machine this process may use: cores, memory and files, as its container bounds them.

Linux keeps the bounds of a container in control groups, of which there are two generations; both
are read. Elsewhere the machine's own figures count.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


OWN = Path("/proc/self/cgroup")


MEMORY = Path("/proc/meminfo")


UNKNOWN_BYTES = 4 * 2**30
"""What is taken for free where the system does not tell."""


UNBOUNDED = 65_536
"""How many files are open at once, at most, where the system knows no bound."""


def cores(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Return how many cores this process may keep busy, at least one."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, math.floor(min([allowed, *_quotas(groups, own)])))


def free_memory(groups: Path = GROUPS, own: Path = OWN, memory: Path = MEMORY) -> int:
    """Return how many bytes this process and those it starts may still take."""
    free = [*_group_memory(groups, own)]
    with suppress(OSError, ValueError):
        lines = (line.split() for line in memory.read_text().splitlines())
        free += [int(words[1]) * 1024 for words in lines if words[:1] == ["MemAvailable:"]]
    return max(0, min(free, default=UNKNOWN_BYTES))


def raise_descriptors() -> int:
    """Let this process, and those it starts, open as many files and sockets as it may.

    Returns
    -------
    int
        How many that is.
    """
    if sys.platform == "win32":
        return UNBOUNDED
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return UNBOUNDED
    most = UNBOUNDED if hard == resource.RLIM_INFINITY else hard
    if most > soft:
        with suppress(OSError, ValueError):  # the system has bounds of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return most
    return soft


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Yield the cores that each control group around this process grants."""
    for folder in _folders(groups, own, ""):
        words = _words(folder / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            yield int(words[0]) / int(words[1])
    for folder in _folders(groups, own, "cpu"):
        quota = _number(folder / "cpu.cfs_quota_us")
        period = _number(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            yield quota / period


def _group_memory(groups: Path, own: Path) -> Iterator[int]:
    """Yield the bytes that each control group around this process has left."""
    for controller, limit, used, idle in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _folders(groups, own, controller):
            most, taken = _number(folder / limit), _number(folder / used)
            if most is not None and taken is not None:
                yield most - taken + _of_statistics(folder / "memory.stat", idle)


def _folders(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of those around it, the innermost first.

    `controller` is empty for the second generation, which has one tree for all.
    """
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if controller not in names.split(","):
                continue
            root = groups / names if names else groups
            if not root.is_dir():
                root = groups / controller
            inner = root / path.lstrip("/")
            yield from (f for f in (inner, *inner.parents) if f == root or root in f.parents)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    """Return the number that a file holds; None where it holds none, as for no limit."""
    words = _words(file)
    return int(words[0]) if words and words[0].lstrip("-").isdecimal() else None


def _of_statistics(file: Path, name: str) -> int:
    """Return the bytes of one figure: what the system gives back when memory is short."""
    words = _words(file)
    return int(words[words.index(name) + 1]) if name in words else 0
