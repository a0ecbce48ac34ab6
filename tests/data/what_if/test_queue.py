"""The queue of what-if runs, without anyone who works on it."""

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncEngine

from data.what_if import queue as runs

DOCUMENT = {"name": "A week", "start_date": "2027-03-01", "days": 1}


async def submitted(engine: AsyncEngine) -> str:
    async with engine.begin() as connection:
        return str((await runs.submit(connection, DOCUMENT, "A week", "someone")).id)


async def stopped(engine: AsyncEngine, key: str) -> str:
    async with engine.begin() as connection:
        status: str = (await runs.request_stop(connection, key)).status
        return status


async def test_a_queued_run_that_is_stopped_is_never_taken_up(engine: AsyncEngine) -> None:
    first, second = await submitted(engine), await submitted(engine)
    assert await stopped(engine, second) == "stopped"
    row = await runs.get(engine, second)
    assert (row.status, row.result, row.started_at) == ("stopped", None, None)
    assert isinstance(row.finished_at, dt.datetime)
    assert (await runs.events(engine, second, 0)) == ("stopped", [])
    async with runs.claim(engine) as claim:
        assert claim is not None
        assert claim.run_id == first
        assert await stopped(engine, first) == "running"  # its solver is told, and ends it
        assert await claim.is_to_stop()
        await claim.give_back()
    assert await stopped(engine, first) == "stopped"
    async with runs.claim(engine) as claim:
        assert claim is None
