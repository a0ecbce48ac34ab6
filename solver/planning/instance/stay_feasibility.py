"""Whether a booking that has to give way could stay: collisions, and places under the caps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from solver.clinic.clinic import uses_allowance
from solver.clinic.entities import Span
from solver.clinic.places import Places
from solver.clinic.spans import overlap
from solver.planning.instance.capacity import Capacity
from solver.planning.instance.tasks import FixedBooking
from solver.planning.pools import PoolsLeft
from solver.rules.codes import PROVIDER_DAILY_CAP, TYPE_DAILY_CAP

if TYPE_CHECKING:
    from solver.planning.instance.tables import Instance


def collide(a: FixedBooking, b: FixedBooking, places: Places) -> bool:
    """Whether two bookings cannot both keep their places, by the room or the provider they share.

    They collide in a room where their busy spans overlap. At a provider they do where they begin
    at once, where their busy spans overlap and neither is overbooked, and where there is no time on
    their date for the way from one to the other; of whoever is in a role of one likewise, and that
    counts as regular.
    """
    if a.room == b.room and overlap(a.room_busy, b.room_busy):
        return True
    if (a.in_roles or b.in_roles) and _collide_in_roles(a, b, places):
        return True
    if a.provider != b.provider:
        return False
    if a.day == b.day and not places.are_apart((a.location, a.busy), (b.location, b.busy)):
        return True
    is_regular = not (a.booking.is_overbooked or b.booking.is_overbooked)
    return a.at == b.at or (is_regular and overlap(a.busy, b.busy))


def _collide_in_roles(a: FixedBooking, b: FixedBooking, places: Places) -> bool:
    """Whether somebody in a role of one booking cannot be so beside the other one."""
    for n, one in enumerate(a.presences):
        for m, other in enumerate(b.presences):
            if one.provider != other.provider or not (n or m):
                continue
            here, there = (one.location, one.busy), (other.location, other.busy)
            if one.day == other.day and not places.are_apart(here, there):
                return True
            is_over = (not n and a.booking.is_overbooked) or (not m and b.booking.is_overbooked)
            if overlap(one.busy, other.busy) and not is_over:
                return True
    return False


def is_met(s: FixedBooking) -> bool:
    """Whether a booking counts as met by overbooked ones that stay.

    One that overrides the provider's capacity may have been made after all of them.
    """
    return not s.booking.is_overbooked or uses_allowance(s.booking)


def spans_at(s: FixedBooking, provider: int) -> list[Span]:
    """Return when a booking keeps a provider busy, as its own or in a role."""
    return [each.busy for each in s.presences if each.provider == provider]


def met(s: FixedBooking, own: FixedBooking) -> list[Span]:
    """Return the spans of a booking that count as met by `own`, an overbooked one that stays.

    Those in roles of others' bookings do in any case.
    """
    if s.provider == own.provider:
        return [s.busy] if is_met(s) else []
    return [each.busy for each in s.in_roles if each.provider == own.provider]


class Beside:
    """Whether displaced bookings may stay beside other bookings, to which more can be added."""

    def __init__(self, instance: Instance, bookings: Iterable[FixedBooking]) -> None:
        self._places = instance.places
        self._capacity = Capacity(
            instance.clinic, instance.providers, instance.dates, instance.session_places.after(())
        )
        self._pools = PoolsLeft(instance.clinic, len(instance.dates))
        self._in_room: dict[int, list[FixedBooking]] = defaultdict(list)
        self._at_provider: dict[int, list[FixedBooking]] = defaultdict(list)
        for booking in bookings:
            self.add(booking)

    def add(self, own: FixedBooking) -> None:
        """Add a booking to those beside which others may stay."""
        self._in_room[own.room].append(own)
        for each in own.presences:
            self._at_provider[each.provider].append(own)
        self._capacity.book(own)
        self._pools.take(own.kind, own.appointment)

    def collisions(self, own: FixedBooking) -> int:
        """Return how many others a booking collides with."""
        beside = {id(s): s for s in self._in_room[own.room]}
        for each in own.presences:
            beside |= {id(s): s for s in self._at_provider[each.provider]}
        return sum(s is not own and collide(own, s, self._places) for s in beside.values())

    def places_under_caps(self, own: FixedBooking) -> list[tuple[object, int]]:
        """Return, for each cap that a booking is under, what it caps and the places left."""
        capacity = self._capacity
        found: list[tuple[object, int]] = []
        if capacity.has_type_cap[own.kind] and TYPE_DAILY_CAP not in own.booking.overrides:
            left = int(capacity.type_left_to_stay[own.kind, own.day])
            found.append((("kind", own.kind, own.day), max(0, left)))
        if capacity.has_provider_cap[own.provider] and not own.booking.is_overbooked:
            left = int(capacity.regular_left[own.provider, own.day])
            found.append((("provider", own.provider, own.day), max(0, left)))
        is_over = PROVIDER_DAILY_CAP in own.booking.overrides
        if own.kind in capacity.pair_left and not is_over:
            left = int(capacity.pair_left_to_stay[own.kind][own.provider, own.day])
            found.append((("pair", own.kind, own.provider, own.day), max(0, left)))
        for number in capacity.sessions.binding(own):
            left = int(capacity.sessions.left_to_stay[number])
            found.append((("session", number), max(0, left)))
        return found

    def has_place_for(self, own: FixedBooking) -> bool:
        """Whether a booking that is made here last breaks none of the rules 3 to 10."""
        if self.collisions(own) or not all(left for _, left in self.places_under_caps(own)):
            return False
        if not self._pools.fits(own.kind, own.appointment):
            return False
        minutes_left = self._capacity.minutes_left[own.provider, own.day]
        if not own.booking.is_overbooked and PROVIDER_DAILY_CAP not in own.booking.overrides:
            return bool(minutes_left >= own.minutes)
        if not uses_allowance(own.booking):
            return True
        overlaps = sum(
            overlap(own.busy, busy) for s in self._at_provider[own.provider] for busy in met(s, own)
        )
        overbooked = self._capacity.overbooked[own.provider, own.day]
        return any(
            overlaps <= max_overlap and overbooked < max_per_day
            for max_overlap, max_per_day in self._capacity.allowances_of(own)
        )
