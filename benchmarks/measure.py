"""Measuring: figures with all their samples, so that one run can be held against another.

Beside what is measured runs the *yardstick*, a piece of work that never changes. A figure in
yardsticks means the same on a slow and on a fast machine, and on one that is busy with other
things for a while.
"""

from __future__ import annotations

import gc
import os
import re
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson

MACHINE_UNITS = {"ms": 1, "s": 1, "a second": -1}
"""Units that depend on the machine, and how they go with the time that a yardstick takes."""
YARDSTICK_EVERY = 20
"""Calls between two looks at the yardstick."""
BOX_SECONDS = 5.0
"""What one figure's calls may take, so that a suite keeps its time on a slow machine, too."""
FEWEST = 12
"""Calls that are timed in any case, however long they take."""
TOLERANCE = 0.1
"""By how much two runs of the same code may differ, beyond what their samples tell."""


@dataclass(frozen=True)
class Figure:
    """One thing measured.

    Attributes
    ----------
    group, label
        What it is of, and which of the group; together unique in a suite.
    unit
        ``ms``, ``s``, ``a second``, ``MiB`` or a count of something.
    samples
        In the order in which they were taken.
    size
        Where on the axis of a curve it lies; None if it is no point of a curve.
    more_is_better
        For rates and for what a plan reached.
    tolerance
        By how much it may become worse from one run to another; None keeps it out of comparisons.
    """

    group: str
    label: str
    unit: str
    samples: tuple[float, ...]
    size: float | None = None
    more_is_better: bool = False
    tolerance: float | None = TOLERANCE

    @property
    def median(self) -> float:
        """The median of the samples."""
        return float(np.median(self.samples))

    def quantile(self, share: float) -> float:
        """Return the value that `share` of the samples do not exceed."""
        return float(np.quantile(self.samples, share))

    def as_json(self) -> dict[str, Any]:
        """Return all of it, with what a reader looks at first."""
        return {
            "group": self.group,
            "label": self.label,
            "unit": self.unit,
            "median": round(self.median, 4),
            "p95": round(self.quantile(0.95), 4),
            "p99": round(self.quantile(0.99), 4),
            "repeats": len(self.samples),
            "size": self.size,
            "more_is_better": self.more_is_better,
            "tolerance": self.tolerance,
            "samples": [round(value, 4) for value in self.samples],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Figure:
        """Read what :meth:`as_json` wrote."""
        names = ("group", "label", "unit", "size", "more_is_better", "tolerance")
        return cls(**{name: row[name] for name in names}, samples=tuple(row["samples"]))


@dataclass(frozen=True)
class Ratio:
    """What is held against an aim, if there is one.

    Most are relations of two figures of one run, which hold on any machine; a few are times and
    rates that are asked for on two quiet cores.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it with whether the aim is met."""
        is_met = None
        if self.at_most is not None:
            is_met = self.value <= self.at_most
        elif self.at_least is not None:
            is_met = self.value >= self.at_least
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "at_most": self.at_most,
            "at_least": self.at_least,
            "is_met": is_met,
        }


@dataclass(frozen=True)
class Suite:
    """What a suite found out.

    Attributes
    ----------
    tables
        By title: rows of named cells, for what is no single figure.
    curves
        By title: lines by name, each a list of points ``[x, y]``.
    profiles
        By title: a call tree, ``{"name", "ms", "children"}``.
    texts
        By title: what is shown as it is, line by line.
    """

    figures: Sequence[Figure]
    ratios: Sequence[Ratio] = ()
    notes: Sequence[str] = ()
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def as_json(self, yardstick: Sequence[float]) -> dict[str, Any]:
        """Return all of it, with the milliseconds of the yardstick while it ran."""
        return {
            "ratios": [ratio.as_json() for ratio in self.ratios],
            "figures": [figure.as_json() for figure in self.figures],
            "notes": list(self.notes),
            "tables": self.tables,
            "curves": self.curves,
            "profiles": self.profiles,
            "texts": self.texts,
            "yardstick": [round(ms, 4) for ms in yardstick],
        }


class Meter:
    """Times things, and the yardstick between them; one for each suite.

    Parameters
    ----------
    quick
        Whether suites take the least that still tells something.
    new_database
        Returns the URL of an empty database.
    """

    def __init__(self, *, quick: bool, new_database: Callable[[], str]) -> None:
        self.quick = quick
        self.new_database = new_database
        self.yardstick: list[float] = []

    def look(self, times: int = 3) -> None:
        """Time the yardstick."""
        self.yardstick += [_timed(_yardstick) for _ in range(times)]

    def times(
        self,
        calls: Iterable[Callable[[], object]],
        *,
        warm_up: int = 5,
        at_most: float = BOX_SECONDS,
    ) -> tuple[float, ...]:
        """Return the milliseconds of each call, after a few that do not count.

        On a slow machine there are fewer: it ends after `at_most` seconds, but not before
        `FEWEST` are timed.
        """
        samples: list[float] = []
        gc.collect()
        begin = time.perf_counter()
        for number, call in enumerate(calls):
            if len(samples) >= FEWEST and time.perf_counter() - begin > at_most:
                break
            if number % YARDSTICK_EVERY == 0:
                self.look(1)
            ms = _timed(call)
            if number >= warm_up:
                samples.append(ms)
        return tuple(samples)


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


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def _yardstick() -> bytes:
    """Do what an answer is made of: objects, sorting, arrays, JSON; about two milliseconds."""
    rows = [
        {"id": number * 7919 % 4001, "at": number % 96, "name": "row"} for number in range(3000)
    ]
    rows.sort(key=lambda row: (row["at"], row["id"]))
    minutes = np.arange(40_000).reshape(200, 200)
    free = np.cumsum(minutes % 7 == 0, axis=1) > 3
    return orjson.dumps([rows[:500], int(free.sum())])
