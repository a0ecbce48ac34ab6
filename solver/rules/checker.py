"""The rules read plainly, one booking at a time.

Nothing here is shared with the masks, the model or the objective: not their spans, not their
windows, not their arithmetic. It is slow and short, and it is what the fast readings are compared
with. :mod:`solver.rules.checked_slots` reads placements that are asked about with it, and
:mod:`solver.rules.checked_book` the bookings of a whole book.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

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
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.request import SlotRequest
from solver.rules.sessions.checked import PlainSessions
from solver.rules.teams.checked import Beside, OfMember, PlainTeams, cut_to


@dataclass(frozen=True)
class Violation:
    """A rule that a booking breaks beside the others: number (0 for the clock), code and words."""

    booking: Booking
    rule: int
    code: str
    detail: str


class _OfSessions(ABC):
    """Rule 8."""

    clinic: Clinic

    @cached_property
    def _sessions(self) -> PlainSessions:
        return PlainSessions(self.clinic)

    @abstractmethod
    def kind_of(self, b: Booking) -> AppointmentType:
        """Return the booking's appointment type, as long as the booking is."""

    def within_sessions(
        self, b: Booking, now: dt.datetime, *, is_standing: bool = False
    ) -> Iterator[Violation]:
        """Rule 8: sessions admit it and are open; one that `is_standing` may not be open yet."""
        minutes = self.kind_of(b).duration_minutes
        told = self._sessions.within_sessions(b, minutes, now, is_standing=is_standing)
        yield from (Violation(b, 8, *each) for each in told)

    def has_place_in_sessions(
        self, b: Booking, others: Iterable[Booking], *, is_standing: bool = False
    ) -> Iterator[Violation]:
        """Rule 8: no session in which it begins has all that it takes of the others."""
        told = self._sessions.has_place_in_sessions(b, others, is_standing=is_standing)
        yield from (Violation(b, 8, *each) for each in told)


@dataclass
class _Hours:
    """When whoever is named is open, minute by minute, and which minutes the clock shows once."""

    clinic: Clinic
    _rows: dict[str, list[Availability]] = field(default_factory=dict)
    _open: dict[tuple[str, dt.date, str | None], bytes] = field(default_factory=dict)
    _steady: dict[tuple[dt.date, int], bool] = field(default_factory=dict)

    def open_minutes(
        self, owner: Provider | Room, day: dt.date, location_id: str | None = None
    ) -> bytes:
        """Return 1440 bytes, 1 where `owner` is open for the rooms of a location, or of none."""
        key = owner.id, day, location_id
        if key not in self._open:
            rows = self._rows_about(owner)
            opening = [r for r in rows if r.kind == "open"]
            chosen = [r for r in opening if r.date == day] or [
                r for r in opening if r.weekday is not None and _applies(r, day)
            ]
            is_open = bytearray(DAY_MINUTES)
            if isinstance(owner, Room) and not opening:
                is_open = bytearray(b"\x01" * DAY_MINUTES)
            for row in chosen:
                if location_id is not None and row.location_id not in (None, location_id):
                    continue
                for minute in range(row.start, row.end):
                    is_open[minute] = 1
            for row in rows:
                is_here = row.location_id in (None, location_id)
                if row.kind == "closed" and is_here and _applies(row, day):
                    for minute in range(row.start, row.end):
                        is_open[minute] = 0
            self._open[key] = bytes(is_open)
        return self._open[key]

    def _rows_about(self, owner: Provider | Room) -> list[Availability]:
        """Return the rows that name `owner`, and the closures of everyone."""
        if owner.id not in self._rows:
            self._rows[owner.id] = [
                row
                for row in self.clinic.availability
                if owner.id in (row.provider_id, row.room_id)
                or (row.kind == "closed" and row.provider_id is None and row.room_id is None)
            ]
        return self._rows[owner.id]

    def _is_steady(self, day: dt.date, minute: int) -> bool:
        if (day, minute) not in self._steady:
            shown = dt.datetime.combine(
                day, dt.time(*divmod(minute, 60)), self.clinic.settings.zone
            )
            # In a skipped and in a repeated hour, and nowhere else, the two folds differ (PEP 495).
            self._steady[day, minute] = shown.utcoffset() == shown.replace(fold=1).utcoffset()
        return self._steady[day, minute]


@dataclass
class Checker(_Hours, _OfSessions, PlainTeams):
    """The rules of one clinic. What is worked out of its rows, minute by minute, is kept.

    A method a rule, under the name that the rule has in every reading: it yields how a booking
    breaks the rule. `at_provider` and `in_room` are the other live bookings of its provider, in
    roles as well, and of its room, `of_type` those of its type and date, `of_pools` those that take
    from a pool that it takes from; they may leave out what is two dates away.
    """

    _around: dict[tuple[object, ...], Span] = field(default_factory=dict)
    _kinds: dict[tuple[object, ...], AppointmentType] = field(default_factory=dict)
    _differing: dict[tuple[str, str], ProviderType] | None = None

    # The rules

    def time_is_bookable(
        self, b: Booking, request: SlotRequest, at_provider: Beside
    ) -> Iterator[Violation]:
        """Rule 0, of what is asked for: in rhythm, on one date, late enough, no clock change."""
        settings, end = self.clinic.settings, b.start + self.kind_of(b).duration_minutes
        begins = dt.datetime.combine(b.date, dt.time(), settings.zone)
        begins += dt.timedelta(minutes=b.start)
        notice = dt.timedelta(minutes=settings.min_notice_minutes)
        if not self.is_in_rhythm(b, at_provider):
            yield Violation(b, 0, "OFF_GRID", "starts off the grid")
        if end > DAY_MINUTES:
            yield Violation(b, 0, "OUTSIDE_DATE", "ends after midnight")
        if begins.astimezone(dt.UTC) < request.moment.astimezone(dt.UTC) + notice:
            yield Violation(b, 0, "TOO_SOON", "starts too soon to be booked")
        yield from self.outside_clock_changes(b)

    def is_in_rhythm(self, b: Booking, at_provider: Beside) -> bool:
        """Whether its type may start then, beside the others of its provider."""
        kind, (provider, room) = self.clinic.type_by_id[b.appointment_type_id], self.owners_of(b)
        every, first = kind.start_every or self.clinic.settings.grid_minutes, kind.start_offset
        is_from_window = kind.start_anchor == "window"
        if not (is_from_window or kind.packed):
            return b.start % every == first
        is_open = self.open_minutes(provider, b.date, room.location_id)
        if is_from_window:
            first = _opening(is_open, b.start)
        if (b.start - first) % every == 0 and (is_open[b.start] or not is_from_window):
            return True
        begins, _ = self.busy(b, b.date, provider)
        ends = [end for _, (_, end) in at_provider]
        return kind.packed and is_open[b.start] == 1 and begins in ends

    def outside_clock_changes(self, b: Booking) -> Iterator[Violation]:
        """Rule 0, for what is booked: the clock shows each of its minutes exactly once."""
        end = min(b.start + self.kind_of(b).duration_minutes, DAY_MINUTES)
        if not all(self._is_steady(b.date, minute) for minute in range(b.start, end)):
            yield Violation(b, 0, "CLOCK_CHANGE", "touches an hour that the clock skips or repeats")

    def active_with_skills_and_equipment(self, b: Booking) -> Iterator[Violation]:
        """Rule 1."""
        (provider, room), kind = self.owners_of(b), self.kind_of(b)
        for row, what in ((provider, "PROVIDER"), (room, "ROOM"), (kind, "TYPE")):
            if not row.active:
                yield Violation(b, 1, f"{what}_INACTIVE", f"{row.name} is not active")
        for location in self.clinic.locations:
            if location.id == room.location_id and room.active and not location.active:
                closed = f"{room.name} is at {location.name}, which is not active"
                yield Violation(b, 1, "ROOM_INACTIVE", closed)
        if missing := kind.required_skills - provider.skills:
            lacks = f"{provider.name} lacks {', '.join(sorted(missing))}"
            yield Violation(b, 1, "PROVIDER_LACKS_SKILLS", lacks)
        own = self._row_for(b)
        if own is not None and not own.offered:
            yield Violation(
                b, 1, "PROVIDER_LACKS_SKILLS", f"{provider.name} does not offer {kind.name}"
            )
        if missing := kind.required_equipment - room.equipment:
            lacks = f"{room.name} lacks {', '.join(sorted(missing))}"
            yield Violation(b, 1, "ROOM_LACKS_EQUIPMENT", lacks)

    def within_open_windows(self, b: Booking) -> Iterator[Violation]:
        """Rule 2: open in all of its minutes, which lie on its date."""
        end = b.start + self.kind_of(b).duration_minutes
        provider, room = self.owners_of(b)
        for owner, what in ((provider, "PROVIDER"), (room, "ROOM")):
            is_open = self.open_minutes(owner, b.date, room.location_id)
            if end > DAY_MINUTES or not all(is_open[b.start : end]):
                outside = f"outside the open windows of {owner.name}"
                yield Violation(b, 2, f"OUTSIDE_{what}_HOURS", outside)

    def room_is_free(self, b: Booking, in_room: Beside) -> Iterator[Violation]:
        """Rule 3: its room busy span overlaps no other."""
        _, room = self.owners_of(b)
        mine = self.busy(b, b.date, room)
        for other, span in in_room:
            if _overlap(mine, span):
                yield Violation(b, 3, "ROOM_BUSY", f"{room.name} is taken by booking {other.id}")

    def equipment_is_free(self, b: Booking, of_pools: Iterable[Booking]) -> Iterator[Violation]:
        """Rule 10: of no pool are more pieces out at once, while it has some, than there are."""
        for pool_id, quantity in self.kind_of(b).required_pools:
            pool, room = self.clinic.pool_by_id[pool_id], self.clinic.room_by_id[b.room_id]
            out = [
                (_has_pieces(o, self.kind_of(o), pool, b.date), taken)
                for o in of_pools
                for named, taken in self.kind_of(o).required_pools
                if named == pool_id
            ]
            peak = quantity + _most_at_once(_has_pieces(b, self.kind_of(b), pool, b.date), out)
            is_near = pool.location_id in (None, room.location_id)
            there_are = pool.quantity if pool.active and is_near else 0
            if peak > there_are:
                detail = f"{peak} of {pool.name} are out at once, there are {there_are}"
                detail = detail if is_near else f"{pool.name} is elsewhere than {room.name}"
                yield Violation(b, 10, "EQUIPMENT_BUSY", detail)

    def type_under_its_cap(self, b: Booking, of_type: list[Booking]) -> Iterator[Violation]:
        """Rule 5: bookings of the type on its date, this one included, <= the type's daily cap."""
        kind, count = self.kind_of(b), 1 + len(of_type)
        if kind.daily_cap is not None and count > kind.daily_cap:
            detail = f"{count} of {kind.name} on one date, its daily cap is {kind.daily_cap}"
            yield Violation(b, 5, "TYPE_DAILY_CAP", detail)

    def time_to_travel(self, b: Booking, at_provider: Beside) -> Iterator[Violation]:
        """Rule 11: those of its date at other places are as far away as the way takes."""
        provider, _ = self.owners_of(b)
        for other, span in at_provider:
            if self.is_too_far(b, self.busy(b, b.date, provider), other, span):
                late = f"{provider.name} has no time for the way between it and booking {other.id}"
                yield Violation(b, 11, "PROVIDER_TRAVEL", late)

    def provider_type_under_its_cap(self, b: Booking, at_provider: Beside) -> Iterator[Violation]:
        """Rule 6, for any booking: those of its type with its provider <= the provider's cap."""
        own = self._row_for(b)
        mine = b.date, b.appointment_type_id, b.provider_id
        others = ((o, (o.date, o.appointment_type_id, o.provider_id)) for o, _ in at_provider)
        alike = [o for o, theirs in others if theirs == mine]
        if own is not None and own.daily_cap is not None and len(alike) >= own.daily_cap:
            (provider, _), kind = self.owners_of(b), self.kind_of(b)
            detail = (
                f"{1 + len(alike)} of {kind.name} with {provider.name} on one date, "
                f"whose daily cap for it is {own.daily_cap}"
            )
            yield Violation(b, 6, "PROVIDER_DAILY_CAP", detail)

    def regular_within_capacity(self, b: Booking, at_provider: Beside) -> Iterator[Violation]:
        """Rule 6: it overlaps none of the others; the regular ones, and their minutes, <= caps."""
        provider, _ = self.owners_of(b)
        mine = self.busy(b, b.date, provider)
        for other, span in at_provider:
            if _overlap(mine, span):
                busy = f"{provider.name} is busy with booking {other.id}"
                yield Violation(b, 6, "PROVIDER_BUSY", busy)
        own = (o for o, _ in at_provider if (o.provider_id, o.date) == (provider.id, b.date))
        regular = [b, *(o for o in own if not o.is_overbooked)]
        count, cap = len(regular), provider.daily_cap
        if cap is not None and count > cap:
            detail = f"{count} regular bookings of {provider.name}, the daily cap is {cap}"
            yield Violation(b, 6, "PROVIDER_DAILY_CAP", detail)
        most = provider.daily_minutes
        minutes = sum(self.kind_of(o).duration_minutes for o in regular)
        if most is not None and minutes > most:
            detail = f"{minutes} minutes of regular bookings of {provider.name}, of {most} a day"
            yield Violation(b, 6, "PROVIDER_DAILY_CAP", detail)

    def roles_are_filled(self, b: Booking, of_member: OfMember) -> Iterator[Violation]:
        """Rule 9, for what is booked: one who is able is in each role, nobody in two."""
        yield from (Violation(b, 9, "ROLE_UNFILLED", why) for why in self.unfilled(b, of_member))

    def starts_by_itself(self, b: Booking, at_provider: Beside) -> Iterator[Violation]:
        """Rule 7, first half: its provider starts no other booking at the same time."""
        provider, _ = self.owners_of(b)
        for other, _ in at_provider:
            mine, theirs = ((o.provider_id, o.date, o.start) for o in (b, other))
            if mine == theirs:
                starts = f"{provider.name} starts booking {other.id} then, too"
                yield Violation(b, 7, "PROVIDER_BUSY", starts)

    def overbooked_by_allowance(self, b: Booking, at_provider: Beside) -> Iterator[Violation]:
        """Rule 7, second half: some overbooking rule allows it, the others booked before it."""
        (provider, _), kind = self.owners_of(b), self.kind_of(b)
        mine = self.busy(b, b.date, provider)
        overlaps = sum(_overlap(mine, span) for _, span in at_provider)
        own = (o for o, _ in at_provider if (o.provider_id, o.date) == (provider.id, b.date))
        overbooked = sum(map(is_by_allowance, own))
        if not any(
            rule.provider_id in (None, provider.id)
            and rule.appointment_type_id in (None, kind.id)
            and rule.weekday in (None, b.date.isoweekday())
            and (rule.start is None or rule.start <= b.start)
            and b.start + kind.duration_minutes <= (DAY_MINUTES if rule.end is None else rule.end)
            and overlaps <= rule.max_overlap
            and overbooked < rule.max_per_day
            for rule in self.clinic.overbooking_rules
        ):
            none_allows = f"no overbooking rule of {provider.name} allows it"
            yield Violation(b, 7, "PROVIDER_BUSY", none_allows)

    # Bookings and their rows

    def owners_of(self, b: Booking) -> tuple[Provider, Room]:
        """Return the booking's provider and room."""
        return self.clinic.provider_by_id[b.provider_id], self.clinic.room_by_id[b.room_id]

    def kind_of(self, b: Booking) -> AppointmentType:
        """Return the booking's appointment type, as long as the booking is and with its buffers.

        What the booking has not kept is as its provider does the type now.
        """
        key = _what_sets_minutes(b)
        if key not in self._kinds:
            kind, own = self.clinic.type_by_id[b.appointment_type_id], self._row_for(b)
            minutes = {}
            for name in ("duration_minutes", "buffer_before", "buffer_after"):
                told = [getattr(row, name) for row in (b, own) if row is not None]
                minutes[name] = next((one for one in told if one is not None), getattr(kind, name))
            roles = cut_to(kind, minutes["duration_minutes"])
            self._kinds[key] = replace(kind, **minutes, roles=roles)
        return self._kinds[key]

    def _row_for(self, b: Booking) -> ProviderType | None:
        """Return the row of the booking's provider for its type."""
        if self._differing is None:
            self._differing = {
                (row.provider_id, row.appointment_type_id): row
                for row in self.clinic.provider_types
            }
        return self._differing.get((b.provider_id, b.appointment_type_id))

    def busy(self, booking: Booking, day: dt.date, owner: Provider | Room) -> Span:
        """Return the busy span of a booking (rule 4), in minutes after midnight of `day`."""
        key = (type(owner), owner.id, *_what_sets_minutes(booking))
        if key not in self._around:
            self._around[key] = _busy(owner, self.kind_of(booking))
        before, after = self._around[key]
        start = booking.start + (booking.date - day).days * DAY_MINUTES
        return start + before, start + after

    def live(self, bookings: Iterable[Booking]) -> list[Booking]:
        """Return those that are not cancelled."""
        return [b for b in bookings if b.status != "cancelled"]


def _what_sets_minutes(b: Booking) -> tuple[object, ...]:
    kept = b.duration_minutes, b.buffer_before, b.buffer_after
    return b.provider_id, b.appointment_type_id, *kept


def _opening(is_open: bytes, minute: int) -> int:
    """Return the first of the open minutes without a break before `minute`."""
    while minute > 0 and is_open[minute - 1]:
        minute -= 1
    return minute


def _applies(row: Availability, day: dt.date) -> bool:
    if row.date is not None:
        return row.date == day
    from_, to = row.valid_from or dt.date.min, row.valid_to or dt.date.max
    if row.weekday != day.isoweekday() or not from_ <= day <= to:
        return False
    monday, first_monday = (each - dt.timedelta(days=each.weekday()) for each in (day, from_))
    return (monday - first_monday).days % (7 * row.every_weeks) == 0


def _busy(owner: Provider | Room, kind: AppointmentType) -> Span:
    """Return the busy span of an appointment that starts at 0."""
    if isinstance(owner, Provider):
        before = max(kind.buffer_before, owner.buffer_before)
        after = max(kind.buffer_after, owner.buffer_after)
    else:
        before = kind.buffer_before
        after = max(kind.buffer_after, owner.turnover_minutes)
    return -before, kind.duration_minutes + after


def sharing_pools(clinic: Clinic, type_id: str, bookings: Iterable[Booking]) -> list[Booking]:
    """Return those that take from an equipment pool from which a type takes, too."""
    pools = {need.pool_id for need in clinic.type_by_id[type_id].required_pools}
    if not pools:
        return []
    types = {
        kind.id
        for kind in clinic.appointment_types
        if any(need.pool_id in pools for need in kind.required_pools)
    }
    return [b for b in bookings if b.appointment_type_id in types]


def _has_pieces(b: Booking, kind: AppointmentType, pool: EquipmentPool, day: dt.date) -> Span:
    """Return for how long a booking has what it takes of a pool, in minutes of `day`."""
    start = b.start + (b.date - day).days * DAY_MINUTES
    return start, start + kind.duration_minutes + pool.return_minutes


def _most_at_once(span: Span, out: Iterable[tuple[Span, int]]) -> int:
    """Return how many pieces are out at once within a span, of spans for which so many are.

    There are never more than at its begin, or else when another of them begins.
    """
    out = list(out)
    moments = [span[0], *(begin for (begin, _), _ in out if span[0] < begin < span[1])]
    return max(
        sum(taken for (begin, end), taken in out if begin <= moment < end) for moment in moments
    )


def is_by_allowance(b: Booking) -> bool:
    """Whether an overbooked booking is so by an overbooking rule, and not by an override."""
    return b.is_overbooked and not b.overrides & {"PROVIDER_BUSY", "PROVIDER_DAILY_CAP"}


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]
