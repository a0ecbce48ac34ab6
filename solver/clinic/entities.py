"""A clinic's rows in memory: frozen, validated at construction, free of database and web.

Times of day are whole minutes after local midnight (0 to 1440), durations and buffers whole
minutes, dates :class:`datetime.date`, identifiers lower-case strings.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args
from zoneinfo import ZoneInfo

from solver.clinic.equipment.needs import PoolNeed, fault_of_needs
from solver.clinic.patients import patient_key
from solver.clinic.starts import MAX_GRID_MINUTES, StartAnchor, fault_of_rhythm
from solver.clinic.teams.roles import Role, Team, fault_of_roles, fault_of_team
from solver.time_zones import ABBREVIATIONS, time_zones

DAY_MINUTES = 1440

MAX_EVERY_WEEKS = 8
"""The most weeks from one in which a weekly row holds to the next."""

MAX_BUFFER_MINUTES = 720
"""Buffers and turnover stay under half a day, so only neighbouring dates can touch."""


MAX_TAGS = 200
"""Most skills or pieces of equipment one row may carry."""


type Span = tuple[int, int]
"""Half open ``[start, end)`` in minutes."""


type Kind = Literal["open", "closed"]


type Status = Literal["held", "booked", "checked_in", "completed", "cancelled", "no_show"]


STATUSES: tuple[Status, ...] = get_args(Status.__value__)


class InvalidClinicError(ValueError):
    """A row that breaks the clinic's grammar; names the field and says what would be right."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise InvalidClinicError(field, message)


def _require_minutes(value: int, field: str, low: int, high: int) -> None:
    _require(low <= value <= high, field, f"must be {low} to {high} minutes, not {value}")


def _require_minutes_if_set(row: ProviderType | Booking) -> None:
    """Require that the duration and the buffers, as far as they are not None, are in range."""
    if row.duration_minutes is not None:
        _require_minutes(row.duration_minutes, "duration_minutes", 1, DAY_MINUTES)
    if row.buffer_before is not None:
        _require_minutes(row.buffer_before, "buffer_before", 0, MAX_BUFFER_MINUTES)
    if row.buffer_after is not None:
        _require_minutes(row.buffer_after, "buffer_after", 0, MAX_BUFFER_MINUTES)


def _require_span(start: int, end: int) -> None:
    _require(0 <= start < DAY_MINUTES, "start_time", "must be 00:00 to 23:59")
    _require(0 < end <= DAY_MINUTES, "end_time", "must be 00:01 to 24:00")
    _require(start < end, "end_time", "must be later than start_time")


def _require_tags(tags: frozenset[str], field: str) -> None:
    _require(len(tags) <= MAX_TAGS, field, f"must hold at most {MAX_TAGS} entries")
    _require(all(tags), field, "must not hold an empty name")


def _require_cap(cap: int | None, field: str = "daily_cap") -> None:
    _require(cap is None or cap >= 0, field, "must be null or at least 0")


class Recurring(Protocol):
    """A row that recurs weekly or stands on one date."""

    @property
    def weekday(self) -> int | None:
        """ISO weekday, 1 = Monday."""

    @property
    def date(self) -> dt.date | None:
        """The one date."""

    @property
    def valid_from(self) -> dt.date | None:
        """The first date on which it may hold."""

    @property
    def valid_to(self) -> dt.date | None:
        """The last date on which it may hold."""

    @property
    def every_weeks(self) -> int:
        """How many weeks lie from one in which it holds to the next."""


def _require_recurrence(row: Recurring) -> None:
    _require(
        (row.weekday is None) != (row.date is None),
        "weekday",
        "a row has a weekday or a date, one of the two",
    )
    _require(
        row.weekday is None or 1 <= row.weekday <= 7,
        "weekday",
        "must be 1 (Monday) to 7 (Sunday)",
    )
    _require(
        row.valid_from is None or row.valid_to is None or row.valid_from <= row.valid_to,
        "valid_to",
        "must not be before valid_from",
    )
    _require(
        row.date is None
        or (
            (row.valid_from is None or row.valid_from <= row.date)
            and (row.valid_to is None or row.date <= row.valid_to)
        ),
        "date",
        "must lie within valid_from and valid_to, which a row with a date can do without",
    )
    _require(
        1 <= row.every_weeks <= MAX_EVERY_WEEKS,
        "every_weeks",
        f"must be 1 to {MAX_EVERY_WEEKS} weeks, not {row.every_weeks}",
    )
    _require(
        row.every_weeks == 1 or row.date is None,
        "every_weeks",
        "is for rows with a weekday; leave it out of a row with a date",
    )
    _require(
        row.every_weeks == 1 or row.valid_from is not None,
        "valid_from",
        "must be given where every_weeks is above 1: a date in the first of these weeks",
    )


@dataclass(frozen=True, slots=True)
class ClinicSettings:
    """What holds for the clinic as a whole."""

    name: str
    timezone: str
    grid_minutes: int = 15
    preference_decay_minutes: int = 240
    min_notice_minutes: int = 0

    def __post_init__(self) -> None:
        _require(
            self.timezone not in ABBREVIATIONS,
            "timezone",
            f"'{self.timezone}' is an abbreviation that some software reads with summer time and"
            f" some without; write a place's, like {ABBREVIATIONS.get(self.timezone)}",
        )
        _require(
            self.timezone in time_zones(),
            "timezone",
            f"'{self.timezone}' is no IANA time zone that a clinic may have; write one like"
            " Europe/Berlin",
        )
        _require_minutes(self.grid_minutes, "grid_minutes", 1, MAX_GRID_MINUTES)
        _require_minutes(self.preference_decay_minutes, "preference_decay_minutes", 1, DAY_MINUTES)
        _require(self.min_notice_minutes >= 0, "min_notice_minutes", "must be at least 0")

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

    def __post_init__(self) -> None:
        _require_tags(self.skills, "skills")
        _require_cap(self.daily_cap)
        _require_cap(self.daily_minutes, "daily_minutes")
        _require_minutes(self.buffer_before, "buffer_before", 0, MAX_BUFFER_MINUTES)
        _require_minutes(self.buffer_after, "buffer_after", 0, MAX_BUFFER_MINUTES)


@dataclass(frozen=True, slots=True)
class Room:
    """A place with a set of equipment and a turnover time after each appointment."""

    id: str
    name: str
    equipment: frozenset[str] = frozenset()
    turnover_minutes: int = 0
    active: bool = True
    location_id: str | None = None

    def __post_init__(self) -> None:
        _require_tags(self.equipment, "equipment")
        _require_minutes(self.turnover_minutes, "turnover_minutes", 0, MAX_BUFFER_MINUTES)


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

    def __post_init__(self) -> None:
        _require_minutes(self.duration_minutes, "duration_minutes", 1, DAY_MINUTES)
        _require_minutes(self.buffer_before, "buffer_before", 0, MAX_BUFFER_MINUTES)
        _require_minutes(self.buffer_after, "buffer_after", 0, MAX_BUFFER_MINUTES)
        _require_tags(self.required_skills, "required_skills")
        _require_tags(self.required_equipment, "required_equipment")
        _require_cap(self.daily_cap)
        fault = fault_of_rhythm(self.start_every, self.start_offset, self.start_anchor)
        fault = fault or fault_of_needs(self.required_pools)
        fault = fault or fault_of_roles(self.roles, self.duration_minutes)
        _require(fault is None, *(fault or ("", "")))

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

    def __post_init__(self) -> None:
        _require_minutes_if_set(self)
        _require_cap(self.daily_cap)


class Minutes(NamedTuple):
    """What an appointment takes: its duration, and its buffers before and after.

    These are the type's own buffers, before the maximum with the provider's buffers and the room's
    turnover.
    """

    duration: int
    before: int
    after: int


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

    def __post_init__(self) -> None:
        _require_span(self.start, self.end)
        _require(
            self.provider_id is None or self.room_id is None,
            "room_id",
            "a row belongs to a provider or to a room, not to both",
        )
        _require_recurrence(self)
        _require(
            self.room_id is None or self.location_id is None,
            "location_id",
            "leave it out of a room's row: the room says where it is",
        )
        _require(
            self.kind == "closed" or self.provider_id is not None or self.room_id is not None,
            "kind",
            "a row of the whole clinic can only be 'closed'",
        )

    def applies_on(self, day: dt.date, weekday: int) -> bool:
        """Whether the row speaks of `day`, whose ISO weekday is `weekday`."""
        return holds_on(self, day, weekday)


def holds_on(row: Recurring, day: dt.date, weekday: int) -> bool:
    """Whether a row speaks of `day`, whose ISO weekday is `weekday`."""
    if row.date is not None:
        return row.date == day
    return (
        row.weekday == weekday
        and (row.valid_from is None or row.valid_from <= day)
        and (row.valid_to is None or day <= row.valid_to)
        and (
            row.every_weeks == 1
            or row.valid_from is None  # never so: a row of some weeks has it
            or (week_number(day) - week_number(row.valid_from)) % row.every_weeks == 0
        )
    )


def week_number(day: dt.date) -> int:
    """Return a number for the week of a date, one more from each Monday on."""
    return (day.toordinal() - 1) // 7


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

    def __post_init__(self) -> None:
        _require(
            self.weekday is None or 1 <= self.weekday <= 7,
            "weekday",
            "must be 1 (Monday) to 7 (Sunday)",
        )
        _require_span(*self.hours)
        _require(self.max_overlap >= 0, "max_overlap", "must be at least 0")
        _require(self.max_per_day >= 0, "max_per_day", "must be at least 0")

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

    def __post_init__(self) -> None:
        if not 0 <= self.start < DAY_MINUTES:  # not by _require: a book has thousands
            raise InvalidClinicError("start_time", "must be 00:00 to 23:59")
        if self.team and (fault := fault_of_team(self.team, self.provider_id)) is not None:
            raise InvalidClinicError(*fault)
        _require_minutes_if_set(self)

    @property
    def is_live(self) -> bool:
        """Every status but cancelled; expired holds are left out before a clinic is built."""
        return self.status != "cancelled"

    @property
    def patient_key(self) -> str | None:
        """What the patient is compared by."""
        return patient_key(self.patient_ref)
