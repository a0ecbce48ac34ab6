"""Rule 9, read plainly, one person after the other."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Booking, Provider, Room, Span
from solver.clinic.teams.roles import Role, Team

type Beside = list[tuple[Booking, Span]]
"""Bookings, each with its busy span in minutes after midnight of the date that is read."""


type OfMember = Callable[[Provider], Iterable[Booking]]
"""The other bookings that count beside one, of somebody who is in a role of it."""


def takes_part(b: Booking, provider_id: str) -> bool:
    """Whether somebody is the provider of a booking, or in a role of it."""
    return provider_id == b.provider_id or any(provider_id == member for _, member in b.team)


class PlainTeams(ABC):
    """Who is in the roles of a booking, and who could be; and the ways that people have."""

    clinic: Clinic

    @abstractmethod
    def kind_of(self, b: Booking) -> AppointmentType:
        """Return the booking's appointment type, as long as the booking is."""

    @abstractmethod
    def open_minutes(
        self, owner: Provider | Room, day: dt.date, location_id: str | None = None
    ) -> bytes:
        """Return 1440 bytes, 1 where `owner` is open for the rooms of a location, or of none."""

    @abstractmethod
    def busy(self, booking: Booking, day: dt.date, owner: Provider | Room) -> Span:
        """Return the busy span of a booking (rule 4), in minutes after midnight of `day`."""

    def is_too_far(self, b: Booking, mine: Span, other: Booking, theirs: Span) -> bool:
        """Whether two spans of a date, at the places of bookings, leave no time for the way."""
        here, there = (self.clinic.location_of_room.get(each.room_id) for each in (b, other))
        if other.date != b.date or here is None or there is None or here == there:
            return False
        to, back = self._travel(here, there), self._travel(there, here)
        return mine[1] + to > theirs[0] and theirs[1] + back > mine[0]

    def _travel(self, from_id: str, to_id: str) -> int:
        """Return the minutes of a way: told, or as those of the way back are."""
        told = {(row.from_id, row.to_id): row.minutes for row in self.clinic.travel}
        return told.get((from_id, to_id), told.get((to_id, from_id), 0))

    def beside(self, day: dt.date, owner: Provider | Room, bookings: Iterable[Booking]) -> Beside:
        """Return bookings with the spans for which an owner is busy with them, in roles as well."""
        return [(o, span) for o in bookings for span in self._busy_with(o, day, owner)]

    def _busy_with(self, o: Booking, day: dt.date, owner: Provider | Room) -> list[Span]:
        if isinstance(owner, Room) or o.provider_id == owner.id:
            return [self.busy(o, day, owner)]
        midnight = (o.date - day).days * DAY_MINUTES
        before, after = midnight - owner.buffer_before, midnight + owner.buffer_after
        return [(s + before, e + after) for s, e in self.minutes_in_role(o, owner.id)]

    def minutes_in_role(self, b: Booking, provider_id: str) -> list[Span]:
        """Return the minutes of its date for which somebody is in a role of a booking."""
        kind, keys = self.kind_of(b), [key for key, member in b.team if member == provider_id]
        return [_minutes(b, kind, role) for role in kind.roles if role.key in keys]

    def who_completes(
        self, b: Booking, live: Sequence[Booking], named: Team
    ) -> tuple[tuple[str, str], ...] | None:
        """Return the least team of a new booking beside others; None where there is none.

        Whom `named` has is in that role, or nobody is.
        """
        asked, kind = dict(named), self.kind_of(b)
        others = [o for o in live if abs((o.date - b.date).days) <= 1]

        def completed(roles: Sequence[Role], used: tuple[str, ...]) -> tuple[str, ...] | None:
            if not roles:
                return ()
            for provider in sorted(self.clinic.providers, key=lambda p: p.id):
                is_asked = asked.get(roles[0].key, provider.id) == provider.id
                if provider.id in used or not is_asked:
                    continue
                if any(self._why_not(b, roles[0], provider, others)):
                    continue
                rest = completed(roles[1:], (*used, provider.id))
                if rest is not None:
                    return (provider.id, *rest)
            return None

        roles = kind.roles
        found = completed(roles, (b.provider_id,))
        if found is None:
            return None
        return tuple((role.key, member) for role, member in zip(roles, found, strict=True))

    def unfilled(self, b: Booking, others_of: OfMember) -> Iterator[str]:
        """Yield why roles of a booking that stands are not filled, beside the others of everybody.

        Overbooked ones of somebody's own may have come later.
        """
        members, seen = dict(b.team), [b.provider_id]
        for role in self.kind_of(b).roles:
            member = self.clinic.provider_by_id.get(members.get(role.key, ""))
            if member is None:
                yield f"nobody is in the role {role.key}"
                continue
            if member.id in seen:
                yield f"{member.name}, in the role {role.key}, takes part twice"
            seen.append(member.id)
            earlier = [
                o for o in others_of(member) if o.provider_id != member.id or not o.is_overbooked
            ]
            yield from self._why_not(b, role, member, earlier, others_of(member))

    def _why_not(
        self,
        b: Booking,
        role: Role,
        provider: Provider,
        others: Iterable[Booking],
        elsewhere: Iterable[Booking] | None = None,
    ) -> Iterator[str]:
        """Yield what keeps somebody from a role of a booking, beside others of their bookings.

        Those `elsewhere` keep them by the way alone; by default they are the same.
        """
        name = f"{provider.name}, in the role {role.key},"
        if not provider.active:
            yield f"{name} is not active"
        if missing := role.required_skills - provider.skills:
            yield f"{name} lacks {', '.join(sorted(missing))}"
        start, end = _minutes(b, self.kind_of(b), role)
        room = self.clinic.room_by_id.get(b.room_id)
        location = None if room is None else room.location_id
        is_open = self.open_minutes(provider, b.date, location)
        if end > len(is_open) or not all(is_open[start:end]):
            yield f"{name} is there outside of their open windows"
        mine = start - provider.buffer_before, end + provider.buffer_after
        for other, theirs in self.beside(b.date, provider, others):
            if mine[0] < theirs[1] and theirs[0] < mine[1]:
                yield f"{name} is busy with booking {other.id}"
        by_way = others if elsewhere is None else elsewhere
        for other, theirs in self.beside(b.date, provider, by_way):
            if self.is_too_far(b, mine, other, theirs):
                yield f"{name} has no time for the way to or from booking {other.id}"


def _minutes(b: Booking, kind: AppointmentType, role: Role) -> Span:
    last = kind.duration_minutes if role.to_minute is None else role.to_minute
    return b.start + role.from_minute, b.start + last


def cut_to(kind: AppointmentType, minutes: int) -> tuple[Role, ...]:
    """Return the roles of a type in an appointment of so many minutes: those that begin in it."""
    begun = [role for role in kind.roles if role.from_minute < minutes]
    is_cut = [role.to_minute is not None and role.to_minute > minutes for role in begun]
    pairs = zip(begun, is_cut, strict=True)
    return tuple(replace(role, to_minute=minutes) if is_so else role for role, is_so in pairs)
