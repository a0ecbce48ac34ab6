"""What the service measures, as Prometheus reads it at ``/metrics``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from solver.slots.search import SlotPage

SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Where several processes of one service put their figures together; the library's variable."""


LOOK_SECONDS = 1.0
"""How often a process looks at its connections, so that any other can tell of them."""


REQUESTS = Histogram(
    "slotwright_request_seconds",
    "Seconds from a request to the end of its answer, by route and status",
    ["method", "route", "status"],
)


CANDIDATES = Histogram(
    "slotwright_slot_candidates",
    "Candidates of a slot query: before and after the interval masks",
    ["stage"],
    buckets=(0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7),
)


SOLVES = Histogram(
    "slotwright_solve_seconds",
    "Seconds of masks and solver for one slot query",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)


BOOKINGS = Counter(
    "slotwright_bookings",
    "Placements asked for: won, or refused for a reason",
    ["outcome"],
)


POOL = Gauge(
    "slotwright_pool_connections",
    "Database connections of the service, in use and open",
    ["state"],
    multiprocess_mode="livesum",
)


JOBS = Counter("slotwright_job_runs", "Runs of background jobs", ["job", "outcome"])


WON = "won"


def forget_the_dead(directory: Path) -> None:
    """Leave out what processes have now that are gone; what they counted stays."""
    for path in directory.glob("gauge_live*_*.db"):
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def watching(engine: AsyncEngine) -> AsyncIterator[None]:
    """Measure, while the block lasts, how many connections there are."""

    async def watch() -> None:
        while True:
            see_pool(engine)
            await asyncio.sleep(LOOK_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def see_pool(engine: AsyncEngine) -> None:
    """Measure how many of an engine's connections are in use, and how many are open."""
    pool = engine.pool
    if isinstance(pool, QueuePool):
        POOL.labels("in_use").set(pool.checkedout())
        POOL.labels("open").set(pool.checkedin() + pool.checkedout())


def slots_found(page: SlotPage) -> None:
    """Count the candidates of one slot query and those that the masks passed."""
    CANDIDATES.labels("before").observe(page.candidates)
    CANDIDATES.labels("after").observe(page.total)


def booking_won() -> None:
    """Count a placement that was won."""
    BOOKINGS.labels(WON).inc()


def booking_refused(reasons: Iterable[str]) -> None:
    """Count a placement that was refused, once for each reason."""
    for reason in reasons:
        BOOKINGS.labels(reason).inc()


def job_ran(job: str, outcome: str) -> None:
    """Count a run of a background job; `outcome` is ``done``, ``skipped`` or ``failed``."""
    JOBS.labels(job, outcome).inc()
