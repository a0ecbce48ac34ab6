"""What one search may take: seconds, worker processes, columns of a model."""

from __future__ import annotations

import time
from collections.abc import Callable

from solver.planning.params import SearchParams


class Limits:
    """What one search may take, and whether that is used up.

    Parameters
    ----------
    time_limit
        Seconds, from now on.
    seed
        Of the random choices.
    workers
        Jobs that may run at once.
    should_stop
        Asked often; the search is over once it has answered true.
    params
        The constants of the search.

    Attributes
    ----------
    size_share
        Models may hold this share of the columns that `params` say; below 1 with little memory.
    """

    def __init__(
        self,
        time_limit: float,
        seed: int,
        workers: int,
        should_stop: Callable[[], bool] | None,
        params: SearchParams,
    ) -> None:
        self._began = time.perf_counter()
        self._should_stop = should_stop
        self.time_limit = time_limit
        self.seed = seed
        self.workers = workers
        self.params = params
        self.size_share = 1.0
        self.was_stopped = False

    @property
    def seconds(self) -> float:
        """Seconds since the search began."""
        return time.perf_counter() - self._began

    @property
    def seconds_left(self) -> float:
        """Seconds until the time limit."""
        return self.time_limit - self.seconds

    def is_over(self) -> bool:
        """Whether to end: asked to, or out of time."""
        return self.is_stopped() or self.seconds >= self.time_limit

    def is_stopped(self) -> bool:
        """Whether the caller has asked to stop."""
        if self._should_stop is not None and self._should_stop():
            self.was_stopped = True
        return self.was_stopped

    def most(self, columns: int) -> int:
        """Return how many columns a model may have that has `columns` where memory is plenty."""
        return int(columns * self.size_share)

    def part(self, time_limit: float) -> Limits:
        """Return the limits of a search for a part of the problem."""
        part = Limits(time_limit, self.seed, self.workers, self.is_stopped, self.params)
        part.size_share = self.size_share
        return part
