"""The clinic in memory: frozen, validated at construction, free of database and web.

Times of day are whole minutes after local midnight (0 to 1440), durations and buffers whole
minutes, dates :class:`datetime.date`, identifiers lower-case strings.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from solver.clinic.patients import patient_key

DAY_MINUTES = 1440


MAX_GRID_MINUTES = 240
"""The most minutes from one candidate start to the next; the fewest are 1."""


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


STATUSES: tuple[Status, ...] = (
    "held",
    "booked",
    "checked_in",
    "completed",
    "cancelled",
    "no_show",
)


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


ABBREVIATIONS = {
    "CET": "Europe/Berlin",
    "EET": "Europe/Athens",
    "MET": "Europe/Berlin",
    "WET": "Europe/Lisbon",
}
"""IANA's names that no clinic may have, and for each a place whose clocks it may have meant.

Elsewhere, as in PostgreSQL, they are abbreviations without summer time: whoever reads the clinic's
file or tables with other software would be an hour off.
"""


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the time zones that a clinic may have: IANA's, the same on any machine.

    :data:`ABBREVIATIONS` are left out, and the one that stands for a clock that was never set.
    """
    names = files("tzdata").joinpath("zones").read_text().split()
    return frozenset(names) - ABBREVIATIONS.keys() - {"Factory"}


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

    def __post_init__(self) -> None:
        _require_tags(self.equipment, "equipment")
        _require_minutes(self.turnover_minutes, "turnover_minutes", 0, MAX_BUFFER_MINUTES)


@dataclass(frozen=True, slots=True)
class AppointmentType:
    """What is booked: its length, its buffers and what it needs."""

    id: str
    name: str
    duration_minutes: int
    buffer_before: int = 0
    buffer_after: int = 0
    required_skills: frozenset[str] = frozenset()
    required_equipment: frozenset[str] = frozenset()
    daily_cap: int | None = None
    active: bool = True

    def __post_init__(self) -> None:
        _require_minutes(self.duration_minutes, "duration_minutes", 1, DAY_MINUTES)
        _require_minutes(self.buffer_before, "buffer_before", 0, MAX_BUFFER_MINUTES)
        _require_minutes(self.buffer_after, "buffer_after", 0, MAX_BUFFER_MINUTES)
        _require_tags(self.required_skills, "required_skills")
        _require_tags(self.required_equipment, "required_equipment")
        _require_cap(self.daily_cap)


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
    ``valid_from`` and in each n-th week after it; weeks begin on Monday.
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

    def __post_init__(self) -> None:
        _require_span(self.start, self.end)
        _require(
            self.provider_id is None or self.room_id is None,
            "room_id",
            "a row belongs to a provider or to a room, not to both",
        )
        _require(
            (self.weekday is None) != (self.date is None),
            "weekday",
            "a row has a weekday or a date, one of the two",
        )
        _require(
            self.weekday is None or 1 <= self.weekday <= 7,
            "weekday",
            "must be 1 (Monday) to 7 (Sunday)",
        )
        _require(
            self.kind == "closed" or self.provider_id is not None or self.room_id is not None,
            "kind",
            "a row of the whole clinic can only be 'closed'",
        )
        _require(
            self.valid_from is None or self.valid_to is None or self.valid_from <= self.valid_to,
            "valid_to",
            "must not be before valid_from",
        )
        _require(
            self.date is None
            or (
                (self.valid_from is None or self.valid_from <= self.date)
                and (self.valid_to is None or self.date <= self.valid_to)
            ),
            "date",
            "must lie within valid_from and valid_to, which a row with a date can do without",
        )
        _require(
            1 <= self.every_weeks <= MAX_EVERY_WEEKS,
            "every_weeks",
            f"must be 1 to {MAX_EVERY_WEEKS} weeks, not {self.every_weeks}",
        )
        _require(
            self.every_weeks == 1 or self.date is None,
            "every_weeks",
            "is for rows with a weekday; leave it out of a row with a date",
        )
        _require(
            self.every_weeks == 1 or self.valid_from is not None,
            "valid_from",
            "must be given where every_weeks is above 1: a date in the first of these weeks",
        )

    def applies_on(self, day: dt.date, weekday: int) -> bool:
        """Whether the row speaks of `day`, whose ISO weekday is `weekday`."""
        if self.date is not None:
            return self.date == day
        return (
            self.weekday == weekday
            and (self.valid_from is None or self.valid_from <= day)
            and (self.valid_to is None or day <= self.valid_to)
            and (
                self.every_weeks == 1
                or self.valid_from is None  # never so: a row of some weeks has it
                or (week_number(day) - week_number(self.valid_from)) % self.every_weeks == 0
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

    def __post_init__(self) -> None:
        if not 0 <= self.start < DAY_MINUTES:  # not by _require: a book has thousands
            raise InvalidClinicError("start_time", "must be 00:00 to 23:59")
        _require_minutes_if_set(self)

    @property
    def is_live(self) -> bool:
        """Every status but cancelled; expired holds are left out before a clinic is built."""
        return self.status != "cancelled"

    @property
    def patient_key(self) -> str | None:
        """What the patient is compared by."""
        return patient_key(self.patient_ref)


def _own_minutes(kind: AppointmentType, own: ProviderType | Booking) -> Minutes:
    """Return the duration and buffers of `own`, and where it has none those of the type."""
    duration, before, after = own.duration_minutes, own.buffer_before, own.buffer_after
    return Minutes(
        kind.duration_minutes if duration is None else duration,
        kind.buffer_before if before is None else before,
        kind.buffer_after if after is None else after,
    )


@dataclass(frozen=True)
class Clinic:
    """A clinic, or as much of it as a question needs.

    References between its rows have been followed, save that a booking may name a provider or a
    room that was left out.

    Raises
    ------
    InvalidClinicError
        When two rows share an id, or a row refers to one that is not there.
    """

    settings: ClinicSettings
    providers: tuple[Provider, ...] = ()
    rooms: tuple[Room, ...] = ()
    appointment_types: tuple[AppointmentType, ...] = ()
    availability: tuple[Availability, ...] = ()
    overbooking_rules: tuple[OverbookingRule, ...] = ()
    bookings: tuple[Booking, ...] = field(default=(), repr=False)
    provider_types: tuple[ProviderType, ...] = ()

    def __post_init__(self) -> None:
        providers, rooms, types = self.provider_by_id, self.room_by_id, self.type_by_id
        for name, rows, by_id in (
            ("providers", self.providers, providers),
            ("rooms", self.rooms, rooms),
            ("appointment_types", self.appointment_types, types),
        ):
            _require(len(rows) == len(by_id), name, "two rows share an id")
        for row in self.availability:
            _require(
                row.provider_id is None or row.provider_id in providers,
                "availability",
                f"no provider {row.provider_id}",
            )
            _require(
                row.room_id is None or row.room_id in rooms,
                "availability",
                f"no room {row.room_id}",
            )
        for own in self.provider_types:
            _require(
                own.provider_id in providers, "provider_types", f"no provider {own.provider_id}"
            )
            _require(
                own.appointment_type_id in types,
                "provider_types",
                f"no appointment type {own.appointment_type_id}",
            )
        _require(
            len(self.provider_types) == len(self._provider_type_by_pair),
            "provider_types",
            "two rows are of one provider and type",
        )
        for rule in self.overbooking_rules:
            _require(
                rule.provider_id is None or rule.provider_id in providers,
                "overbooking_rules",
                f"no provider {rule.provider_id}",
            )
            _require(
                rule.appointment_type_id is None or rule.appointment_type_id in types,
                "overbooking_rules",
                f"no appointment type {rule.appointment_type_id}",
            )
        self._check_bookings()

    def _check_bookings(self) -> None:
        types = self.type_by_id
        for booking in self.bookings:
            if booking.appointment_type_id not in types:
                raise InvalidClinicError(
                    "bookings",
                    f"booking {booking.id}: no appointment type {booking.appointment_type_id}",
                )

    @cached_property
    def provider_by_id(self) -> Mapping[str, Provider]:
        """Providers by id."""
        return {row.id: row for row in self.providers}

    @cached_property
    def room_by_id(self) -> Mapping[str, Room]:
        """Rooms by id."""
        return {row.id: row for row in self.rooms}

    @cached_property
    def type_by_id(self) -> Mapping[str, AppointmentType]:
        """Appointment types by id."""
        return {row.id: row for row in self.appointment_types}

    @cached_property
    def type_at(self) -> Mapping[str, int]:
        """The position of each appointment type, by its id."""
        return {row.id: i for i, row in enumerate(self.appointment_types)}

    @cached_property
    def _provider_type_by_pair(self) -> Mapping[tuple[str, str], ProviderType]:
        return {(row.provider_id, row.appointment_type_id): row for row in self.provider_types}

    def provider_type(self, provider_id: str, type_id: str) -> ProviderType | None:
        """Return a provider's own row for a type, if there is one."""
        return self._provider_type_by_pair.get((provider_id, type_id))

    def offers(self, provider: Provider, kind: AppointmentType) -> bool:
        """Whether a provider has the skills for a type, and no row says that it is not offered."""
        own = self.provider_type(provider.id, kind.id)
        return kind.required_skills <= provider.skills and (own is None or own.offered)

    def kind_at(self, type_id: str, provider_id: str) -> AppointmentType:
        """Return a type as one provider does it: with the provider's duration and buffers."""
        kind, own = self.type_by_id[type_id], self.provider_type(provider_id, type_id)
        return kind if own is None else self.with_minutes(kind, _own_minutes(kind, own))

    def minutes_of(self, booking: Booking) -> Minutes:
        """Return what a booking takes: what it has kept, else what it would take now."""
        duration = booking.duration_minutes
        before, after = booking.buffer_before, booking.buffer_after
        if duration is None or before is None or after is None:
            kind = self.kind_at(booking.appointment_type_id, booking.provider_id)
            return _own_minutes(kind, booking)
        return Minutes(duration, before, after)

    def keeping(self, booking: Booking) -> Booking:
        """Return a booking that keeps what it takes now, whatever becomes of its type."""
        duration, before, after = self.minutes_of(booking)
        return replace(booking, duration_minutes=duration, buffer_before=before, buffer_after=after)

    def kind_of(self, booking: Booking) -> AppointmentType:
        """Return a booking's type with the duration and buffers that the booking takes."""
        kind = self.type_by_id[booking.appointment_type_id]
        return self.with_minutes(kind, self.minutes_of(booking))

    def with_minutes(self, kind: AppointmentType, minutes: Minutes) -> AppointmentType:
        """Return a type with another duration and other buffers; the same one if they are equal."""
        duration, before, after = minutes
        if minutes == (kind.duration_minutes, kind.buffer_before, kind.buffer_after):
            return kind
        known: AppointmentType | None = self.remembered.get((kind.id, minutes))
        if known is None:
            known = self.remembered[kind.id, minutes] = replace(
                kind, duration_minutes=duration, buffer_before=before, buffer_after=after
            )
        return known

    @cached_property
    def remembered(self) -> dict[object, Any]:
        """What has been worked out from the rows, bookings aside; shared by :meth:`with_bookings`.

        For those who work it out: a key of their own, and a value that nobody changes.
        """
        return {}

    @cached_property
    def remembered_of_book(self) -> dict[object, Any]:
        """What has been worked out from the rows and the bookings, likewise; never shared."""
        return {}

    def apart(self) -> Clinic:
        """Return the same clinic, without what is remembered of the book.

        What is remembered refers to this one, so that no clinic is kept by itself: such circles go
        only when the garbage collector makes a full round.
        """
        assert self.remembered is not None  # so that both have the same
        other = copy(self)
        vars(other).pop("remembered_of_book", None)
        return other

    def with_bookings(self, bookings: Iterable[Booking]) -> Clinic:
        """Return the same clinic with another book; what is known of its rows is kept."""
        other = self.apart()
        object.__setattr__(other, "bookings", tuple(bookings))
        other._check_bookings()  # noqa: SLF001 - one of us
        return other
