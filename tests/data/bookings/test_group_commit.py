"""The booking desk: what waits at the same time is written together, each answered on its own."""

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.bookings.create import Details, Order
from data.bookings.decisions import Place, Policy
from data.bookings.group_commit import LARGEST, GroupCommit
from data.clinic.import_export import import_document
from data.database.engine import create_engine
from data.database.locks import lock_clinic, lock_days
from data.errors import BusyError, SlotUnavailableError
from data.events.events import Audience
from solver.scoring.parts import DEFAULT_WEIGHTS
from tests.support.clinics import PROVIDER, ROOM, TYPE, coming_monday, small_clinic
from tests.support.databases import left_open, until_stuck

MONDAY = coming_monday()


TUESDAY = MONDAY + dt.timedelta(days=1)


POLICY = Policy(dt.datetime.now(dt.UTC), DEFAULT_WEIGHTS, 365)


class Listener(Audience):
    """Remembers what it was told, by transaction."""

    def __init__(self) -> None:
        self.before: list[list[Any]] = []
        self.after: list[list[Any]] = []

    async def before_commit(self, connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
        assert connection.in_transaction()
        self.before.append([row.id for row in rows])

    def after_commit(self, rows: Sequence[Row[Any]]) -> None:
        self.after.append([row.id for row in rows])


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture
async def group_commit(engine: AsyncEngine, listener: Listener) -> GroupCommit:
    """A desk at a clinic of one provider and one room, open all day."""
    rows = [
        {"provider_id": PROVIDER, "weekday": day, "start_time": "00:00", "end_time": "24:00"}
        for day in (1, 2)
    ]
    await import_document(
        engine,
        orjson.dumps(small_clinic(availability=rows)),
        is_yaml=False,
        replace=True,
        today=dt.datetime.now(dt.UTC).date(),
    )
    return GroupCommit(engine, listener)


def order(start: int, day: dt.date = MONDAY, **details: Any) -> Order:
    return Order(Place(TYPE, PROVIDER, day, start, ROOM), Details(**details), POLICY)


async def all_booked(group_commit: GroupCommit, *orders: Order) -> list[Any]:
    """Bring orders at the same time; return the row or the error of each."""
    results = await asyncio.gather(*map(group_commit.book, orders), return_exceptions=True)
    return [each if isinstance(each, BaseException) else each[0] for each in results]


async def sizes(engine: AsyncEngine) -> list[int]:
    """How many bookings each transaction has written."""
    counts = text("SELECT count(*) FROM bookings GROUP BY xmin::text ORDER BY 1")
    async with engine.connect() as connection:
        return list((await connection.execute(counts)).scalars())


@pytest.mark.parametrize("number", [1, 2, LARGEST, LARGEST + 1, LARGEST + 9])
async def test_orders_that_wait_at_the_same_time_are_one_transaction(
    engine: AsyncEngine, group_commit: GroupCommit, listener: Listener, number: int
) -> None:
    starts = [30 * n for n in range(number)]
    rows = await all_booked(
        group_commit, *(order(start, patient_ref=f"p{start}") for start in starts)
    )
    assert [row.start_minute for row in rows] == starts
    assert [row.patient_ref for row in rows] == [f"p{start}" for start in starts]
    rest = [number - LARGEST] if number > LARGEST else []
    assert await sizes(engine) == [*rest, min(number, LARGEST)]
    ids = [row.id for row in rows]
    assert listener.before == listener.after == [ids[:LARGEST], ids[LARGEST:]][: 1 + len(rest)]


async def test_who_comes_first_is_served_first_and_only_what_is_booked_is_told(
    group_commit: GroupCommit, listener: Listener
) -> None:
    first, *others = await all_booked(group_commit, *[order(600)] * 5, order(615))
    assert all(isinstance(each, SlotUnavailableError) for each in others)
    assert listener.before == listener.after == [[first.id]]
    (late,) = await all_booked(group_commit, order(600))
    assert isinstance(late, SlotUnavailableError)
    assert len(listener.after) == 1


async def test_orders_that_come_meanwhile_go_together_into_the_next_transaction(
    engine: AsyncEngine, group_commit: GroupCommit
) -> None:
    async with left_open(engine) as other:
        await lock_days(other, [("provider", PROVIDER, MONDAY)])
        first = asyncio.create_task(group_commit.book(order(600)))
        await until_stuck(engine, first)
        meanwhile = [asyncio.create_task(group_commit.book(order(start))) for start in (0, 30, 60)]
        row, *_ = await group_commit.book(
            order(600, TUESDAY)
        )  # another date waits for none of them
        assert row.date == TUESDAY
        assert not first.done()
    await asyncio.gather(first, *meanwhile)
    assert await sizes(engine) == [1, 1, 3]


async def test_more_than_one_transaction_holds_wait_their_turn(
    engine: AsyncEngine, group_commit: GroupCommit, listener: Listener
) -> None:
    async with left_open(engine) as other:
        await lock_days(other, [("provider", PROVIDER, MONDAY)])
        early = [asyncio.create_task(group_commit.book(order(30 * n))) for n in range(LARGEST + 2)]
        await until_stuck(engine, early[0])
        late = [
            asyncio.create_task(group_commit.book(order(30 * n)))
            for n in range(LARGEST, LARGEST + 4)
        ]
        await asyncio.sleep(0)  # they have joined the queue
    rows = [row for row, *_ in await asyncio.gather(*early)]
    lost, lost_too, *last = await asyncio.gather(*late, return_exceptions=True)
    assert isinstance(lost, SlotUnavailableError)
    assert isinstance(lost_too, SlotUnavailableError)
    ids = [row.id for row in (*rows, *(each[0] for each in last if isinstance(each, tuple)))]
    assert listener.after == [ids[:LARGEST], ids[LARGEST:]]
    assert len(ids) == LARGEST + 4


async def test_who_has_gone_keeps_nobody_waiting(
    engine: AsyncEngine, group_commit: GroupCommit
) -> None:
    async with left_open(engine) as other:
        await lock_days(other, [("provider", PROVIDER, MONDAY)])
        going = asyncio.create_task(group_commit.book(order(600)))
        await until_stuck(engine, going)
        gone, staying, lost = (
            asyncio.create_task(group_commit.book(order(n))) for n in (0, 30, 45)
        )
        await asyncio.sleep(0)  # they have joined the queue
        going.cancel()
        gone.cancel()
    row, *_ = await staying
    assert row.start_minute == 30
    with pytest.raises(SlotUnavailableError):
        await lost
    for task in (going, gone):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await sizes(engine) == [1, 2]  # what was ordered is booked


async def test_what_one_order_breaks_costs_the_others_nothing(
    engine: AsyncEngine,
    group_commit: GroupCommit,
    listener: Listener,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "data.bookings.group_commit"):
        a, broken, b = await all_booked(group_commit, order(0), order(30, notes="\0"), order(60))
    assert isinstance(broken, DBAPIError)
    assert (a.start_minute, b.start_minute) == (0, 60)
    assert await sizes(engine) == [1, 1]
    assert sorted(listener.after) == sorted([[a.id], [b.id]])
    assert [record.getMessage() for record in caplog.records] == [
        "3 bookings are written one by one: <class 'sqlalchemy.exc.DBAPIError'>"
    ]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("LOCK_TIMEOUT", "100ms", BusyError), ("POOL_TIMEOUT_SECONDS", 1, PoolTimeoutError)],
)
async def test_what_keeps_a_transaction_waiting_is_told_to_all_at_once(
    database_url: str,
    group_commit: GroupCommit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    name: str,
    value: Any,
    error: type[Exception],
) -> None:
    monkeypatch.setattr(f"data.database.engine.{name}", value)
    hurried = create_engine(database_url, pool_size=2 if error is BusyError else 1)
    busy = GroupCommit(hurried, Audience())
    orders = [order(30 * n) for n in range(number)]
    async with left_open(hurried) as connection:
        await lock_clinic(connection)
        results = await all_booked(busy, *orders)
    assert [type(each) for each in results] == [error] * number
    assert not caplog.records  # none was tried again alone
    assert all(isinstance(each, Row) for each in await all_booked(busy, *orders))
    await hurried.dispose()
