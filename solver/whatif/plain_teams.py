"""Rule 9, written out once more for the reader of plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from solver.whatif.plain_rules import Appointment, PlainRules, is_regular, is_too_far, overlap


class PlainTeams(PlainRules):
    """The rules of one problem, with those about whoever is in a role of an appointment."""

    def in_roles(self, a: Appointment) -> list[Appointment]:
        """Return an appointment for each who is in a role of one: that person's minutes of it."""
        found = []
        for key, member in a.booking.team:
            for role in a.kind.roles:
                if role.key == key:
                    until = a.kind.duration_minutes if role.to_minute is None else role.to_minute
                    start, end = a.span[0] + role.from_minute, a.span[0] + until
                    row = self._clinic.provider_by_id.get(member)
                    before, after = (0, 0) if row is None else (row.buffer_before, row.buffer_after)
                    busy = start - before, end + after
                    found.append(replace(a, span=(start, end), provider_busy=busy, role=key))
        return found

    def roles_are_filled(
        self,
        a: Appointment,
        in_roles: Sequence[Appointment],
        beside: Callable[[str, Appointment], Sequence[Appointment]],
        *,
        is_new: bool,
    ) -> Iterator[str]:
        """Rule 9: in each role is somebody who is able to be in it, and nobody is in two.

        Beside one that is not new, what is overbooked may have come later.

        Parameters
        ----------
        in_roles
            What :meth:`in_roles` returns of it.
        beside
            Returns the other appointments of somebody that count beside one, in roles as well.
        """
        members, by_key = dict(a.booking.team), {each.role: each for each in in_roles}
        people = [a.booking.provider_id, *members.values()]
        for role in a.kind.roles:
            person = self._clinic.provider_by_id.get(members.get(role.key, ""))
            if person is None:
                yield f"nobody is in the role {role.key}"
                continue
            mine, name = by_key[role.key], f"{person.name}, in the role {role.key},"
            if people.count(person.id) > 1:
                yield f"{name} takes part twice"
            if not person.active:
                yield f"{name} is not active"
            if missing := role.required_skills - person.skills:
                yield f"{name} lacks {', '.join(sorted(missing))}"
            room = self._clinic.room_by_id[a.booking.room_id]
            is_open = self._minutes.open(person, a.booking.date, room.location_id)
            first, last = (minute - a.span[0] + a.booking.start for minute in mine.span)
            if last > len(is_open) or 0 in is_open[first:last]:
                yield f"{name} is there outside of their open windows"
            for other in beside(person.id, mine):
                is_earlier = is_new or is_regular(other)
                if is_earlier and overlap(mine.provider_busy, other.provider_busy):
                    yield f"{name} is busy with booking {other.booking.id}"
                spans = mine.provider_busy, other.provider_busy
                if is_too_far(self._clinic, mine, spans[0], other, spans[1]):
                    yield f"{name} has no time for the way to or from booking {other.booking.id}"
