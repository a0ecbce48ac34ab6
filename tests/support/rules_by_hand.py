"""The rules and the score as ``docs/rules.md`` and ``docs/score.md`` state them, for brute force.

The plainest reading there is: it shares nothing with any other.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from functools import cache

from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    Provider,
    ProviderType,
    Room,
    Span,
)
from solver.clinic.sessions.session import Lead, Session
from solver.clinic.teams.roles import Role
from solver.planning.problem import Problem

type Book = frozenset[Booking]

NOTHING_KEPT = {"duration_minutes": None, "buffer_before": None, "buffer_after": None}


class RulesByHand:
    """The rules of one problem. Spans count in minutes from its first midnight."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.clinic = problem, problem.clinic
        self.is_open = cache(self._is_open)
        self.has_clock_change = cache(self._has_clock_change)
        self.busy = cache(self._busy)

    def rows(self, b: Booking) -> tuple[Provider, Room, AppointmentType]:
        clinic = self.clinic
        return (
            clinic.provider_by_id[b.provider_id],
            clinic.room_by_id[b.room_id],
            self.kind(b),
        )

    def kind(self, b: Booking) -> AppointmentType:
        """The type, with the minutes that the booking has kept, else with its provider's own."""
        kind = self.clinic.type_by_id[b.appointment_type_id]
        for row in (*self.own_rows(b.provider_id, kind), b):
            if row.duration_minutes is not None:
                kind = replace(kind, duration_minutes=row.duration_minutes, roles=())
            if row.buffer_before is not None:
                kind = replace(kind, buffer_before=row.buffer_before)
            if row.buffer_after is not None:
                kind = replace(kind, buffer_after=row.buffer_after)
        return kind

    def own_rows(self, provider_id: str, kind: AppointmentType) -> list[ProviderType]:
        """The provider's row for the type, if there is one."""
        pair = provider_id, kind.id
        rows = self.clinic.provider_types
        return [row for row in rows if (row.provider_id, row.appointment_type_id) == pair]

    def offers(self, provider: Provider, kind: AppointmentType) -> bool:
        is_offered = all(row.offered for row in self.own_rows(provider.id, kind))
        return is_offered and kind.required_skills <= provider.skills

    def roles(self, b: Booking) -> list[tuple[Role, Span]]:
        """The roles that begin before its end, and their minutes of its date."""
        kind, last = self.clinic.type_by_id[b.appointment_type_id], self.minutes(b)
        return [
            (
                role,
                (
                    b.start + role.from_minute,
                    b.start + min(last, last if role.to_minute is None else role.to_minute),
                ),
            )
            for role in kind.roles
            if role.from_minute < last
        ]

    def is_known(self, b: Booking) -> bool:
        clinic = self.clinic
        return b.provider_id in clinic.provider_by_id and b.room_id in clinic.room_by_id

    # Time

    def instant(self, date: dt.date, minute: int) -> dt.datetime:
        midnight = dt.datetime.combine(date, dt.time(), self.clinic.settings.zone)
        return (midnight + dt.timedelta(minutes=minute)).astimezone(dt.UTC)

    def _has_clock_change(self, date: dt.date, minute: int) -> bool:
        wall = dt.datetime.combine(date, dt.time(*divmod(minute, 60)), self.clinic.settings.zone)
        return wall.utcoffset() != wall.replace(fold=1).utcoffset()

    def _is_open(
        self, owner: Provider | Room, date: dt.date, minute: int, place: str | None = None
    ) -> bool:
        """Whether it is open for a room at a place, or for one that is nowhere."""
        rows = [
            row
            for row in self.clinic.availability
            if owner.id in (row.provider_id, row.room_id)
            or (row.provider_id is None and row.room_id is None)
        ]
        opening = [row for row in rows if row.kind == "open"]
        chosen = [row for row in opening if row.date == date] or [
            row for row in opening if _speaks_of(row, date)
        ]
        if place is not None:
            chosen = [row for row in chosen if row.location_id in (None, place)]
        closing = [row for row in rows if row.kind == "closed" and _speaks_of(row, date)]
        closing = [row for row in closing if row.location_id in (None, place)]
        is_always_open = isinstance(owner, Room) and not opening
        return (is_always_open or _holds(chosen, minute)) and not _holds(closing, minute)

    def is_open_throughout(self, owner: Provider | Room, b: Booking) -> bool:
        _, _, kind = self.rows(b)
        end = b.start + kind.duration_minutes
        at = self.place(b)
        return end <= 1440 and all(self.is_open(owner, b.date, m, at) for m in range(b.start, end))

    # Places

    def place(self, b: Booking) -> str | None:
        room = self.clinic.room_by_id.get(b.room_id)
        return None if room is None else room.location_id

    def is_place_closed(self, b: Booking) -> bool:
        return any(row.id == self.place(b) and not row.active for row in self.clinic.locations)

    def way(self, from_id: str | None, to_id: str | None) -> int:
        """The minutes of a way, or of the way back where only that is told; else none."""
        for pair in ((from_id, to_id), (to_id, from_id)):
            for row in self.clinic.travel:
                if (row.from_id, row.to_id) == pair:
                    return row.minutes
        return 0

    def is_too_far(self, b: Booking, mine: Span, other: Booking, theirs: Span) -> bool:
        """Whether two spans of one date, at two places, lie nearer than the way between them."""
        one, two = self.place(b), self.place(other)
        if b.date != other.date or one == two or one is None or two is None:
            return False
        is_before = mine[1] + self.way(one, two) <= theirs[0]
        is_after = theirs[1] + self.way(two, one) <= mine[0]
        return not (is_before or is_after)

    def has_no_time_to_travel(self, b: Booking, book: Book) -> bool:
        return any(
            self.is_too_far(b, self.busy(b)[0], o, span)
            for o in book
            if o is not b
            for span in self.with_provider(o, b.provider_id)
        )

    def patient_is_elsewhere(self, b: Booking, other: Booking) -> bool:
        mine, theirs = self.appointment(b), self.appointment(other)
        return overlap(mine, theirs) or self.is_too_far(b, mine, other, theirs)

    def meets_clock_change(self, b: Booking) -> bool:
        _, _, kind = self.rows(b)
        end = min(1440, b.start + kind.duration_minutes)
        return any(self.has_clock_change(b.date, minute) for minute in range(b.start, end))

    # Rules 0 to 2: whatever else is booked

    def is_bookable(self, b: Booking) -> bool:
        notice = dt.timedelta(minutes=self.clinic.settings.min_notice_minutes)
        is_late_enough = self.instant(b.date, b.start) >= self.problem.now + notice
        by_itself = self.breaks_by_itself(b) or self.is_in_closed_hours(b)
        return is_late_enough and not by_itself

    def is_in_rhythm(self, b: Booking, book: Iterable[Booking]) -> bool:
        """Whether its type may start then; or right behind one of `book`, where it is packed."""
        provider, _, kind = self.rows(b)
        start, every = b.start, kind.start_every or self.clinic.settings.grid_minutes
        at = self.place(b)
        is_open = self.is_open(provider, b.date, start, at)
        if kind.start_anchor == "midnight" and (start - kind.start_offset) % every == 0:
            return True
        if kind.start_anchor == "window" and is_open:
            while start > 0 and self.is_open(provider, b.date, start - 1, at):
                start -= 1
            if (b.start - start) % every == 0:
                return True
        begins = self.busy(b)[0][0]
        return (kind.packed and is_open) and any(
            end == begins for o in book for _, end in self.with_provider(o, provider.id)
        )

    def breaks_by_itself(self, b: Booking) -> bool:
        provider, room, kind = self.rows(b)
        return not (
            (provider.active and room.active and kind.active and not self.is_place_closed(b))
            and self.offers(provider, kind)
            and kind.required_equipment <= room.equipment
            and ("OUTSIDE_PROVIDER_HOURS" in b.overrides or self.is_open_throughout(provider, b))
            and ("OUTSIDE_ROOM_HOURS" in b.overrides or self.is_open_throughout(room, b))
            and not self.meets_clock_change(b)
            and ("RESERVED" in b.overrides or not self.is_in_reserved_hours(b))
        )

    # Rule 8: sessions

    def sessions(self, b: Booking, minute: int, *, of_room: bool | None) -> list[Session]:
        """What governs a minute of a booking's date: of its provider, its room or everybody."""
        there = []
        for s in self.clinic.sessions:
            is_owner = {
                False: s.provider_id == b.provider_id,
                True: s.room_id == b.room_id,
                None: s.provider_id is None and s.room_id is None,
            }[of_room]
            if s.active and is_owner and s.start <= minute < s.end and _speaks_of(s, b.date):
                there.append(s)
        return [s for s in there if s.date is not None] or there

    def unreleased(self, b: Booking) -> list[list[Session]]:
        """What is not released and governs a minute, for each minute and owner."""
        end = min(1440, b.start + self.minutes(b))
        return [
            [
                s
                for s in self.sessions(b, minute, of_room=owner)
                if not self.has_come(s, s.releases, b.date)
            ]
            for owner in (False, True, None)
            for minute in range(b.start, end)
        ]

    def is_in_reserved_hours(self, b: Booking) -> bool:
        return self.problem.sessions == "now" and any(
            found and not any(admits(s, b) for s in found) for found in self.unreleased(b)
        )

    def is_in_closed_hours(self, b: Booking) -> bool:
        """Whether what admits it has yet to open, somewhere."""
        return self.problem.sessions == "now" and any(
            able and all(s.opens and not self.has_come(s, s.opens, b.date) for s in able)
            for found in self.unreleased(b)
            for able in [[s for s in found if admits(s, b)]]
        )

    def has_come(self, s: Session, lead: Lead | None, date: dt.date) -> bool:
        """Whether it is as late as a session says for a date; tiny problems change no clocks."""
        if lead is None:
            return False
        if lead.minutes_before is not None:
            at = self.instant(date, s.start) - dt.timedelta(minutes=lead.minutes_before)
        else:
            at = self.instant(date - dt.timedelta(days=lead.days_before or 0), lead.at or 0)
        return self.problem.now >= at

    def is_session_full(self, b: Booking, book: Iterable[Booking], *, is_new: bool) -> bool:
        """Whether a session in which it begins has all it takes.

        Beside one that is not new, what another session of that date governs may have come later.
        """
        if self.problem.sessions == "ignored":
            return False
        for owner in (False, True, None):
            for s in self.sessions(b, b.start, of_room=owner):
                begun = sum(
                    o.date == b.date
                    and s.start <= o.start < s.end
                    and s.provider_id in (None, o.provider_id)
                    and s.room_id in (None, o.room_id)
                    and admits(s, o)
                    and (is_new or s in self.sessions(o, o.start, of_room=owner))
                    for o in book
                    if o is not b
                )
                if s.max_bookings is not None and admits(s, b) and begun >= s.max_bookings:
                    return True
        return False

    # Rules 3 to 7, and 9: what else is booked

    def appointment(self, b: Booking) -> Span:
        start = (b.date - self.problem.start_date).days * 1440 + b.start
        return start, start + self.kind(b).duration_minutes

    def _busy(self, b: Booking) -> tuple[Span, Span]:
        """The busy spans of its provider and of its room."""
        start, end = self.appointment(b)
        kind = self.kind(b)
        before, after, room_after = kind.buffer_before, kind.buffer_after, kind.buffer_after
        if provider := self.clinic.provider_by_id.get(b.provider_id):
            before, after = max(before, provider.buffer_before), max(after, provider.buffer_after)
        if room := self.clinic.room_by_id.get(b.room_id):
            room_after = max(room_after, room.turnover_minutes)
        return (start - before, end + after), (start - kind.buffer_before, end + room_after)

    def is_room_taken(self, b: Booking, book: Book) -> bool:
        mine = self.busy(b)[1]
        return any(
            o is not b and o.room_id == b.room_id and overlap(mine, self.busy(o)[1])
            for o in _near(b, book)
        )

    def is_equipment_out(self, b: Booking, book: Book) -> bool:
        """Whether at some minute more of a pool is out than there is, with what it takes itself."""
        for need in self.kind(b).required_pools:
            pool = self.clinic.pool_by_id[need.pool_id]
            if pool.location_id is not None and pool.location_id != self.place(b):
                return True
            start, end = self.appointment(b)
            around = [
                (self.appointment(o), taken.quantity)
                for o in _near(b, book)
                for taken in self.kind(o).required_pools
                if o is not b and taken.pool_id == pool.id
            ]
            for minute in range(start, end + pool.return_minutes):
                out = need.quantity + sum(
                    quantity
                    for (begins, ends), quantity in around
                    if begins <= minute < ends + pool.return_minutes
                )
                if out > (pool.quantity if pool.active else 0):
                    return True
        return False

    def is_type_full(self, b: Booking, book: Book) -> bool:
        _, _, kind = self.rows(b)
        others = sum(
            o.appointment_type_id == kind.id and o.date == b.date and o is not b for o in book
        )
        return kind.daily_cap is not None and others >= kind.daily_cap

    def is_pair_full(self, b: Booking, book: Book) -> bool:
        """Whether its provider has no place left for one more of the type on the date."""
        provider, _, kind = self.rows(b)
        mine = (provider.id, kind.id, b.date)
        others = sum(
            (o.provider_id, o.appointment_type_id, o.date) == mine for o in book if o is not b
        )
        caps = [row.daily_cap for row in self.own_rows(provider.id, kind)]
        return any(cap is not None and others >= cap for cap in caps)

    def is_provider_full(self, b: Booking, book: Book) -> bool:
        provider, _, _ = self.rows(b)
        count, minutes = 0, self.minutes(b)
        for o in book:
            if (o.provider_id, o.date) == (b.provider_id, b.date) and o is not b:
                count += not o.is_overbooked
                minutes += 0 if o.is_overbooked else self.minutes(o)
        is_over_minutes = provider.daily_minutes is not None and minutes > provider.daily_minutes
        return is_over_minutes or (provider.daily_cap is not None and count >= provider.daily_cap)

    def minutes(self, b: Booking) -> int:
        start, end = self.appointment(b)
        return end - start

    def overlapping(self, b: Booking, book: Iterable[Booking]) -> list[Booking]:
        """The bookings of its provider whose busy spans overlap its own."""
        mine = self.busy(b)[0]
        return [
            o
            for o in _near(b, book)
            if o is not b
            and any(overlap(mine, span) for span in self.with_provider(o, b.provider_id))
        ]

    def with_provider(self, b: Booking, provider_id: str) -> list[Span]:
        """The spans for which a booking keeps somebody busy: its provider, or one in a role."""
        if b.provider_id == provider_id:
            return [self.busy(b)[0]]
        return [
            self.busy_in_role(b, span, provider_id)
            for role, span in self.roles(b)
            if dict(b.team).get(role.key) == provider_id
        ]

    def busy_in_role(self, b: Booking, span: Span, provider_id: str) -> Span:
        midnight = self.appointment(b)[0] - b.start
        row = self.clinic.provider_by_id.get(provider_id)
        before, after = (0, 0) if row is None else (row.buffer_before, row.buffer_after)
        return midnight + span[0] - before, midnight + span[1] + after

    # Rule 9: teams

    def is_able(self, b: Booking, role: Role, span: Span, provider_id: str) -> bool:
        """Whether somebody could be in a role of a booking, whatever else is booked."""
        row, at = self.clinic.provider_by_id.get(provider_id), self.place(b)
        if row is None or not row.active or not role.required_skills <= row.skills:
            return False
        return span[1] <= 1440 and all(self.is_open(row, b.date, m, at) for m in range(*span))

    def is_role_unfilled(self, b: Booking, book: Iterable[Booking], *, is_new: bool) -> bool:
        """Whether somebody is missing in its team, or not able; what is overbooked may be later."""
        members = dict(b.team)
        for role, span in self.roles(b):
            member = members.get(role.key, "")
            people = [b.provider_id, *members.values()]
            if not self.is_able(b, role, span, member) or people.count(member) > 1:
                return True
            mine = self.busy_in_role(b, span, member)
            for o in _near(b, book):
                for theirs in self.with_provider(o, member) if o is not b else ():
                    is_later = not is_new and o.provider_id == member and o.is_overbooked
                    if overlap(mine, theirs) and not is_later:
                        return True
                    if self.is_too_far(b, mine, o, theirs):
                        return True
        return False

    def starts_with_another(self, b: Booking, book: Iterable[Booking]) -> bool:
        mine = (b.provider_id, b.date, b.start)
        return any((o.provider_id, o.date, o.start) == mine for o in book if o is not b)

    def is_allowed(self, b: Booking, book: Iterable[Booking]) -> bool:
        """Whether an overbooking rule allows it as the last booked of some."""
        provider, _, kind = self.rows(b)
        overlaps = len(self.overlapping(b, book))
        others = [o for o in book if o.provider_id == provider.id and o is not b]
        today = sum(uses_allowance(o) and o.date == b.date for o in others)
        return any(
            rule.provider_id in (None, provider.id)
            and rule.appointment_type_id in (None, kind.id)
            and rule.weekday in (None, b.date.isoweekday())
            and (rule.start or 0) <= b.start
            and b.start + kind.duration_minutes <= (rule.end or 1440)
            and overlaps <= rule.max_overlap
            and today < rule.max_per_day
            for rule in self.clinic.overbooking_rules
        )

    def may_overbook(self, b: Booking, book: Book) -> bool:
        return not self.starts_with_another(b, book) and self.is_allowed(b, book)

    def is_allowed_in_some_order(self, b: Booking, book: Book) -> bool:
        """Whether an order of booking the overbooked ones of its provider allows it."""
        own = [o for o in _near(b, book) if o.provider_id == b.provider_id]
        regular = [o for o in own if not o.is_overbooked]
        regular += [o for o in book if o.provider_id != b.provider_id]  # where it is in a role

        @cache
        def may_end(pending: frozenset[Booking]) -> bool:
            lasts = [o for o in pending if self.is_allowed(o, [*regular, *pending])]
            return b in lasts or any(may_end(pending - {last}) for last in lasts)

        return may_end(frozenset(o for o in own if uses_allowance(o)))

    def breaks_a_rule(self, b: Booking, book: Book) -> bool:
        """Whether a booking of a finished book breaks a rule beside all the others.

        Not one that it overrides; and what overrides a cap may have been booked last.
        """
        regular = frozenset(
            o for o in book if not o.is_overbooked or o.provider_id != b.provider_id
        )
        within = frozenset(o for o in book if o is b or "TYPE_DAILY_CAP" not in o.overrides)
        unforced = [o for o in book if o is b or "SESSION_FULL" not in o.overrides]
        under = frozenset(o for o in book if o is b or "PROVIDER_DAILY_CAP" not in o.overrides)
        broken = {
            "": self.breaks_by_itself(b)
            or self.is_room_taken(b, book)
            or self.has_no_time_to_travel(b, book)
            or self.is_equipment_out(b, book)
            or self.is_role_unfilled(b, book, is_new=False)
            or self.starts_with_another(b, book),
            "TYPE_DAILY_CAP": self.is_type_full(b, within),
            "SESSION_FULL": self.is_session_full(b, unforced, is_new=False),
            "PROVIDER_BUSY": (not b.is_overbooked and bool(self.overlapping(b, regular)))
            or (uses_allowance(b) and not self.is_allowed_in_some_order(b, book)),
            "PROVIDER_DAILY_CAP": (not b.is_overbooked and self.is_provider_full(b, regular))
            or self.is_pair_full(b, under),
        }
        return any(is_broken for code, is_broken in broken.items() if code not in b.overrides)

    # The score

    def score(self, b: Booking, book: Book, preferred: Span | None) -> Fraction:
        provider, room, kind = self.rows(b)
        weights = self.problem.weights
        preference = Fraction(1)
        if preferred is not None:
            last = max(preferred[0], preferred[1] - kind.duration_minutes)
            away = max(0, preferred[0] - b.start, b.start - last)
            decay = self.clinic.settings.preference_decay_minutes
            preference = max(Fraction(0), 1 - Fraction(away, decay))
        gap = Fraction(0)
        if self.is_open_throughout(provider, b) and not self.overlapping(b, book):
            gap = self.gap(b, book)
        return (
            weights.preference * preference
            + weights.gap * gap
            + weights.room * Fraction(1, 1 + len(room.equipment - kind.required_equipment))
            + weights.overbook * (0 if b.is_overbooked else 1)
        )

    def gap(self, b: Booking, book: Book) -> Fraction:
        provider, _, kind = self.rows(b)
        opens, closes = b.start, b.start + kind.duration_minutes
        at = self.place(b)
        while opens > 0 and self.is_open(provider, b.date, opens - 1, at):
            opens -= 1
        while closes < 1440 and self.is_open(provider, b.date, closes, at):
            closes += 1
        midnight = self.appointment(b)[0] - b.start
        start, end = self.busy(b)[0]
        around = [
            span
            for o in _near(b, book)
            if o is not b
            for span in self.with_provider(o, provider.id)
        ]
        before = max([midnight + opens, *(to for _, to in around if to <= start)])
        after = min([midnight + closes, *(from_ for from_, _ in around if from_ >= end)])
        shortest = min(
            (
                self.kind(replace(b, appointment_type_id=t.id, **NOTHING_KEPT)).duration_minutes
                for t in self.clinic.appointment_types
                if t.active and self.offers(provider, t)
            ),
            default=0,
        )
        sides = [
            Fraction(1) if idle <= 0 else Fraction(1, 2) if idle >= shortest else Fraction(0)
            for idle in (start - before, after - end)
        ]
        return (sides[0] + sides[1]) / 2


def uses_allowance(b: Booking) -> bool:
    return b.is_overbooked and not {"PROVIDER_BUSY", "PROVIDER_DAILY_CAP"} & b.overrides


def overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def admits(session: Session, b: Booking) -> bool:
    types = session.appointment_type_ids
    return types is None or b.appointment_type_id in types


def _speaks_of(row: Availability | Session, date: dt.date) -> bool:
    """Whether a row is of a date: its own, or a day of one of its weeks, counted one by one."""
    if row.date is not None:
        return row.date == date
    if row.weekday != date.isoweekday() or (row.valid_to is not None and row.valid_to < date):
        return False
    if row.valid_from is None:
        return True
    day = row.valid_from
    while day.isoweekday() != row.weekday:  # the day of that weekday in the first week
        day += dt.timedelta(days=1 if day.isoweekday() < row.weekday else -1)
    while day < date:
        day += dt.timedelta(weeks=row.every_weeks)
    return day == date and row.valid_from <= date


def _holds(rows: Iterable[Availability], minute: int) -> bool:
    return any(row.start <= minute < row.end for row in rows)


def _near(b: Booking, book: Iterable[Booking]) -> list[Booking]:
    """Those of its date and of the two beside it."""
    return [o for o in book if abs((o.date - b.date).days) <= 1]
