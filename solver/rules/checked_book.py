"""The bookings of a whole book, each read by the plain rules of the checker beside the others.

A set of bookings has no order, so a regular one may be overlapped by overbooked ones that came
later, and overbooked ones are allowed if some order of booking them allows each. A booking is not
told to break a rule that it overrides, but that two start together, which nothing lifts; what
overrode a cap, a session's limit or a provider's capacity may have come after all others, and
counts against none.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache, partial

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Booking, Provider, Room
from solver.clinic.sessions.session import BEFORE_ALL, SessionsRead
from solver.rules.checker import (
    Checker,
    Violation,
    is_by_allowance,
    sharing_pools,
)
from solver.rules.teams.checked import Beside, OfMember, takes_part

BY_ROOM, BY_TYPE, BY_PROVIDER = 1 << 3, 1 << 5, 1 << 6 | 1 << 7 | 1 << 11
"""The rules that read the other bookings of a room, of a type, and of a provider."""


BY_DATE = 1 << 8
"""The rule that reads the other bookings of a date."""
BY_POOLS = 1 << 10
"""The rule that reads the other bookings that take from the same equipment pools."""


BY_MEMBERS = 1 << 9
"""The rule that reads the other bookings of whoever is in a role."""


ALL = 0xFFFF
"""Every rule."""


class BookChecker(Checker):
    """Reads the live bookings of one clinic, as they stand at the moment `now`.

    Without a moment, as though no session had been released yet; `read` says how sessions are read.
    """

    def __init__(
        self, clinic: Clinic, now: dt.datetime = BEFORE_ALL, read: SessionsRead = "now"
    ) -> None:
        super().__init__(clinic)
        self._now, self._read = now, read

    def violations(
        self, *, since: dt.date | None = None, only: Mapping[str, int] | None = None
    ) -> Iterator[Violation]:
        """Yield every rule that a live booking breaks, by date, start and id.

        With `since` given, bookings of earlier dates are left out. With `only`, those are read
        whose ids it has, by the rules that it has for each: ``1 << rule``.
        """
        by_owner: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        live = self.live(self.clinic.bookings)
        for b in live:
            members = [member for _, member in b.team]
            for key in (b.provider_id, b.room_id, b.appointment_type_id, _EVERYBODY, *members):
                by_owner[key, b.date].append(b)

        pooled = self._by_pool(live)

        @cache
        def stays(owner: Provider | Room, day: dt.date) -> bool:
            """Whether nothing of a date reaches into another."""
            beside = self.beside(day, owner, by_owner.get((owner.id, day), ()))
            return all(start >= 0 and end <= DAY_MINUTES for _, (start, end) in beside)

        @cache
        def near(owner: Provider | Room, day: dt.date) -> Beside:
            dates = [day + dt.timedelta(days=days) for days in (-1, 0, 1)]
            if all(stays(owner, date) for date in dates):
                dates = [day]
            found = (o for date in dates for o in by_owner.get((owner.id, date), ()))
            return self.beside(day, owner, found)

        def of_member(b: Booking, member: Provider) -> list[Booking]:
            return [o for o, _ in _others(b, near(member, b.date))]

        for b in sorted(live, key=lambda b: (b.date, b.start, b.id)):
            rules = ALL if only is None else only.get(b.id, 0)
            if rules and (since is None or b.date >= since):
                provider, room = self.owners_of(b)
                of_type = by_owner[b.appointment_type_id, b.date] if rules & BY_TYPE else []
                yield from self._violations_of(
                    b,
                    _others(b, near(provider, b.date) if rules & BY_PROVIDER else []),
                    _others(b, near(room, b.date) if rules & BY_ROOM else []),
                    [o for o in of_type if o is not b],
                    by_owner[_EVERYBODY, b.date],
                    self._of_pools(b, pooled) if rules & BY_POOLS else [],
                    partial(of_member, b),
                    rules,
                )

    def violations_of(self, b: Booking) -> Iterator[Violation]:
        """Yield every rule that one live booking of the clinic breaks."""
        others = [
            o
            for o in self.live(self.clinic.bookings)
            if abs((o.date - b.date).days) <= 1 and o.id != b.id
        ]
        provider, room = self.owners_of(b)
        kind_and_date = b.appointment_type_id, b.date
        yield from self._violations_of(
            b,
            self.beside(b.date, provider, (o for o in others if takes_part(o, provider.id))),
            self.beside(b.date, room, (o for o in others if o.room_id == room.id)),
            [o for o in others if (o.appointment_type_id, o.date) == kind_and_date],
            others,
            sharing_pools(self.clinic, b.appointment_type_id, others),
            lambda member: (o for o in others if takes_part(o, member.id)),
        )

    def _by_pool(self, live: list[Booking]) -> dict[tuple[str, dt.date], list[Booking]]:
        """Return bookings by each equipment pool that they take from, and their date."""
        found: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        if self.clinic.quantities:
            for b in live:
                for need in self.kind_of(b).required_pools:
                    found[need.pool_id, b.date].append(b)
        return found

    def _of_pools(
        self, b: Booking, by_pool: Mapping[tuple[str, dt.date], list[Booking]]
    ) -> list[Booking]:
        """Return the others of a booking's date and the two beside it that share a pool with it."""
        dates = [b.date + dt.timedelta(days=days) for days in (-1, 0, 1)]
        found = {
            o.id: o
            for need in self.kind_of(b).required_pools
            for date in dates
            for o in by_pool.get((need.pool_id, date), ())
            if o is not b
        }
        return list(found.values())

    def _violations_of(
        self,
        b: Booking,
        at_provider: Beside,
        in_room: Beside,
        of_type: list[Booking],
        on_date: list[Booking],
        of_pools: list[Booking],
        of_member: OfMember,
        rules: int = ALL,
    ) -> Iterator[Violation]:
        for violation in self._broken(
            b, at_provider, in_room, of_type, on_date, of_pools, of_member, rules
        ):
            if violation.rule == 7 or violation.code not in b.overrides:
                yield violation

    def _broken(
        self,
        b: Booking,
        at_provider: Beside,
        in_room: Beside,
        of_type: list[Booking],
        on_date: list[Booking],
        of_pools: list[Booking],
        of_member: OfMember,
        rules: int,
    ) -> Iterator[Violation]:
        """Yield what a booking breaks, whatever it overrides."""
        if rules & 1 << 0:
            yield from self.outside_clock_changes(b)
        if rules & 1 << 1:
            yield from self.active_with_skills_and_equipment(b)
        if rules & 1 << 2:
            yield from self.within_open_windows(b)
        if rules & BY_DATE and self.clinic.sessions and self._read == "now":
            yield from self.within_sessions(b, self._now, is_standing=True)
        if rules & BY_DATE and self.clinic.sessions and self._read != "ignored":
            within = [o for o in on_date if o is not b and "SESSION_FULL" not in o.overrides]
            yield from self.has_place_in_sessions(b, within, is_standing=True)
        if rules & BY_ROOM:
            yield from self.room_is_free(b, in_room)
        if rules & BY_TYPE:
            within = [o for o in of_type if "TYPE_DAILY_CAP" not in o.overrides]
            yield from self.type_under_its_cap(b, within)
        if rules & 1 << 7:
            yield from self.starts_by_itself(b, at_provider)
        if rules & 1 << 6:
            within_cap = [p for p in at_provider if "PROVIDER_DAILY_CAP" not in p[0].overrides]
            yield from self.provider_type_under_its_cap(b, within_cap)
        if is_by_allowance(b) and rules & 1 << 7:
            yield from self._overbooked_in_some_order(b, at_provider)
        if not b.is_overbooked and rules & 1 << 6:
            regular = [pair for pair in at_provider if self._comes_first(b, pair[0])]
            yield from self.regular_within_capacity(b, regular)
        yield from self.equipment_is_free(b, of_pools) if rules & BY_POOLS else ()
        yield from self.time_to_travel(b, at_provider) if rules & 1 << 11 else ()
        yield from self.roles_are_filled(b, of_member) if rules & BY_MEMBERS else ()

    def _comes_first(self, b: Booking, o: Booking) -> bool:
        """Whether another one with a booking's provider came before what is overbooked there."""
        return o.provider_id != b.provider_id or not o.is_overbooked

    def _overbooked_in_some_order(self, b: Booking, at_provider: Beside) -> Iterator[Violation]:
        """Rule 7: some order of booking the provider's overbooked ones allows this one.

        The last one booked sees all the others. Taking away any that could have been the last
        only makes room for the rest, so taking them away as long as possible finds such an order.
        """
        provider, _ = self.owners_of(b)
        regular = [o for o, _ in at_provider if self._comes_first(b, o)]
        own = (o for o, _ in at_provider if o.provider_id == b.provider_id)
        pending = [b, *filter(is_by_allowance, own)]

        def can_be_last(o: Booking) -> bool:
            others = [*regular, *(each for each in pending if each != o)]
            return not any(self.overbooked_by_allowance(o, self.beside(o.date, provider, others)))

        while b in pending:
            last = next(filter(can_be_last, pending), None)
            if last is None:
                yield from self.overbooked_by_allowance(b, at_provider)
                return
            pending.remove(last)


_EVERYBODY = ""
"""Whose bookings are all of a date."""


def _others(b: Booking, beside: Beside) -> Beside:
    return [pair for pair in beside if pair[0] is not b]
