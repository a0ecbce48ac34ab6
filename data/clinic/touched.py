"""What an edit of a row of the clinic can touch: which rules, of which bookings.

An edit reads no booking that it cannot put outside a rule. A name touches nothing, a provider's
hours that provider's bookings on those dates, a clock change the dates on which clocks change. A
type's duration, buffers and starts touch nothing: bookings keep those that they were made with.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    Text,
    any_,
    cast,
    extract,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
)

from data.bookings.outside_rules import EditScope
from data.clinic.in_sql.pooled_types import types_taking_from
from data.clinic.resources import AvailabilityEntry
from data.files.clinic_file import (
    AppointmentTypeRow,
    ClinicRow,
    OverbookingRuleRow,
    ProviderRow,
    ProviderTypeRow,
    RoomRow,
)
from data.files.fields import Strict
from data.files.place_rows import LocationRow, TravelRow
from data.files.pool_rows import EquipmentPoolRow
from data.files.session_row import SessionRow
from models.tables import BOOKING_ROLES, BOOKINGS, EQUIPMENT_POOLS, ROOMS
from solver.clinic.clock import clock_changes

_RULES_OF: dict[type[Strict], dict[str, frozenset[int]]] = {
    ProviderRow: {
        "skills": frozenset({1, 9}),
        "active": frozenset({1, 9}),
        "daily_cap": frozenset({6, 7}),
        "daily_minutes": frozenset({6, 7}),
        "buffer_before": frozenset({6, 7, 9, 11}),
        "buffer_after": frozenset({6, 7, 9, 11}),
    },
    RoomRow: {
        "equipment": frozenset({1}),
        "active": frozenset({1}),
        "turnover_minutes": frozenset({3}),
        "location_id": frozenset({1, 2, 9, 10, 11}),
    },
    LocationRow: {"active": frozenset({1})},
    AppointmentTypeRow: {
        "required_skills": frozenset({1}),
        "required_equipment": frozenset({1}),
        "active": frozenset({1}),
        "daily_cap": frozenset({5}),
        "required_pools": frozenset({10}),
        "roles": frozenset({6, 7, 9, 11}),
    },
    EquipmentPoolRow: {
        "quantity": frozenset({10}),
        "return_minutes": frozenset({10}),
        "active": frozenset({10}),
        "location_id": frozenset({10}),
    },
    ClinicRow: {"timezone": frozenset({0})},
}
"""The rules that a field counts in; fields that are not named count in none."""


_YEARS_AHEAD = 3
"""Years for which clock changes are looked up; all bookings further ahead are read."""


_SHIFT = func.generate_series(literal_column("-2"), literal_column("2"))
"""SQL of the days from a date to those whose bookings its neighbours are read beside."""


def touched(before: Strict | None, after: Strict | None) -> EditScope | None:
    """Return what an edit from one row to another can touch; None where it can touch nothing.

    None stands for a row that is not there yet, or not there any more.
    """
    row = after or before
    if row is not None and type(row) in _TOUCHED_BY:
        return _TOUCHED_BY[type(row)](before, after)
    if before is None or after is None:
        return None  # no booking refers to it
    fields = _RULES_OF[type(after)]
    changed = {name for name in fields if getattr(before, name) != getattr(after, name)}
    if not changed:
        return None
    rules = frozenset[int]().union(*(fields[name] for name in changed))
    if 10 in rules and not isinstance(after, RoomRow):
        return _touched_in_pools(before, after, rules)
    return _concerned(after, rules)


def _always(rules: frozenset[int], condition: ColumnElement[bool]) -> EditScope:
    return EditScope(rules, lambda _first, _last: condition)


def _concerned(row: Strict, rules: frozenset[int]) -> EditScope:
    """Return the bookings that `rules` are to be read for, and those that they are read beside."""
    columns = BOOKINGS.c
    found: ColumnElement[bool]
    match row:
        case ProviderRow():
            found = or_(columns.provider_id == row.id, _has_in_role(row.id))
        case RoomRow():
            found = columns.room_id == row.id
            if 11 in rules:
                there = _on_days_in([row.id]), _taking_from_located_pools()
                found = or_(_beside_teams_of(found), *there)
        case LocationRow():
            rooms = select(ROOMS.c.id).where(ROOMS.c.location_id == row.id)
            found = columns.room_id.in_(rooms)
        case AppointmentTypeRow():
            found = _of_type(row, rules)
        case ClinicRow():
            found = _when_clocks_change(row)
        case _:
            raise TypeError(type(row))
    return _always(rules, found)


def _of_type(row: AppointmentTypeRow, rules: frozenset[int]) -> ColumnElement[bool]:
    """Return the condition of the bookings of a type, and of those that its roles are beside."""
    of_type = BOOKINGS.c.appointment_type_id == row.id
    return or_(of_type, _beside_teams_of(of_type)) if 9 in rules else of_type


def _on_dates_of(row: Any) -> ColumnElement[bool]:
    """Return the condition of the bookings on the dates on which a row holds."""
    columns = BOOKINGS.c
    spoken: ColumnElement[bool] = (
        columns.date == row.date
        if row.date is not None
        else extract("isodow", columns.date) == row.weekday
    )
    if row.valid_from is not None:
        spoken &= columns.date >= row.valid_from
    if row.valid_to is not None:
        spoken &= columns.date <= row.valid_to
    if row.every_weeks > 1:
        monday = row.valid_from - dt.timedelta(days=row.valid_from.weekday())
        spoken &= func.mod((columns.date - monday) // 7, row.every_weeks) == 0
    return spoken


def _on_days_in(room_ids: list[str]) -> ColumnElement[bool]:
    """Return the condition of the bookings of all providers' dates with one in some rooms."""
    there = BOOKINGS.alias()
    days = select(there.c.provider_id, there.c.date).where(there.c.room_id.in_(room_ids))
    return tuple_(BOOKINGS.c.provider_id, BOOKINGS.c.date).in_(days)


def _has_in_role(provider_id: str) -> ColumnElement[bool]:
    """Return the condition of the bookings in which a provider is in a role."""
    roles = BOOKING_ROLES.c
    return BOOKINGS.c.id.in_(select(roles.booking_id).where(roles.provider_id == provider_id))


def _beside_teams_of(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition of the bookings on the days of those who are in roles of some others.

    These others are those of a condition of bookings; of each day the two beside it are among them.
    """
    roles = BOOKING_ROLES.c
    days = (
        select(roles.provider_id, roles.date + _SHIFT)
        .join(BOOKINGS, BOOKINGS.c.id == roles.booking_id)
        .where(condition, BOOKINGS.c.status != "cancelled")
    )
    columns = BOOKINGS.c
    theirs = select(roles.booking_id).where(tuple_(roles.provider_id, roles.date).in_(days))
    return or_(tuple_(columns.provider_id, columns.date).in_(days), columns.id.in_(theirs))


def _taking_from_located_pools() -> ColumnElement[bool]:
    """Return the condition of the bookings that have pieces of pools that serve one location."""
    pools = EQUIPMENT_POOLS.c
    located = select(cast(pools.id, Text)).where(pools.location_id.is_not(None))
    return BOOKINGS.c.appointment_type_id.in_(types_taking_from(located))


def _bookings_under(row: Any) -> ColumnElement[bool]:
    """Return the condition of the bookings whose opening hours an availability row may change."""
    if row.room_id is not None and row.kind == "open":
        # a room without any open row is open all day: the first row, and the last, change all days
        of_room: ColumnElement[bool] = BOOKINGS.c.room_id == row.room_id
        return of_room
    return _of_owner_on_dates(row)


def _of_owner_on_dates(row: Any) -> ColumnElement[bool]:
    """Return the condition of the bookings of a row's owner, if it has one, on its dates."""
    spoken = _on_dates_of(row)
    if row.provider_id is not None:
        own = BOOKINGS.c.provider_id == row.provider_id
        spoken &= or_(own, _has_in_role(row.provider_id))
    if row.room_id is not None:
        spoken &= BOOKINGS.c.room_id == row.room_id
    return spoken


def _touched_by_hours(before: Any, after: Any) -> EditScope:
    spoken = (_bookings_under(row) for row in (before, after) if row is not None)
    return _always(frozenset({2, 9}), or_(*spoken))


def _touched_by_travel(before: Any, after: Any) -> EditScope:
    """A way counts for the bookings at its two ends, read beside one another."""
    ends = {key for row in (before, after) if row for key in (row.from_id, row.to_id)}
    there = BOOKINGS.c.room_id.in_(select(ROOMS.c.id).where(ROOMS.c.location_id.in_(ends)))
    return _always(frozenset({9, 11}), there)


def _touched_by_rule(before: Any, after: Any) -> EditScope:
    """An allowance counts for overbooked bookings, read beside all others of their providers."""
    over = BOOKINGS.alias()
    conditions = [over.c.is_overbooked, over.c.status != "cancelled"]
    providers = {row.provider_id for row in (before, after) if row is not None}
    if None not in providers:
        conditions.append(over.c.provider_id.in_(providers))
    places = select(over.c.provider_id, over.c.date + _SHIFT).where(*conditions)
    near = tuple_(BOOKINGS.c.provider_id, BOOKINGS.c.date).in_(places)
    return _always(frozenset({7}), near)


def _touched_by_provider_type(before: Any, after: Any) -> EditScope | None:
    """A provider's cap for a type counts that provider's bookings; what is not offered, too.

    Where there is no row there is no cap, and everything is offered.
    """
    rows = [row for row in (before, after) if row is not None]
    pairs = {(row.provider_id, row.appointment_type_id) for row in rows}
    rules: set[int] = set()
    if len(pairs) > 1 or len({row and row.daily_cap for row in (before, after)}) > 1:
        rules.add(6)
    if len(pairs) > 1 or len({row is None or row.offered for row in (before, after)}) > 1:
        rules.add(1)
    if not rules:
        return None
    providers = {row.provider_id for row in rows}
    return _always(frozenset(rules), BOOKINGS.c.provider_id.in_(providers))


def _touched_by_session(before: Any, after: Any) -> EditScope | None:
    """What a session keeps, and how many bookings it takes, counts for its owner on its dates.

    Its name counts for nothing, nor from when on it can be booked: whoever has booked, has booked.
    """
    rows = [row for row in (before, after) if row is not None and row.active]
    kept = [row.model_copy(update={"name": "", "opens": None}) for row in rows]
    if not rows or kept == kept[:1] * 2:
        return None
    return _always(frozenset({8}), or_(*map(_of_owner_on_dates, rows)))


_TOUCHED_BY: dict[type[Strict], Callable[[Any, Any], EditScope | None]] = {
    AvailabilityEntry: _touched_by_hours,
    OverbookingRuleRow: _touched_by_rule,
    ProviderTypeRow: _touched_by_provider_type,
    SessionRow: _touched_by_session,
    TravelRow: _touched_by_travel,
}
"""How rows touch what others are booked, where it is not said by field."""


def _touched_in_pools(before: Any, after: Any, rules: frozenset[int]) -> EditScope:
    """What is out of a pool is that of all bookings whose types take from it."""
    rows = (before, after)
    own: ColumnElement[bool] = literal(value=False)
    if isinstance(after, EquipmentPoolRow):
        pools = {after.id}
    else:
        pools = {need.pool_id for row in rows for need in row.required_pools}
        own = _of_type(after, rules)
    taking = BOOKINGS.c.appointment_type_id.in_(types_taking_from(pools))
    return _always(rules, or_(own, taking))


def _when_clocks_change(row: ClinicRow) -> ColumnElement[bool]:
    zone = row.to_solver().zone
    today = dt.datetime.now(zone).date()
    days = (today + dt.timedelta(days=ahead) for ahead in range(-1, 366 * _YEARS_AHEAD))
    changing = [day for day in days if clock_changes(zone, day)]
    columns = BOOKINGS.c
    beyond = columns.date > today + dt.timedelta(days=366 * _YEARS_AHEAD - 2)
    return or_(columns.date == any_(literal(changing, ARRAY(Date))), beyond)
