"""What the constraints guard of a booking follows its type, in both directions."""

import asyncio
import datetime as dt
import random
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.clinic import guards, rows
from data.clinic.import_export import import_document
from data.clinic.resources import RESOURCES
from data.errors import ImportConflictError
from data.events.events import Audience
from data.jobs.guard_keeper import KEEPER, keep_guards
from data.jobs.hourly import do_due_hours
from tests.support.clinics import TYPE, booking, coming_monday, small_clinic
from tests.support.strategies import uid

MONDAY = coming_monday()


TODAY = dt.datetime.now(dt.UTC).date()


SHORT = uid(3, 1)


KINDS = [
    {"id": TYPE, "name": "Visit", "duration_minutes": 30},
    {"id": SHORT, "name": "Short", "duration_minutes": 15},
]


async def bring(engine: AsyncEngine, *, replace: bool = True, **changes: Any) -> None:
    document = small_clinic(**{"appointment_types": KINDS} | changes)
    await import_document(
        engine, orjson.dumps(document), is_yaml=False, replace=replace, today=TODAY
    )


async def resize(engine: AsyncEngine, minutes: int) -> None:
    types = RESOURCES["appointment_types"]
    await rows.patch(engine, types, TYPE, {"duration_minutes": minutes})


async def settled() -> None:
    while guards.AT_WORK:
        await asyncio.gather(*guards.AT_WORK)


async def guarded(engine: AsyncEngine) -> dict[str, int]:
    """The minutes that each booking is guarded for."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT id, end_minute - start_minute FROM bookings"))
        return {str(key): minutes for key, minutes in found}


async def every_hour(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM job_runs WHERE job = :job"), {"job": KEEPER})
    assert await do_due_hours(engine, KEEPER, keep_guards(engine), Audience())
    await settled()


def in_between(number: int = 1, start: str = "09:15", **changes: Any) -> dict[str, Any]:
    return booking(number, MONDAY, start, appointment_type_id=SHORT, **changes)


async def test_a_type_that_was_shorter_for_a_while_guards_as_before(engine: AsyncEngine) -> None:
    await bring(engine, bookings=[booking(0, MONDAY, "09:00")])
    for minutes in (15, 30):
        await resize(engine, minutes)
    assert await guarded(engine) == {uid(5, 0): 30}
    with pytest.raises(ImportConflictError):
        await bring(engine, replace=False, bookings=[in_between()])


@pytest.mark.parametrize("at_once", [7, 1000])
async def test_guards_grow_as_far_as_nothing_stands_in_the_way(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(guards, "GUARDS_AT_ONCE", at_once)
    chance = random.Random(5)
    days = [MONDAY, MONDAY + dt.timedelta(days=1), TODAY - dt.timedelta(days=9)]
    taken: set[tuple[Any, ...]] = set()
    book: list[dict[str, Any]] = []
    for number in range(240):
        day, start = chance.choice(days), chance.randrange(0, 1440, 10)
        provider, room = chance.randrange(3), chance.randrange(3)
        if {("p", provider, day, start), ("r", room, day, start)} & taken:
            continue
        taken |= {("p", provider, day, start), ("r", room, day, start)}
        places = {"provider_id": uid(1, provider), "room_id": uid(2, room)}
        marks = {
            "status": chance.choice(["booked", "booked", "booked", "completed", "cancelled"]),
            "is_overbooked": chance.random() < 0.2,
            "appointment_type_id": chance.choice([TYPE, TYPE, SHORT]),
        }
        clock = f"{start // 60:02d}:{start % 60:02d}"
        book.append(booking(number, day, clock, **places, **marks))
    kinds = [{"id": TYPE, "name": "Visit", "duration_minutes": 10}, KINDS[1]]
    kinds[1] = kinds[1] | {"duration_minutes": 5}
    await bring(
        engine,
        providers=[{"id": uid(1, n), "name": f"P{n}"} for n in range(3)],
        rooms=[{"id": uid(2, n), "name": f"R{n}"} for n in range(3)],
        appointment_types=kinds,
        availability=[],
        bookings=book,
    )
    async with engine.connect() as connection:
        query = text("SELECT id, version, updated_at FROM bookings ORDER BY id")
        before = (await connection.execute(query)).all()
    await resize(engine, 25)
    await settled()

    def begins(row: dict[str, Any]) -> int:
        hour, minute = row["start_time"].split(":")
        day = dt.date.fromisoformat(row["date"]).toordinal()
        return day * 1440 + int(hour) * 60 + int(minute)

    def is_in_the_way(one: dict[str, Any], other: dict[str, Any]) -> bool:
        if "cancelled" in (one["status"], other["status"]):
            return False
        return begins(one) < begins(other) < begins(one) + 25 and (
            one["room_id"] == other["room_id"]
            or (
                one["provider_id"] == other["provider_id"]
                and not one["is_overbooked"]
                and not other["is_overbooked"]
            )
        )

    expected = {
        row["id"]: 5
        if row["appointment_type_id"] == SHORT
        else 10
        if any(is_in_the_way(row, other) for other in book)
        else 25
        for row in book
    }
    assert {10, 25} <= set(expected.values())
    assert await guarded(engine) == expected
    async with engine.connect() as connection:
        assert (await connection.execute(query)).all() == before
    await resize(engine, 10)
    await settled()
    assert set((await guarded(engine)).values()) == {5, 10}


async def test_a_guard_grows_within_the_hour_once_nothing_is_in_its_way(
    engine: AsyncEngine,
) -> None:
    await bring(engine, bookings=[booking(0, MONDAY, "09:00")])
    await resize(engine, 15)
    await bring(engine, replace=False, appointment_types=[], bookings=[in_between()])
    await resize(engine, 30)
    assert await guarded(engine) == {uid(5, 0): 15, uid(5, 1): 15}
    await every_hour(engine)
    assert await guarded(engine) == {uid(5, 0): 15, uid(5, 1): 15}
    gone = in_between(status="cancelled")
    await bring(engine, replace=False, appointment_types=[], bookings=[gone])
    await every_hour(engine)
    assert await guarded(engine) == {uid(5, 0): 30, uid(5, 1): 15}


async def test_the_keeper_ends_what_an_edit_began(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bring(
        engine,
        bookings=[booking(n, MONDAY + dt.timedelta(days=n), "09:00") for n in range(9)],
    )
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE bookings SET end_minute = end_minute - 10"))
    monkeypatch.setattr(guards, "GUARDS_AT_ONCE", 2)
    await every_hour(engine)
    assert set((await guarded(engine)).values()) == {30}


async def test_an_import_that_makes_a_type_longer_or_shorter_does_the_same(
    engine: AsyncEngine,
) -> None:
    await bring(engine, bookings=[booking(0, MONDAY, "09:00"), booking(2, MONDAY, "11:00")])
    shorter = [KINDS[0] | {"duration_minutes": 15}, KINDS[1]]
    # what the file brings has a place in the minutes that the file frees
    await bring(engine, replace=False, appointment_types=shorter, bookings=[in_between()])
    assert set((await guarded(engine)).values()) == {15}
    await bring(engine, replace=False)
    assert await guarded(engine) == {uid(5, 0): 15, uid(5, 1): 15, uid(5, 2): 30}
    with pytest.raises(ImportConflictError):
        await bring(engine, replace=False, bookings=[in_between(3, "11:15")])


async def test_who_is_writing_nearby_is_not_waited_for_long(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "PATIENCE_MILLISECONDS", 50)
    monkeypatch.setattr(guards, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(guards, "TRIES", 10_000)
    await bring(engine, bookings=[booking(0, MONDAY, "09:00"), booking(2, MONDAY, "11:00")])
    await resize(engine, 15)
    async with engine.connect() as other:
        await other.execute(  # as an import does before it has the clinic to itself
            text(
                "INSERT INTO bookings (id, provider_id, provider_no, room_id, room_no,"
                " appointment_type_id, date, start_minute, end_minute, status, is_overbooked)"
                " SELECT gen_random_uuid(), provider_id, provider_no, room_id, room_no,"
                " appointment_type_id, date, start_minute + 15, start_minute + 30, status, false"
                " FROM bookings WHERE id = :key"
            ),
            {"key": uid(5, 0)},
        )
        await resize(engine, 30)
        assert set((await guarded(engine)).values()) == {15}
        assert guards.AT_WORK
        await other.rollback()
    await settled()
    assert set((await guarded(engine)).values()) == {30}
    async with engine.connect() as other:
        await other.execute(
            text("SELECT FROM bookings WHERE id = :key FOR UPDATE"), {"key": uid(5, 0)}
        )
        await resize(engine, 15)
        await settled()
        assert await guarded(engine) == {uid(5, 0): 30, uid(5, 2): 15}
    await every_hour(engine)
    assert set((await guarded(engine)).values()) == {15}
