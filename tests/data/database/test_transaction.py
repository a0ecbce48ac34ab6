"""Transactions that others cross, block and outlast: run again, or given up in time."""

import asyncio
import datetime as dt
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine
from data.database.locks import DayKey, lock_days
from data.database.transaction import ChangedMeanwhileError, run
from data.errors import BusyError
from tests.support.databases import left_open, until_stuck

DAY = dt.date(2027, 3, 1)


RENAME = text("UPDATE clinic SET name = :name")


async def one(connection: AsyncConnection) -> int:
    number: int = (await connection.execute(text("SELECT 1"))).scalar_one()
    return number


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE behind a refusal."""
    assert isinstance(error.__cause__, DBAPIError)
    return getattr(error.__cause__.orig, "sqlstate", None)


# Run again


@pytest.mark.parametrize(("losses", "patience"), [(1, 60), (9, 60), (1, 0)])
async def test_what_lost_to_another_is_run_again_for_some_seconds(
    engine: AsyncEngine, losses: int, patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.database.transaction.PATIENCE_SECONDS", patience)
    attempts = 0

    async def rename(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(text("SELECT name FROM clinic"))
        if attempts <= losses:
            async with engine.begin() as other:
                await other.execute(RENAME, {"name": "other"})
        await connection.execute(RENAME, {"name": "mine"})

    if patience:
        await run(engine, rename)
    else:
        with pytest.raises(BusyError) as refused:
            await run(engine, rename)
        assert state_of(refused.value) == "40001"
    assert attempts == (losses + 1 if patience else 1)
    async with engine.connect() as connection:
        name = (await connection.execute(text("SELECT name FROM clinic"))).scalar_one()
    assert name == ("mine" if patience else "other")


async def test_what_loses_at_its_commit_is_run_again(engine: AsyncEngine) -> None:
    ends = 0
    serializable = text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    days = text("SELECT count(*) FROM resource_days")

    async def add_a_day(connection: AsyncConnection) -> None:
        nonlocal ends
        await connection.execute(serializable)
        await connection.execute(text("SELECT name FROM clinic"))
        await connection.execute(text("INSERT INTO resource_days VALUES ('room', 'a', now())"))
        if ends == 0:
            async with engine.begin() as other:
                await other.execute(serializable)
                await other.execute(days)
                await other.execute(RENAME, {"name": "other"})
        ends += 1

    await run(engine, add_a_day)
    assert ends == 2
    async with engine.connect() as connection:
        assert (await connection.execute(days)).scalar_one() == 1


async def test_the_victim_of_a_deadlock_is_run_again(
    engine: AsyncEngine, admin_engine: AsyncEngine
) -> None:
    engine = admin_engine  # whose sessions may say how soon a deadlock is looked for
    a: DayKey = ("room", "a", DAY)
    b: DayKey = ("room", "b", DAY)
    attempts = 0
    async with left_open(engine) as other:
        await other.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        await lock_days(other, [b])

        async def work(connection: AsyncConnection) -> None:
            nonlocal attempts
            attempts += 1
            await connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            await lock_days(connection, [a])
            if attempts == 1:
                crossing = asyncio.create_task(lock_days(other, [a]))
                await until_stuck(engine, crossing)
                try:
                    await lock_days(connection, [b])
                finally:
                    await connection.rollback()
                    await crossing
                    await other.commit()

        await run(engine, work)
    assert attempts == 2


async def test_what_was_seen_and_keeps_changing_is_given_up(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.database.transaction.PATIENCE_SECONDS", 0.2)
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        raise ChangedMeanwhileError

    with pytest.raises(BusyError) as refused:
        await run(engine, work)
    assert refused.value.detail == "The database is busy; please repeat the request."
    assert attempts > 1


# Given up in time


@pytest.fixture
async def hurried(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncEngine]:
    """An engine of one connection, on which every wait is over soon."""
    for name, value in (
        ("LOCK_TIMEOUT", "100ms"),
        ("STATEMENT_TIMEOUT", "1s"),
        ("IDLE_IN_TRANSACTION_TIMEOUT", "100ms"),
        ("POOL_TIMEOUT_SECONDS", 1),
    ):
        monkeypatch.setattr(f"data.database.engine.{name}", value)
    hurried = create_engine(database_url, pool_size=1)
    yield hurried
    await hurried.dispose()


async def test_no_wait_is_longer_than_a_request_may_take(engine: AsyncEngine) -> None:
    query = text(
        "SELECT name, setting::int AS setting FROM pg_settings WHERE name LIKE '%timeout%'"
    )
    async with engine.connect() as connection:
        set_to = {row.name: row.setting for row in await connection.execute(query)}
    assert 0 < set_to["lock_timeout"] < 5000
    assert 0 < set_to["idle_in_transaction_session_timeout"] <= 5000
    assert 0 < set_to["statement_timeout"] <= 10_000
    assert 0 < engine.pool.timeout() <= 5  # type: ignore[attr-defined]


async def test_a_lock_is_not_waited_for_for_long(engine: AsyncEngine, hurried: AsyncEngine) -> None:
    key: DayKey = ("room", "a", DAY)
    async with left_open(engine) as other:
        await lock_days(other, [key])
        with pytest.raises(BusyError) as refused:
            await run(hurried, lambda connection: lock_days(connection, [key]))
        assert state_of(refused.value) == "55P03"
        assert refused.value.detail == "The database is busy; please repeat the request."
    await run(hurried, lambda connection: lock_days(connection, [key]))


async def test_a_statement_that_takes_long_is_ended(hurried: AsyncEngine) -> None:
    with pytest.raises(BusyError) as refused:
        await run(hurried, lambda connection: connection.execute(text("SELECT pg_sleep(8)")))
    assert state_of(refused.value) == "57014"
    assert await run(hurried, one) == 1


async def test_a_transaction_left_idle_is_ended_and_its_locks_with_it(
    engine: AsyncEngine, hurried: AsyncEngine
) -> None:
    key: DayKey = ("room", "a", DAY)

    has_come_free = False

    async def work(connection: AsyncConnection) -> None:
        nonlocal has_come_free
        await lock_days(connection, [key])
        await run(engine, lambda other: lock_days(other, [key]))
        has_come_free = True
        await lock_days(connection, [key])

    with pytest.raises(BusyError):
        await run(hurried, work)
    assert has_come_free
    assert await run(hurried, one) == 1


async def test_a_connection_is_not_waited_for_for_long(hurried: AsyncEngine) -> None:
    async with left_open(hurried):
        with pytest.raises(PoolTimeoutError):
            await asyncio.wait_for(run(hurried, one), 10)
    assert await run(hurried, one) == 1


async def test_work_that_is_cancelled_leaves_nothing_behind(engine: AsyncEngine) -> None:
    key: DayKey = ("room", "a", DAY)
    has_locked = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await lock_days(connection, [key])
        has_locked.set()
        await asyncio.Event().wait()

    going = asyncio.create_task(run(engine, work))
    await has_locked.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    await run(engine, lambda connection: lock_days(connection, [key]))
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


# The database away


async def test_connections_that_died_while_idle_cost_nobody_a_request(
    engine: AsyncEngine, database_url: str
) -> None:
    pooled = create_engine(database_url, pool_size=3)
    barrier = asyncio.Barrier(3)

    async def pid(connection: AsyncConnection) -> int:
        number: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await barrier.wait()
        return number

    ended = text(
        "SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM unnest(CAST(:pids AS int[])) AS pid"
    )
    try:
        pids = await asyncio.gather(*(run(pooled, pid) for _ in range(3)))
        async with engine.begin() as connection:
            assert (await connection.execute(ended, {"pids": pids})).scalar_one()
        assert await asyncio.gather(*(run(pooled, one) for _ in range(3))) == [1, 1, 1]
    finally:
        await pooled.dispose()


async def test_a_connection_is_tried_in_one_round_trip(database_url: str) -> None:
    pooled = create_engine(database_url, pool_size=1)
    sent: list[str] = []
    try:
        async with pooled.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_query_logger(lambda record: sent.append(record.query))
        assert await run(pooled, one) == 1
    finally:
        await pooled.dispose()
    assert sent == [";", "BEGIN;", "COMMIT;"]


async def test_a_transaction_whose_connection_is_cut(engine: AsyncEngine) -> None:
    key: DayKey = ("room", "a", DAY)
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE cardinality(pg_blocking_pids(pid)) > 0"
    )
    async with left_open(engine) as other:
        await lock_days(other, [key])
        work = asyncio.create_task(run(engine, lambda own: lock_days(own, [key])))
        await until_stuck(engine, work)
        await other.execute(cut)
        with pytest.raises(BusyError):
            await work
    await run(engine, lambda own: lock_days(own, [key]))


async def test_no_connection_left(admin_engine: AsyncEngine, database_url: str) -> None:
    async with admin_engine.begin() as connection:
        await connection.execute(text("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0"))
    crowded = create_engine(make_url(database_url).set(username="crowded").render_as_string())
    with pytest.raises(BusyError) as refused:
        await run(crowded, one)
    assert state_of(refused.value) == "53300"
    async with admin_engine.begin() as connection:
        await connection.execute(text("DROP ROLE crowded"))


async def test_a_connection_that_ends_while_it_is_made(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    engine = create_engine(f"postgresql://postgres@/postgres?host={tmp_path}")
    async with await asyncio.start_unix_server(hang_up, tmp_path / ".s.PGSQL.5432"):
        with pytest.raises(BusyError) as refused:
            await run(engine, one)
    assert state_of(refused.value) == "08003"
    await engine.dispose()


async def test_a_server_that_crashes_and_one_that_shuts_down(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        engine = create_engine(server.admin_url)

        async def crash(connection: AsyncConnection) -> None:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            os.kill(pid, signal.SIGKILL)
            await one(connection)

        with pytest.raises(BusyError):
            await run(engine, crash)
        await until_it_answers(engine)
        other = create_engine(server.admin_url)
        async with left_open(engine) as staying:  # keeps the server up until it has ended
            assert server.pid is not None
            os.kill(server.pid, signal.SIGTERM)
            with pytest.raises(BusyError) as refused:
                await connect_on_and_on(other)
            assert state_of(refused.value) == "57P03"
            assert await one(staying) == 1
        await until_it_answers(engine)
        await other.dispose()
        await engine.dispose()


async def connect_on_and_on(engine: AsyncEngine) -> None:
    """Ask for a new connection until there is none to be had."""
    deadline = time.monotonic() + 20
    while await run(engine, one):
        await engine.dispose()
        assert time.monotonic() < deadline


async def until_it_answers(engine: AsyncEngine) -> None:
    """Wait for the database to be back; until then a request is refused, and cleanly."""
    deadline = time.monotonic() + 20
    while True:
        try:
            await run(engine, one)
        except (BusyError, OSError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)  # between two tries
        else:
            return


# Locks


async def test_days_are_locked_in_one_order(engine: AsyncEngine) -> None:
    keys: list[DayKey] = [
        (kind, resource, DAY + dt.timedelta(days=ahead))
        for kind in ("patient", "provider", "room")
        for resource in ("a", "b")
        for ahead in range(2)
    ]
    free = text(
        "SELECT kind, resource, date FROM resource_days ORDER BY 1, 2, 3 FOR UPDATE SKIP LOCKED"
    )
    await run(engine, lambda own: lock_days(own, keys))
    mixed = random.Random(1).sample(keys, len(keys))
    async with left_open(engine) as other:
        await lock_days(other, [keys[6]])
        work = asyncio.create_task(run(engine, lambda own: lock_days(own, mixed)))
        await until_stuck(engine, work)
        async with engine.connect() as third:
            assert [tuple(row) for row in await third.execute(free)] == keys[7:]
    await work


async def test_a_day_nobody_has_locked_before_is_locked(engine: AsyncEngine) -> None:
    key: DayKey = ("room", "a", DAY)
    async with left_open(engine) as other:
        await lock_days(other, [key])
        work = asyncio.create_task(run(engine, lambda own: lock_days(own, [key])))
        await until_stuck(engine, work)
        assert not work.done()
    await work
