"""The score, written out once more for the reader of plans, as ``docs/score.md`` states it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from solver.clinic.entities import DAY_MINUTES, Provider, Span
from solver.planning.problem import Problem
from solver.whatif.plain_rules import Appointment, overlap
from solver.whatif.plain_teams import PlainTeams

type Parts = tuple[Fraction, Fraction, Fraction, Fraction]
"""The four parts of a score: preference, gap, room and overbooking, each in [0, 1]."""


class PlainScores(PlainTeams):
    """The rules of one problem, and what appointments of a finished book score, exact."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._weights = problem.weights
        self._shortest: dict[str, int] = {}

    def parts(
        self, a: Appointment, at_provider: Sequence[Appointment], preferred: Span | None
    ) -> Parts:
        """Return the parts of the score of an appointment in a finished book.

        `preferred` is the window that its patient asked for; without one the preference part is 1.
        Beside an overlap, and outside the provider's windows, the gap part is 0.
        """
        provider, room = self._owners(a)
        is_overlapped = any(overlap(a.provider_busy, o.provider_busy) for o in at_provider)
        has_gaps = not is_overlapped and self._is_open(provider, a)
        return (
            self._preference(a, preferred),
            self._gap(provider, a, at_provider) if has_gaps else Fraction(0),
            Fraction(1, 1 + len(room.equipment - a.kind.required_equipment)),
            Fraction(0 if a.booking.is_overbooked else 1),
        )

    def score(self, parts: Parts) -> Fraction:
        """Return the weighted sum of the parts, exact."""
        preference, gap, room, overbook = parts
        weights = self._weights
        return (
            weights.preference * preference
            + weights.gap * gap
            + weights.room * room
            + weights.overbook * overbook
        )

    def _preference(self, a: Appointment, preferred: Span | None) -> Fraction:
        if preferred is None:
            return Fraction(1)
        first, end = preferred
        last = max(first, end - a.kind.duration_minutes)
        away = max(0, first - a.booking.start, a.booking.start - last)
        return max(Fraction(0), 1 - Fraction(away, self._clinic.settings.preference_decay_minutes))

    def _gap(
        self, provider: Provider, a: Appointment, at_provider: Sequence[Appointment]
    ) -> Fraction:
        """Return half for each side that is touched, a quarter for one with a usable rest."""
        room = self._clinic.room_by_id[a.booking.room_id]
        is_open = self._minutes.open(provider, a.booking.date, room.location_id)
        midnight = a.span[0] - a.booking.start
        opens = midnight + is_open.rfind(0, 0, a.booking.start) + 1
        shut = is_open.find(0, a.booking.start + a.kind.duration_minutes)
        closes = midnight + (DAY_MINUTES if shut < 0 else shut)
        start, end = a.provider_busy
        spans = [o.provider_busy for o in at_provider]
        before = max([opens, *(their_end for _, their_end in spans if their_end <= start)])
        after = min([closes, *(their_start for their_start, _ in spans if their_start >= end)])
        gap = Fraction(0)
        for idle in (start - before, after - end):
            if idle <= 0:
                gap += Fraction(1, 2)
            elif idle >= self._shortest_of(provider):
                gap += Fraction(1, 4)
        return gap

    def _shortest_of(self, provider: Provider) -> int:
        """Return the minutes of the shortest active type that the provider offers."""
        if provider.id not in self._shortest:
            minutes = []
            for kind in self._clinic.appointment_types:
                own = self._own.get((provider.id, kind.id))
                is_offered = own is None or own.offered
                if kind.active and is_offered and kind.required_skills <= provider.skills:
                    longer = None if own is None else own.duration_minutes
                    minutes.append(kind.duration_minutes if longer is None else longer)
            self._shortest[provider.id] = min(minutes, default=0)
        return self._shortest[provider.id]
