"""What stays beside what stands: collisions, and room under the caps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from solver.clinic.spans import overlap
from solver.planning.instance.tasks import FixedBooking

if TYPE_CHECKING:
    from solver.planning.instance.tables import Instance


def collide(a: FixedBooking, b: FixedBooking) -> bool:
    """Whether two bookings cannot both stand, by the room or by the provider they share.

    An overbooked one may overlap others there, if it does not begin when they do.
    """
    if a.room == b.room and overlap(a.room_busy, b.room_busy):
        return True
    if a.provider != b.provider:
        return False
    is_regular = not (a.booking.is_overbooked or b.booking.is_overbooked)
    return a.at == b.at or (is_regular and overlap(a.busy, b.busy))


class Beside:
    """Whether displaced bookings may stay beside others, which can become more."""

    def __init__(self, instance: Instance, standing: Iterable[FixedBooking]) -> None:
        self._instance = instance
        self._in_room: dict[int, list[FixedBooking]] = defaultdict(list)
        self._at_provider: dict[int, list[FixedBooking]] = defaultdict(list)
        self._of_kind: dict[tuple[int, int], int] = defaultdict(int)
        self._on_day: dict[tuple[int, int, bool], int] = defaultdict(int)
        for s in standing:
            self.add(s)

    def add(self, s: FixedBooking) -> None:
        """Let one more stand."""
        self._in_room[s.room].append(s)
        self._at_provider[s.provider].append(s)
        self._of_kind[s.kind, s.day] += 1
        self._on_day[s.provider, s.day, s.booking.is_overbooked] += 1

    def collisions(self, own: FixedBooking) -> int:
        """Return how many others a booking collides with."""
        beside = {id(s): s for s in (*self._in_room[own.room], *self._at_provider[own.provider])}
        return sum(s is not own and collide(own, s) for s in beside.values())

    def places_under_caps(self, own: FixedBooking) -> list[tuple[object, int]]:
        """Return, for each cap that a booking is under, what it caps and the places left."""
        kind_cap = self._instance.kinds[own.kind].row.daily_cap
        cap = self._instance.providers[own.provider].daily_cap
        found: list[tuple[object, int]] = []
        if kind_cap is not None:
            left = kind_cap - self._of_kind[own.kind, own.day]
            found.append((("kind", own.kind, own.day), max(0, left)))
        if cap is not None and not own.booking.is_overbooked:
            left = cap - self._on_day[own.provider, own.day, False]
            found.append((("provider", own.provider, own.day), max(0, left)))
        return found

    def has_place_for(self, own: FixedBooking) -> bool:
        """Whether a booking breaks no rule from 3 to 7 when it stands here last."""
        if self.collisions(own) or not all(left for _, left in self.places_under_caps(own)):
            return False
        if not own.booking.is_overbooked:
            return True
        met = sum(overlap(own.busy, s.busy) for s in self._at_provider[own.provider])
        over = self._on_day[own.provider, own.day, True]
        start = own.booking.start
        return any(
            met <= most_met and over < per_day
            for most_met, per_day in self._instance.allowances(
                own.kind, own.provider, own.day, start
            )
        )
