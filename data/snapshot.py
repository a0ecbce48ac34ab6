"""Database rows to a :class:`solver.clinic.Clinic`, in as many queries for any size of clinic."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, and_, func, not_, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from models import bookings as book_tables
from models import clinic as tables
from models import journal
from models.base import Base
from solver.clinic import (
    AppointmentType,
    Availability,
    Booking,
    Clinic,
    ClinicSettings,
    OverbookingRule,
    Provider,
    Room,
)


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


CLINIC = _table(tables.ClinicSettings)
PROVIDERS = _table(tables.Provider)
ROOMS = _table(tables.Room)
TYPES = _table(tables.AppointmentType)
AVAILABILITY = _table(tables.Availability)
OVERBOOKING_RULES = _table(tables.OverbookingRule)
BOOKINGS = _table(book_tables.Booking)
RESOURCE_DAYS = _table(book_tables.ResourceDay)
IDEMPOTENCY_KEYS = _table(journal.IdempotencyKey)
AUDIT_LOG = _table(journal.AuditEntry)

HAS_RUN_OUT: ColumnElement[bool] = and_(
    BOOKINGS.c.status == "held", BOOKINGS.c.expires_at <= func.statement_timestamp()
)
"""A hold past its time; it blocks nobody, from that very moment and with no cleaner's help."""

IS_LIVE: ColumnElement[bool] = and_(BOOKINGS.c.status != "cancelled", not_(HAS_RUN_OUT))
"""Live as the rules have it."""


@dataclass(frozen=True, slots=True)
class Part:
    """What part of a clinic a question needs; None is all of it."""

    provider_ids: Collection[str] | None = None
    room_ids: Collection[str] | None = None
    capped_type_id: str | None = None
    """A type whose bookings are wanted wherever they are, since its cap counts them all."""


WHOLE = Part()


async def load_for_slots(engine: AsyncEngine, first: dt.date, last: dt.date) -> Clinic:
    """Read the clinic with the live bookings that matter on `first` to `last`, at one moment."""
    at_one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    async with at_one_moment.connect() as connection:
        return await load_clinic(connection, first, last)


async def load_clinic(
    connection: AsyncConnection,
    first: dt.date | None = None,
    last: dt.date | None = None,
    part: Part = WHOLE,
) -> Clinic:
    """Read the clinic, or `part` of it; with dates given, availability and bookings for these.

    Statements run one after the other, each seeing what its transaction lets it see.
    """
    settings = (await connection.execute(select(CLINIC))).one()
    providers = await connection.execute(_of(PROVIDERS, part.provider_ids))
    rooms = await connection.execute(_of(ROOMS, part.room_ids))
    types = await connection.execute(select(TYPES))
    availability = await connection.execute(
        select(AVAILABILITY).where(
            _within(first, last),
            _is_of(AVAILABILITY.c.provider_id, part.provider_ids, or_unset=True),
            _is_of(AVAILABILITY.c.room_id, part.room_ids, or_unset=True),
        )
    )
    rules = await connection.execute(
        select(OVERBOOKING_RULES).where(
            _is_of(OVERBOOKING_RULES.c.provider_id, part.provider_ids, or_unset=True)
        )
    )
    bookings = await connection.execute(_bookings(first, last, part))
    return Clinic(
        to_settings(settings),
        tuple(to_provider(row) for row in providers),
        tuple(to_room(row) for row in rooms),
        tuple(to_type(row) for row in types),
        tuple(to_availability(row) for row in availability),
        tuple(to_rule(row) for row in rules),
        tuple(to_booking(row) for row in bookings),
    )


def _of(table: Table, ids: Collection[str] | None) -> Select[Any]:
    return select(table).where(_is_of(table.c.id, ids))


def _is_of(
    column: ColumnElement[Any], ids: Collection[str] | None, *, or_unset: bool = False
) -> ColumnElement[bool]:
    if ids is None:
        return true()
    chosen = column.in_(ids)
    return or_(chosen, column.is_(None)) if or_unset else chosen


def _within(first: dt.date | None, last: dt.date | None) -> ColumnElement[bool]:
    """Leave out rows of other dates, but for a room's open ones: having any changes its hours."""
    if first is None or last is None:
        return true()
    return or_(
        AVAILABILITY.c.date.is_(None),
        AVAILABILITY.c.date.between(first, last),
        and_(AVAILABILITY.c.room_id.is_not(None), AVAILABILITY.c.kind == "open"),
    )


def _beside(day: dt.date, days: int) -> dt.date:
    """Return the date beside `day`: buffers reach over midnight. There is none past the ends."""
    ordinal = day.toordinal() + days
    return dt.date.fromordinal(min(max(ordinal, 1), dt.date.max.toordinal()))


def _bookings(first: dt.date | None, last: dt.date | None, part: Part) -> Select[Any]:
    columns = BOOKINGS.c
    query = select(
        columns.id,
        columns.provider_id,
        columns.room_id,
        columns.appointment_type_id,
        columns.date,
        columns.start_minute,
        columns.patient_ref,
        columns.status,
        columns.is_overbooked,
    ).where(IS_LIVE)
    if first is not None and last is not None:
        query = query.where(columns.date.between(_beside(first, -1), _beside(last, 1)))
    if part is WHOLE:
        return query
    return query.where(
        or_(
            _is_of(columns.provider_id, part.provider_ids),
            _is_of(columns.room_id, part.room_ids),
            columns.appointment_type_id == part.capped_type_id,
        )
    )


def to_settings(row: Row[Any]) -> ClinicSettings:
    """Return the settings a row holds."""
    return ClinicSettings(
        row.name,
        row.timezone,
        row.grid_minutes,
        row.preference_decay_minutes,
        row.min_notice_minutes,
    )


def to_provider(row: Row[Any]) -> Provider:
    """Return the provider a row holds."""
    return Provider(
        str(row.id),
        row.name,
        frozenset(row.skills),
        row.daily_cap,
        row.buffer_before,
        row.buffer_after,
        row.active,
    )


def to_room(row: Row[Any]) -> Room:
    """Return the room a row holds."""
    return Room(str(row.id), row.name, frozenset(row.equipment), row.turnover_minutes, row.active)


def to_type(row: Row[Any]) -> AppointmentType:
    """Return the appointment type a row holds."""
    return AppointmentType(
        str(row.id),
        row.name,
        row.duration_minutes,
        row.buffer_before,
        row.buffer_after,
        frozenset(row.required_skills),
        frozenset(row.required_equipment),
        row.daily_cap,
        row.active,
    )


def to_availability(row: Row[Any]) -> Availability:
    """Return the availability a row holds."""
    return Availability(
        row.start_minute,
        row.end_minute,
        _text(row.provider_id),
        _text(row.room_id),
        row.weekday,
        row.date,
        row.kind,
        row.valid_from,
        row.valid_to,
    )


def to_rule(row: Row[Any]) -> OverbookingRule:
    """Return the overbooking rule a row holds."""
    return OverbookingRule(
        str(row.id),
        _text(row.provider_id),
        _text(row.appointment_type_id),
        row.weekday,
        row.start_minute,
        row.end_minute,
        row.max_overlap,
        row.max_per_day,
    )


def to_booking(row: Row[Any]) -> Booking:
    """Return the booking a row holds."""
    return Booking(
        str(row.id),
        str(row.provider_id),
        str(row.room_id),
        str(row.appointment_type_id),
        row.date,
        row.start_minute,
        row.patient_ref,
        row.status,
        row.is_overbooked,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
