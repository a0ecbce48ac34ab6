"""What is kept for a time only goes once it is over."""

import datetime as dt

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.events.events import Audience
from data.jobs.hourly import do_due_hours
from data.jobs.retention import CLEANER, clean

NOW = dt.datetime.now(dt.UTC)


async def test_what_is_over_goes_and_what_is_not_stays(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for statement in (
            "INSERT INTO idempotency_keys SELECT 'me', hours::text, '', 200, '',"
            " now() - make_interval(hours => hours) FROM unnest(ARRAY[23, 25]) AS hours",
            "INSERT INTO resource_days SELECT 'room', 'a', now()::date - days"
            " FROM unnest(ARRAY[-1, 0, 1, 4]) AS days",
            "INSERT INTO what_if_runs (id, name, document, status, actor, created_at, finished_at)"
            " SELECT gen_random_uuid(), status || days, '{}', status, 'me',"
            " now() - make_interval(days => days),"
            " CASE status WHEN 'queued' THEN NULL ELSE now() - make_interval(days => days) END"
            " FROM unnest(ARRAY['failed', 'queued']) AS status, unnest(ARRAY[6, 8]) AS days",
            "DELETE FROM job_runs",
            "INSERT INTO job_runs SELECT job, now() - make_interval(days => days)"
            " FROM unnest(ARRAY['a', 'b']) AS job, unnest(ARRAY[40, 50]) AS days",
        ):
            await connection.execute(text(statement))
    assert len(await do_due_hours(engine, CLEANER, clean(7), Audience())) == 1
    assert list(await do_due_hours(engine, CLEANER, clean(7), Audience())) == []
    async with engine.connect() as connection:

        async def left(query: str) -> list[object]:
            return sorted(await connection.scalars(text(query)))

        assert await left("SELECT key FROM idempotency_keys") == ["23"]
        assert len(await left("SELECT date FROM resource_days")) == 3
        assert await left("SELECT name FROM what_if_runs") == ["failed6", "queued6", "queued8"]
        days = "SELECT job || (now()::date - hour::date) FROM job_runs WHERE job IN ('a', 'b')"
        assert await left(days) == ["a40", "b40"]


async def test_a_row_that_someone_locks_is_left_for_the_next_hour(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO resource_days VALUES ('room', 'a', '2020-01-01')")
        )
    async with engine.connect() as other, engine.begin() as connection:
        await other.execute(text("SELECT * FROM resource_days FOR UPDATE"))
        await clean(7)(connection, NOW)
        query = text("SELECT count(*) FROM resource_days")
        assert await connection.scalar(query) == 1
