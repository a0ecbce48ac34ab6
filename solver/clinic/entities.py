"""A clinic's rows in memory: frozen, validated at construction, free of database and web.

Times of day are whole minutes after local midnight (0 to 1440), durations and buffers whole
minutes, dates :class:`datetime.date`, identifiers lower-case strings.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from solver.clinic.equipment.needs import PoolNeed, needs_are_possible
from solver.clinic.grammar.recurrence import RECURRENCE, has_weekday, holds_on
from solver.clinic.grammar.rhythm import MAX_GRID_MINUTES, StartAnchor, rhythm_is_possible
from solver.clinic.grammar.sentences import (
    InvalidClinicError,
    KnownFields,
    RowFault,
    at_least_0,
    cap,
    minutes_within,
    require_sound,
    tags,
)
from solver.clinic.patients import patient_key
from solver.clinic.teams.roles import Role, Team, roles_are_possible, team_is_possible
from solver.time_zones import ABBREVIATIONS, time_zones

DAY_MINUTES = 1440


MAX_BUFFER_MINUTES = 720
"""Buffers and turnover stay under half a day, so only neighbouring dates can touch."""


MAX_TAGS = 200
"""Most skills or pieces of equipment one row may carry."""


type Span = tuple[int, int]
"""Half open ``[start, end)`` in minutes."""


type Kind = Literal["open", "closed"]


type Status = Literal["held", "booked", "checked_in", "completed", "cancelled", "no_show"]


STATUSES: tuple[Status, ...] = get_args(Status.__value__)


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise InvalidClinicError(field, message)


def has_minutes(row: Any) -> Iterator[RowFault]:
    """Tell a span that has no minutes, or whose ends lie outside the day."""
    if not 0 <= row.start < DAY_MINUTES:
        yield RowFault("start_time", "must be 00:00 to 23:59")
    if not 0 < row.end <= DAY_MINUTES:
        yield RowFault("end_time", "must be 00:01 to 24:00")
    elif row.start >= row.end:
        yield RowFault("end_time", "must be later than start_time")


_BUFFERS = tuple(
    minutes_within(name, 0, MAX_BUFFER_MINUTES) for name in ("buffer_before", "buffer_after")
)


def _takes_minutes(row: Any) -> Iterator[RowFault]:
    """Tell a duration and buffers, as far as they are not None, that are out of range.

    It is one sentence, since a book has thousands of bookings.
    """
    for field, value, low, high in (
        ("duration_minutes", row.duration_minutes, 1, DAY_MINUTES),
        ("buffer_before", row.buffer_before, 0, MAX_BUFFER_MINUTES),
        ("buffer_after", row.buffer_after, 0, MAX_BUFFER_MINUTES),
    ):
        if value is not None and not low <= value <= high:
            yield RowFault(field, f"must be {low} to {high} minutes, not {value}")


def _is_in_a_time_zone(row: Any) -> Iterator[RowFault]:
    name = row.timezone
    if name in ABBREVIATIONS:
        yield RowFault(
            "timezone",
            f"'{name}' is an abbreviation that some software reads with summer time and some"
            f" without; write a place's, like {ABBREVIATIONS[name]}",
        )
    elif name not in time_zones():
        yield RowFault(
            "timezone",
            f"'{name}' is no IANA time zone that a clinic may have; write one like Europe/Berlin",
        )


@dataclass(frozen=True, slots=True)
class ClinicSettings:
    """What holds for the clinic as a whole."""

    name: str
    timezone: str
    grid_minutes: int = 15
    preference_decay_minutes: int = 240
    min_notice_minutes: int = 0

    GRAMMAR = (
        _is_in_a_time_zone,
        minutes_within("grid_minutes", 1, MAX_GRID_MINUTES),
        minutes_within("preference_decay_minutes", 1, DAY_MINUTES),
        at_least_0("min_notice_minutes"),
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone all local times are in."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Provider:
    """A clinician with skills, buffers and caps on regular bookings a day, and on their minutes."""

    id: str
    name: str
    skills: frozenset[str] = frozenset()
    daily_cap: int | None = None
    buffer_before: int = 0
    buffer_after: int = 0
    active: bool = True
    daily_minutes: int | None = None

    GRAMMAR = (
        tags("skills", MAX_TAGS),
        cap("daily_cap"),
        cap("daily_minutes"),
        *_BUFFERS,
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


@dataclass(frozen=True, slots=True)
class Room:
    """A place with a set of equipment and a turnover time after each appointment."""

    id: str
    name: str
    equipment: frozenset[str] = frozenset()
    turnover_minutes: int = 0
    active: bool = True
    location_id: str | None = None

    GRAMMAR = (
        tags("equipment", MAX_TAGS),
        minutes_within("turnover_minutes", 0, MAX_BUFFER_MINUTES),
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


@dataclass(frozen=True, slots=True)
class AppointmentType:
    """What is booked: its length, its buffers, what it needs and when it may start.

    Its candidate starts are `start_every` minutes apart (None: the clinic's grid), counted from
    `start_offset` minutes after midnight, or from where each open window of the provider opens.
    One that is `packed` may also start right behind each busy span of the provider.
    """

    id: str
    name: str
    duration_minutes: int
    buffer_before: int = 0
    buffer_after: int = 0
    required_skills: frozenset[str] = frozenset()
    required_equipment: frozenset[str] = frozenset()
    daily_cap: int | None = None
    active: bool = True
    start_every: int | None = None
    start_offset: int = 0
    start_anchor: StartAnchor = "midnight"
    packed: bool = False
    required_pools: tuple[PoolNeed, ...] = ()
    roles: tuple[Role, ...] = ()

    GRAMMAR = (
        _takes_minutes,
        tags("required_skills", MAX_TAGS),
        tags("required_equipment", MAX_TAGS),
        cap("daily_cap"),
        rhythm_is_possible,
        needs_are_possible,
        roles_are_possible,
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    @property
    def has_own_starts(self) -> bool:
        """Whether its starts depend on the provider's windows or bookings."""
        return self.packed or self.start_anchor == "window"


@dataclass(frozen=True, slots=True)
class ProviderType:
    """What is different when one provider does one appointment type; None: as the type has it.

    `daily_cap` limits this provider's live bookings of the type on a date (None: no limit). What is
    not `offered` this provider does not do, skills or not.
    """

    id: str
    provider_id: str
    appointment_type_id: str
    duration_minutes: int | None = None
    buffer_before: int | None = None
    buffer_after: int | None = None
    daily_cap: int | None = None
    offered: bool = True

    GRAMMAR = (_takes_minutes, cap("daily_cap"))

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


class Minutes(NamedTuple):
    """What an appointment takes: its duration, and its buffers before and after.

    These are the type's own buffers, before the maximum with the provider's buffers and the room's
    turnover.
    """

    duration: int
    before: int
    after: int


def _has_one_owner(row: Any) -> Iterator[RowFault]:
    if row.provider_id is not None and row.room_id is not None:
        yield RowFault("room_id", "a row belongs to a provider or to a room, not to both")


def _room_says_where_it_is(row: Any) -> Iterator[RowFault]:
    if row.room_id is not None and row.location_id is not None:
        fault = "leave it out of a room's row: the room says where it is"
        yield RowFault("location_id", fault)


def _clinic_only_closes(row: Any) -> Iterator[RowFault]:
    if row.kind != "closed" and row.provider_id is None and row.room_id is None:
        yield RowFault("kind", "a row of the whole clinic can only be 'closed'")


@dataclass(frozen=True, slots=True)
class Availability:
    """An open or closed span of a provider, a room, or (closed only) the whole clinic.

    It recurs weekly (``weekday``, ISO 1 = Monday, within ``valid_from`` and ``valid_to``, both
    inclusive) or stands on one ``date``. With ``every_weeks`` = n it holds in the week of
    ``valid_from`` and each n-th week after it, from Monday; with ``location_id`` there alone.
    """

    start: int
    end: int
    provider_id: str | None = None
    room_id: str | None = None
    weekday: int | None = None
    date: dt.date | None = None
    kind: Kind = "open"
    valid_from: dt.date | None = None
    valid_to: dt.date | None = None
    every_weeks: int = 1
    location_id: str | None = None

    GRAMMAR = (
        has_minutes,
        _has_one_owner,
        *RECURRENCE,
        _room_says_where_it_is,
        _clinic_only_closes,
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    def applies_on(self, day: dt.date, weekday: int) -> bool:
        """Whether the row speaks of `day`, whose ISO weekday is `weekday`."""
        return holds_on(self, day, weekday)


def covers_minutes(row: Any) -> Iterator[RowFault]:
    """Tell hours without minutes; an end that is None is that end of the day."""
    start = 0 if row.start is None else row.start
    end = DAY_MINUTES if row.end is None else row.end
    yield from has_minutes(KnownFields({"start": start, "end": end}))


@dataclass(frozen=True, slots=True)
class OverbookingRule:
    """An allowance to place an appointment over a provider's regular capacity."""

    id: str
    provider_id: str | None = None
    appointment_type_id: str | None = None
    weekday: int | None = None
    start: int | None = None
    end: int | None = None
    max_overlap: int = 1
    max_per_day: int = 1

    GRAMMAR = (
        has_weekday,
        covers_minutes,
        at_least_0("max_overlap"),
        at_least_0("max_per_day"),
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    @property
    def hours(self) -> Span:
        """The hours the allowance covers; an end that is unset is that end of the day."""
        return (
            0 if self.start is None else self.start,
            DAY_MINUTES if self.end is None else self.end,
        )

    def covers(self, provider_id: str, kind: AppointmentType, weekday: int, start: int) -> bool:
        """Whether it speaks of an appointment of `kind` at that provider, ISO weekday and start."""
        opens, closes = self.hours
        return (
            self.provider_id in (None, provider_id)
            and self.appointment_type_id in (None, kind.id)
            and self.weekday in (None, weekday)
            and opens <= start
            and start + kind.duration_minutes <= closes
        )


def _begins_in_its_date(row: Any) -> Iterator[RowFault]:
    if not 0 <= row.start < DAY_MINUTES:
        yield RowFault("start_time", "must be 00:00 to 23:59")


@dataclass(frozen=True, slots=True)
class Booking:
    """One appointment placed.

    It keeps the duration and the buffers with which it was made, before the maximum with the
    provider's own buffers and the room's turnover; where one is None, it is as its type, or its
    provider's row for the type, has it now.
    """

    id: str
    provider_id: str
    room_id: str
    appointment_type_id: str
    date: dt.date
    start: int
    patient_ref: str | None = None
    status: Status = "booked"
    is_overbooked: bool = False
    duration_minutes: int | None = None
    buffer_before: int | None = None
    buffer_after: int | None = None
    overrides: frozenset[str] = frozenset()  # codes of the rules it was made against, on purpose
    team: Team = ()  # who is in the roles of its type; complete, but where it came from elsewhere

    GRAMMAR = (_begins_in_its_date, _takes_minutes, team_is_possible)

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    @property
    def is_live(self) -> bool:
        """Every status but cancelled; expired holds are left out before a clinic is built."""
        return self.status != "cancelled"

    @property
    def patient_key(self) -> str | None:
        """What the patient is compared by."""
        return patient_key(self.patient_ref)
