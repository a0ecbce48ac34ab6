"""Progress of runs for many who watch: shared, bounded, and only for those who still may."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.events.run_feeds import MOST_STREAMS, RunFeeds
from api.http.errors import RateLimitedError
from data.database.locks import RUN_LOCKS
from data.errors import NotFoundError
from data.what_if import queue as runs
from tests.support.strategies import uid

DOCUMENT = {"name": "A week", "start_date": "2027-03-01", "days": 1}


@contextlib.asynccontextmanager
async def waiting_run(engine: AsyncEngine) -> AsyncIterator[str]:
    """A run that nobody can take up while the block lasts."""
    async with engine.connect() as connection:
        row = await runs.submit(connection, DOCUMENT, "A week", "someone")
        lock = func.pg_advisory_lock(RUN_LOCKS, func.hashtext(str(row.id)))
        await connection.execute(select(lock))
        await connection.commit()
        try:
            yield str(row.id)
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock_all()"))


async def tell(engine: AsyncEngine, key: str, number: int) -> None:
    query = text(
        "INSERT INTO what_if_events (run_id, data)"
        " VALUES (:run, json_build_object('placed', CAST(:number AS int)))"
    )
    async with engine.begin() as connection:
        await connection.execute(query, {"run": key, "number": number})


async def test_one_look_serves_all_who_watch(engine: AsyncEngine) -> None:
    async with waiting_run(engine) as key:
        await tell(engine, key, 1)
        feeds = RunFeeds(engine)
        status, early = await feeds.since(key, 0)
        assert (status, [data["placed"] for _, data in early]) == ("queued", [1])
        seen = early[-1][0]
        await tell(engine, key, 2)
        asked: list[str] = []

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if "what_if_events" in statement:
                asked.append(statement)

        event.listen(engine.sync_engine, "before_cursor_execute", note)
        try:
            news: list[Any] = []
            while not news:
                told = await asyncio.gather(*(feeds.since(key, seen) for _ in range(200)))
                news = [new for _, new in told if new]
                await asyncio.sleep(0.05)  # between two looks
        finally:
            event.remove(engine.sync_engine, "before_cursor_execute", note)
        assert len(asked) <= 2
        assert {data["placed"] for new in news for _, data in new} == {2}
        assert len((await feeds.since(key, 0))[1]) == 2


async def test_a_number_beyond_all_events_spoils_nothing(engine: AsyncEngine) -> None:
    async with waiting_run(engine) as key:
        feeds = RunFeeds(engine)
        assert (await feeds.since(key, 2**63 - 1))[1] == []
        await tell(engine, key, 1)
        new: list[Any] = []
        while not new:
            _, new = await feeds.since(key, 0)
        assert new[0][1] == {"placed": 1}
    with pytest.raises(NotFoundError):
        await feeds.since(uid(9, 9), 0)


async def test_a_caller_has_few_streams(client: httpx.AsyncClient, engine: AsyncEngine) -> None:
    transport: Any = client._transport
    feeds: RunFeeds = transport.app.state.context.feeds
    async with waiting_run(engine) as key:
        with contextlib.ExitStack() as streams:
            for _ in range(MOST_STREAMS):
                streams.enter_context(feeds.watching("address:127.0.0.1"))
            with pytest.raises(RateLimitedError), feeds.watching("address:127.0.0.1"):
                pass
            refused = await client.get(f"/what-if/{key}/events")
            assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
            assert int(refused.headers["Retry-After"]) > 0
            with feeds.watching("address:127.0.0.2"):
                pass
        assert (await client.delete(f"/what-if/{key}")).json()["status"] == "stopped"
        ended = await client.get(f"/what-if/{key}/events")
        assert (ended.status_code, "event: end" in ended.text) == (200, True)
    assert not feeds._open


@pytest.mark.parametrize("number", ["abc", "-1", str(2**63), "9" * 23])
async def test_numbers_that_no_event_has(
    client: httpx.AsyncClient, engine: AsyncEngine, number: str
) -> None:
    async with waiting_run(engine) as key:
        answer = await client.get(f"/what-if/{key}/events", headers={"Last-Event-ID": number})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")


async def test_a_stream_ends_when_its_key_is_revoked(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    admin = (await client.post("/keys", json={"role": "admin", "name": "boss"})).json()
    as_admin = {"Authorization": f"Bearer {admin['key']}"}
    made = await client.post("/keys", json={"role": "viewer", "name": "wall"}, headers=as_admin)
    viewer = made.json()
    async with waiting_run(engine) as key:
        watch = client.get(
            f"/what-if/{key}/events",
            headers={"Authorization": f"Bearer {viewer['key']}"},
            timeout=60,
        )
        watching = asyncio.create_task(watch)
        feeds: RunFeeds = client._transport.app.state.context.feeds  # type: ignore[attr-defined]
        while not feeds._open:
            assert not watching.done()
            await asyncio.sleep(0.01)  # until the stream has begun
        revoked = await client.delete(f"/keys/{viewer['id']}", headers=as_admin)
        assert revoked.is_success
        answer = await asyncio.wait_for(watching, 60)
        assert "event: end" not in answer.text
    assert not feeds._open
