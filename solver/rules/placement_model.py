"""The scheduling rules as a CP-SAT model, one method a rule.

:mod:`solver.rules.solving` has the three ways to solve it.

The rules speak of the presences that its candidates imply, see :mod:`solver.rules.presences`. The
candidates stand in one of two relations:

* *rivals* (the default): exactly one is chosen. Enumerating the solutions enumerates the feasible
  placements; maximising the score proves the best one.
* *independent*: each is judged as though it were alone, against what is booked. The largest set
  that can be chosen is then that of all feasible ones, found and proved in a single solve.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Ints
from solver.clinic.clock import clock_changes
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, OverbookingRule, Provider, Span
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.sessions.at_starts import bookings_in
from solver.clinic.sessions.of_day import EVERYBODY, Owner, SessionsOfDay
from solver.clinic.sessions.session import BEFORE_ALL, Session
from solver.clinic.spans import merge, provider_busy_span, room_busy_span, window_around
from solver.clinic.teams.roles import Team
from solver.rules.codes import (
    NOT_YET_OPEN,
    OUTSIDE_PROVIDER_HOURS,
    OUTSIDE_ROOM_HOURS,
    PROVIDER_BUSY,
    PROVIDER_DAILY_CAP,
    RESERVED,
    SESSION_FULL,
    TYPE_DAILY_CAP,
)
from solver.rules.presences import AtProvider, AtRoom, Candidates, Presences
from solver.rules.teams.free import FreeForRoles


class PlacementModel(Presences):
    """The rules over a set of candidates of one appointment type on one date.

    At all their providers it has the duration and the buffers of `kind`.

    Sessions are judged at `moment`; without one, as though none had opened or been released. The
    rules whose codes are `lifted` are left out; where those about a provider's capacity are, an
    overbooked candidate needs no allowance. Whom `named` has is in that role, or nobody is.

    Attributes
    ----------
    most_solutions_of_one
        How many solutions choose the same candidate: one, or one for each overbooking rule; None
        where there is one for each team, too.
    """

    def __init__(
        self,
        day: Day,
        kind: AppointmentType,
        candidates: Candidates,
        *,
        earliest: int = 0,
        any_start: bool = False,
        moment: dt.datetime = BEFORE_ALL,
        independent: bool = False,
        lifted: frozenset[str] = frozenset(),
        named: Team = (),
    ) -> None:
        super().__init__(candidates, independent=independent)
        self._day = day
        self._kind = kind
        self._earliest = earliest
        self._any_start = any_start
        self._moment = moment
        self._lifted = lifted
        self._named = named
        self.most_solutions_of_one = None if kind.roles else 1 + len(day.clinic.overbooking_rules)
        self._facts: dict[int, _ProviderFacts] = {}

        self._time_is_bookable()
        self._active_with_skills_and_equipment()
        self._within_open_windows()
        self._within_sessions()
        self._room_is_free()
        self._equipment_is_free()
        self._type_under_its_cap()
        self._time_to_travel()
        self._provider_type_under_its_cap()
        self._regular_within_capacity()
        self._overbooked_by_allowance()
        self._roles_are_filled()

    # The rules

    def _time_is_bookable(self) -> None:
        """Starts are the type's, and after the notice; nothing overlaps a clock change."""
        changes = clock_changes(self._day.clinic.settings.zone, self._day.date)
        for at in self._at_provider.values():
            end = at.start + self._kind.duration_minutes
            if (
                not (self._any_start or self._is_in_rhythm(at))
                or at.start < self._earliest
                or end > DAY_MINUTES
                or any(at.start < to and from_ < end for from_, to in changes)
            ):
                self._exclude(at.literal)

    def _active_with_skills_and_equipment(self) -> None:
        """Rule 1: active rows only; the provider has the skills, the room the equipment."""
        for at in self._at_provider.values():
            provider = self._day.providers[at.provider]
            own = self._day.clinic.provider_type(provider.id, self._kind.id)
            if not (
                self._kind.active
                and provider.active
                and provider.skills >= self._kind.required_skills
                and (own is None or own.offered)
            ):
                self._exclude(at.literal)
        for place in self._at_room.values():
            room = self._day.rooms[place.room]
            in_use = self._day.active[1][place.room]
            if not (in_use and room.equipment >= self._kind.required_equipment):
                self._exclude(place.literal)

    def _within_open_windows(self) -> None:
        """Rule 2: the appointment lies in one open window of the provider and of the room."""
        if OUTSIDE_PROVIDER_HOURS not in self._lifted:
            for at in self._at_provider.values():
                self._stay_open(at.literal, self._day.provider_windows[at.provider], at.start)
        if OUTSIDE_ROOM_HOURS not in self._lifted:
            for place in self._at_room.values():
                self._stay_open(place.literal, self._day.room_windows[place.room], place.start)

    def _within_sessions(self) -> None:
        """Rule 8: sessions admit it, those that do are open, and where it begins none is full."""
        sessions = SessionsOfDay.on(self._day.clinic, self._day.date)
        if not sessions.all:
            return
        begins: dict[tuple[str, int], list[cp_model.IntVar]] = defaultdict(list)
        limited: dict[str, Session] = {}
        presences: list[tuple[Owner, AtProvider | AtRoom]] = []
        for at in self._at_provider.values():
            presences += [((self._day.providers[at.provider].id, None), at), (EVERYBODY, at)]
        for place in self._at_room.values():
            presences.append(((None, self._day.rooms[place.room].id), place))
        for owner, presence in presences:
            span = presence.start, presence.start + self._kind.duration_minutes
            if self._is_kept_out(sessions, owner, span):
                self._exclude(presence.literal)
            for session in sessions.governing(owner, presence.start):
                if session.row.max_bookings is not None and session.row.admits(self._kind.id):
                    limited[session.row.id] = session.row
                    begins[session.row.id, presence.world].append(presence.literal)
        if SESSION_FULL not in self._lifted:
            for (key, _), literals in begins.items():
                most = limited[key].max_bookings
                assert most is not None
                self._at_most(literals, most - bookings_in(self._day, limited[key]))

    def _is_kept_out(self, sessions: SessionsOfDay, owner: Owner, span: Span) -> bool:
        """Whether an owner's sessions that are not released keep an appointment out."""
        asked = owner, span, self._kind.id, self._moment
        if sessions.reserves(*asked):
            return RESERVED not in self._lifted
        return NOT_YET_OPEN not in self._lifted and sessions.is_closed(*asked)

    def _room_is_free(self) -> None:
        """Rule 3: a room's busy spans never overlap."""
        intervals = defaultdict(list)
        for place in self._at_room.values():
            span = room_busy_span(self._day.rooms[place.room], self._kind, place.start)
            intervals[place.room, place.world].append(self._interval(span, place.literal))
        self._no_overlap(intervals, lambda room: _room_busy(self._day, room))

    def _equipment_is_free(self) -> None:
        """Rule 10: at each moment the pieces of a pool that are out are at most those it has."""
        for pool_id, quantity in self._kind.required_pools:
            pool = self._day.clinic.pool_by_id[pool_id]
            capacity = pool.capacity_at(self._day.location_id)
            levels = _levels(self._day, pool)
            worlds = defaultdict(list)
            for at in self._at_provider.values():
                span = pool.out(at.start, at.start + self._kind.duration_minutes)
                worlds[at.world].append((span, at.literal))
            for present in worlds.values():
                first = min(span[0] for span, _ in present)
                last = max(span[1] for span, _ in present)
                new = [self._interval(*each) for each in present]
                out = [
                    (self.model.new_fixed_size_interval_var(start, end - start, ""), level)
                    for (start, end), level in levels
                    if start < last and first < end
                ]
                self.model.add_cumulative(
                    [*new, *(interval for interval, _ in out)],
                    [quantity] * len(new) + [min(level, capacity) for _, level in out],
                    capacity,
                )

    def _type_under_its_cap(self) -> None:
        """Rule 5: the type's live bookings on the date stay within its cap."""
        cap = self._kind.daily_cap
        if cap is None or TYPE_DAILY_CAP in self._lifted:
            return
        book = self._day.book
        position = self._day.clinic.type_at[self._kind.id]
        booked = int((book.on_date & (book.appointment_type == position)).sum())
        worlds = defaultdict(list)
        for at in self._at_provider.values():
            worlds[at.world].append(at.literal)
        for literals in worlds.values():
            self._at_most(literals, cap - booked)

    def _time_to_travel(self) -> None:
        """Rule 11: a provider has time for the way to and from what is booked at other places."""
        places, elsewhere = self._day.clinic.places, _elsewhere(self._day)
        for at in self._at_provider.values():
            mine = self._day.place, self._busy_span(at)
            if not all(places.are_apart(mine, other) for other in elsewhere[at.provider]):
                self._exclude(at.literal)

    def _provider_type_under_its_cap(self) -> None:
        """Rule 6: a provider's live bookings of the type stay within the provider's cap for it."""
        if PROVIDER_DAILY_CAP in self._lifted:
            return
        literals = defaultdict(list)
        for at in self._at_provider.values():
            literals[at.provider, at.world].append(at.literal)
        for (provider, _), present in literals.items():
            if (left := _left_of_pair(self._day, self._kind, provider)) is not None:
                self._at_most(present, left)

    def _regular_within_capacity(self) -> None:
        """Rule 6: a regular one overlaps no booking of its provider and fits under both caps."""
        intervals = defaultdict(list)
        literals = defaultdict(list)
        for at in self._at_provider.values():
            if not at.is_overbooked:
                intervals[at.provider, at.world].append(
                    self._interval(self._busy_span(at), at.literal)
                )
                literals[at.provider, at.world].append(at.literal)
        self._no_overlap(intervals, lambda provider: self._provider_facts(provider).busy)
        for (provider, _), present in literals.items():
            row, facts = self._day.providers[provider], self._provider_facts(provider)
            if row.daily_cap is not None:
                self._at_most(present, row.daily_cap - facts.regular)
            if row.daily_minutes is not None:
                left = row.daily_minutes - facts.regular_minutes
                self._at_most(present, left // self._kind.duration_minutes)

    def _overbooked_by_allowance(self) -> None:
        """Rule 7: an overbooked placement could not be regular, and some allowance covers it.

        Under each allowance that covers it, one row bounds the bookings it overlaps and one the
        provider's overbooked bookings of the day; the placement uses exactly one allowance.
        """
        in_world: dict[tuple[int, int], list[AtProvider]] = defaultdict(list)
        for at in self._at_provider.values():
            if at.is_overbooked:
                in_world[at.provider, at.world].append(at)
        for (provider, _), present in in_world.items():
            facts = self._provider_facts(provider)
            left = _left_of_pair(self._day, self._kind, provider)
            cap_is_reached = self._is_full(self._day.providers[provider], facts)
            cap_is_reached |= left is not None and left <= 0
            of_the_day = facts.by_allowance + cp_model.LinearExpr.sum(
                [at.literal for at in present]
            )
            for at in present:
                overlaps = facts.overlaps(self._busy_span(at))
                if at.start in facts.starts or not (overlaps or cap_is_reached):
                    self._exclude(at.literal)
                    continue
                if (not overlaps or PROVIDER_BUSY in self._lifted) and (
                    not cap_is_reached or PROVIDER_DAILY_CAP in self._lifted
                ):
                    continue
                allowances = []
                for rule in _allowances(self._day, self._kind, provider, at.start):
                    allowance = self.model.new_bool_var("")
                    allowances.append(allowance)
                    if overlaps > rule.max_overlap:
                        self._exclude(allowance)
                    self.model.add(of_the_day <= rule.max_per_day).only_enforce_if(allowance)
                self.model.add_exactly_one([*allowances, at.literal.negated()])

    def _roles_are_filled(self) -> None:
        """Rule 9: one who is able is in each role, nobody in two, and the provider in none."""
        roles, minutes = self._kind.roles, self._kind.duration_minutes
        if not roles:
            return
        free = FreeForRoles(self._day, self._named)
        for at in self._at_provider.values():
            in_roles = defaultdict(list)
            for role in roles:
                able = free.of(role, at.start, minutes)
                able = [one for one in able if one != self._day.providers[at.provider].id]
                literals = [self.model.new_bool_var("") for _ in able]
                self.model.add(cp_model.LinearExpr.sum(literals) == at.literal)
                for one, literal in zip(able, literals, strict=True):
                    in_roles[one].append(literal)
            for of_one in in_roles.values():
                self.model.add_at_most_one(of_one)

    # What they are built from

    def _is_in_rhythm(self, at: AtProvider) -> bool:
        """Whether the type may start there: every so often, or right behind a busy span."""
        kind, every = self._kind, self._day.clinic.start_every(self._kind)
        window = window_around(self._day.provider_windows[at.provider], at.start, at.start + 1)
        if kind.start_anchor == "midnight":
            is_regular = (at.start - kind.start_offset) % every == 0
        else:
            is_regular = window is not None and (at.start - window[0]) % every == 0
        if is_regular or not (kind.packed and window):
            return is_regular
        begin, _ = self._busy_span(at)
        return any(end == begin for _, end in self._provider_facts(at.provider).spans)

    def _stay_open(self, literal: cp_model.IntVar, windows: Sequence[Span], start: int) -> None:
        if window_around(windows, start, start + self._kind.duration_minutes) is None:
            self._exclude(literal)

    def _is_full(self, provider: Provider, facts: _ProviderFacts) -> bool:
        """Whether one more regular booking would exceed a cap of the provider."""
        minutes = facts.regular_minutes + self._kind.duration_minutes
        return (provider.daily_cap is not None and facts.regular >= provider.daily_cap) or (
            provider.daily_minutes is not None and minutes > provider.daily_minutes
        )

    def _busy_span(self, at: AtProvider) -> Span:
        """Rule 4: the provider busy span."""
        return provider_busy_span(self._day.providers[at.provider], self._kind, at.start)

    def _provider_facts(self, provider: int) -> _ProviderFacts:
        if provider not in self._facts:
            self._facts[provider] = _ProviderFacts.of(self._day, provider)
        return self._facts[provider]


def _elsewhere(day: Day) -> dict[int, list[tuple[int, Span]]]:
    """By provider: the places and busy spans of what is booked at other places on the date."""
    busy, (there, *_) = day.book.busy, day.ways
    elsewhere = defaultdict(list)
    spans = _spans((busy.begin, busy.end), there)
    owners, places = busy.provider[there].tolist(), busy.place[there].tolist()
    for provider, place, span in zip(owners, places, spans, strict=True):
        elsewhere[provider].append((place, span))
    return elsewhere


def _levels(day: Day, pool: EquipmentPool) -> list[tuple[Span, int]]:
    """Return spans that follow one another, and how many pieces of a pool are out in each.

    A book may have more of them out than there are: then none is left for anybody.
    """
    clinic, book = day.clinic, day.book
    quantities = clinic.quantities[pool.id]
    steps: defaultdict[int, int] = defaultdict(int)
    for number, start, minutes in zip(
        book.appointment_type.tolist(), book.start.tolist(), book.minutes.tolist(), strict=True
    ):
        quantity = quantities.get(clinic.appointment_types[number].id, 0)
        begin, end = pool.out(start, start + minutes)
        steps[begin] += quantity
        steps[end] -= quantity
    moments = sorted(steps)
    levels = accumulate(steps[moment] for moment in moments)
    return [(span, level) for span, level in zip(pairwise(moments), levels, strict=False) if level]


def _left_of_pair(day: Day, kind: AppointmentType, provider: int) -> int | None:
    """Return how many of the type the provider's cap for it still allows; None without one."""
    own = day.clinic.provider_type(day.providers[provider].id, kind.id)
    if own is None or own.daily_cap is None:
        return None
    here = day.book.on_date & (day.book.provider == provider)
    of_type = day.book.appointment_type == day.clinic.type_at[kind.id]
    return own.daily_cap - int((here & of_type).sum())


def _allowances(
    day: Day, kind: AppointmentType, provider: int, start: int
) -> list[OverbookingRule]:
    provider_id, weekday = day.providers[provider].id, day.date.isoweekday()
    rules = day.clinic.overbooking_rules
    return [rule for rule in rules if rule.covers(provider_id, kind, weekday, start)]


def _room_busy(day: Day, room: int) -> list[Span]:
    return merge(_spans(day.book.room_busy, np.flatnonzero(day.book.room == room)))


def _spans(busy: tuple[Ints, Ints], chosen: Ints) -> list[Span]:
    return list(zip(busy[0][chosen].tolist(), busy[1][chosen].tolist(), strict=True))


@dataclass(frozen=True)
class _ProviderFacts:
    """The bookings of one provider: busy spans, merged and not, starts; and those of the date.

    Spans are those in roles of others' bookings, too. Overbooked ones count where an overbooking
    rule allowed them, and not where an override did.
    """

    spans: list[Span]
    busy: list[Span]
    starts: frozenset[int]
    regular: int
    regular_minutes: int
    by_allowance: int

    @classmethod
    def of(cls, day: Day, provider: int) -> _ProviderFacts:
        book = day.book
        here = np.flatnonzero(book.provider == provider)
        todays = here[book.on_date[here]]
        busy = book.busy
        spans = _spans((busy.begin, busy.end), np.flatnonzero(busy.provider == provider))
        return cls(
            spans=spans,
            busy=merge(spans),
            starts=frozenset(book.start[here].tolist()),
            regular=int((~book.is_overbooked[todays]).sum()),
            regular_minutes=int(book.minutes[todays[~book.is_overbooked[todays]]].sum()),
            by_allowance=int(book.uses_allowance[todays].sum()),
        )

    def overlaps(self, span: Span) -> int:
        """Count the bookings whose busy span `span` overlaps."""
        return sum(start < span[1] and span[0] < end for start, end in self.spans)
