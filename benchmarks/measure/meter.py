"""How fast this machine is at the moment, so that figures can be compared."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable

import numpy as np
import orjson

YARDSTICK_EVERY = 20
"""Calls between two looks at the yardstick."""


BOX_SECONDS = 5.0
"""What one figure's calls may take, so that a suite keeps its time on a slow machine, too."""


FEWEST = 12
"""Calls that are timed in any case, however long they take."""


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
