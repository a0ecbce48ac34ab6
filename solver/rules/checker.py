"""The rules and the score read again, plainly, one placement at a time.

Nothing here is shared with the masks, the model or the objective: not their spans, not their
windows, not their arithmetic. It is slow and short, and it is what the fast parts are held against.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Availability,
    Booking,
    Clinic,
    Provider,
    Room,
    Span,
)
from solver.clinic.request import SlotRequest

PREFERENCE, GAP, ROOM, OVERBOOK = Fraction(2, 5), Fraction(7, 20), Fraction(3, 20), Fraction(1, 10)


@dataclass(frozen=True)
class Reading:
    """What the rules say of one placement: the numbers of those it breaks, or its kind and score.

    `score` has four decimals and is None when a rule is broken.
    """

    broken: tuple[int, ...]
    is_overbooked: bool = False
    parts: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    score: Fraction | None = None


@dataclass(frozen=True)
class Found:
    """A feasible placement as :func:`read_slots` lists it."""

    provider_id: str
    room_id: str
    start: int
    is_overbooked: bool
    parts: tuple[Fraction, Fraction, Fraction, Fraction]
    score: Fraction


@dataclass(frozen=True)
class Violation:
    """A rule that a booking breaks as the book stands: number (0 for the clock), code and words."""

    booking: Booking
    rule: int
    code: str
    detail: str


type Beside = list[tuple[Booking, Span]]
"""Bookings, each with its busy span in minutes after midnight of the date that is read."""


@dataclass
class Checker:
    """Reads one clinic. What is worked out of its rows, windows minute by minute, is kept."""

    clinic: Clinic
    weights: tuple[Fraction, Fraction, Fraction, Fraction] = (PREFERENCE, GAP, ROOM, OVERBOOK)
    _rows: dict[str, list[Availability]] = field(default_factory=dict)
    _open: dict[tuple[str, dt.date], bytes] = field(default_factory=dict)
    _steady: dict[tuple[dt.date, int], bool] = field(default_factory=dict)
    _around: dict[tuple[type[Provider | Room], str, str], Span] = field(default_factory=dict)

    # Time

    def open_minutes(self, owner: Provider | Room, day: dt.date) -> bytes:
        """Return 1440 bytes, 1 where `owner` is open."""
        if (owner.id, day) not in self._open:
            rows = self._rows_about(owner)
            opening = [r for r in rows if r.kind == "open"]
            chosen = [r for r in opening if r.date == day] or [
                r for r in opening if r.weekday is not None and _applies(r, day)
            ]
            is_open = bytearray(DAY_MINUTES)
            if isinstance(owner, Room) and not opening:
                is_open = bytearray(b"\x01" * DAY_MINUTES)
            for row in chosen:
                for minute in range(row.start, row.end):
                    is_open[minute] = 1
            for row in rows:
                if row.kind == "closed" and _applies(row, day):
                    for minute in range(row.start, row.end):
                        is_open[minute] = 0
            self._open[owner.id, day] = bytes(is_open)
        return self._open[owner.id, day]

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

    def is_steady(self, day: dt.date, start: int, end: int) -> bool:
        """Whether the clock shows every minute of ``[start, end)`` of the date exactly once."""
        return all(self._is_steady(day, minute) for minute in range(start, min(end, DAY_MINUTES)))

    def _is_steady(self, day: dt.date, minute: int) -> bool:
        if (day, minute) not in self._steady:
            shown = dt.datetime.combine(
                day, dt.time(*divmod(minute, 60)), self.clinic.settings.zone
            )
            # In a skipped and in a repeated hour, and nowhere else, the two folds differ (PEP 495).
            self._steady[day, minute] = shown.utcoffset() == shown.replace(fold=1).utcoffset()
        return self._steady[day, minute]

    def is_bookable_time(self, request: SlotRequest, start: int, end: int) -> bool:
        """Whether ``[start, end)`` is on the grid, in the date, late enough and steady."""
        settings = self.clinic.settings
        if start % settings.grid_minutes or start < 0 or end > DAY_MINUTES:
            return False
        if not self.is_steady(request.date, start, end):
            return False
        begins = dt.datetime.combine(request.date, dt.time(), settings.zone)
        begins += dt.timedelta(minutes=start)
        notice = dt.timedelta(minutes=settings.min_notice_minutes)
        return begins.astimezone(dt.UTC) >= request.now.astimezone(dt.UTC) + notice

    # Bookings

    def kind_of(self, booking: Booking) -> AppointmentType:
        """Return the booking's appointment type."""
        return self.clinic.type_by_id[booking.appointment_type_id]

    def busy(self, booking: Booking, day: dt.date, owner: Provider | Room) -> Span:
        """Return the busy span of a booking, in minutes after midnight of `day`."""
        key = type(owner), owner.id, booking.appointment_type_id
        if key not in self._around:
            self._around[key] = _busy(owner, self.kind_of(booking), 0)
        before, after = self._around[key]
        start = booking.start + (booking.date - day).days * DAY_MINUTES
        return start + before, start + after

    def live(self, bookings: Iterable[Booking]) -> list[Booking]:
        """Return those that are not cancelled."""
        return [b for b in bookings if b.status != "cancelled"]

    # One placement

    def read(self, request: SlotRequest, provider: Provider, room: Room, start: int) -> Reading:
        """Read the seven rules and the score for one placement, all live bookings in place."""
        book = self.live(self.clinic.bookings)
        return self.read_among(
            request,
            provider,
            room,
            start,
            at_provider=[b for b in book if b.provider_id == provider.id],
            in_room=[b for b in book if b.room_id == room.id],
            of_type=[b for b in book if b.appointment_type_id == request.appointment_type_id],
        )

    def read_among(
        self,
        request: SlotRequest,
        provider: Provider,
        room: Room,
        start: int,
        *,
        at_provider: list[Booking],
        in_room: list[Booking],
        of_type: list[Booking],
    ) -> Reading:
        """Read one placement beside the live bookings of its provider, room and type.

        Those of dates that are not next to the request's may be left out.
        """
        kind = self.clinic.type_by_id[request.appointment_type_id]
        day, end = request.date, start + kind.duration_minutes
        broken = []

        if not self.is_bookable_time(request, start, end):
            broken.append(0)
        if not (
            provider.active
            and room.active
            and kind.active
            and all(skill in provider.skills for skill in kind.required_skills)
            and all(thing in room.equipment for thing in kind.required_equipment)
        ):
            broken.append(1)
        if end > DAY_MINUTES or not (
            all(self.open_minutes(provider, day)[start:end])
            and all(self.open_minutes(room, day)[start:end])
        ):
            broken.append(2)
        there = _busy(room, kind, start)
        if any(_meet(there, self.busy(b, day, room)) for b in in_room):
            broken.append(3)
        cap = kind.daily_cap
        if cap is not None and sum(b.date == day for b in of_type) >= cap:
            broken.append(5)

        mine = _busy(provider, kind, start)
        met = [b for b in at_provider if _meet(mine, self.busy(b, day, provider))]
        regular = [b for b in at_provider if b.date == day and not b.is_overbooked]
        over = [b for b in at_provider if b.date == day and b.is_overbooked]
        full = provider.daily_cap is not None and len(regular) >= provider.daily_cap
        is_overbooked = bool(met) or full
        taken = any(b.date == day and b.start == start for b in at_provider)
        if is_overbooked and (
            taken or not self._is_allowed(provider, kind, day, start, len(met), len(over))
        ):
            broken.append(7)
        if broken:
            return Reading(tuple(broken))

        parts = (
            self._preference(request, kind, start),
            Fraction(0) if met else self._gap(provider, day, mine, (start, end), at_provider),
            Fraction(1, 1 + len(room.equipment - kind.required_equipment)),
            Fraction(0 if is_overbooked else 1),
        )
        return Reading((), is_overbooked, parts, _four_decimals(self.exact(parts)))

    def exact(self, parts: tuple[Fraction, Fraction, Fraction, Fraction]) -> Fraction:
        """Return the score that parts make."""
        return sum((w * p for w, p in zip(self.weights, parts, strict=True)), Fraction(0))

    def standing_parts(
        self, b: Booking, at_provider: list[Booking], request: SlotRequest | None = None
    ) -> tuple[Fraction, Fraction, Fraction, Fraction]:
        """Return the parts of a booking that stands beside the others of its provider.

        `request` is the wish that it fulfils; without one its preference counts as fulfilled.
        Its gap is 0 when it lies in no open window of the provider.
        """
        (provider, room), kind = self._owners_of(b), self.kind_of(b)
        end = b.start + kind.duration_minutes
        mine = _busy(provider, kind, b.start)
        is_met = any(_meet(mine, self.busy(o, b.date, provider)) for o in at_provider)
        is_inside = end <= DAY_MINUTES and all(self.open_minutes(provider, b.date)[b.start : end])
        gap = Fraction(0)
        if is_inside and not is_met:
            gap = self._gap(provider, b.date, mine, (b.start, end), at_provider)
        return (
            Fraction(1) if request is None else self._preference(request, kind, b.start),
            gap,
            Fraction(1, 1 + len(room.equipment - kind.required_equipment)),
            Fraction(0 if b.is_overbooked else 1),
        )

    def _preference(self, request: SlotRequest, kind: AppointmentType, start: int) -> Fraction:
        if request.preferred is None:
            return Fraction(1)
        opens, closes = request.preferred
        last = max(opens, closes - kind.duration_minutes)
        away = max(0, opens - start, start - last)
        return max(Fraction(0), 1 - Fraction(away, self.clinic.settings.preference_decay_minutes))

    def _gap(
        self,
        provider: Provider,
        day: dt.date,
        mine: Span,
        appointment: Span,
        at_provider: list[Booking],
    ) -> Fraction:
        is_open = self.open_minutes(provider, day)
        opens, closes = appointment
        while opens > 0 and is_open[opens - 1]:
            opens -= 1
        while closes < DAY_MINUTES and is_open[closes]:
            closes += 1
        spans = [self.busy(b, day, provider) for b in at_provider]
        earlier = max([opens, *(end for _, end in spans if end <= mine[0])])
        later = min([closes, *(start for start, _ in spans if start >= mine[1])])
        usable = (
            kind.duration_minutes
            for kind in self.clinic.appointment_types
            if kind.active and kind.required_skills <= provider.skills
        )
        shortest = min(usable, default=0)
        sides = []
        for idle in (max(0, mine[0] - earlier), max(0, later - mine[1])):
            if idle == 0:
                sides.append(Fraction(1))
            elif idle < shortest:
                sides.append(Fraction(0))
            else:
                sides.append(Fraction(1, 2))
        return (sides[0] + sides[1]) / 2

    # A whole date, a whole book

    def read_slots(self, request: SlotRequest) -> list[Found]:
        """Return every feasible placement over all rooms, in the order of the slot query."""
        kind = self.clinic.type_by_id[request.appointment_type_id]
        found = []
        for start in range(
            0, DAY_MINUTES - kind.duration_minutes + 1, self.clinic.settings.grid_minutes
        ):
            if not self.is_bookable_time(request, start, start + kind.duration_minutes):
                continue
            for provider in self.clinic.providers:
                if request.provider_ids is not None and provider.id not in request.provider_ids:
                    continue
                for room in self.clinic.rooms:
                    reading = self.read(request, provider, room, start)
                    if reading.score is not None and reading.parts is not None:
                        found.append(
                            Found(
                                provider.id,
                                room.id,
                                start,
                                reading.is_overbooked,
                                reading.parts,
                                reading.score,
                            )
                        )
        return sorted(found, key=lambda f: (-f.score, f.start, f.provider_id, f.room_id))

    def violations(
        self, *, since: dt.date | None = None, only: Container[str] | None = None
    ) -> Iterator[Violation]:
        """Tell every rule that a live booking breaks, beside all the others.

        A set of bookings has no order, so a regular one may be met by overbooked ones that came
        later, and overbooked ones are allowed if some order of booking them allows each. With
        `since` given bookings of earlier dates are not told of, with `only` those of other ids.
        """
        by_owner: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        live = self.live(self.clinic.bookings)
        for b in live:
            for key in (b.provider_id, b.room_id, b.appointment_type_id):
                by_owner[key, b.date].append(b)

        @cache
        def stays(owner: Provider | Room, day: dt.date) -> bool:
            """Whether nothing of a date reaches into another."""
            spans = (self.busy(o, day, owner) for o in by_owner.get((owner.id, day), ()))
            return all(start >= 0 and end <= DAY_MINUTES for start, end in spans)

        @cache
        def near(owner: Provider | Room, day: dt.date) -> Beside:
            dates = [day + dt.timedelta(days=days) for days in (-1, 0, 1)]
            if all(stays(owner, date) for date in dates):
                dates = [day]
            found = (o for date in dates for o in by_owner.get((owner.id, date), ()))
            return [(o, self.busy(o, day, owner)) for o in found]

        for b in sorted(live, key=lambda b: (b.date, b.start, b.id)):
            if (since is None or b.date >= since) and (only is None or b.id in only):
                provider, room = self._owners_of(b)
                yield from self._violations_of(
                    b,
                    [each for each in near(provider, b.date) if each[0] is not b],
                    [each for each in near(room, b.date) if each[0] is not b],
                    by_owner[b.appointment_type_id, b.date],
                )

    def violations_of(self, b: Booking) -> Iterator[Violation]:
        """Tell every rule that one live booking of the clinic breaks; see :meth:`violations`."""
        near = [o for o in self.live(self.clinic.bookings) if abs((o.date - b.date).days) <= 1]
        others = [o for o in near if o.id != b.id]
        provider, room = self._owners_of(b)
        yield from self._violations_of(
            b,
            [(o, self.busy(o, b.date, provider)) for o in others if o.provider_id == provider.id],
            [(o, self.busy(o, b.date, room)) for o in others if o.room_id == room.id],
            [o for o in near if (o.appointment_type_id, o.date) == (b.appointment_type_id, b.date)],
        )

    def _violations_of(
        self,
        b: Booking,
        at_provider: Beside,
        in_room: Beside,
        of_type: list[Booking],
    ) -> Iterator[Violation]:
        provider, room = self._owners_of(b)
        kind = self.kind_of(b)
        if not self.is_steady(b.date, b.start, b.start + kind.duration_minutes):
            yield Violation(b, 0, "CLOCK_CHANGE", "touches an hour that the clock skips or repeats")
        yield from self.own_violations(b)
        there = self.busy(b, b.date, room)
        for other, span in in_room:
            if _meet(there, span):
                yield Violation(b, 3, "ROOM_BUSY", f"{room.name} is taken by booking {other.id}")
        if kind.daily_cap is not None and len(of_type) > kind.daily_cap:
            yield Violation(
                b,
                5,
                "TYPE_DAILY_CAP",
                f"{len(of_type)} of {kind.name} on one date, its daily cap is {kind.daily_cap}",
            )
        for other, _ in at_provider:
            if other.date == b.date and other.start == b.start:
                yield Violation(
                    b, 7, "PROVIDER_BUSY", f"{provider.name} starts booking {other.id} then, too"
                )
        if not b.is_overbooked:
            yield from self._capacity_violations_of(b, provider, at_provider)
        elif not self._has_allowance(b, [other for other, _ in at_provider]):
            yield Violation(
                b, 7, "PROVIDER_BUSY", f"no overbooking rule of {provider.name} allows it"
            )

    def _owners_of(self, b: Booking) -> tuple[Provider, Room]:
        return self.clinic.provider_by_id[b.provider_id], self.clinic.room_by_id[b.room_id]

    def own_violations(self, b: Booking) -> Iterator[Violation]:
        """Tell what breaks rule 1 or 2 about a booking, whatever else is booked."""
        (provider, room), kind = self._owners_of(b), self.kind_of(b)
        end = b.start + kind.duration_minutes
        for row, what in ((provider, "PROVIDER"), (room, "ROOM"), (kind, "TYPE")):
            if not row.active:
                yield Violation(b, 1, f"{what}_INACTIVE", f"{row.name} is not active")
        if missing := kind.required_skills - provider.skills:
            lacks = f"{provider.name} lacks {', '.join(sorted(missing))}"
            yield Violation(b, 1, "PROVIDER_LACKS_SKILLS", lacks)
        if missing := kind.required_equipment - room.equipment:
            lacks = f"{room.name} lacks {', '.join(sorted(missing))}"
            yield Violation(b, 1, "ROOM_LACKS_EQUIPMENT", lacks)
        for owner, what in ((provider, "PROVIDER"), (room, "ROOM")):
            if end > DAY_MINUTES or not all(self.open_minutes(owner, b.date)[b.start : end]):
                outside = f"outside the open windows of {owner.name}"
                yield Violation(b, 2, f"OUTSIDE_{what}_HOURS", outside)

    def _capacity_violations_of(
        self, b: Booking, provider: Provider, at_provider: Beside
    ) -> Iterator[Violation]:
        mine = self.busy(b, b.date, provider)
        for other, span in at_provider:
            if not other.is_overbooked and _meet(mine, span):
                yield Violation(
                    b, 6, "PROVIDER_BUSY", f"{provider.name} is busy with booking {other.id}"
                )
        regular = 1 + sum(not o.is_overbooked and o.date == b.date for o, _ in at_provider)
        cap = provider.daily_cap
        if cap is not None and regular > cap:
            yield Violation(
                b,
                6,
                "PROVIDER_DAILY_CAP",
                f"{regular} regular bookings of {provider.name}, the daily cap is {cap}",
            )

    def _has_allowance(self, b: Booking, at_provider: list[Booking]) -> bool:
        """Whether some order of booking the provider's overbooked ones allows this one.

        The last one booked sees all the others. Taking away any that could have been the last
        only makes room for the rest, so taking them away as long as possible finds such an order.
        """
        provider = self.clinic.provider_by_id[b.provider_id]
        regular = [o for o in at_provider if not o.is_overbooked]
        pending = [b, *(o for o in at_provider if o.is_overbooked)]
        while True:
            last = next(
                (
                    o
                    for o in pending
                    if self._allowed_last(provider, o, [*regular, *(x for x in pending if x != o)])
                ),
                None,
            )
            if last is None:
                return False
            if last == b:
                return True
            pending.remove(last)

    def _allowed_last(self, provider: Provider, b: Booking, others: list[Booking]) -> bool:
        mine = self.busy(b, b.date, provider)
        met = sum(_meet(mine, self.busy(o, b.date, provider)) for o in others)
        over = sum(o.is_overbooked and o.date == b.date for o in others)
        return self._is_allowed(provider, self.kind_of(b), b.date, b.start, met, over)

    def _is_allowed(
        self,
        provider: Provider,
        kind: AppointmentType,
        day: dt.date,
        start: int,
        met: int,
        over: int,
    ) -> bool:
        return any(
            rule.provider_id in (None, provider.id)
            and rule.appointment_type_id in (None, kind.id)
            and rule.weekday in (None, day.isoweekday())
            and (rule.start is None or rule.start <= start)
            and (rule.end is None or start + kind.duration_minutes <= rule.end)
            and met <= rule.max_overlap
            and over < rule.max_per_day
            for rule in self.clinic.overbooking_rules
        )


def _applies(row: Availability, day: dt.date) -> bool:
    if row.date is not None:
        return row.date == day
    from_, to = row.valid_from or dt.date.min, row.valid_to or dt.date.max
    return row.weekday == day.isoweekday() and from_ <= day <= to


def _busy(owner: Provider | Room, kind: AppointmentType, start: int) -> Span:
    if isinstance(owner, Provider):
        before = max(kind.buffer_before, owner.buffer_before)
        after = max(kind.buffer_after, owner.buffer_after)
    else:
        before = kind.buffer_before
        after = max(kind.buffer_after, owner.turnover_minutes)
    return start - before, start + kind.duration_minutes + after


def _meet(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _four_decimals(value: Fraction) -> Fraction:
    return Fraction((value * 10_000 + Fraction(1, 2)).__floor__(), 10_000)
