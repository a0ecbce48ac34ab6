"""The changes that make a scenario's clinic out of the real one."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Booking,
    InvalidClinicError,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.places import Location, Travel
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


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """The room is closed on a date, all day or for some hours."""

    room_id: str
    date: dt.date
    start: int = 0
    end: int = DAY_MINUTES


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
class SetField:
    """One field of one row has another value; `id` is None for the clinic's own settings."""

    entity: Entity
    id: str | None
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Remove:
    """A row is gone, and with it its availability and the rows of others that name it.

    One that bookings or requests refer to stays, inactive, and so does a place that is named.
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
    | SetField
    | Remove
    | ScaleDemand
)
