"""The changes that make a scenario's clinic out of the real one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal
from zoneinfo import ZoneInfo

from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Booking,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
    covers_minutes,
    has_minutes,
)
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.grammar.recurrence import has_weekday, has_weekday_or_date
from solver.clinic.grammar.sentences import InvalidClinicError, RowFault, require_sound
from solver.clinic.places import Location, Travel
from solver.clinic.sessions.instants import released_before_it_opens
from solver.clinic.sessions.session import Session

MAX_FACTOR = 100


type Entity = Literal[
    "clinic",
    "providers",
    "rooms",
    "appointment_types",
    "overbooking_rules",
    "provider_types",
    "sessions",
    "locations",
    "travel",
    "equipment_pools",
    "bookings",
]


type Row = (
    Provider
    | Room
    | AppointmentType
    | OverbookingRule
    | ProviderType
    | Session
    | Location
    | Travel
    | EquipmentPool
    | Booking
)


# The changes


@dataclass(frozen=True, slots=True)
class ProviderOut:
    """The provider is away on a date, all day or for some hours."""

    provider_id: str
    date: dt.date
    start: int = 0
    end: int = DAY_MINUTES

    GRAMMAR = (covers_minutes,)

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """The room is closed on a date, all day or for some hours."""

    room_id: str
    date: dt.date
    start: int = 0
    end: int = DAY_MINUTES

    GRAMMAR = (covers_minutes,)

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


def _has_one_owner(row: Any) -> Iterator[RowFault]:
    if (row.provider_id is None) == (row.room_id is None):
        yield RowFault("provider_id", "give a provider or a room, one of the two")


@dataclass(frozen=True, slots=True)
class OpenHours:
    """A provider or a room is open longer, on one date or every week.

    What was open stays open: on a date without open rows of its own the weekly hours are kept
    beside the new ones, and a room that is open all day for want of any row stays so. Closures
    still cut, and a date with open rows of its own still replaces the weekly hours, new or old.
    """

    start: int
    end: int
    provider_id: str | None = None
    room_id: str | None = None
    date: dt.date | None = None
    weekday: int | None = None

    GRAMMAR = (has_minutes, _has_one_owner, has_weekday_or_date, has_weekday)

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


@dataclass(frozen=True, slots=True)
class AddProvider:
    """One more provider; its windows are further changes."""

    provider: Provider


@dataclass(frozen=True, slots=True)
class AddRoom:
    """One more room, open all day."""

    room: Room


@dataclass(frozen=True, slots=True)
class AddOverbookingRule:
    """One more allowance."""

    rule: OverbookingRule


@dataclass(frozen=True, slots=True)
class AddProviderType:
    """One provider does one type otherwise than the type says."""

    row: ProviderType


@dataclass(frozen=True, slots=True)
class AddSession:
    """One more session."""

    session: Session


@dataclass(frozen=True, slots=True)
class AddLocation:
    """One more place; that rooms are there, and the ways, are further changes."""

    location: Location


@dataclass(frozen=True, slots=True)
class AddPool:
    """One more pool of equipment; which types take from it are further changes."""

    pool: EquipmentPool


@dataclass(frozen=True, slots=True)
class SetField:
    """One field of one row has another value; `id` is None for the clinic's own settings."""

    entity: Entity
    id: str | None
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Remove:
    """A row is gone, and with it its availability and the rows of others that name it.

    One that bookings or requests refer to stays, inactive, and so does what other rows name.
    """

    entity: Entity
    id: str


@dataclass(frozen=True, slots=True)
class ScaleDemand:
    """There are `factor` times as many requests, of one appointment type or of all.

    In the order of the requests, the running total is multiplied by the factor and rounded half
    up, and each request is repeated by how much that grows. So the sum is exact, and the requests
    that are repeated or dropped are spread evenly over the list.
    """

    factor: Fraction
    appointment_type_id: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.factor <= MAX_FACTOR:
            raise InvalidClinicError("factor", f"must be 0 to {MAX_FACTOR}")


type Change = (
    ProviderOut
    | CloseRoom
    | OpenHours
    | AddProvider
    | AddRoom
    | AddOverbookingRule
    | AddProviderType
    | AddSession
    | AddLocation
    | AddPool
    | SetField
    | Remove
    | ScaleDemand
)


# What a row that a change makes has to keep beside the others, and what goes with one


def require_own_pair(rows: Iterable[ProviderType], row: ProviderType) -> None:
    """Refuse a second row of one provider for one type."""
    pair = row.provider_id, row.appointment_type_id
    for other in rows:
        if (other.provider_id, other.appointment_type_id) == pair and other.id != row.id:
            raise InvalidClinicError(
                "appointment_type_id", f"has the row {other.id} of this provider already"
            )


def require_own_way(rows: Iterable[Travel], row: Travel) -> None:
    """Refuse a second row of one way."""
    for other in rows:
        if (other.from_id, other.to_id) == (row.from_id, row.to_id) and other.id != row.id:
            raise InvalidClinicError("to_id", f"has the row {other.id} of this way already")


def require_opening(session: Session, zone: ZoneInfo, first: dt.date) -> None:
    """Refuse a session that would not open before it is released, on `first` or a later date."""
    day = released_before_it_opens(zone, session, first)
    if day is not None:
        raise InvalidClinicError("releases", f"must be later than opens; on {day} it is not")


def forget_type(sessions: dict[str, Session], key: str) -> None:
    """Let the sessions that name a type that is gone name it no more."""
    for session in list(sessions.values()):
        kinds = session.appointment_type_ids
        if kinds is not None and key in kinds:
            sessions[session.id] = replace(session, appointment_type_ids=kinds - {key})


def displace(
    bookings: dict[str, Booking],
    kinds: Mapping[str, AppointmentType],
    change: ProviderOut | CloseRoom,
) -> None:
    """Let bookings in the way of a closure override its hours no more: it displaces all."""
    is_provider = isinstance(change, ProviderOut)
    code = "OUTSIDE_PROVIDER_HOURS" if is_provider else "OUTSIDE_ROOM_HOURS"
    owner = change.provider_id if isinstance(change, ProviderOut) else change.room_id
    for b in list(bookings.values()):
        kind = kinds.get(b.appointment_type_id)
        if (
            code in b.overrides
            and (b.provider_id if is_provider else b.room_id, b.date) == (owner, change.date)
            and kind is not None
            and b.start < change.end
            and change.start < b.start + kind.duration_minutes
        ):
            bookings[b.id] = replace(b, overrides=b.overrides - {code})
