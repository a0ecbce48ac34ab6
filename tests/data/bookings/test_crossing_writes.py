"""Two writes that cross: the second is stuck behind the first, or has seen too little of it."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.audit import history
from data.bookings import create as bookings
from data.bookings import decisions, reading, relocate
from data.bookings import status as bookings_status
from data.bookings.amend import amend
from data.bookings.create import Details, Order
from data.bookings.decisions import Place, Policy
from data.bookings.reading import BookingRecord
from data.clinic.import_export import ImportReport, import_document
from data.clinic.resources import RESOURCES
from data.clinic.rows import patch
from data.database.locks import DayKey, lock_clinic, lock_days
from data.database.transaction import run
from data.errors import (
    InvalidFieldError,
    InvalidStateError,
    NotFoundError,
    PatientConflictError,
    RequestError,
    SlotUnavailableError,
    StaleVersionError,
)
from models.tables import BOOKINGS
from solver.clinic.clock import parse_time
from solver.clinic.entities import Room
from solver.rules.checker import Violation
from solver.scoring.parts import DEFAULT_WEIGHTS
from tests.support.clinics import TYPE, booking, coming_monday, small_clinic
from tests.support.databases import left_open, until_stuck
from tests.support.strategies import uid

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

    async def book(self, connection: AsyncConnection) -> BookingRecord:
        return await bookings.book(connection, self.place, Details(self.patient), POLICY)

    async def hold(self, connection: AsyncConnection) -> BookingRecord:
        return await bookings.hold(connection, self.place, Details(self.patient), POLICY, 5)


def confirm(key: str, patient: str = "Ada") -> Work:
    return lambda connection: bookings_status.confirm(connection, key, Details(patient), POLICY)


def move(key: str, action: bookings_status.Transition, version: int | None = None) -> Work:
    return lambda connection: bookings_status.change_status(
        connection, key, action, POLICY, version=version, confirm=True
    )


def reschedule(key: str, start: str, version: int | None = None) -> Work:
    place = Place("", "", MONDAY, parse_time(start))
    return lambda connection: relocate.reschedule(
        connection, key, place, POLICY, version=version, allow_patient_overlap=False
    )


def swap(a: str, b: str) -> Work:
    return lambda connection: relocate.swap(connection, a, b, POLICY, accept_overbooked=False)


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


MORNING = {
    "id": uid(7, 0),
    "name": "Morning",
    "weekday": 1,
    "start_time": "08:00",
    "end_time": "12:00",
    "max_bookings": 1,
}


RIVALS = {
    "a provider's cap": Rivals(
        Wish("09:00"), Wish("11:00", room=1), clinic(providers={"daily_cap": 1})
    ),
    "a provider's minutes": Rivals(
        Wish("09:00"), Wish("11:00", room=1), clinic(providers={"daily_minutes": 59})
    ),
    "a type's cap": Rivals(
        Wish("09:00"), Wish("11:00", 1, 1), clinic(appointment_types={"daily_cap": 1})
    ),
    "a session of everybody": Rivals(
        Wish("09:00"), Wish("11:00", 1, 1, kind=uid(3, 1)), clinic(sessions=[MORNING])
    ),
    "a provider's session": Rivals(
        Wish("09:00"),
        Wish("11:00", room=1),
        clinic(sessions=[MORNING | {"provider_id": uid(1, 0)}]),
    ),
    "a room's session": Rivals(
        Wish("09:00"), Wish("11:00", 1), clinic(sessions=[MORNING | {"room_id": uid(2, 0)}])
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
    assert len(await reading.find(engine, [])) == 1 + len(rivals.before)


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
        after, *_ = await reading.get(engine, str(row.id))
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
    "name",
    [
        "a provider's buffer",
        "a provider's buffer over midnight",
        "a type's cap",
        "a session of everybody",
    ],
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


@pytest.mark.parametrize(
    ("status", "work"),
    [
        ("booked", lambda a, _: reschedule(a, "10:00")),
        ("booked", swap),
        (
            "held",
            lambda a, _: lambda c: bookings_status.confirm(c, a, Details(), POLICY),
        ),
    ],
)
@pytest.mark.parametrize("change", ["status = 'no_show', expires_at = NULL", "patient"])
async def test_state_and_patient_are_asked_again_behind_the_lock(
    engine: AsyncEngine, status: str, work: Callable[[str, str], Work], change: str
) -> None:
    """Whoever changes a booking need not count its version up."""
    await bring_in(engine, clinic())
    first = Wish("09:00", patient="Ada")
    row, *_ = await run(engine, first.hold if status == "held" else first.book)
    other, *_ = await run(engine, Wish("11:00", 1, 1, patient="Cy").book)
    for start, provider in (("09:00", 1), ("10:00", 1), ("11:00", 0)):  # wherever it would be
        await run(engine, Wish(start, provider, 2, patient="Bo").book)
    columns = "patient_ref = 'BO', patient_key = 'bo'" if change == "patient" else change

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(
            text(f"UPDATE bookings SET {columns} WHERE id = :key"), {"key": row.id}
        )

    expected: type[Exception] = PatientConflictError if change == "patient" else InvalidStateError
    with pytest.raises(expected):
        await behind(engine, write, work(str(row.id), str(other.id)))
    async with engine.connect() as connection:
        query = text("SELECT start_minute, status FROM bookings WHERE id = :key")
        where, state = (await connection.execute(query, {"key": row.id})).one()
    assert (where, state) == (540, status if change == "patient" else "no_show")


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
        await lock_clinic(connection)
        await connection.execute(text("DELETE FROM rooms WHERE id = :key"), {"key": uid(2, 0)})

    row, *_ = await behind(engine, remove, Wish("09:00", room=None).book)
    assert str(row.room_id) == uid(2, 1)


@pytest.mark.parametrize("is_given_first", [True, False])
async def test_a_booking_is_given_to_a_patient_as_somebody_books_for_them(
    engine: AsyncEngine, is_given_first: bool
) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00", patient=None).book)

    async def give(connection: AsyncConnection) -> BookingRecord:
        return await amend(connection, str(row.id), {"patient_ref": "Ada"}, POLICY)

    book = Wish("09:15", 1, 1, patient="ada ").book
    first, second = (give, book) if is_given_first else (book, give)
    with pytest.raises(PatientConflictError):
        await behind(engine, first, second)
    async with engine.connect() as connection:
        named = await connection.scalars(
            text("SELECT DISTINCT resource FROM resource_days WHERE kind = 'patient'")
        )
        assert not {"ada", "Ada"} & set(named)


async def test_a_look_is_for_the_rooms_that_may_be_taken(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    wish = decisions.BookingRequest(Wish("09:00", room=None).place, POLICY, None, False)
    async with engine.connect() as connection:
        anywhere = await wish.look(connection)
        there = await wish.look(connection, room=Room(uid(2, 1), "R1"))
        elsewhere = await wish.look(connection, refused=frozenset({uid(2, 0)}))
    assert [look.slot.room.name for look in (anywhere, there, elsewhere)] == ["R0", "R1", "R1"]


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
    after, *_ = await reading.get(engine, a)
    assert after.version == 2  # the second has left no trace


async def test_two_moves_of_one_booking_leave_it_where_the_last_one_put_it(
    engine: AsyncEngine,
) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00").book)
    key = str(row.id)
    after, *_ = await behind(engine, reschedule(key, "10:00"), reschedule(key, "11:00"))
    assert (after.version, after.start_minute) == (3, parse_time("11:00"))


async def test_a_change_of_one_booking_keeps_no_other_waiting(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    a, *_ = await run(engine, Wish("09:00").book)
    b, *_ = await run(engine, Wish("14:00").book)
    async with left_open(engine) as connection:
        await move(str(a.id), "cancel")(connection)
        await run(engine, move(str(b.id), "cancel"))


# Edits of the clinic


async def deactivate(engine: AsyncEngine) -> list[Violation]:
    changes = {"active": False}
    return (await patch(engine, RESOURCES["providers"], uid(1, 0), changes)).conflicts


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
        await lock_clinic(connection)
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
            await lock_clinic(edit)
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


# What is written, what is said


EVE = replace(POLICY, actor="Eve")


async def entries(engine: AsyncEngine, key: str) -> list[tuple[Any, ...]]:
    """Actor and action of each entry about a booking; its status and version before and after."""

    def state(row: dict[str, Any] | None) -> tuple[Any, ...] | None:
        return row and (row["status"], row["version"])

    return [
        (entry["actor"], entry["action"], state(entry["before"]), state(entry["after"]))
        for entry in await history(engine, "booking", key)
    ]


def by_eve(function: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Work:
    return lambda connection: function(connection, *given, EVE, **named)


async def test_each_write_tells_who_did_what(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    place, other = Wish("09:00").place, Wish("11:00", 1, 1, TUESDAY).place
    details = Details("Ada", "first visit")

    async def hold(connection: AsyncConnection) -> BookingRecord:
        return await bookings.hold(connection, place, details, EVE, 7)

    held, zone = await run(engine, hold)
    assert (held.status, held.patient_ref, held.notes) == ("held", "Ada", "first visit")
    assert (zone, held.duration_minutes) == ("Europe/Berlin", 30)
    life = held.expires_at - held.created_at
    assert abs(life - dt.timedelta(minutes=7)) < dt.timedelta(seconds=5)
    key = str(held.id)
    found = await run(engine, by_eve(bookings_status.confirm, key, Details()))
    assert (found[0].patient_ref, found[0].notes, found[1:]) == ("Ada", "first visit", (zone,))
    assert found[0].expires_at is None
    moved = await run(
        engine,
        by_eve(relocate.reschedule, key, other, version=2, allow_patient_overlap=False),
    )
    where = ("provider_id", "room_id", "date", "start_minute", "duration_minutes", "status")
    assert [getattr(moved[0], name) for name in (*where, "version")] == [
        UUID(uid(1, 1)),
        UUID(uid(2, 1)),
        TUESDAY,
        660,
        30,
        "booked",
        3,
    ]
    assert moved[1:] == (zone,)
    second, *_ = await run(engine, by_eve(bookings.book, place, Details("Bo")))
    swapped = await run(engine, by_eve(relocate.swap, key, str(second.id), accept_overbooked=False))
    assert [(str(row.id), row.date, z) for row, z in swapped] == [
        (key, MONDAY, zone),
        (str(second.id), TUESDAY, zone),
    ]
    assert [row.patient_ref for row, *_ in swapped] == ["Ada", "Bo"]
    for action, status in (("check_in", "checked_in"), ("complete", "completed")):
        row, *rest = await run(
            engine, by_eve(bookings_status.change_status, key, action, confirm=True)
        )
        assert (row.status, rest) == (status, [zone])
    await run(engine, by_eve(bookings_status.change_status, str(second.id), "cancel"))
    assert await entries(engine, key) == [
        ("Eve", "hold", None, ("held", 1)),
        ("Eve", "confirm", ("held", 1), ("booked", 2)),
        ("Eve", "reschedule", ("booked", 2), ("booked", 3)),
        ("Eve", "swap", ("booked", 3), ("booked", 4)),
        ("Eve", "check_in", ("booked", 4), ("checked_in", 5)),
        ("Eve", "complete", ("checked_in", 5), ("completed", 6)),
    ]
    assert await entries(engine, str(second.id)) == [
        ("Eve", "book", None, ("booked", 1)),
        ("Eve", "swap", ("booked", 1), ("booked", 2)),
        ("Eve", "cancel", ("booked", 2), ("cancelled", 3)),
    ]


async def test_who_confirms_may_say_more(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())

    async def hold(connection: AsyncConnection) -> BookingRecord:
        return await bookings.hold(connection, Wish("09:00").place, Details(None, "old"), EVE, 5)

    row, *_ = await run(engine, hold)
    with pytest.raises(InvalidFieldError) as lacking:
        await run(engine, by_eve(bookings_status.confirm, str(row.id), Details()))
    assert str(lacking.value) == "patient_ref: is needed, since the hold has none"
    row, *_ = await run(engine, by_eve(bookings_status.confirm, str(row.id), Details("Cy", "new")))
    assert (row.patient_ref, row.notes) == ("Cy", "new")


async def test_a_patient_may_be_in_two_places_if_someone_says_so(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    await run(engine, Wish("09:00", patient="Ada").book)
    place = Wish("09:15", 1, 1).place
    allowed = Details("Ada", allow_patient_overlap=True)
    assert not await is_possible(engine, by_eve(bookings.book, place, Details("Ada")))
    assert await is_possible(engine, by_eve(bookings.book, place, allowed))
    row, *_ = await run(engine, Wish("09:15", 1, 1).hold)
    key = str(row.id)
    assert not await is_possible(engine, by_eve(bookings_status.confirm, key, Details("Ada")))
    await run(engine, by_eve(bookings_status.confirm, key, allowed))
    for start, allow, is_free in (
        ("08:45", False, False),
        ("08:45", True, True),
        ("09:30", False, True),
    ):
        there = Place("", "", MONDAY, parse_time(start))
        work = by_eve(relocate.reschedule, key, there, version=None, allow_patient_overlap=allow)
        assert await is_possible(engine, work) is is_free


@pytest.mark.parametrize(
    ("before", "work", "told"),
    [
        ("held", lambda a: reschedule(a, "10:00"), "held cannot be rescheduled"),
        ("held", lambda a: swap(a, uid(5, 0)), "held cannot be swapped"),
        ("held", lambda a: move(a, "check_in"), "held cannot be checked in"),
        ("held", lambda a: move(a, "complete"), "held cannot be completed"),
        ("booked", confirm, "booked cannot be confirmed"),
        ("checked_in", lambda a: reschedule(a, "10:00"), "checked in cannot be rescheduled"),
        ("cancelled", lambda a: move(a, "cancel"), "cancelled cannot be cancelled"),
        ("no_show", lambda a: move(a, "cancel"), "a no-show cannot be cancelled"),
    ],
)
async def test_a_state_that_does_not_allow_a_move_is_named(
    engine: AsyncEngine, before: str, work: Callable[[str], Work], told: str
) -> None:
    rows = [booking(0, MONDAY, "14:00", provider_id=uid(1, 1), room_id=uid(2, 1))]
    await bring_in(engine, clinic(bookings=rows))
    row, *_ = await run(engine, Wish("09:00").hold if before == "held" else Wish("09:00").book)
    if before not in ("held", "booked"):
        async with engine.begin() as connection:
            await connection.execute(
                text("UPDATE bookings SET status = :status WHERE id = :key"),
                {"status": before, "key": row.id},
            )
    with pytest.raises(InvalidStateError) as refused:
        await run(engine, work(str(row.id)))
    assert refused.value.detail == f"A booking that is {told}."
    assert refused.value.extra == {"booking_status": before}


async def test_what_a_stale_caller_is_told(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00").book)
    key = str(row.id)
    await run(engine, reschedule(key, "10:00", 1))
    for stale in (1, 3):
        for work in (reschedule(key, "11:00", stale), move(key, "cancel", stale)):
            with pytest.raises(StaleVersionError) as refused:
                await run(engine, work)
            assert refused.value.detail == "The booking is at version 2 by now."
            assert refused.value.extra == {"version": 2}
    assert await is_possible(engine, move(key, "cancel", 2))


async def test_bookings_that_are_not_there_and_the_order_of_those_that_are(
    engine: AsyncEngine,
) -> None:
    await bring_in(engine, clinic())
    for work in (
        reschedule(uid(5, 9), "10:00"),
        swap(uid(5, 8), uid(5, 9)),
        move(uid(5, 9), "cancel"),
        confirm(uid(5, 9)),
        lambda _: reading.get(engine, uid(5, 9)),
    ):
        with pytest.raises(NotFoundError, match=f"There is no booking {uid(5, 8)[:-1]}[89]."):
            await run(engine, work)
    with pytest.raises(InvalidFieldError) as same:
        await run(engine, swap(uid(5, 9), uid(5, 9)))
    assert str(same.value) == "b: must name another booking than a"
    made = [
        Wish("11:00", date=TUESDAY),
        Wish("11:00"),
        Wish("09:00"),
        Wish("09:00", 1, 1),
        Wish("10:00", date=TUESDAY),
    ]
    rows = [(await run(engine, wish.book))[0] for wish in made]
    found = await reading.find(engine, [])
    assert [row.id for row, *_ in found] == [
        row.id for row in sorted(rows, key=lambda row: (row.date, row.start_minute, row.id))
    ]
    assert {tuple(rest) for _, *rest in found} == {("Europe/Berlin",)}
    on_tuesday = await reading.find(engine, [BOOKINGS.c.date == TUESDAY])
    assert [row.start_minute for row, *_ in on_tuesday] == [600, 660]
    assert (await reading.get(engine, str(rows[1].id)))[0].id == rows[1].id


async def test_a_place_is_moved_as_its_caller_says_and_else_stays(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    row, *_ = await run(engine, Wish("09:00", 1, 2).book)
    key = str(row.id)

    async def moved(start: str, **to: Any) -> tuple[int, int]:
        place = replace(Place("", "", MONDAY, parse_time(start)), **to)
        row, *_ = await run(
            engine,
            by_eve(relocate.reschedule, key, place, version=None, allow_patient_overlap=False),
        )
        return row.provider_id.int % 2**64, row.room_id.int % 2**64

    assert await moved("09:15") == (1, 2)
    assert await moved("09:15", provider_id=uid(1, 0)) == (0, 2)
    assert await moved("09:30", room_id=uid(2, 1)) == (0, 1)
    await run(engine, Wish("11:00", 1, 1).book)
    assert await moved("11:00") == (0, 0)  # its room is taken there
    for gone in ({"provider_id": uid(1, 9)}, {"room_id": uid(2, 9)}):
        with pytest.raises(NotFoundError):
            await moved("12:00", **gone)


async def test_holds_that_ran_out_are_released_where_they_are_in_the_way(
    engine: AsyncEngine,
) -> None:
    await bring_in(engine, clinic())
    wishes = {
        "provider": Wish("09:00", 0, 1),
        "room": Wish("10:00", 1, 0),
        "other": Wish("09:00", 1, 2),
        "day": Wish("09:00", date=TUESDAY),
    }
    keys = {name: (await run(engine, wish.hold))[0].id for name, wish in wishes.items()}
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE bookings SET expires_at = now()"))
    await run(engine, Wish("09:00").book)
    query = text("SELECT id FROM bookings WHERE status = 'cancelled'")
    async with engine.connect() as connection:
        released = set((await connection.execute(query)).scalars())
    assert released == {keys["provider"], keys["room"]}


@pytest.mark.parametrize("action", ["reschedule", "swap"])
async def test_a_booking_moves_to_where_a_hold_ran_out(engine: AsyncEngine, action: str) -> None:
    await bring_in(engine, clinic(appointment_types={"duration_minutes": 60}))
    short = uid(3, 1)
    a, *_ = await run(engine, Wish("11:00", patient="Ada").book)
    b, *_ = await run(engine, Wish("09:00", 1, 1, patient="Bo", kind=short).book)
    there = Wish("09:30", 1, 1, kind=short)
    hold, *_ = await run(engine, there.hold)
    moved = swap(str(a.id), str(b.id)) if action == "swap" else reschedule(str(b.id), "09:30")
    if action == "swap":
        assert not await is_possible(engine, moved)
    async with engine.begin() as connection:
        over = text("UPDATE bookings SET expires_at = now() WHERE id = :key")
        await connection.execute(over, {"key": hold.id})
    await run(engine, moved)
    row, *_ = await reading.get(engine, str(hold.id))
    assert (row.status, row.expires_at) == ("cancelled", None)
    assert await entries(engine, str(hold.id)) == [
        ("anonymous", "hold", None, ("held", 1)),
        ("expiry", "expire", None, ("cancelled", 2)),
    ]


async def test_orders_together_find_places_of_holds_that_ran_out(engine: AsyncEngine) -> None:
    await bring_in(engine, clinic())
    for wish in (Wish("09:00"), Wish("10:00", 1, 1)):
        await run(engine, wish.hold)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE bookings SET expires_at = now()"))
    orders = [
        Order(wish.place, Details("Ada", "note"), EVE)
        for wish in (Wish("09:00"), Wish("12:00", 9), Wish("10:00", 1, 1), Wish("09:15"))
    ]
    first, unknown, second, late = await run(
        engine, lambda connection: bookings.book_together(connection, orders)
    )
    assert isinstance(unknown, NotFoundError)
    assert isinstance(late, PatientConflictError | SlotUnavailableError)
    for found, start in ((first, 540), (second, 600)):
        assert not isinstance(found, Exception)
        row, *rest = found
        assert (row.start_minute, row.patient_ref, row.notes) == (start, "Ada", "note")
        assert (row.status, row.expires_at, rest) == ("booked", None, ["Europe/Berlin"])
        assert await entries(engine, str(row.id)) == [("Eve", "book", None, ("booked", 1))]
    (only,) = await run(engine, lambda connection: bookings.book_together(connection, orders[1:2]))
    assert isinstance(only, NotFoundError)
    assert len(await reading.find(engine, [BOOKINGS.c.status == "booked"])) == 2
