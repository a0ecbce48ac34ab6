"""The progress of runs for all who watch: one look at the database serves them together."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from cachetools import LRUCache
from sqlalchemy.ext.asyncio import AsyncEngine

from api.http.errors import RateLimitedError
from data.errors import BusyError, NotFoundError
from data.what_if import queue as runs
from solver.whatif.run_result import ProgressEvent

POLL_SECONDS = 0.3
"""How often a run that somebody watches is looked at."""


MOST_STREAMS = 8
"""Streams that one caller may have open in a process."""


MOST_IN_ALL = 400
"""Streams that all callers together may have open in a process."""


MOST_RUNS = 64


MOST_EVENTS = 1000
"""Events kept of a run for those who watch it; who is further behind reads for himself."""


type News = tuple[str, list[tuple[int, ProgressEvent]]]
"""A run's status and its events, each with its number."""


class _Feed:
    """What is known of one run, with its events beyond the number `begin`."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.status = ""
        self.begin = -1
        self.events: deque[tuple[int, ProgressEvent]] = deque(maxlen=MOST_EVENTS)
        self.read_at = float("-inf")

    async def refresh(self, engine: AsyncEngine, run_id: str) -> None:
        """Read what is new, unless it has just been read or there can be nothing any more."""
        async with self.lock:
            is_fresh = time.monotonic() - self.read_at < POLL_SECONDS
            if is_fresh or self.status in runs.ENDED:
                return
            began = time.monotonic()
            if self.begin < 0:
                self.begin = await runs.last_event(engine, run_id)
            last = self.events[-1][0] if self.events else self.begin
            self.status, new = await runs.events(engine, run_id, last)
            for event in new:
                if len(self.events) == MOST_EVENTS:
                    self.begin = self.events[0][0]
                self.events.append(event)
            self.read_at = began


class RunFeeds:
    """The runs that somebody watches in this process, and who does."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._feeds: LRUCache[str, _Feed] = LRUCache(MOST_RUNS)
        self._open: Counter[str] = Counter()

    async def since(self, run_id: str, after: int) -> News:
        """Return a run's status and its events with a number above `after`.

        They are as of the last :data:`POLL_SECONDS`, however many ask. Once the status is an end,
        there is no event beyond those returned.

        Raises
        ------
        NotFoundError
            When there is no such run.
        """
        feed = self._feeds.get(run_id)
        if feed is None:
            feed = self._feeds[run_id] = _Feed()
        try:
            await feed.refresh(self._engine, run_id)
        except NotFoundError:
            self._feeds.pop(run_id, None)
            raise
        if after < feed.begin:
            return await runs.events(self._engine, run_id, after)
        first = bisect_right(feed.events, after, key=lambda event: event[0])
        return feed.status, [feed.events[number] for number in range(first, len(feed.events))]

    @contextmanager
    def watching(self, caller: str) -> Iterator[None]:
        """Count one stream of `caller` while the block lasts.

        Raises
        ------
        RateLimitedError
            When the caller has as many open as it may.
        BusyError
            When all callers together have.
        """
        if self._open[caller] >= MOST_STREAMS:
            raise RateLimitedError(
                f"At most {MOST_STREAMS} streams of events at once; close one first."
            )
        if self._open.total() >= MOST_IN_ALL:
            raise BusyError("Too many watch runs at this moment; please repeat the request.")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
