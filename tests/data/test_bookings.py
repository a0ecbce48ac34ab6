"""Two writes that cross: the second is stuck behind the first, or has seen too little of it."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import bookings, catalogue
from data.bookings import Details, Found
from data.catalogue import RESOURCES
from data.deciding import Place, Policy
from data.errors import (
    InvalidStateError,
    PatientConflictError,
    RequestError,
    SlotUnavailableError,
    StaleVersionError,
)
from data.transaction import DayKey, hold_clinic, lock_days, run
from data.transfer import ImportReport, import_document
from solver.checker import Violation
from solver.objective import DEFAULT_WEIGHTS
from solver.timeline import parse_time
from tests.clinics import TYPE, coming_monday, small_clinic
from tests.crossing import left_open, until_stuck
from tests.strategies import uid

MONDAY = coming_monday()
TUESDAY = MONDAY + dt.timedelta(days=1)
POLICY = Policy(dt.datetime.now(dt.UTC), DEFAULT_WEIGHTS, 365)

type Work = Callable[[AsyncConnection], Awaitable[Any]]


def clinic(**changes: Any) -> dict[str, Any]:
    """Two providers, three rooms and two types, all day long on two days."""
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [
        {"provider_id": p["id"], "weekday": day, "start_time": "00:00", "end_time": "24:00"}
        for p in providers
        for day in (1, 2)
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(3)]
    types = [
        {"id": uid(3, n), "name": f"T{n}", "duration_minutes": 30, "required_skills": ["gp"]}
        for n in range(2)
    ]
    document = small_clinic(
        providers=providers, availability=rows, rooms=rooms, appointment_types=types
    )
    for name, change in changes.items():
        if name in ("providers", "rooms", "appointment_types"):
            document[name][0] |= change
        else:
            document[name] = change
    return document


async def bring_in(
    engine: AsyncEngine, document: dict[str, Any], *, replace: bool = True
) -> ImportReport:
    return await import_document(
        engine,
        orjson.dumps(document),
        is_yaml=False,
        replace=replace,
        today=dt.datetime.now(dt.UTC).date(),
    )


@dataclass(frozen=True)
class Wish:
    """A place asked for: start, provider, room, date, patient."""

    start: str
    provider: int = 0
    room: int | None = 0
    date: dt.date = MONDAY
    patient: str | None = None
    kind: str = TYPE

    @property
    def place(self) -> Place:
        room = None if self.room is None else uid(2, self.room)
        start = parse_time(self.start)
        return Place(self.kind, uid(1, self.provider), self.date, start, room, True)

    async def book(self, connection: AsyncConnection) -> Found:
        return await bookings.book(connection, self.place, Details(self.patient), POLICY)

    async def hold(self, connection: AsyncConnection) -> Found:
        return await bookings.hold(connection, self.place, Details(self.patient), POLICY, 5)


def confirm(key: str, patient: str = "Ada") -> Work:
    return lambda connection: bookings.confirm(connection, key, Details(patient), POLICY)


def move(key: str, action: bookings.Move, version: int | None = None) -> Work:
    return lambda connection: bookings.move(connection, key, action, POLICY, version=version)


def reschedule(key: str, start: str, version: int | None = None) -> Work:
    place = Place("", "", MONDAY, parse_time(start))
    return lambda connection: bookings.reschedule(
        connection, key, place, POLICY, version=version, allow_patient_overlap=False
    )


def swap(a: str, b: str) -> Work:
    return lambda connection: bookings.swap(connection, a, b, POLICY, accept_overbooked=False)


async def behind(engine: AsyncEngine, first: Work, second: Work) -> Any:
    """Let `second` begin while `first` has written and not yet committed; what comes of it."""
    async with left_open(engine) as connection:
        await first(connection)
        later = asyncio.create_task(run(engine, second))
        await until_stuck(engine, later)
    return await later


async def is_possible(engine: AsyncEngine, work: Work) -> bool:
    """Whether `work` goes through as things stand; nothing is written."""
    async with engine.connect() as connection:
        try:
            await work(connection)
        except RequestError:
            return False
        return True


# What the rules count


@dataclass(frozen=True)
class Rivals:
    """Two wishes of which a rule, and no constraint of the table, lets one through."""

    first: Wish
    second: Wish
    clinic: dict[str, Any]
    error: type[RequestError] = SlotUnavailableError
    before: list[Wish] = field(default_factory=list)


RIVALS = {
    "a provider's cap": Rivals(
        Wish("09:00"), Wish("11:00", room=1), clinic(providers={"daily_cap": 1})
    ),
    "a type's cap": Rivals(
        Wish("09:00"), Wish("11:00", 1, 1), clinic(appointment_types={"daily_cap": 1})
    ),
    "a provider's buffer": Rivals(
        Wish("09:00"), Wish("09:30", room=1), clinic(providers={"buffer_after": 15})
    ),
    "a provider's buffer over midnight": Rivals(
        Wish("23:30"),
        Wish("00:00", room=1, date=TUESDAY),
        clinic(providers={"buffer_after": 15}),
    ),
    "a room's turnover": Rivals(
        Wish("09:00"), Wish("09:30", provider=1), clinic(rooms={"turnover_minutes": 15})
    ),
    "a room's turnover over midnight": Rivals(
        Wish("23:30"),
        Wish("00:00", provider=1, date=TUESDAY),
        clinic(rooms={"turnover_minutes": 15}),
    ),
    "an allowance for the day": Rivals(
        Wish("09:15", room=1),
        Wish("11:15", room=2),
        clinic(overbooking_rules=[{"id": uid(4, 0), "max_overlap": 1, "max_per_day": 1}]),
        before=[Wish("09:00"), Wish("11:00")],
    ),
    "a patient's other booking": Rivals(
        Wish("09:00", patient="Ada"),
        Wish("09:15", 1, 1, patient="Ada"),
        clinic(),
        PatientConflictError,
    ),
}


@pytest.mark.parametrize("rivals", RIVALS.values(), ids=RIVALS.keys())
async def test_of_two_that_a_rule_forbids_together_one_is_booked(
    engine: AsyncEngine, rivals: Rivals
) -> None:
    await bring_in(engine, rivals.clinic)
    for wish in rivals.before:
        await run(engine, wish.book)
    assert await is_possible(engine, rivals.second.book)
    with pytest.raises(rivals.error):
        await behind(engine, rivals.first.book, rivals.second.book)
    assert len(await bookings.find(engine, [])) == 1 + len(rivals.before)


async def test_a_move_and_a_booking_that_a_rule_forbids_together(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic(providers={"buffer_after": 15}))
    row, *_ = await run(engine, Wish("09:00").book)
    second = Wish("11:30", room=1).book
    assert await is_possible(engine, second)
    with pytest.raises(SlotUnavailableError):
        await behind(engine, reschedule(str(row.id), "11:00"), second)


@pytest.mark.parametrize("swap_first", [True, False])
async def test_a_swap_and_a_booking_that_a_rule_forbids_together(
    engine: AsyncEngine, swap_first: bool
) -> None:
    long = {"duration_minutes": 45}
    await bring_in(engine, clinic(providers={"buffer_after": 15}, appointment_types=long))
    short = uid(3, 1)
    a, *_ = await run(engine, Wish("09:00", patient="Ada", kind=short).book)
    b, *_ = await run(engine, Wish("14:00", 1, 1, patient="Bob").book)
    exchange = swap(str(a.id), str(b.id))
    rival = Wish("09:45", room=2, kind=short).book
    assert await is_possible(engine, rival)
    assert await is_possible(engine, exchange)
    with pytest.raises(SlotUnavailableError):
        await behind(engine, *((exchange, rival) if swap_first else (rival, exchange)))


@pytest.mark.parametrize("turned", [True, False])
async def test_two_may_swap_if_they_can_in_either_order(engine: AsyncEngine, turned: bool) -> None:
    rule = {"id": uid(4, 0), "appointment_type_id": TYPE, "max_overlap": 1, "max_per_day": 1}
    await bring_in(engine, clinic(overbooking_rules=[rule]))
    b, *_ = await run(engine, Wish("09:15", room=1, kind=uid(3, 1)).book)
    a, *_ = await run(engine, Wish("09:00").book)
    assert (a.is_overbooked, b.is_overbooked) == (True, False)
    pair = (str(b.id), str(a.id)) if turned else (str(a.id), str(b.id))
    await run(engine, swap(*pair))
    for row, start in ((a, "09:15"), (b, "09:00")):
        after, *_ = await bookings.get(engine, str(row.id))
        assert after.start_minute == parse_time(start)
        assert after.is_overbooked == row.is_overbooked


async def test_a_patient_is_not_confirmed_into_a_second_place(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00").hold)
    booked = Wish("09:15", 1, 1, patient="Ada").book
    assert await is_possible(engine, confirm(str(row.id)))
    with pytest.raises(PatientConflictError):
        await behind(engine, booked, confirm(str(row.id)))


@pytest.mark.parametrize(
    "name", ["a provider's buffer", "a provider's buffer over midnight", "a type's cap"]
)
async def test_a_hold_that_runs_out_under_its_confirmation_keeps_its_place(
    engine: AsyncEngine, name: str
) -> None:
    rivals = RIVALS[name]
    await bring_in(engine, rivals.clinic)
    row, *_ = await run(engine, rivals.first.hold)
    await let_run_out_soon(engine, row.id)

    async def confirm_and_let_the_time_be_over(connection: AsyncConnection) -> None:
        await confirm(str(row.id))(connection)
        await until_run_out(engine, row.id)

    with pytest.raises(SlotUnavailableError):
        await behind(engine, confirm_and_let_the_time_be_over, rivals.second.book)


async def test_a_hold_that_runs_out_while_its_confirmation_waits_is_gone(
    engine: AsyncEngine,
) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00").hold)
    await let_run_out_soon(engine, row.id)
    async with left_open(engine) as other:
        await lock_days(other, [("provider", uid(1, 0), MONDAY)])
        later = asyncio.create_task(run(engine, confirm(str(row.id))))
        await until_stuck(engine, later)
        await until_run_out(engine, row.id)
    with pytest.raises(InvalidStateError):
        await later


async def let_run_out_soon(engine: AsyncEngine, key: UUID) -> None:
    """Leave a hold the time to be confirmed, and little more."""
    soon = text("UPDATE bookings SET expires_at = now() + interval '2 s' WHERE id = :key")
    async with engine.begin() as connection:
        await connection.execute(soon, {"key": key})


async def until_run_out(engine: AsyncEngine, key: UUID) -> None:
    late = text("SELECT statement_timestamp() > expires_at FROM bookings WHERE id = :key")
    async with engine.connect() as connection:
        while not (await connection.execute(late, {"key": key})).scalar_one():
            await asyncio.sleep(0.02)  # between two looks


async def test_what_room_there_is_is_decided_anew(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    row, *_ = await behind(engine, Wish("09:00", 1).book, Wish("09:00", room=None).book)
    assert str(row.room_id) == uid(2, 1)


async def test_a_room_found_taken_is_let_go_before_the_next_is_tried(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    rooms: list[DayKey] = [("room", uid(2, n), MONDAY) for n in range(2)]
    free = text("SELECT resource FROM resource_days WHERE kind = 'room' FOR UPDATE SKIP LOCKED")
    await run(engine, lambda connection: lock_days(connection, rooms))
    async with left_open(engine) as second:
        await lock_days(second, rooms[1:])
        async with left_open(engine) as first:
            await Wish("09:00", 1).book(first)
            anywhere = asyncio.create_task(run(engine, Wish("09:00", room=None).book))
            await until_stuck(engine, anywhere)
        await until_stuck(engine, anywhere)
        assert not anywhere.done()
        async with engine.connect() as third:
            assert list((await third.execute(free)).scalars()) == [uid(2, 0)]
    row, *_ = await anywhere
    assert str(row.room_id) == uid(2, 1)


async def test_a_room_that_is_gone_by_then_is_not_insisted_on(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())

    async def remove(connection: AsyncConnection) -> None:
        await hold_clinic(connection)
        await connection.execute(text("DELETE FROM rooms WHERE id = :key"), {"key": uid(2, 0)})

    row, *_ = await behind(engine, remove, Wish("09:00", room=None).book)
    assert str(row.room_id) == uid(2, 1)


# One booking, changed by two


@pytest.mark.parametrize(
    ("status", "first", "second", "error"),
    [
        ("held", lambda a, _: move(a, "cancel"), lambda a, _: confirm(a), InvalidStateError),
        ("held", lambda a, _: confirm(a), lambda a, _: confirm(a), InvalidStateError),
        (
            "booked",
            lambda a, _: move(a, "cancel"),
            lambda a, _: move(a, "check_in"),
            InvalidStateError,
        ),
        (
            "booked",
            lambda a, _: move(a, "check_in"),
            lambda a, _: move(a, "check_in"),
            InvalidStateError,
        ),
        (
            "booked",
            lambda a, _: move(a, "cancel"),
            lambda a, _: reschedule(a, "10:00"),
            InvalidStateError,
        ),
        ("booked", lambda a, _: move(a, "cancel"), swap, InvalidStateError),
        ("booked", swap, lambda a, _: move(a, "cancel", 1), StaleVersionError),
        (
            "booked",
            lambda a, _: reschedule(a, "10:00"),
            lambda a, _: reschedule(a, "11:00", 1),
            StaleVersionError,
        ),
        (
            "booked",
            lambda a, _: reschedule(a, "10:00"),
            lambda a, _: move(a, "cancel", 1),
            StaleVersionError,
        ),
    ],
)
async def test_the_second_change_of_a_booking_knows_of_the_first(
    engine: AsyncEngine,
    status: str,
    first: Callable[[str, str], Work],
    second: Callable[[str, str], Work],
    error: type[RequestError],
) -> None:
    await bring_in(engine, clinic())
    take = Wish("09:00").book if status == "booked" else Wish("09:00").hold
    row, *_ = await run(engine, take)
    other, *_ = await run(engine, Wish("14:00", 1, 1, patient="Bob").book)
    a, b = str(row.id), str(other.id)
    assert await is_possible(engine, second(a, b))
    with pytest.raises(error):
        await behind(engine, first(a, b), second(a, b))
    after, *_ = await bookings.get(engine, a)
    assert after.version == 2  # the second has left no trace


async def test_two_moves_of_one_booking_leave_it_where_the_last_one_put_it(
    engine: AsyncEngine,
) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00").book)
    key = str(row.id)
    after, *_ = await behind(engine, reschedule(key, "10:00"), reschedule(key, "11:00"))
    assert (after.version, after.start_minute) == (3, parse_time("11:00"))


# Edits of the clinic


async def deactivate(engine: AsyncEngine) -> list[Violation]:
    changes = {"active": False}
    return (await catalogue.patch(engine, RESOURCES["providers"], uid(1, 0), changes)).conflicts


async def bring_in_deactivated(engine: AsyncEngine) -> list[Violation]:
    return (await bring_in(engine, clinic(providers={"active": False}), replace=False)).warnings


@pytest.mark.parametrize("edit", [deactivate, bring_in_deactivated])
async def test_an_edit_tells_of_a_booking_that_was_under_way(
    engine: AsyncEngine, edit: Callable[[AsyncEngine], Awaitable[list[Violation]]]
) -> None:
    await bring_in(engine, clinic())
    async with left_open(engine) as connection:
        row, *_ = await Wish("09:00").book(connection)
        later = asyncio.create_task(edit(engine))
        await until_stuck(engine, later)
    assert {violation.booking.id for violation in await later} == {str(row.id)}


async def test_a_booking_knows_of_an_edit_that_was_under_way(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())

    async def close(connection: AsyncConnection) -> None:
        await hold_clinic(connection)
        await connection.execute(text("DELETE FROM availability"))

    assert await is_possible(engine, Wish("09:00").book)
    with pytest.raises(SlotUnavailableError):
        await behind(engine, close, Wish("09:00").book)


@pytest.mark.parametrize("action", ["book", "reschedule", "swap", "confirm"])
async def test_a_cap_set_while_a_booking_waits_is_locked_like_any_other(
    engine: AsyncEngine, action: str
) -> None:
    await bring_in(engine, clinic())
    day: DayKey = ("appointment_type", TYPE, MONDAY)
    await run(engine, lambda connection: lock_days(connection, [day]))
    work = await something_to(engine, action)
    async with left_open(engine) as rival:
        await rival.execute(
            text("SELECT * FROM resource_days WHERE kind = 'appointment_type' FOR UPDATE")
        )
        async with left_open(engine) as edit:
            await hold_clinic(edit)
            await edit.execute(text("UPDATE appointment_types SET daily_cap = 1"))
            later = asyncio.create_task(run(engine, work))
            await until_stuck(engine, later)
        await until_stuck(engine, later)
        assert not later.done()
    await later


async def something_to(engine: AsyncEngine, action: str) -> Work:
    """A write that brings an appointment of the first type to Monday."""
    if action == "book":
        return Wish("09:00").book
    if action == "confirm":
        held, *_ = await run(engine, Wish("09:00").hold)
        return confirm(str(held.id))
    if action == "reschedule":
        row, *_ = await run(engine, Wish("08:00").book)
        return reschedule(str(row.id), "09:00")
    row, *_ = await run(engine, Wish("09:00", date=TUESDAY).book)
    other, *_ = await run(engine, Wish("09:00", 1, 1, kind=uid(3, 1)).book)
    return swap(str(row.id), str(other.id))
