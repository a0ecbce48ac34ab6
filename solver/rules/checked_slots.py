"""Placements that are asked about, read by the plain rules of the checker and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Booking,
    Provider,
    Room,
    Span,
)
from solver.clinic.request import SlotRequest
from solver.rules.checker import Checker, Violation, sharing_pools
from solver.rules.teams.checked import Beside, takes_part

type Parts = tuple[Fraction, Fraction, Fraction, Fraction]
"""The parts of a score, each in [0, 1]: preference, gap, room, overbooking; or their weights."""


WEIGHTS: Parts = (Fraction(2, 5), Fraction(7, 20), Fraction(3, 20), Fraction(1, 10))


@dataclass(frozen=True)
class Reading:
    """What the rules say of one placement: the numbers of those it breaks, or its kind and score.

    `score` has four decimals and is None when a rule is broken; `team` is the least that there is.
    """

    broken: tuple[int, ...]
    is_overbooked: bool = False
    parts: Parts | None = None
    score: Fraction | None = None
    team: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Found:
    """A feasible placement as :meth:`SlotChecker.read_slots` lists it."""

    provider_id: str
    room_id: str
    start: int
    is_overbooked: bool
    parts: Parts
    score: Fraction
    team: tuple[tuple[str, str], ...] = ()


class SlotChecker(Checker):
    """Reads what may be booked in one clinic, and how well it would score."""

    def __init__(self, clinic: Clinic, weights: Parts = WEIGHTS) -> None:
        super().__init__(clinic)
        self._weights = weights

    def read(self, request: SlotRequest, provider: Provider, room: Room, start: int) -> Reading:
        """Read the rules and the score for one placement, all live bookings in place."""
        book = self.live(self.clinic.bookings)
        return self.read_among(
            request,
            provider,
            room,
            start,
            at_provider=[b for b in book if takes_part(b, provider.id)],
            in_room=[b for b in book if b.room_id == room.id],
            of_type=[b for b in book if b.appointment_type_id == request.appointment_type_id],
            elsewhere=book if self.clinic.sessions else (),
            of_pools=sharing_pools(self.clinic, request.appointment_type_id, book),
            of_members=book,
        )

    def read_among(
        self,
        request: SlotRequest,
        provider: Provider,
        room: Room,
        start: int,
        *,
        at_provider: Sequence[Booking],
        in_room: Sequence[Booking],
        of_type: Sequence[Booking],
        of_pools: Sequence[Booking] = (),
        elsewhere: Sequence[Booking] = (),
        of_members: Sequence[Booking] = (),
    ) -> Reading:
        """Read one placement beside the live bookings of its provider, room, type and pools.

        Those of dates that are not next to the request's may be left out. `elsewhere` are bookings
        that sessions of everybody count, those of its provider and room among them or not;
        `of_members` those of everybody who may be in a role of the type, in roles as well, as
        `at_provider` has them.
        """
        day, b = request.date, _asked(request, provider, room, start)
        of_provider = self.beside(day, provider, at_provider)
        is_overbooked = any(self.regular_within_capacity(b, of_provider))
        beside = (
            {o.id: o for o in (*at_provider, *in_room, *elsewhere)} if self.clinic.sessions else {}
        )
        readings = [
            self.time_is_bookable(b, request, of_provider),
            self.active_with_skills_and_equipment(b),
            self.within_open_windows(b),
            self.room_is_free(b, self.beside(day, room, in_room)),
            self.type_under_its_cap(b, [o for o in of_type if o.date == day]),
            self.time_to_travel(b, of_provider),
            self.provider_type_under_its_cap(b, of_provider),
        ]
        if is_overbooked:
            readings.append(self.starts_by_itself(b, of_provider))
            readings.append(self.overbooked_by_allowance(b, of_provider))
        readings.append(self.within_sessions(b, request.moment, is_standing=request.is_given))
        readings.append(self.has_place_in_sessions(b, beside.values()))
        readings.append(self.equipment_is_free(b, of_pools))
        team = self.who_completes(b, of_members, request.team)
        if team is None:
            readings.append(iter([Violation(b, 9, "ROLE_UNFILLED", "a role cannot be filled")]))
        first = [next(violations, None) for violations in readings]
        broken = dict.fromkeys(violation.rule for violation in first if violation is not None)
        if broken:
            return Reading(tuple(broken), team=team or ())
        parts = (
            self._preference(request, self.kind_of(b), start),
            self._gap(b, of_provider),
            Fraction(1, 1 + len(room.equipment - self.kind_of(b).required_equipment)),
            Fraction(0 if is_overbooked else 1),
        )
        score = sum((w * p for w, p in zip(self._weights, parts, strict=True)), Fraction(0))
        return Reading((), is_overbooked, parts, _four_decimals(score), team or ())

    def reasons(
        self, request: SlotRequest, provider: Provider, room: Room, start: int
    ) -> frozenset[str]:
        """Return the codes of all rules that refuse a placement, all live bookings in place."""
        day, book = request.date, self.live(self.clinic.bookings)
        b = _asked(request, provider, room, start)
        at_provider = self.beside(day, provider, (o for o in book if takes_part(o, provider.id)))
        in_room = self.beside(day, room, (o for o in book if o.room_id == room.id))
        of_type = [
            o for o in book if (o.appointment_type_id, o.date) == (b.appointment_type_id, day)
        ]
        of_pools = sharing_pools(self.clinic, b.appointment_type_id, book)
        over = list(self.regular_within_capacity(b, at_provider))
        is_allowed = not any(self.starts_by_itself(b, at_provider)) and not any(
            self.overbooked_by_allowance(b, at_provider)
        )
        readings = (
            self.time_is_bookable(b, request, at_provider),
            self.active_with_skills_and_equipment(b),
            self.within_open_windows(b),
            self.within_sessions(b, request.moment, is_standing=request.is_given),
            self.has_place_in_sessions(b, book),
            self.room_is_free(b, in_room),
            self.equipment_is_free(b, of_pools),
            self.type_under_its_cap(b, of_type),
            self.time_to_travel(b, at_provider),
            self.provider_type_under_its_cap(b, at_provider),
            () if is_allowed else over,
        )
        unfilled = {"ROLE_UNFILLED"} if self.who_completes(b, book, request.team) is None else set()
        codes = (violation.code for violations in readings for violation in violations)
        return frozenset(unfilled.union(codes))

    def read_slots(self, request: SlotRequest) -> list[Found]:
        """Return every feasible placement over all rooms, in the order of the slot query."""
        found = [
            Found(
                provider.id,
                room.id,
                start,
                reading.is_overbooked,
                reading.parts,
                reading.score,
                reading.team,
            )
            for provider in self.clinic.providers
            if request.provider_ids is None or provider.id in request.provider_ids
            for start in self._starts_of(request, provider)
            for room in self.clinic.rooms
            if request.location_ids is None or room.location_id in request.location_ids
            for reading in [self.read(request, provider, room, start)]
            if reading.score is not None and reading.parts is not None
        ]
        return sorted(found, key=lambda f: (-f.score, f.start, f.provider_id, f.room_id))

    def _starts_of(self, request: SlotRequest, provider: Provider) -> list[int]:
        """Return the minutes of the date at which the provider may start the type somewhere."""
        day, places = request.date, {room.location_id: room for room in self.clinic.rooms}
        of_provider = [b for b in self.live(self.clinic.bookings) if takes_part(b, provider.id)]
        beside = self.beside(day, provider, of_provider)
        return [
            minute
            for minute in range(DAY_MINUTES)
            if any(
                self.is_in_rhythm(_asked(request, provider, room, minute), beside)
                for room in places.values()
            )
        ]

    # The score

    def _preference(self, request: SlotRequest, kind: AppointmentType, start: int) -> Fraction:
        if request.preferred is None:
            return Fraction(1)
        opens, closes = request.preferred
        last = max(opens, closes - kind.duration_minutes)
        away = max(0, opens - start, start - last)
        return max(Fraction(0), 1 - Fraction(away, self.clinic.settings.preference_decay_minutes))

    def _gap(self, b: Booking, at_provider: Beside) -> Fraction:
        """Return the mean of both sides; 0 where it overlaps a booking of its provider."""
        provider, _ = self.owners_of(b)
        begins, ends = self.busy(b, b.date, provider)
        spans = [span for _, span in at_provider]
        if any(start < ends and begins < end for start, end in spans):
            return Fraction(0)
        opens, closes = self._window_around(b, provider)
        earlier = max([opens, *(end for _, end in spans if end <= begins)])
        later = min([closes, *(start for start, _ in spans if start >= ends)])
        shortest = self._shortest_of(provider)
        sides = []
        for idle in (max(0, begins - earlier), max(0, later - ends)):
            if idle == 0:
                sides.append(Fraction(1))
            elif idle < shortest:
                sides.append(Fraction(0))
            else:
                sides.append(Fraction(1, 2))
        return (sides[0] + sides[1]) / 2

    def _window_around(self, b: Booking, provider: Provider) -> Span:
        """Return the first and the last open minute, exclusive, around a booking."""
        _, room = self.owners_of(b)
        is_open = self.open_minutes(provider, b.date, room.location_id)
        opens, closes = b.start, b.start + self.kind_of(b).duration_minutes
        while opens > 0 and is_open[opens - 1]:
            opens -= 1
        while closes < DAY_MINUTES and is_open[closes]:
            closes += 1
        return opens, closes

    def _shortest_of(self, provider: Provider) -> int:
        """Return the minutes of the shortest active type that the provider offers."""
        shortest = []
        for kind in self.clinic.appointment_types:
            own = [
                row
                for row in self.clinic.provider_types
                if (row.provider_id, row.appointment_type_id) == (provider.id, kind.id)
            ]
            if kind.active and kind.required_skills <= provider.skills:
                if not own:
                    shortest.append(kind.duration_minutes)
                elif own[0].offered:
                    shortest.append(own[0].duration_minutes or kind.duration_minutes)
        return min(shortest, default=0)


def _asked(request: SlotRequest, provider: Provider, room: Room, start: int) -> Booking:
    """Return the booking that is asked for; one that was made before keeps its minutes."""
    kept = request.minutes or (None, None, None)
    kind, day = request.appointment_type_id, request.date
    return Booking("", provider.id, room.id, kind, day, start, None, "booked", False, *kept)


def _four_decimals(value: Fraction) -> Fraction:
    return Fraction((value * 10_000 + Fraction(1, 2)).__floor__(), 10_000)
