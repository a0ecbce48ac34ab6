"""Which bookings and which sessions matter on the dates of a snapshot, and how rows are read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    Uuid,
    and_,
    any_,
    bindparam,
    extract,
    false,
    func,
    or_,
    select,
)

from models.tables import (
    BOOKING_ROLES,
    BOOKINGS,
    EQUIPMENT_POOLS,
    PROVIDERS,
    ROOMS,
    SESSIONS,
    TYPES,
)
from solver.clinic.entities import DAY_MINUTES, AppointmentType
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.sessions.session import Lead, Session
from solver.clinic.teams.roles import Role


def date_values(first: dt.date, last: dt.date) -> dict[str, Any]:
    """Return the values of the parameters of the conditions below, from one date to another."""
    return {
        "first": _finite(first),
        "last": _finite(last),
        "day_before": shift_date(first, -1),
        "day_after": shift_date(last, 1),
    }


def _finite(day: dt.date) -> dt.date:
    """Return a date, or the next one with which can be reckoned: first and last are infinity."""
    ordinal = min(max(day.toordinal(), 2), dt.date.max.toordinal() - 1)
    return dt.date.fromordinal(ordinal)


def shift_date(day: dt.date, days: int) -> dt.date:
    """Return `day` plus `days`, limited to what a date can be."""
    ordinal = day.toordinal() + days
    return dt.date.fromordinal(min(max(ordinal, 1), dt.date.max.toordinal()))


WITH_DATES_BESIDE = BOOKINGS.c.date.between(bindparam("day_before"), bindparam("day_after"))


def near_dates() -> ColumnElement[bool]:
    """Return the condition of the bookings that count on some dates.

    Bookings of the dates beside are among them only if some busy span, there or between, may reach
    over midnight or within the longest buffers of one that does, the time until equipment is back
    among these. In most clinics none does, and two thirds of the book need not be read.
    """
    book = BOOKINGS.alias()
    reach = _longest(PROVIDERS.c.buffer_before, TYPES.c.buffer_before) + _longest(
        PROVIDERS.c.buffer_after,
        TYPES.c.buffer_after,
        ROOMS.c.turnover_minutes,
        EQUIPMENT_POOLS.c.return_minutes,
    )
    is_there = func.bool_or(
        or_(
            book.c.start_minute < reach + book.c.buffer_before,
            book.c.start_minute + book.c.duration_minutes + book.c.buffer_after + reach
            > DAY_MINUTES,
        )
    )  # and not EXISTS, for which the planner reads the whole table in the hope of an early hit
    at_midnight = (
        select(is_there)
        .where(
            book.c.date.between(bindparam("day_before"), bindparam("day_after")),
            book.c.status != "cancelled",
        )
        .scalar_subquery()
    )
    on_dates = BOOKINGS.c.date.between(bindparam("first"), bindparam("last"))
    return and_(WITH_DATES_BESIDE, or_(on_dates, at_midnight))


def _longest(*columns: ColumnElement[int]) -> ColumnElement[int]:
    """Return the greatest value in any of the columns."""
    return func.greatest(*(select(func.max(column)).scalar_subquery() for column in columns))


SESSION = (
    "id name start_minute end_minute provider_id room_id weekday date valid_from valid_to"
    " every_weeks appointment_type_ids max_bookings opens_minutes_before opens_days_before opens_at"
    " releases_minutes_before releases_days_before releases_at active"
)
"""The columns of a session as a snapshot reads them."""


def session_of(columns: list[Any]) -> Session:
    """Return the session that a row of :data:`SESSION` is."""
    kinds, most, *leads, active = columns[11:]
    types = None if kinds is None else frozenset(kinds)
    return Session(*[*columns[:11], types, most, _lead(*leads[:3]), _lead(*leads[3:]), active])


def _lead(*columns: int | None) -> Lead | None:
    return Lead(*columns) if any(column is not None for column in columns) else None


def is_on_dates() -> ColumnElement[bool]:
    """Return the condition of the sessions that may hold on a date from `first` to `last`."""
    sessions, first, last = (
        SESSIONS.c,
        bindparam("first", type_=Date),
        bindparam("last", type_=Date),
    )
    days_ahead = func.mod(sessions.weekday - extract("isodow", first) + 7, 7)
    weekly = and_(
        days_ahead <= last - first,
        or_(sessions.valid_from.is_(None), sessions.valid_from <= last),
        or_(sessions.valid_to.is_(None), sessions.valid_to >= first),
    )
    return or_(sessions.date.between(first, last), weekly)


def is_counted_for_all() -> ColumnElement[bool]:
    """Return the condition of the bookings that sessions of every provider and room may count.

    Where there is no such session it compares with null, and no booking is read for it.
    """
    sessions = SESSIONS.c
    limits_all = (
        is_on_dates(),
        sessions.provider_id.is_(None),
        sessions.room_id.is_(None),
        sessions.max_bookings.is_not(None),
        sessions.active,
    )
    begins = select(func.min(sessions.start_minute)).where(*limits_all).scalar_subquery()
    ends = select(func.max(sessions.end_minute)).where(*limits_all).scalar_subquery()
    return and_(
        BOOKINGS.c.date.between(bindparam("first"), bindparam("last")),
        BOOKINGS.c.start_minute >= begins,
        BOOKINGS.c.start_minute < ends,
    )


def is_in_role(given: Collection[str]) -> ColumnElement[bool]:
    """Return the condition of the bookings in which one of the providers asked about is in a role.

    `given` are the names of the parameters: where there are no ``provider_ids``, there is no
    such booking; where there are dates, those of other dates are left out.
    """
    if "provider_ids" not in given:
        return false()
    roles = BOOKING_ROLES.c
    asked = bindparam("provider_ids", type_=ARRAY(Uuid(as_uuid=False)))
    found = select(roles.booking_id).where(roles.provider_id == any_(asked))
    if "first" in given:
        found = found.where(roles.date.between(bindparam("day_before"), bindparam("day_after")))
    return BOOKINGS.c.id.in_(found)


def type_of(columns: list[Any]) -> AppointmentType:
    """Return the appointment type that a row of a snapshot is."""
    *others, needs, roles = columns
    skills = (frozenset(role["required_skills"]) for role in roles)
    kept = [
        *others,
        tuple(PoolNeed(**need) for need in needs),
        tuple(
            Role(**{**role, "required_skills": needed})
            for role, needed in zip(roles, skills, strict=True)
        ),
    ]
    return AppointmentType(*kept)
