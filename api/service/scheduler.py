"""The service's hourly jobs.

Each is looked at every minute, and at the start: an hour that is not done yet, by this process or
another, is done then, so a missed hour is caught up and a failed one tried again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.ext.asyncio import AsyncEngine

from api.service import metrics
from api.service.settings import Settings
from data.audit import CALCULATOR, NO_SHOW_MARKER
from data.events.events import Audience
from data.jobs.hourly import Work, do_due_hours
from data.jobs.no_shows import mark_no_shows
from data.jobs.retention import CLEANER, clean
from data.statistics import keep_hours

LOOK_SECONDS = 60


log = structlog.get_logger(__name__)


class Job:
    """One job in this process."""

    def __init__(self, name: str, work: Work, engine: AsyncEngine, audience: Audience) -> None:
        self._name = name
        self._work = work
        self._engine = engine
        self._audience = audience
        self._is_failing = False
        self._at_work = asyncio.Lock()

    async def look(self) -> None:
        """Do what is due; a failure is one warning, however often it is repeated."""
        async with self._at_work:
            try:
                hours = await do_due_hours(self._engine, self._name, self._work, self._audience)
            except asyncio.CancelledError:  # the service stops, and with it the task
                return
            except Exception as error:
                if not self._is_failing:
                    log.warning("job_failed", job=self._name, error=type(error).__name__)
                self._is_failing = True
                metrics.job_ran(self._name, "failed")
                return
        self._is_failing = False
        metrics.job_ran(self._name, "done" if hours else "skipped")
        if hours:
            log.info("job_done", job=self._name, hours=len(hours))

    async def ended(self) -> None:
        """Wait until it is not at work."""
        async with self._at_work:
            pass


@asynccontextmanager
async def working(
    settings: Settings, engine: AsyncEngine, audience: Audience
) -> AsyncIterator[None]:
    """Do the jobs while the block lasts; one that is at work at the end is broken off."""
    works: dict[str, Work] = {
        NO_SHOW_MARKER: mark_no_shows(settings.no_show_grace_minutes),
        CALCULATOR: keep_hours,
        CLEANER: clean(settings.run_days),
    }
    scheduler: Any = AsyncIOScheduler(timezone=dt.UTC)
    jobs = [Job(name, work, engine, audience) for name, work in works.items()]
    for job in jobs:
        scheduler.add_job(
            job.look,
            "interval",
            seconds=LOOK_SECONDS,
            next_run_time=dt.datetime.now(dt.UTC),
            misfire_grace_time=None,
            coalesce=True,
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)
        for job in jobs:
            await job.ended()
