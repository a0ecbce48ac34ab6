"""Who is free for a role, one start at a time: what the placement model chooses among."""

from __future__ import annotations

from collections import defaultdict

from solver.clinic.day import Day
from solver.clinic.entities import Span
from solver.clinic.spans import overlap, window_around
from solver.clinic.teams.in_roles import busy_in_role
from solver.clinic.teams.roles import Role, Team


class FreeForRoles:
    """Who is able to be in a role of an appointment at the place of a day, by the book of it."""

    def __init__(self, day: Day, named: Team) -> None:
        self._day, self._named, self._places = day.everybody, dict(named), day.clinic.places
        busy = self._day.book.busy
        self._busy: dict[int, list[Span]] = defaultdict(list)
        self._at_places: dict[int, list[tuple[int, Span]]] = defaultdict(list)
        columns = busy.provider, busy.begin, busy.end, busy.on_date, busy.place
        for owner, begin, end, is_today, place in zip(*(c.tolist() for c in columns), strict=True):
            self._busy[owner].append((begin, end))
            if is_today:
                self._at_places[owner].append((place, (begin, end)))
        self._known: dict[tuple[str, Span], list[str]] = {}

    def of(self, role: Role, start: int, duration: int) -> list[str]:
        """Return the ids of those who are able to be in a role of an appointment, in order."""
        begin, end = role.span(duration)
        span = start + begin, start + end
        key = role.key, span
        if key not in self._known:
            self._known[key] = [
                provider.id
                for number, provider in enumerate(self._day.providers)
                if self._named.get(role.key, provider.id) == provider.id
                and provider.active
                and provider.skills >= role.required_skills
                and window_around(self._day.provider_windows[number], *span) is not None
                and self._is_free(number, busy_in_role(provider, span))
            ]
        return self._known[key]

    def _is_free(self, provider: int, busy: Span) -> bool:
        here = self._day.place, busy
        return not any(overlap(busy, other) for other in self._busy[provider]) and all(
            self._places.are_apart(here, there) for there in self._at_places[provider]
        )
