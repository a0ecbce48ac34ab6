"""The rules, written out once more for the reader of plans.

It asks of one appointment at a time what ``docs/rules.md`` says, minute by minute. Nothing is
shared with what makes plans, nor with the checker of :mod:`solver.rules`: an error in either is
found by the other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Availability,
    Booking,
    Provider,
    ProviderType,
    Room,
    Span,
)
from solver.clinic.teams.roles import Role
from solver.planning.problem import Problem
from solver.whatif.plain_sessions import PlainSessions


@dataclass(frozen=True, eq=False, slots=True)
class Appointment:
    """A booking or a placement, and the time that it takes.

    Spans are half open, in minutes of one line through all dates. Where the clinic has no row of
    the provider or the room, the busy span is that of the type alone. Of somebody in a `role` of a
    booking there is one of their own, with the minutes of that role.
    """

    booking: Booking
    kind: AppointmentType
    span: Span
    """From its start to its end, without buffers."""
    provider_busy: Span
    room_busy: Span
    role: str | None = None


class _Minutes:
    """What a clinic's rows and its clock say of each minute of a date, kept once worked out."""

    def __init__(self, clinic: Clinic) -> None:
        self._clinic = clinic
        self._open: dict[tuple[str, dt.date, str | None], bytes] = {}
        self._is_steady: dict[tuple[dt.date, int], bool] = {}

    def open(self, owner: Provider | Room, date: dt.date, location: str | None = None) -> bytes:
        """Return a byte for each minute of a date: 1 where `owner` is open, otherwise 0.

        Open rows of the date itself replace the weekly ones; then closures are cut out. A room
        without any open row is open all day. For rooms of a location neither open rows nor closures
        of other places count; for those of none, no closure of any place does.
        """
        if (owner.id, date, location) in self._open:
            return self._open[owner.id, date, location]
        own = [r for r in self._clinic.availability if owner.id in (r.provider_id, r.room_id)]
        opening = [row for row in own if row.kind == "open"]
        dated = [row for row in opening if row.date == date]
        closing = [row for row in own if row.kind == "closed"] + [
            r for r in self._clinic.availability if r.provider_id is None and r.room_id is None
        ]
        is_always_open = isinstance(owner, Room) and not opening
        minutes = bytearray([is_always_open]) * DAY_MINUTES
        for rows, value in ((dated or opening, b"\1"), (closing, b"\0")):
            for row in rows:
                is_of_all = row.location_id is None or (location is None and row.kind == "open")
                if not is_of_all and row.location_id != location:
                    continue
                if row.date == date or _is_in_turn(row, date):
                    minutes[row.start : row.end] = value * (row.end - row.start)
        self._open[owner.id, date, location] = bytes(minutes)
        return self._open[owner.id, date, location]

    def shown_once(self, date: dt.date, minute: int) -> bool:
        """Whether a minute of a date is neither skipped nor repeated by a change of the clock."""
        if (date, minute) not in self._is_steady:
            time = dt.time(minute // 60, minute % 60, tzinfo=self._clinic.settings.zone)
            shown = dt.datetime.combine(date, time)
            # The two folds differ in a skipped and in a repeated hour, and nowhere else (PEP 495).
            self._is_steady[date, minute] = shown.utcoffset() == shown.replace(fold=1).utcoffset()
        return self._is_steady[date, minute]


class PlainRules:
    """The rules of one problem's clinic.

    A method that yields describes each way in which an appointment breaks the rule, but for rules
    that it overrides. The lists that it is read beside (`at_provider`, `in_room`, `of_type`,
    `of_pools`) do not contain the appointment itself.
    """

    def __init__(self, problem: Problem) -> None:
        self._clinic, self._now = problem.clinic, problem.now
        self._minutes, self._sessions = _Minutes(problem.clinic), PlainSessions(problem)
        self._own: dict[tuple[str, str], ProviderType] = {}
        for row in problem.clinic.provider_types:
            self._own[row.provider_id, row.appointment_type_id] = row

    def appointment(self, booking: Booking) -> Appointment:
        """Return a booking with its spans; rule 4 is what its provider's busy span is."""
        kind = _kind_of(self._clinic, self._own, booking)
        before, after, room_after = kind.buffer_before, kind.buffer_after, kind.buffer_after
        if (provider := self._clinic.provider_by_id.get(booking.provider_id)) is not None:
            before, after = max(before, provider.buffer_before), max(after, provider.buffer_after)
        if (room := self._clinic.room_by_id.get(booking.room_id)) is not None:
            room_after = max(room_after, room.turnover_minutes)
        start = booking.date.toordinal() * DAY_MINUTES + booking.start
        end = start + kind.duration_minutes
        return Appointment(
            booking,
            kind,
            (start, end),
            (start - before, end + after),
            (start - kind.buffer_before, end + room_after),
        )

    def is_known(self, booking: Booking) -> bool:
        """Whether the clinic has the rows of the booking's provider and room."""
        clinic = self._clinic
        return booking.provider_id in clinic.provider_by_id and booking.room_id in clinic.room_by_id

    # The rules, each under the name that it has wherever it is read

    def time_is_bookable(self, a: Appointment, at_provider: Sequence[Appointment]) -> bool:
        """Rule 0, for a new one: in rhythm, in its date, late enough, in no clock change."""
        settings, start = self._clinic.settings, a.booking.start
        is_in_rhythm = self._is_in_rhythm(a) or self._is_packed(a, at_provider)
        if not is_in_rhythm or start + a.kind.duration_minutes > DAY_MINUTES:
            return False
        begins = dt.datetime.combine(a.booking.date, dt.time(), settings.zone)
        begins += dt.timedelta(minutes=start)
        earliest = self._now.astimezone(dt.UTC) + dt.timedelta(minutes=settings.min_notice_minutes)
        return begins.astimezone(dt.UTC) >= earliest and not any(self.outside_clock_changes(a))

    def outside_clock_changes(self, a: Appointment) -> Iterator[str]:
        """Rule 0, for what is booked: the clock shows each minute of it exactly once."""
        end = min(a.booking.start + a.kind.duration_minutes, DAY_MINUTES)
        if not all(
            self._minutes.shown_once(a.booking.date, m) for m in range(a.booking.start, end)
        ):
            yield "touches an hour that the clock skips or repeats"

    def active_with_skills_and_equipment(self, a: Appointment) -> Iterator[str]:
        """Rule 1."""
        provider, room = self._owners(a)
        for row in (provider, room, a.kind):
            if not row.active:
                yield f"{row.name} is not active"
        if room.location_id is not None:
            location = self._clinic.location_by_id[room.location_id]
            if not location.active:
                yield f"{location.name}, where {room.name} is, is not active"
        for owner, has, needs in (
            (provider, provider.skills, a.kind.required_skills),
            (room, room.equipment, a.kind.required_equipment),
        ):
            if missing := needs - has:
                yield f"{owner.name} lacks {', '.join(sorted(missing))}"
        own = self._own.get((provider.id, a.kind.id))
        if own is not None and not own.offered:
            yield f"{provider.name} does not offer {a.kind.name}"

    def within_open_windows(self, a: Appointment) -> Iterator[str]:
        """Rule 2."""
        provider, room = self._owners(a)
        owners: tuple[tuple[str, Provider | Room], ...] = (
            ("OUTSIDE_PROVIDER_HOURS", provider),
            ("OUTSIDE_ROOM_HOURS", room),
        )
        for code, owner in owners:
            if code not in a.booking.overrides and not self._is_open(owner, a):
                yield f"outside the open windows of {owner.name}"

    def within_sessions(self, a: Appointment, *, is_new: bool) -> Iterator[str]:
        """Rule 8: sessions admit it; only new ones have to wait until these open."""
        if "RESERVED" not in a.booking.overrides:
            yield from self._sessions.admit(a.booking, a.kind.duration_minutes, is_new=is_new)

    def has_place_in_sessions(
        self, a: Appointment, on_date: Sequence[Appointment], *, is_new: bool
    ) -> Iterator[str]:
        """Rule 8: no session in which it begins has all that it takes of the others of its date."""
        if "SESSION_FULL" not in a.booking.overrides:
            others = (o.booking for o in on_date)
            yield from self._sessions.have_a_place(a.booking, others, is_new=is_new)

    def room_is_free(self, a: Appointment, in_room: Sequence[Appointment]) -> Iterator[str]:
        """Rule 3: busy spans of one room never overlap."""
        _, room = self._owners(a)
        for other in in_room:
            if overlap(a.room_busy, other.room_busy):
                yield f"{room.name} is taken by booking {other.booking.id}"

    def equipment_is_free(self, a: Appointment, of_pools: Sequence[Appointment]) -> Iterator[str]:
        """Rule 10: no minute at which more of a pool is out than it has, from start to return."""
        for pool_id, quantity in a.kind.required_pools:
            pool = self._clinic.pool_by_id[pool_id]
            first, last = a.span[0], a.span[1] + pool.return_minutes
            out = [quantity] * (last - first)
            for other in of_pools:
                for taken in (
                    n.quantity for n in other.kind.required_pools if n.pool_id == pool_id
                ):
                    until = other.span[1] + pool.return_minutes
                    for minute in range(max(first, other.span[0]), min(last, until)):
                        out[minute - first] += taken
            _, room = self._owners(a)
            is_near = pool.location_id is None or pool.location_id == room.location_id
            there_are = pool.quantity if pool.active and is_near else 0
            if max(out) > there_are and is_near:
                yield f"{max(out)} of {pool.name} are out at once, there are {there_are}"
            elif max(out) > there_are:
                yield f"{pool.name} is elsewhere than {room.name}"

    def type_under_its_cap(self, a: Appointment, of_type: Sequence[Appointment]) -> Iterator[str]:
        """Rule 5: appointments of the type on its date, this one included, <= its daily cap."""
        count, cap = 1 + len(of_type), a.kind.daily_cap
        if cap is not None and count > cap and "TYPE_DAILY_CAP" not in a.booking.overrides:
            yield f"{count} of {a.kind.name} on one date, its daily cap is {cap}"

    def provider_type_under_its_cap(
        self, a: Appointment, at_provider: Sequence[Appointment]
    ) -> Iterator[str]:
        """Rule 6, overbooked or not: those of its type and date with its provider <= their cap."""
        provider, _ = self._owners(a)
        own = self._own.get((provider.id, a.kind.id))
        if own is None or own.daily_cap is None or "PROVIDER_DAILY_CAP" in a.booking.overrides:
            return
        count = 1
        for other in at_provider:
            is_alike = other.booking.appointment_type_id == a.kind.id
            is_alike &= other.role is None
            count += is_alike and other.booking.date == a.booking.date
        if count > own.daily_cap:
            yield (
                f"{count} of {a.kind.name} with {provider.name} on one date, "
                f"whose daily cap for it is {own.daily_cap}"
            )

    def time_to_travel(self, a: Appointment, at_provider: Sequence[Appointment]) -> Iterator[str]:
        """Rule 11: between two places of a date the provider has time for the way."""
        for other in at_provider:
            if is_too_far(self._clinic, a, a.provider_busy, other, other.provider_busy):
                provider, _ = self._owners(a)
                yield f"{provider.name} has no time to travel to or from booking {other.booking.id}"

    def regular_within_capacity(
        self, a: Appointment, at_provider: Sequence[Appointment]
    ) -> Iterator[str]:
        """Rule 6: it overlaps none of the others; on its date, regular ones and minutes <= caps."""
        provider, _ = self._owners(a)
        overrides = a.booking.overrides
        for other in at_provider:
            is_beside = overlap(a.provider_busy, other.provider_busy)
            if is_beside and "PROVIDER_BUSY" not in overrides:
                yield f"{provider.name} is busy with booking {other.booking.id}"
        lengths = [
            o.span[1] - o.span[0]
            for o in (a, *at_provider)
            if o is a or (is_regular(o) and o.role is None and o.booking.date == a.booking.date)
        ]
        cap, most = provider.daily_cap, provider.daily_minutes
        if "PROVIDER_DAILY_CAP" in overrides:
            return
        if cap is not None and len(lengths) > cap:
            yield f"{len(lengths)} regular bookings of {provider.name}, the daily cap is {cap}"
        if most is not None and sum(lengths) > most:
            minutes = f"{sum(lengths)} minutes of regular bookings of {provider.name}"
            yield f"{minutes}, of {most} a day"

    def starts_by_itself(self, a: Appointment, at_provider: Sequence[Appointment]) -> Iterator[str]:
        """Rule 7, first half: no two appointments of a provider start together."""
        provider, _ = self._owners(a)
        for other in at_provider:
            if a.span[0] == other.span[0] and other.role is None:
                yield f"{provider.name} starts booking {other.booking.id} then, too"

    def overbooked_by_allowance(
        self, a: Appointment, at_provider: Sequence[Appointment]
    ) -> Iterator[str]:
        """Rule 7, second half, in a finished book, whose order of booking nobody knows.

        Some order of booking the provider's overbooked ones has to allow `a`. The last one booked
        sees all the others. Taking away any that may have been the last leaves more room for the
        rest, so such an order is found by taking them away for as long as one may have been. Those
        that override the provider's capacity need no rule, and may have come after all the others.
        """
        if not is_by_allowance(a):
            return
        provider, _ = self._owners(a)
        regular = [o for o in at_provider if is_regular(o)]
        overbooked = [a, *(o for o in at_provider if is_by_allowance(o))]
        last: Appointment | None = None
        while last is not a:
            for last in overbooked:
                others = [*regular, *(o for o in overbooked if o is not last)]
                if self.is_allowed(last, others):
                    overbooked.remove(last)
                    break
            else:
                yield f"no overbooking rule of {provider.name} allows it"
                return

    def is_allowed(self, a: Appointment, at_provider: Sequence[Appointment]) -> bool:
        """Whether an overbooking rule allows `a` beside all the others of its provider."""
        b = a.booking
        overlaps = sum(overlap(a.provider_busy, o.provider_busy) for o in at_provider)
        overbooked = sum(is_by_allowance(o) and o.booking.date == b.date for o in at_provider)
        return any(
            rule.provider_id in (None, b.provider_id)
            and rule.appointment_type_id in (None, a.kind.id)
            and rule.weekday in (None, b.date.isoweekday())
            and (rule.start is None or rule.start <= b.start)
            and b.start + a.kind.duration_minutes <= (DAY_MINUTES if rule.end is None else rule.end)
            and overlaps <= rule.max_overlap
            and overbooked < rule.max_per_day
            for rule in self._clinic.overbooking_rules
        )

    def _is_in_rhythm(self, a: Appointment) -> bool:
        """Whether it starts so many steps after midnight and the offset, or after it opens."""
        start, kind = a.booking.start, a.kind
        every = kind.start_every or self._clinic.settings.grid_minutes
        if kind.start_anchor == "midnight":
            return start in range(kind.start_offset, DAY_MINUTES, every)
        minutes = self._open_minutes(a)
        opens = minutes.rfind(b"\0", 0, start + 1) + 1  # after the last closed minute up to here
        return opens <= start and start in range(opens, DAY_MINUTES, every)

    def _is_packed(self, a: Appointment, at_provider: Sequence[Appointment]) -> bool:
        """Whether its type is packed, and it follows another of its provider in open hours."""
        return (
            a.kind.packed
            and self._open_minutes(a)[a.booking.start] == 1
            and a.provider_busy[0] in {other.provider_busy[1] for other in at_provider}
        )

    def _open_minutes(self, a: Appointment) -> bytes:
        """Return when its provider is open for its room."""
        provider, room = self._owners(a)
        return self._minutes.open(provider, a.booking.date, room.location_id)

    def _owners(self, a: Appointment) -> tuple[Provider, Room]:
        clinic, b = self._clinic, a.booking
        return clinic.provider_by_id[b.provider_id], clinic.room_by_id[b.room_id]

    def _is_open(self, owner: Provider | Room, a: Appointment) -> bool:
        """Whether an owner is open for all of an appointment, which ends on its date."""
        start, end = a.booking.start, a.booking.start + a.kind.duration_minutes
        _, room = self._owners(a)
        minutes = self._minutes.open(owner, a.booking.date, room.location_id)
        return end <= DAY_MINUTES and 0 not in minutes[start:end]


def _is_in_turn(row: Availability, date: dt.date) -> bool:
    """Whether a weekly row is valid on a date, and of its weeks: each `every_weeks`-th."""
    first, last = row.valid_from or date, row.valid_to or date
    if row.weekday != date.isoweekday() or not first <= date <= last:
        return False
    days = (date - first).days + first.weekday()  # since the Monday of the first week
    return days // 7 % row.every_weeks == 0


def is_regular(a: Appointment) -> bool:
    """Whether it comes before what is overbooked: somebody in a role does in any case."""
    return a.role is not None or not a.booking.is_overbooked


def is_by_allowance(a: Appointment) -> bool:
    """Whether an overbooked appointment is so by an overbooking rule, and not by an override."""
    b = a.booking
    return not is_regular(a) and not b.overrides & {"PROVIDER_BUSY", "PROVIDER_DAILY_CAP"}


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans have a minute in common."""
    return one[0] < other[1] and other[0] < one[1]


def patient_is_elsewhere(clinic: Clinic, a: Appointment, other: Appointment) -> bool:
    """Whether one patient's appointments overlap, or leave no time for the way between them."""
    return overlap(a.span, other.span) or is_too_far(clinic, a, a.span, other, other.span)


def is_too_far(clinic: Clinic, a: Appointment, one: Span, other: Appointment, two: Span) -> bool:
    """Whether the way from one place to the other takes longer than there is between spans."""
    rooms = clinic.room_by_id
    if a.booking.room_id not in rooms or other.booking.room_id not in rooms:
        return False
    here = rooms[a.booking.room_id].location_id
    there = rooms[other.booking.room_id].location_id
    if here is None or there is None or here == there or a.booking.date != other.booking.date:
        return False
    return two[0] - one[1] < _way(clinic, here, there) and one[0] - two[1] < _way(
        clinic, there, here
    )


def _way(clinic: Clinic, from_id: str, to_id: str) -> int:
    """Return the minutes of a way; where only the way back is told, as many as that takes."""
    minutes = 0
    for row in clinic.travel:
        if (row.from_id, row.to_id) == (from_id, to_id):
            return row.minutes
        if (row.to_id, row.from_id) == (from_id, to_id):
            minutes = row.minutes
    return minutes


def _roles(kind: AppointmentType, minutes: int) -> tuple[Role, ...]:
    """Return the roles that an appointment of so many minutes needs, none longer than it."""
    return tuple(
        replace(role, to_minute=None if role.to_minute is None else min(role.to_minute, minutes))
        for role in kind.roles
        if role.from_minute < minutes
    )


def _kind_of(
    clinic: Clinic, rows: Mapping[tuple[str, str], ProviderType], booking: Booking
) -> AppointmentType:
    """Return a booking's type with the minutes it was made with, or else its provider's own."""
    kind = clinic.type_by_id[booking.appointment_type_id]
    own = rows.get((booking.provider_id, kind.id))
    for row in (own, booking):
        if row is None:
            continue
        if row.duration_minutes is not None:
            minutes = row.duration_minutes
            kind = replace(kind, duration_minutes=minutes, roles=_roles(kind, minutes))
        if row.buffer_before is not None:
            kind = replace(kind, buffer_before=row.buffer_before)
        if row.buffer_after is not None:
            kind = replace(kind, buffer_after=row.buffer_after)
    return kind
