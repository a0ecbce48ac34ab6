"""One date of a clinic laid out as arrays: windows, capacities and the bookings around it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic, uses_allowance
from solver.clinic.entities import (
    DAY_MINUTES,
    Booking,
    Provider,
    Room,
    Span,
)
from solver.clinic.equipment.pools import EquipmentPool, concurrent, greatest_within
from solver.clinic.places import NOWHERE
from solver.clinic.sessions.at_starts import SessionsAtStarts
from solver.clinic.teams.in_roles import busy_in_role, in_roles
from solver.clinic.windows import Windows

NO_CAP = 2**31
"""More bookings, and more minutes of them, than any date has."""


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
    minutes: Ints
    """From start to end, without buffers."""
    uses_allowance: Bools
    """Overbooked by an overbooking rule, and not by an override."""
    place: Ints
    """Where the room is: index into the clinic's locations, or :data:`NOWHERE`."""
    in_roles: BusySpans
    """Those of whoever is in a role of a booking (rule 9)."""

    @cached_property
    def busy(self) -> BusySpans:
        """The spans for which providers are busy, with bookings of their own and in roles."""
        own = BusySpans(self.provider, *self.provider_busy, self.on_date, self.place)
        return own.joined(self.in_roles) if len(self.in_roles) else own

    def at(self, provider: Ints) -> Book:
        """Return the book with other positions of providers: `provider[i]` for position i."""
        roles = self.in_roles
        roles = roles if not len(roles) else replace(roles, provider=provider[roles.provider])
        return replace(self, provider=provider[self.provider], in_roles=roles)


@dataclass(frozen=True)
class BusySpans:
    """Spans for which providers are busy, buffers included, each of shape [n].

    Attributes
    ----------
    provider
        As in :attr:`Book.provider`.
    begin, end
        In minutes of the date of the book.
    on_date
        Whether the booking is of that date.
    place
        Where its room is, as in :attr:`Book.place`.
    """

    provider: Ints
    begin: Ints
    end: Ints
    on_date: Bools
    place: Ints

    def __len__(self) -> int:
        return len(self.provider)

    def __getitem__(self, chosen: Ints | Bools) -> BusySpans:
        return BusySpans(
            self.provider[chosen],
            self.begin[chosen],
            self.end[chosen],
            self.on_date[chosen],
            self.place[chosen],
        )

    def joined(self, other: BusySpans) -> BusySpans:
        """Return these and then the others."""
        return BusySpans(
            np.concatenate([self.provider, other.provider]),
            np.concatenate([self.begin, other.begin]),
            np.concatenate([self.end, other.end]),
            np.concatenate([self.on_date, other.on_date]),
            np.concatenate([self.place, other.place]),
        )


NO_SPANS = BusySpans(*(np.empty(0, np.int64),) * 3, np.empty(0, np.bool_), np.empty(0, np.int64))
"""Nobody is busy."""


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
    """One date of a clinic, with the providers and rooms in question, each sorted by id.

    The providers' windows are those for rooms of one `place`, an index into the clinic's locations,
    or for rooms that have none.
    """

    clinic: Clinic
    date: dt.date
    providers: tuple[Provider, ...]
    rooms: tuple[Room, ...]
    provider_windows: tuple[list[Span], ...]
    room_windows: tuple[list[Span], ...]
    book: Book
    place: int = NOWHERE

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

    def narrowed(self, provider_ids: frozenset[str]) -> Day:
        """Return the day with only some providers in question: :meth:`of` from a day laid out."""
        kept = [i for i, provider in enumerate(self.providers) if provider.id in provider_ids]
        position = np.full(len(self.providers) + 1, -1, np.int64)  # the last for others' bookings
        position[kept] = np.arange(len(kept))
        return replace(
            self,
            providers=tuple(self.providers[i] for i in kept),
            provider_windows=tuple(self.provider_windows[i] for i in kept),
            book=self.book.at(position),
        )

    def at_each_place(self) -> list[Day]:
        """Return the day once for each place at which rooms are in question, with these alone."""
        of_room = self.clinic.places.of_room
        places = sorted({of_room[room.id] for room in self.rooms})
        if places in ([], [NOWHERE]):
            return [self]
        return [
            self._at(place, [of_room[room.id] == place for room in self.rooms]) for place in places
        ]

    def _at(self, place: int, is_there: Sequence[bool]) -> Day:
        """Return the day with the rooms of one place, and the providers' windows for these."""
        kept = [i for i, here in enumerate(is_there) if here]
        position = np.full(len(self.rooms) + 1, -1, np.int64)  # the last for rooms left out
        position[kept] = np.arange(len(kept))
        location = None if place == NOWHERE else self.clinic.locations[place].id
        windows = Windows.on(self.clinic, self.date).provider_at(location)
        return replace(
            self,
            rooms=tuple(self.rooms[i] for i in kept),
            room_windows=tuple(self.room_windows[i] for i in kept),
            provider_windows=tuple(windows[p.id] for p in self.providers),
            book=replace(self.book, room=position[self.book.room]),
            place=place,
        )

    @property
    def everybody(self) -> Day:
        """The day with all providers and no rooms, and the windows for rooms of its place."""
        key = (Day, "everybody", self.date, self.place)
        known = self.clinic.remembered_of_book.get(key)
        if known is None:
            known = Day.of(self.clinic, self.date)._at(self.place, ())  # noqa: SLF001 - one of us
            self.clinic.remembered_of_book[key] = known
        day: Day = known
        return day

    @property
    def location_id(self) -> str | None:
        """The id of the location that its rooms are at, if any."""
        return None if self.place == NOWHERE else self.clinic.locations[self.place].id

    @cached_property
    def ways(self) -> tuple[Ints, Ints, Ints]:
        """[m], [m], [m] busy spans of the date at other places; minutes from here there, and back.

        They are positions in :attr:`Book.busy`.
        """
        busy, places = self.book.busy, self.clinic.places
        if self.place == NOWHERE or not places.are_several:
            none = np.empty(0, np.int64)
            return none, none, none
        elsewhere = (busy.place != self.place) & (busy.place != NOWHERE) & busy.on_date
        there = np.flatnonzero(elsewhere)
        return there, *places.between(self.place, busy.place[there])

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
    def daily_minutes(self) -> Ints:
        """[P] the minutes of regular bookings that providers take in a day, with none likewise."""
        caps = [NO_CAP if p.daily_minutes is None else p.daily_minutes for p in self.providers]
        return np.array(caps, np.int64)

    def most_out(self, pool: EquipmentPool, starts: Ints, minutes: int) -> Ints:
        """[S] the most pieces of a pool that are out at once while an appointment has some.

        It takes so many `minutes` from each of the `starts`.
        """
        book, by_type = self.book, self.clinic.quantities[pool.id]
        quantities = [by_type.get(row.id, 0) for row in self.clinic.appointment_types]
        quantity = np.array(quantities, np.int64)[book.appointment_type]
        taking = np.flatnonzero(quantity)
        begin, end = book.start[taking], (book.start + book.minutes)[taking]
        width = minutes + pool.return_minutes
        until = int(starts.max(initial=0)) + width
        out = concurrent(begin, end + pool.return_minutes, quantity[taking], until)
        return greatest_within(out, width)[starts]

    @cached_property
    def sessions(self) -> SessionsAtStarts | None:
        """The sessions of these providers and rooms, and of everybody; None without any."""
        return SessionsAtStarts.of(self)

    @cached_property
    def active(self) -> tuple[Bools, Bools]:
        """[P], [R] which providers and rooms are active, the rooms' locations too."""
        return (
            np.array([p.active for p in self.providers], np.bool_),
            np.array([self.clinic.is_in_use(r) for r in self.rooms], np.bool_),
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

    def flags(values: Iterable[bool]) -> Bools:
        return np.fromiter(values, np.bool_, count)

    all_rooms = {room.id: i for i, room in enumerate(clinic.rooms)}
    all_providers = {provider.id: i for i, provider in enumerate(clinic.providers)}
    types = {row.id: i for i, row in enumerate(clinic.appointment_types)}
    provider = column(all_providers.get(b.provider_id, -1) for b in bookings)
    room = column(all_rooms.get(b.room_id, -1) for b in bookings)
    kind = column(types[b.appointment_type_id] for b in bookings)
    start = column(b.start + offset[b.date] for b in bookings)

    def per_provider(field: str) -> Ints:
        return np.array([*(getattr(p, field) for p in clinic.providers), 0], np.int64)[provider]

    duration, before, after = _minutes(clinic, bookings)
    end = start + duration
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
        is_overbooked=flags(b.is_overbooked for b in bookings),
        minutes=end - start,
        uses_allowance=flags(b.is_overbooked and uses_allowance(b) for b in bookings),
        place=column(clinic.places.of_room.get(b.room_id, NOWHERE) for b in bookings),
        in_roles=_in_roles(clinic, bookings, offset, _positions(all_providers, providers)),
    )


def _in_roles(
    clinic: Clinic, bookings: Sequence[Booking], offset: Mapping[dt.date, int], positions: Ints
) -> BusySpans:
    """Return the busy spans of whoever is in a role of one of some bookings."""
    if not clinic.has_roles:
        return NO_SPANS
    at = {row.id: i for i, row in enumerate(clinic.providers)}
    rows = []
    for b in bookings:
        for each in in_roles(clinic.kind_of(b), b) if b.team else ():
            begin, end = busy_in_role(clinic.provider_by_id.get(each.provider_id), each.span)
            place, midnight = clinic.places.of_room.get(b.room_id, NOWHERE), offset[b.date]
            member = at.get(each.provider_id, -1)
            rows.append((member, midnight + begin, midnight + end, midnight == 0, place))
    provider, begins, ends, todays, where = np.array(rows, np.int64).reshape(-1, 5).T
    return BusySpans(positions[provider], begins, ends, todays == 1, where)


def _minutes(clinic: Clinic, bookings: Sequence[Booking]) -> list[Ints]:
    """[n], [n], [n] the durations of bookings, and their buffers before and after."""
    kept: list[Sequence[int | None]] = [
        [b.duration_minutes for b in bookings],
        [b.buffer_before for b in bookings],
        [b.buffer_after for b in bookings],
    ]
    if any(None in minutes for minutes in kept):
        kept = list(zip(*(clinic.minutes_of(b) for b in bookings), strict=True))
    return [np.array(minutes, np.int64) for minutes in kept]


def _positions(index: dict[str, int], chosen: Sequence[Provider | Room]) -> Ints:
    """Return an array from the index among all rows to the position in `chosen`, or -1."""
    positions = np.full(len(index) + 1, -1, np.int64)  # the last for rows left out
    for position, row in enumerate(chosen):
        positions[index[row.id]] = position
    return positions
