"""Which bookings are outside the rules, found without a long stop for anyone.

The book comes from PostgreSQL packed, 79 bytes a booking, and a large one is read in another
process by :mod:`solver.rules.book_queries`; a booking becomes an object only when it is told of.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    any_,
    case,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.bookings.reading import PageCursor
from data.clinic.in_sql.of_dates import shift_date
from data.clinic.snapshot import IS_EXPIRED, ClinicSelection, load_clinic
from data.database.aside import read_in_worker
from models.tables import BOOKING_ROLES, BOOKINGS
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.rules.book_queries import broken_by_id, newly_outside, outside, outside_beyond
from solver.rules.checker import Violation
from solver.rules.codes import OVERRIDABLE

MOST_TOLD = 1000
"""Bookings that one answer tells of; of more it tells how many there are."""


PARTS, FEWEST_DAYS = 5, 60
"""Into how many parts all dates ahead are divided for reading, at most; days of one, at least."""


FIRST_DAYS = 14
"""Days of one more part before these: it is judged while the next one is still read, and most of
what an answer tells is in it."""


SECONDS = 25
"""How long reading a whole book may take: a little less than a request may."""


WITHOUT_BOOKINGS = ClinicSelection(bookings=False)


_OVERRIDES = case(
    (BOOKINGS.c.overrides == literal([], ARRAY(Text)), 0),  # nearly all of them
    else_=sum(
        (
            case((literal(code, Text) == any_(BOOKINGS.c.overrides), 1 << bit), else_=0)
            for bit, code in enumerate(OVERRIDABLE)
        ),
        literal(0),
    ),
)


_PACKED = func.string_agg(
    func.uuid_send(BOOKINGS.c.id)
    .op("||")(func.uuid_send(BOOKINGS.c.provider_id))
    .op("||")(func.uuid_send(BOOKINGS.c.room_id))
    .op("||")(func.uuid_send(BOOKINGS.c.appointment_type_id))
    .op("||")(func.date_send(BOOKINGS.c.date))
    .op("||")(func.int2send(BOOKINGS.c.start_minute))
    .op("||")(func.int2send(BOOKINGS.c.duration_minutes))
    .op("||")(func.int2send(BOOKINGS.c.buffer_before))
    .op("||")(func.int2send(BOOKINGS.c.buffer_after))
    .op("||")(func.boolsend(BOOKINGS.c.is_overbooked))
    .op("||")(func.int2send(cast(_OVERRIDES, SmallInteger))),
    literal(b"", LargeBinary),
    type_=LargeBinary,
)
"""The columns of :data:`solver.rules.ledger.PACKED`."""


_IN_ROLES = func.string_agg(
    func.uuid_send(BOOKING_ROLES.c.booking_id)
    .op("||")(func.decode(func.md5(BOOKING_ROLES.c.key), "hex"))
    .op("||")(func.uuid_send(BOOKING_ROLES.c.provider_id)),
    literal(b"", LargeBinary),
    type_=LargeBinary,
)
"""The columns of :data:`solver.rules.ledger.IN_ROLES`."""


@dataclass(frozen=True, slots=True)
class OutsideRules:
    """Bookings outside the rules: what each breaks, by date, start and id.

    `count` is the number of all of them; `violations` covers the first :data:`MOST_TOLD`.
    """

    clinic: Clinic
    """The rows that they were read against, without bookings."""
    violations: list[Violation] = field(default_factory=list)
    count: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of them are told of."""
        return self.count <= MOST_TOLD


@dataclass(frozen=True, slots=True)
class EditScope:
    """Which rules an edit can break, and of which bookings; their neighbours are read, too."""

    rules: frozenset[int]
    on_dates: Callable[[dt.date, dt.date], ColumnElement[bool]]
    """The condition of those bookings, as far as dates from one to another are read."""


async def load_rows(connection: AsyncConnection) -> Clinic:
    """Read the clinic's rows, without bookings."""
    return await load_clinic(connection, part=WITHOUT_BOOKINGS)


type Packed = tuple[bytes, bytes]
"""Bookings, and who is in their roles."""


async def load_packed(
    connection: AsyncConnection, conditions: Sequence[ColumnElement[bool]] = ()
) -> Packed:
    """Read the live bookings that meet all `conditions`, packed, and who is in their roles."""
    live = BOOKINGS.c.status != "cancelled"  # for the indexes of live bookings; holds run out, too
    statement = select(_PACKED).where(live, ~IS_EXPIRED, *conditions)
    in_roles = select(_IN_ROLES).join(BOOKINGS, BOOKINGS.c.id == BOOKING_ROLES.c.booking_id)
    in_roles = in_roles.where(live, ~IS_EXPIRED, *conditions)
    both = select(statement.scalar_subquery(), in_roles.scalar_subquery())
    packed, teams = (await connection.execute(both)).one()
    return packed or b"", teams or b""


async def find_newly_outside(
    engine: AsyncEngine, before: Clinic, after: Clinic, touched: EditScope
) -> OutsideRules:
    """Find the bookings from today on that break a rule after an edit that they kept before it.

    The dates ahead are read part by part: while the database sends one, the other process judges
    the part before it.
    """
    now = dt.datetime.now(after.settings.zone)
    today = now.date()
    read: asyncio.Queue[tuple[dt.date, dt.date, Packed] | None] = asyncio.Queue()
    told: list[asyncio.Task[list[Violation]]] = []
    count = 0

    async def judge() -> None:
        nonlocal count
        while (part := await read.get()) is not None:
            first, last, (packed, in_roles) = part
            violations, found = await read_in_worker(
                len(packed),
                newly_outside,
                before,
                after,
                packed,
                rules=touched.rules,
                now=now,
                since=first,
                last=last,
                limit=max(0, MOST_TOLD - count),
                in_roles=in_roles,
            )
            count += found
            if violations:
                told.append(group.create_task(_told_of_patients(engine, violations)))

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(judge())
            await _read_ahead(engine, today, touched, read)
    except* Exception as errors:
        raise errors.exceptions[0] from None
    return OutsideRules(after, [violation for task in told for violation in task.result()], count)


async def _told_of_patients(engine: AsyncEngine, violations: list[Violation]) -> list[Violation]:
    async with engine.connect() as connection:
        return await _with_patients(connection, violations)


async def _read_ahead(
    engine: AsyncEngine,
    today: dt.date,
    touched: EditScope,
    read: asyncio.Queue[tuple[dt.date, dt.date, Packed] | None],
) -> None:
    """Put what an edit can touch into a queue, packed, part by part; after the last one None."""
    at_one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    async with at_one_moment.connect() as connection:
        await extend_timeouts(connection)
        for first, last in await _parts_ahead(connection, today):
            dates = shift_date(first, -1), shift_date(last, 1)
            near = BOOKINGS.c.date.between(*dates)
            packed = await load_packed(connection, [touched.on_dates(*dates), near])
            read.put_nowait((first, last, packed))
    read.put_nowait(None)


async def _parts_ahead(
    connection: AsyncConnection, today: dt.date
) -> list[tuple[dt.date, dt.date]]:
    """Return the first and last date of each part of all dates ahead: a short one, then others."""
    last = await connection.scalar(select(func.max(BOOKINGS.c.date)))
    if last is None or last < today:
        return []
    whole = (last - today).days + 1
    days = max(FEWEST_DAYS, -(-whole // PARTS))
    short = FIRST_DAYS if whole > days > FIRST_DAYS else 0
    begins = [*([0] if short else []), *range(short, whole, days), whole]
    return [
        (shift_date(today, first), shift_date(today, following - 1))
        for first, following in pairwise(begins)
    ]


async def find_outside(
    engine: AsyncEngine,
    *,
    first: dt.date | None,
    last: dt.date | None,
    provider_id: str | None = None,
    room_id: str | None = None,
    after: PageCursor | None = None,
    limit: int = MOST_TOLD,
) -> OutsideRules:
    """Find the bookings from today on that are outside the rules now.

    `first` and `last` narrow the dates; `limit` bookings are told, those that come `after` a place.
    """
    async with engine.connect() as connection:
        await extend_timeouts(connection)
        clinic = await load_rows(connection)
        now = dt.datetime.now(clinic.settings.zone)
        today = now.date()
        since = max(first, today) if first is not None else today
        near = [BOOKINGS.c.date >= shift_date(since, -1)]
        if last is not None:
            near.append(BOOKINGS.c.date <= shift_date(last, 1))
        packed, in_roles = await load_packed(connection, near)
    violations, count = await read_in_worker(
        len(packed),
        outside,
        clinic,
        packed,
        now=now,
        since=since,
        last=last,
        provider_id=provider_id,
        room_id=room_id,
        after=None if after is None else (after.date, after.start, after.id),
        limit=limit,
        in_roles=in_roles,
    )
    return OutsideRules(clinic, violations, count)


async def broken_rule_bits(connection: AsyncConnection, *, since: dt.date) -> dict[str, int]:
    """Return what each booking outside the rules from `since` on breaks: ``1 << rule``, by id."""
    clinic = await load_rows(connection)
    since_then = BOOKINGS.c.date >= shift_date(since, -1)
    packed, in_roles = await load_packed(connection, [since_then])
    now = dt.datetime.now(dt.UTC)
    return await read_in_worker(
        len(packed), broken_by_id, clinic, packed, now=now, since=since, in_roles=in_roles
    )


async def find_all_outside(
    connection: AsyncConnection,
    *,
    since: dt.date,
    also_ids: bytes = b"",
    known: Mapping[str, int] | None = None,
) -> OutsideRules:
    """Find the bookings outside the rules of dates from `since` on.

    `also_ids`, 16 bytes each, one after the other, are bookings that are read whatever their date.
    What `known`, of :func:`broken_rule_bits`, has of a booking is not told again.
    """
    clinic = await load_rows(connection)
    packed, in_roles = await load_packed(connection)
    violations, count = await read_in_worker(
        len(packed),
        outside_beyond,
        clinic,
        packed,
        now=dt.datetime.now(dt.UTC),
        since=since,
        or_of=also_ids,
        known=known or {},
        limit=MOST_TOLD,
        in_roles=in_roles,
    )
    return OutsideRules(clinic, await _with_patients(connection, violations), count)


async def extend_timeouts(connection: AsyncConnection, seconds: int = SECONDS) -> None:
    """Raise the limits of this transaction for one statement, and between two, to `seconds`."""
    milliseconds = str(seconds * 1000)
    await connection.execute(
        select(
            func.set_config("statement_timeout", milliseconds, True),
            func.set_config("idle_in_transaction_session_timeout", milliseconds, True),
        )
    )


async def _with_patients(
    connection: AsyncConnection, violations: list[Violation]
) -> list[Violation]:
    """Tell whose the bookings are, and their status."""
    if not violations:
        return violations
    columns = BOOKINGS.c
    ids = literal(list({v.booking.id for v in violations}), ARRAY(Uuid(as_uuid=False)))
    rows = await connection.execute(
        select(columns.id, columns.patient_ref, columns.status).where(columns.id == any_(ids))
    )
    known = {str(row.id): (row.patient_ref, row.status) for row in rows}

    def tell() -> list[Violation]:  # of up to a thousand bookings, beside the event loop
        whole: dict[str, Booking] = {}
        for violation in violations:
            booking = violation.booking
            if booking.id in known and booking.id not in whole:
                patient_ref, status = known[booking.id]
                whole[booking.id] = replace(booking, patient_ref=patient_ref, status=status)
        return [
            replace(v, booking=whole[v.booking.id]) for v in violations if v.booking.id in whole
        ]

    return await asyncio.to_thread(tell)
