"""Timing: repeats, and what is told of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Milliseconds over the repeats."""

    repeats: int
    median: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Timing:
        """Summarise a list of seconds."""
        ms = np.array(list(seconds)) * 1000
        median, p95, p99 = np.quantile(ms, [0.5, 0.95, 0.99]).round(3).tolist()
        return cls(len(ms), median, p95, p99)

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def time_each(calls: Iterable[Callable[[], object]], warm_up: int = 5) -> Timing:
    """Time each call once, after a few that do not count."""
    seconds = []
    gc.collect()
    for number, call in enumerate(calls):
        begin = time.perf_counter()
        call()
        if number >= warm_up:
            seconds.append(time.perf_counter() - begin)
    return Timing.of(seconds)
