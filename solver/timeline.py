"""Local time as minutes: open windows, busy spans, clock changes, and one date laid out.

A :class:`Day` is what the masks and the CP-SAT model both start from. It holds facts only (who is
open when, what is booked where); what follows from them is each side's own to say.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from solver.clinic import (
    DAY_MINUTES,
    AppointmentType,
    Clinic,
    ClinicSettings,
    Provider,
    Room,
    Span,
)

type Ints = NDArray[np.int64]
type Bools = NDArray[np.bool_]

ALL_DAY: Span = (0, DAY_MINUTES)
NO_CAP = 2**31
"""More bookings than any date has."""
HORIZON_DAYS = 365
"""How far ahead bookings are taken where no setting says otherwise."""


class DateOutOfRangeError(ValueError):
    """The date lies before today or beyond the horizon."""


def parse_time(text: str) -> int:
    """Return the minute of the day that ``HH:MM`` names; ``24:00`` is the end of the day.

    Raises
    ------
    ValueError
        When `text` is not of that form.
    """
    digits = text.split(":")
    if len(digits) == 2 and all(len(d) == 2 and d.isascii() and d.isdigit() for d in digits):
        hour, minute = int(digits[0]), int(digits[1])
        if minute < 60 and hour * 60 + minute <= DAY_MINUTES:
            return hour * 60 + minute
    raise ValueError(f"'{text}' is no time of day; write HH:MM, as in 09:30")


def format_time(minute: int) -> str:
    """Write a minute of the day as ``HH:MM``; the end of the day as ``24:00``."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def instant(zone: ZoneInfo, day: dt.date, minute: int) -> dt.datetime:
    """Return the moment of a local minute, with its UTC offset."""
    midnight = dt.datetime.combine(day, dt.time(), tzinfo=zone)
    return midnight + dt.timedelta(minutes=minute)  # wall-clock arithmetic within one zone


def merge(spans: Iterable[Span]) -> list[Span]:
    """Unite overlapping and touching spans, sorted."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def cut(spans: Iterable[Span], cuts: Iterable[Span]) -> list[Span]:
    """Take `cuts` out of `spans`."""
    remaining = list(spans)
    for from_, to in cuts:
        pieces: list[Span] = []
        for start, end in remaining:
            if to <= start or end <= from_:
                pieces.append((start, end))
                continue
            if start < from_:
                pieces.append((start, from_))
            if to < end:
                pieces.append((to, end))
        remaining = pieces
    return remaining


def clock_changes(zone: ZoneInfo, day: dt.date) -> list[Span]:
    """Return the local minutes of `day` that a clock change skips or repeats.

    A wall time is skipped or repeated exactly when its two readings (``fold`` 0 and 1, PEP 495)
    have different UTC offsets.
    """
    midnight = dt.datetime.combine(day, dt.time())
    ends = (midnight, midnight + dt.timedelta(days=1) if day < dt.date.max else midnight)
    readings = {
        zone.utcoffset(wall.replace(fold=fold, tzinfo=zone)) for wall in ends for fold in (0, 1)
    }
    if len(readings) == 1:
        return []
    odd = []
    for minute in range(DAY_MINUTES):
        wall = (midnight + dt.timedelta(minutes=minute)).replace(tzinfo=zone)
        if zone.utcoffset(wall) != zone.utcoffset(wall.replace(fold=1)):
            odd.append((minute, minute + 1))
    return merge(odd)


def first_bookable_minute(zone: ZoneInfo, day: dt.date, now: dt.datetime, notice: int) -> int:
    """Return the first minute of `day` that is not before `now` + `notice` minutes.

    0 when the whole day is later, more than :data:`DAY_MINUTES` when it is over.
    """
    try:
        earliest = now.astimezone(dt.UTC) + dt.timedelta(minutes=notice)
    except OverflowError:
        return DAY_MINUTES + 1
    local = earliest.astimezone(zone)
    if local.date() < day:
        return 0
    if local.date() > day:
        return DAY_MINUTES + 1
    begun = local.second > 0 or local.microsecond > 0
    return local.hour * 60 + local.minute + begun


def check_date(settings: ClinicSettings, day: dt.date, now: dt.datetime, horizon_days: int) -> None:
    """Refuse a date outside what the clinic books.

    Raises
    ------
    DateOutOfRangeError
        When `day` is before today, in the clinic's zone, or more than `horizon_days` ahead.
    """
    today = now.astimezone(settings.zone).date()
    if day < today:
        raise DateOutOfRangeError(f"{day} is in the past; today is {today}")
    if (day - today).days > horizon_days:
        last = today + dt.timedelta(days=horizon_days)
        raise DateOutOfRangeError(f"{day} is too far ahead; the last date is {last}")


@dataclass(frozen=True)
class Windows:
    """The open windows of one date: per resource id, sorted, disjoint and not touching."""

    provider: dict[str, list[Span]]
    room: dict[str, list[Span]]

    @classmethod
    def on(cls, clinic: Clinic, day: dt.date) -> Windows:
        """Return every provider's and room's windows on `day`, worked out once for a clinic."""
        known = clinic.remembered.get((cls, day))
        if known is None:
            known = clinic.remembered[cls, day] = cls._work_out(clinic, day)
        windows: Windows = known
        return windows

    @classmethod
    def _work_out(cls, clinic: Clinic, day: dt.date) -> Windows:
        weekday = day.isoweekday()
        dated: dict[str, list[Span]] = defaultdict(list)
        weekly: dict[str, list[Span]] = defaultdict(list)
        cuts: dict[str, list[Span]] = defaultdict(list)
        closures: list[Span] = []
        scheduled_rooms: set[str] = set()
        for row in clinic.availability:
            owner = row.provider_id or row.room_id
            if row.kind == "open" and row.room_id is not None:
                scheduled_rooms.add(row.room_id)
            if not row.applies_on(day, weekday):
                continue
            span = (row.start, row.end)
            if owner is None:
                closures.append(span)
            elif row.kind == "closed":
                cuts[owner].append(span)
            elif row.date is None:
                weekly[owner].append(span)
            else:
                dated[owner].append(span)

        def windows(owner: str, default: list[Span]) -> list[Span]:
            opened = dated.get(owner) or weekly.get(owner) or default
            own_cuts = cuts.get(owner)
            if opened and (own_cuts or closures):
                return cut(merge(opened), (own_cuts or []) + closures)
            return merge(opened) if len(opened) > 1 else opened

        all_day, never = [ALL_DAY], list[Span]()
        return cls(
            {provider.id: windows(provider.id, never) for provider in clinic.providers},
            {
                room.id: windows(room.id, never if room.id in scheduled_rooms else all_day)
                for room in clinic.rooms
            },
        )


@dataclass(frozen=True)
class Book:
    """The live bookings that can matter on one date, column by column, each of shape [n].

    Minutes count from that date's midnight, so the neighbouring dates' bookings, whose buffers
    may reach over, start below 0 or at 1440 and more.
    """

    provider: Ints
    """Index into :attr:`Day.providers`, -1 for one that is not asked about."""
    room: Ints
    """Index into :attr:`Day.rooms`."""
    appointment_type: Ints
    """Index into the clinic's appointment types."""
    start: Ints
    provider_busy: tuple[Ints, Ints]
    room_busy: tuple[Ints, Ints]
    on_date: Bools
    is_overbooked: Bools


@dataclass(frozen=True)
class Edges:
    """Windows of several resources, one after the other, each of shape [n]."""

    owner: Ints
    opens: Ints
    closes: Ints

    @classmethod
    def of(cls, windows: Sequence[Sequence[Span]]) -> Edges:
        """Lay out each resource's windows."""
        owner = np.repeat(np.arange(len(windows)), [len(spans) for spans in windows])
        edges = np.array([span for spans in windows for span in spans], np.int64).reshape(-1, 2)
        return cls(owner, edges[:, 0], edges[:, 1])


@dataclass(frozen=True)
class Day:
    """One date of a clinic, with the providers and rooms in question, each sorted by id."""

    clinic: Clinic
    date: dt.date
    providers: tuple[Provider, ...]
    rooms: tuple[Room, ...]
    provider_windows: tuple[list[Span], ...]
    room_windows: tuple[list[Span], ...]
    book: Book

    @classmethod
    def of(
        cls,
        clinic: Clinic,
        day: dt.date,
        *,
        provider_ids: frozenset[str] | None = None,
        room_ids: frozenset[str] | None = None,
    ) -> Day:
        """Lay out `day`; with ids given, only those providers and rooms are in question.

        A whole day is laid out once for a clinic and its book.
        """
        if provider_ids is not None or room_ids is not None:
            return cls._lay_out(clinic, day, provider_ids, room_ids)
        known = clinic.remembered_of_book.get((cls, day))
        if known is None:
            known = cls._lay_out(clinic.apart(), day, None, None)
            clinic.remembered_of_book[cls, day] = known
        return known

    @classmethod
    def _lay_out(
        cls,
        clinic: Clinic,
        day: dt.date,
        provider_ids: frozenset[str] | None,
        room_ids: frozenset[str] | None,
    ) -> Day:
        providers = tuple(
            sorted(
                (p for p in clinic.providers if provider_ids is None or p.id in provider_ids),
                key=lambda p: p.id,
            )
        )
        rooms = tuple(
            sorted(
                (r for r in clinic.rooms if room_ids is None or r.id in room_ids),
                key=lambda r: r.id,
            )
        )
        windows = Windows.on(clinic, day)
        return cls(
            clinic,
            day,
            providers,
            rooms,
            tuple(windows.provider[p.id] for p in providers),
            tuple(windows.room[r.id] for r in rooms),
            _book(clinic, day, providers, rooms),
        )

    @cached_property
    def provider_edges(self) -> Edges:
        """The providers' windows."""
        return Edges.of(self.provider_windows)

    @cached_property
    def room_edges(self) -> Edges:
        """The rooms' windows."""
        return Edges.of(self.room_windows)

    @cached_property
    def buffers(self) -> tuple[Ints, Ints]:
        """[P], [P] the providers' own buffers, before and after."""
        return (
            np.array([p.buffer_before for p in self.providers], np.int64),
            np.array([p.buffer_after for p in self.providers], np.int64),
        )

    @cached_property
    def turnover(self) -> Ints:
        """[R] the rooms' own turnover."""
        return np.array([r.turnover_minutes for r in self.rooms], np.int64)

    @cached_property
    def daily_caps(self) -> Ints:
        """[P] the providers' caps, with none a number that no date reaches."""
        caps = [NO_CAP if p.daily_cap is None else p.daily_cap for p in self.providers]
        return np.array(caps, np.int64)

    @cached_property
    def active(self) -> tuple[Bools, Bools]:
        """[P], [R] which providers and rooms are active."""
        return (
            np.array([p.active for p in self.providers], np.bool_),
            np.array([r.active for r in self.rooms], np.bool_),
        )


def _book(
    clinic: Clinic, day: dt.date, providers: Sequence[Provider], rooms: Sequence[Room]
) -> Book:
    offset = {
        dt.date.fromordinal(ordinal): (ordinal - day.toordinal()) * DAY_MINUTES
        for ordinal in range(day.toordinal() - 1, day.toordinal() + 2)
        if dt.date.min.toordinal() <= ordinal <= dt.date.max.toordinal()
    }
    bookings = [b for b in clinic.bookings if b.date in offset and b.is_live]
    count = len(bookings)

    def column(values: Iterable[int]) -> Ints:
        return np.fromiter(values, np.int64, count)

    all_rooms = {room.id: i for i, room in enumerate(clinic.rooms)}
    all_providers = {provider.id: i for i, provider in enumerate(clinic.providers)}
    types = {row.id: i for i, row in enumerate(clinic.appointment_types)}
    provider = column(all_providers.get(b.provider_id, -1) for b in bookings)
    room = column(all_rooms.get(b.room_id, -1) for b in bookings)
    kind = column(types[b.appointment_type_id] for b in bookings)
    start = column(b.start + offset[b.date] for b in bookings)

    def per_type(field: str) -> Ints:
        values = [getattr(row, field) for row in clinic.appointment_types]
        return np.array(values, np.int64)[kind]

    def per_provider(field: str) -> Ints:
        return np.array([*(getattr(p, field) for p in clinic.providers), 0], np.int64)[provider]

    end = start + per_type("duration_minutes")
    before, after = per_type("buffer_before"), per_type("buffer_after")
    turnover = np.array([*(r.turnover_minutes for r in clinic.rooms), 0], np.int64)[room]
    return Book(
        provider=_positions(all_providers, providers)[provider],
        room=_positions(all_rooms, rooms)[room],
        appointment_type=kind,
        start=start,
        provider_busy=(
            start - np.maximum(before, per_provider("buffer_before")),
            end + np.maximum(after, per_provider("buffer_after")),
        ),
        room_busy=(start - before, end + np.maximum(after, turnover)),
        on_date=(start >= 0) & (start < DAY_MINUTES),
        is_overbooked=np.fromiter((b.is_overbooked for b in bookings), np.bool_, count),
    )


def _positions(index: dict[str, int], chosen: Sequence[Provider | Room]) -> Ints:
    """Return an array from the index among all rows to the position in `chosen`, or -1."""
    positions = np.full(len(index) + 1, -1, np.int64)  # the last for rows left out
    for position, row in enumerate(chosen):
        positions[index[row.id]] = position
    return positions


def provider_busy_span(provider: Provider, kind: AppointmentType, start: int) -> Span:
    """Return what an appointment of `kind` at `start` takes of the provider, buffers included."""
    return (
        start - max(kind.buffer_before, provider.buffer_before),
        start + kind.duration_minutes + max(kind.buffer_after, provider.buffer_after),
    )


def room_busy_span(room: Room, kind: AppointmentType, start: int) -> Span:
    """Return what an appointment of `kind` at `start` takes of the room, turnover included."""
    return (
        start - kind.buffer_before,
        start + kind.duration_minutes + max(kind.buffer_after, room.turnover_minutes),
    )


def window_around(windows: Sequence[Span], start: int, end: int) -> Span | None:
    """Return the window that holds all of ``[start, end)``, if one does."""
    position = bisect_right(windows, start, key=itemgetter(0)) - 1
    if position >= 0 and end <= windows[position][1]:
        return windows[position]
    return None
