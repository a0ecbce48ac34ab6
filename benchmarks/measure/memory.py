"""Memory and processor time of a process and all that it started."""

from __future__ import annotations

import os
import re
import resource
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


def peak_mib(pid: int | str = "self") -> float:
    """Return a process's peak memory.

    What the system tells of a process's resources begins with what its parent had when it was
    started, so the process's own count is read where there is one.
    """
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found is not None:
            return round(int(found[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


class TreePeak:
    """The peak memory of this process and all that come from it while a block runs, in `mib`.

    Shared pages are counted once (proportional set size). Looked at four times a second; without
    ``/proc`` it is this process's own peak.
    """

    def __enter__(self) -> Self:
        self.mib = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self.mib = max(self.mib, peak_mib())

    def _watch(self) -> None:
        while not self._is_over.wait(0.25):
            self.mib = max(self.mib, tree_mib(os.getpid()))


def tree_mib(pid: int) -> float:
    """Return the memory of a process and all that come from it, shared pages counted once."""
    return sum(_pss_mib(each) for each in _tree(pid))


def tree_seconds(pid: int) -> float:
    """Return the processor time of a process and all that come from it and are still there."""
    return sum(_cpu_seconds(each) for each in _tree(pid))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                yield from _tree(int(child))


def _cpu_seconds(pid: int) -> float:
    with suppress(OSError):  # counted in nanoseconds, where /proc/PID/stat counts in hundredths
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return 0.0


def _pss_mib(pid: int) -> float:
    with suppress(OSError):
        found = re.search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0
