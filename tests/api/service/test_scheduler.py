"""The jobs in the service process: started at once, stopped at once, tried again."""

import asyncio
import datetime as dt
from typing import Any

import orjson
import pytest
import structlog
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.testing import LogCapture
from structlog.typing import EventDict

from api.service import scheduler as jobs
from api.service.scheduler import Job, working
from api.service.settings import Settings
from data.audit import CALCULATOR, NO_SHOW_MARKER
from data.database.engine import create_engine
from data.events.events import Audience
from data.jobs.retention import CLEANER
from tests.support.fake_hub import nobody


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    capture = LogCapture()
    monkeypatch.setattr(jobs, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


EVERY_JOB = sorted([NO_SHOW_MARKER, CALCULATOR, CLEANER])


async def done(engine: AsyncEngine) -> list[str]:
    query = text("SELECT job FROM job_runs WHERE hour <= now() ORDER BY job")
    async with engine.connect() as connection:
        return list(await connection.scalars(query))


async def forget_what_was_done(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM job_runs"))


async def test_a_service_that_starts_does_what_is_due(engine: AsyncEngine) -> None:
    await forget_what_was_done(engine)
    async with working(Settings(), engine, Audience()), asyncio.timeout(20):
        while len(await done(engine)) < len(EVERY_JOB):
            await asyncio.sleep(0)
    assert await done(engine) == EVERY_JOB


async def test_a_service_that_stops_breaks_a_job_off(engine: AsyncEngine) -> None:
    await forget_what_was_done(engine)
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with engine.begin() as other, asyncio.timeout(20):
        await other.execute(text("LOCK TABLE job_runs"))
        async with working(Settings(), engine, Audience()):
            waiting = 0
            while not waiting:
                async with engine.connect() as connection:
                    waiting = (await connection.execute(query)).scalar_one()
    assert await done(engine) == []
    async with working(Settings(), engine, Audience()), asyncio.timeout(20):
        while len(await done(engine)) < len(EVERY_JOB):
            await asyncio.sleep(0)


async def test_a_job_that_fails_warns_once_and_is_tried_again(
    engine: AsyncEngine, logged: list[EventDict]
) -> None:
    tries = 0

    async def work(connection: AsyncConnection, since: dt.datetime) -> list[Row[Any]]:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise OSError("the disk is full")
        return []

    job = Job("trying", work, engine, Audience())
    for _ in range(6):
        await job.look()
    assert tries == 4
    assert [(e["event"], e["log_level"]) for e in logged] == [
        ("job_failed", "warning"),
        ("job_done", "info"),
    ]
    assert orjson.dumps(logged[0]).count(b"trying") == 1


async def test_a_database_that_is_away_is_one_warning(logged: list[EventDict]) -> None:
    engine = create_engine(nobody().replace("http", "postgresql"))

    async def work(connection: AsyncConnection, since: dt.datetime) -> list[Row[Any]]:
        raise AssertionError

    job = Job("trying", work, engine, Audience())
    for _ in range(3):
        await job.look()
    assert [e["event"] for e in logged] == ["job_failed"]
    await engine.dispose()
