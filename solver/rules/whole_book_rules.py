"""Which rules the bookings of a whole book break, all of them at once.

The checker reads one booking at a time and is too slow for a hospital's book. Here the book is
columns (:class:`solver.rules.ledger.Ledger`), and a method of :class:`_Reading` reads one rule for
all bookings in a few operations of numpy, which leave other threads free to run. Which of several
overbooked bookings came last cannot be read so and is left to the checker, as are the words:
:func:`violations` has it read only the bookings that break something.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.clock import clock_changes
from solver.clinic.entities import DAY_MINUTES
from solver.clinic.grammar.recurrence import week_number
from solver.clinic.sessions.session import BEFORE_ALL
from solver.clinic.windows import Windows
from solver.rules.checked_book import BookChecker
from solver.rules.checker import Violation
from solver.rules.codes import (
    OUTSIDE_PROVIDER_HOURS,
    OUTSIDE_ROOM_HOURS,
    PROVIDER_BUSY,
    PROVIDER_DAILY_CAP,
    TYPE_DAILY_CAP,
)
from solver.rules.ledger import FAR, Ledger, bits_of
from solver.rules.sessions.whole_book import within_sessions
from solver.rules.teams.whole_book import InRoles

RULES = frozenset({0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11})
"""The rules that a booking can break; rule 4 only defines the busy spans of rules 6 and 7."""


_READ_BESIDE_NEIGHBOURS = frozenset({3, 6, 7, 9, 10})
"""The rules that are read beside the bookings of the dates next to a booking's own."""


def violations(
    clinic: Clinic,
    *,
    since: dt.date | None = None,
    only: Collection[str] | None = None,
    now: dt.datetime = BEFORE_ALL,
) -> list[Violation]:
    """Return every rule that a live booking breaks, as :class:`BookChecker` has it at `now`."""
    ledger = Ledger.of(clinic)
    broken = broken_rules(clinic, ledger, now=now)
    asked = broken > 0
    if since is not None:
        asked &= ledger.day >= since.toordinal()
    flagged = np.flatnonzero(asked)
    if only is not None:
        ids = np.array(ledger.take(flagged).ids(), object)
        flagged = flagged[[key in only for key in ids]]
    known = {b.id: b for b in clinic.bookings}
    return [
        Violation(known[v.booking.id], v.rule, v.code, v.detail)
        for v in read_plainly(clinic, ledger, flagged, broken[flagged], now)
    ]


def read_plainly(
    clinic: Clinic,
    ledger: Ledger,
    chosen: Ints,
    broken: NDArray[np.uint16],
    now: dt.datetime = BEFORE_ALL,
) -> list[Violation]:
    """Return what the plain checker says of the `chosen`: which of the rules `broken` they break.

    The ledger has their neighbours; only those of the rules that are asked about are read.
    """
    if not len(chosen):
        return []
    near = ledger.in_order(np.flatnonzero(ledger.beside(clinic, chosen, broken)))
    around = ledger.take(near).bookings(clinic)  # in one order: the words are always the same
    checker = BookChecker(clinic.with_bookings(around), now)
    asked = dict(zip(ledger.take(chosen).ids(), broken.tolist(), strict=True))
    return list(checker.violations(only=asked))


def broken_rules(
    clinic: Clinic,
    ledger: Ledger,
    rules: Collection[int] = RULES,
    now: dt.datetime = BEFORE_ALL,
) -> NDArray[np.uint16]:
    """Return the rules that each booking breaks, bit by bit: ``1 << rule``; only these `rules`.

    Sessions are read as they are at `now`; without it, as though none had been released yet.
    """
    reading = _Reading(clinic, ledger, now)
    broken = np.zeros(len(ledger), np.uint16)
    if not len(ledger):
        return broken
    for rule in rules:
        broken |= reading.breaks(rule).astype(np.uint16) << np.uint16(rule)
    asked = bits_of(set(rules) & _READ_BESIDE_NEIGHBOURS)
    doubtful = reading.doubtful & ((broken & asked) > 0) | reading.unsettled
    if asked and doubtful.any():
        chosen = np.flatnonzero(doubtful)
        plain = dict.fromkeys(ledger.take(chosen).ids(), 0)
        for violation in read_plainly(clinic, ledger, chosen, np.full(len(chosen), asked)):
            plain[violation.booking.id] |= 1 << violation.rule
        broken[chosen] &= ~asked
        broken[chosen] |= np.fromiter(plain.values(), np.uint16, len(plain))
    return broken


class _Reading:
    """The rules of one clinic, read over one ledger."""

    def __init__(self, clinic: Clinic, ledger: Ledger, now: dt.datetime) -> None:
        self._clinic, self._ledger, self._now = clinic, ledger, now
        self._ends = ledger.start + ledger.duration
        self._place = _places(clinic)[ledger.room]
        self._in_roles = InRoles.of(clinic, ledger)
        self.unsettled = np.zeros(len(ledger), np.bool_)
        """Overbooked ones that only some order of booking allows: the checker tries the orders."""

    def breaks(self, rule: int) -> Bools:
        """Return a mask of the bookings that break a rule, or may: see :attr:`doubtful`."""
        obeying = {
            0: self._outside_clock_changes,
            1: self._active_with_skills_and_equipment,
            2: self._within_open_windows,
            3: self._room_is_free,
            5: self._type_under_its_cap,
            6: self._regular_within_capacity,
            7: self._overbooked_by_allowance,
            11: self._time_to_travel,
            8: self._within_sessions,
            9: self._roles_are_filled,
            10: self._equipment_is_free,
        }
        broken: Bools = ~obeying[rule]()
        return broken

    @cached_property
    def doubtful(self) -> Bools:
        """Those whose provider, room or equipment pool has a booking that runs past its date.

        Such a one may reach the date after the next, which the rules do not read.
        """
        ledger, is_long = self._ledger, self._ends > DAY_MINUTES
        people = np.column_stack([ledger.provider, ledger.team])
        doubtful = (np.isin(people, people[is_long]) & (people >= 0)).any(axis=1)
        doubtful |= np.isin(ledger.room, ledger.room[is_long])
        for quantity in self._quantities.values():
            takes = quantity[ledger.kind] > 0
            doubtful |= takes & is_long[takes].any()
        return doubtful

    # The rules: masks of the bookings that obey one, each under the name that it has everywhere

    def _outside_clock_changes(self) -> Bools:
        ledger, zone = self._ledger, self._clinic.settings.zone
        touched = np.zeros(len(ledger), np.bool_)
        for ordinal in np.unique(ledger.day).tolist():
            for from_, to in clock_changes(zone, dt.date.fromordinal(ordinal)):
                touched |= (ledger.day == ordinal) & (ledger.start < to) & (self._ends > from_)
        return ~touched

    def _active_with_skills_and_equipment(self) -> Bools:
        clinic, ledger = self._clinic, self._ledger
        has_skills = np.array(
            [
                [p.active and k.active and clinic.offers(p, k) for p in clinic.providers]
                for k in clinic.appointment_types
            ]
        )
        is_equipped = np.array(
            [
                [clinic.is_in_use(r) and k.required_equipment <= r.equipment for r in clinic.rooms]
                for k in clinic.appointment_types
            ]
        )
        fits: Bools = has_skills[ledger.kind, ledger.provider]
        fits &= is_equipped[ledger.kind, ledger.room]
        return fits

    def _within_open_windows(self) -> Bools:
        clinic, ledger, (at, windows) = self._clinic, self._ledger, self._windows
        is_open = self._are_open(np.arange(len(ledger)), ledger.provider, ledger.start, self._ends)
        is_open |= ledger.overriding(OUTSIDE_PROVIDER_HOURS)
        in_room = _is_open(
            (at, ledger.room, ledger.start, self._ends), clinic.rooms, [w.room for w in windows]
        )
        return is_open & (in_room | ledger.overriding(OUTSIDE_ROOM_HOURS))

    @cached_property
    def _windows(self) -> tuple[Ints, list[Windows]]:
        """[n] of each booking the position of its date's windows; those of dates that differ."""
        days, at = np.unique(self._ledger.day, return_inverse=True)
        alike = _alike(self._clinic, [dt.date.fromordinal(day) for day in days.tolist()])
        shown = {day: position for position, day in enumerate(dict.fromkeys(alike))}
        windows = [Windows.on(self._clinic, day) for day in shown]
        return np.array([shown[day] for day in alike], np.int64)[at], windows

    def _are_open(self, chosen: Ints, provider: Ints, start: Ints, end: Ints) -> Bools:
        """Whether providers are open from a minute to another for the rooms of chosen bookings."""
        at, windows = self._windows
        at_places = [None, *(location.id for location in self._clinic.locations)]
        return _is_open(
            (at[chosen] * len(at_places) + self._place[chosen] + 1, provider, start, end),
            self._clinic.providers,
            [w.provider_at(location) for w in windows for location in at_places],
        )

    def _within_sessions(self) -> Bools:
        return within_sessions(self._clinic, self._ledger, self._ends, self._now)

    def _room_is_free(self) -> Bools:
        turnover = np.array([row.turnover_minutes for row in self._clinic.rooms], np.int64)
        owner = self._ledger.room
        after = np.maximum(self._ledger.after, turnover[owner])
        return ~_overlaps(*self._spans(owner, self._ledger.before, after))

    def _equipment_is_free(self) -> Bools:
        ledger, obeys = self._ledger, np.ones(len(self._ledger), np.bool_)
        for pool_id, quantity in self._quantities.items():
            pool = self._clinic.pool_by_id[pool_id]
            taking = np.flatnonzero(quantity[ledger.kind])
            begin = (ledger.day * DAY_MINUTES + ledger.start)[taking]
            end = begin + ledger.duration[taking] + pool.return_minutes
            peak = _most_at_once(begin, end, quantity[ledger.kind[taking]])
            at = [None, *(location.id for location in self._clinic.locations)]
            capacity = np.array([pool.capacity_at(location) for location in at], np.int64)
            obeys[taking] &= peak <= capacity[self._place[taking] + 1]
        return obeys

    @cached_property
    def _quantities(self) -> dict[str, Ints]:
        """By equipment pool that some type takes from: [K] how many pieces each type takes."""
        return {
            pool_id: np.array([by_type.get(key, 0) for key in self._clinic.type_by_id], np.int64)
            for pool_id, by_type in self._clinic.quantities.items()
        }

    def _type_under_its_cap(self) -> Bools:
        ledger = self._ledger
        caps = np.array(
            [
                FAR if row.daily_cap is None else row.daily_cap
                for row in self._clinic.appointment_types
            ],
            np.int64,
        )
        obeys = ledger.overriding(TYPE_DAILY_CAP)
        within = np.flatnonzero(~obeys)
        kind = ledger.kind[within]
        obeys[within] = _alike_count(kind * FAR + ledger.day[within]) <= caps[kind]
        return obeys

    def _time_to_travel(self) -> Bools:
        return self._in_time[0]

    @cached_property
    def _in_time(self) -> tuple[Bools, Bools]:
        """[n], [m] of bookings' providers, and of those in roles, who has time for the ways."""
        ledger, places, roles = self._ledger, self._clinic.places, self._in_roles
        obeys = np.ones(len(ledger) + len(roles), np.bool_)
        if not places.are_several:
            return obeys[: len(ledger)], obeys[len(ledger) :]
        day = np.concatenate([ledger.day, ledger.day[roles.booking]])
        who = np.concatenate([ledger.provider, roles.provider])
        at = np.concatenate([self._place, self._place[roles.booking]])
        of_day = np.unique(who * FAR + day, return_inverse=True)[1] * FAR
        of_mains, of_roles = self._provider_spans, (roles.begins, roles.ends)
        begins, ends = (
            np.concatenate(sides) % FAR + of_day for sides in zip(of_mains, of_roles, strict=True)
        )
        there = [np.flatnonzero(at == place) for place in range(len(places.locations))]
        for one, other in combinations([p for p, some in enumerate(there) if len(some)], 2):
            here, away = there[one], there[other]
            mine = begins[here], ends[here] + places.minutes[one, other]
            theirs = begins[away], ends[away] + places.minutes[other, one]
            obeys[here] &= ~_meets(mine, theirs)
            obeys[away] &= ~_meets(theirs, mine)
        return obeys[: len(ledger)], obeys[len(ledger) :]

    def _roles_are_filled(self) -> Bools:
        roles, regular = self._in_roles, ~self._ledger.is_overbooked
        obeys = roles.complete.copy()
        if not len(roles):
            return obeys
        begins, ends = self._provider_spans
        is_filled = roles.fits & self._in_time[1]
        is_filled &= self._are_open(roles.booking, roles.provider, roles.start, roles.end)
        is_filled &= ~_overlaps(roles.begins, roles.ends)
        is_filled &= ~_meets((roles.begins, roles.ends), (begins[regular], ends[regular]))
        obeys[roles.booking[~is_filled]] = False
        return obeys

    def _provider_type_under_its_cap(self) -> Bools:
        ledger, clinic = self._ledger, self._clinic
        obeys = np.ones(len(ledger), np.bool_)
        if all(row.daily_cap is None for row in clinic.provider_types):
            return obeys
        provider_at = {row.id: i for i, row in enumerate(clinic.providers)}
        within = ~ledger.overriding(PROVIDER_DAILY_CAP)
        pair = ledger.provider * len(clinic.appointment_types) + ledger.kind
        alike = np.zeros(len(ledger), np.int64)
        alike[within] = _alike_count(pair[within] * FAR + ledger.day[within])
        for row in clinic.provider_types:
            if row.daily_cap is not None:
                provider, kind = (
                    provider_at[row.provider_id],
                    clinic.type_at[row.appointment_type_id],
                )
                here = (ledger.provider == provider) & (ledger.kind == kind)
                obeys &= ~here | (alike <= row.daily_cap)
        return obeys

    def _regular_within_capacity(self) -> Bools:
        ledger = self._ledger
        obeys = self._provider_type_under_its_cap()
        regular = np.flatnonzero(~ledger.is_overbooked)
        begins, ends = self._provider_spans
        owner = ledger.provider[regular]
        caps = np.array(
            [FAR if row.daily_cap is None else row.daily_cap for row in self._clinic.providers],
            np.int64,
        )
        most = np.array(
            [FAR if p.daily_minutes is None else p.daily_minutes for p in self._clinic.providers],
            np.int64,
        )
        date = owner * FAR + ledger.day[regular]
        is_apart = ~_overlaps(begins[regular], ends[regular])
        if len(self._in_roles):
            in_roles = self._in_roles.begins, self._in_roles.ends
            is_apart &= ~_meets((begins[regular], ends[regular]), in_roles)
        is_under = _alike_count(date) <= caps[owner]
        is_under &= _alike_sum(date, ledger.duration[regular]) <= most[owner]
        obeys[regular] &= is_apart | ledger.overriding(PROVIDER_BUSY)[regular]
        obeys[regular] &= is_under | ledger.overriding(PROVIDER_DAILY_CAP)[regular]
        return obeys

    def _overbooked_by_allowance(self) -> Bools:
        ledger = self._ledger
        moment = ledger.day * DAY_MINUTES + ledger.start
        obeys: Bools = _alike_count(ledger.provider * FAR + moment) == 1
        over = np.flatnonzero(self._by_allowance)
        if len(over):
            is_allowed, is_possible = self._allowances(over)
            obeys[over] &= is_possible
            self.unsettled[over] = is_possible & ~is_allowed
        return obeys

    def _allowances(self, over: Ints) -> tuple[Bools, Bools]:
        """Return which are allowed beside all the others, and which beside the regular ones."""
        ledger, (begins, ends) = self._ledger, self._provider_spans
        regular, counted = ~ledger.is_overbooked, ~ledger.is_overbooked | self._by_allowance
        roles = self._in_roles

        def overlaps(others: Any) -> Ints:
            earlier = np.sort(np.concatenate([begins[others], roles.begins]))
            later = np.sort(np.concatenate([ends[others], roles.ends]))
            return np.searchsorted(earlier, ends[over]) - np.searchsorted(
                later, begins[over], "right"
            )

        of_regular, of_all = overlaps(regular), overlaps(counted) - 1
        same_day = _alike_count(ledger.provider[over] * FAR + ledger.day[over]) - 1
        kind, provider = ledger.kind[over], ledger.provider[over]
        weekday = (ledger.day[over] - 1) % 7 + 1
        start, end = ledger.start[over], self._ends[over]
        is_allowed = np.zeros(len(over), np.bool_)
        is_possible = np.zeros(len(over), np.bool_)
        providers = {row.id: i for i, row in enumerate(self._clinic.providers)}
        kinds = {row.id: i for i, row in enumerate(self._clinic.appointment_types)}
        for rule in self._clinic.overbooking_rules:
            covers = np.ones(len(over), np.bool_)
            if rule.start is not None:
                covers &= rule.start <= start
            covers &= end <= (DAY_MINUTES if rule.end is None else rule.end)
            if rule.provider_id is not None:
                covers &= provider == providers[rule.provider_id]
            if rule.appointment_type_id is not None:
                covers &= kind == kinds[rule.appointment_type_id]
            if rule.weekday is not None:
                covers &= weekday == rule.weekday
            is_allowed |= covers & (of_all <= rule.max_overlap) & (same_day < rule.max_per_day)
            is_possible |= covers & (of_regular <= rule.max_overlap) & (rule.max_per_day > 0)
        return is_allowed, is_possible

    @cached_property
    def _by_allowance(self) -> Bools:
        """Those that are overbooked by an overbooking rule, and not by an override."""
        return self._ledger.is_overbooked & ~self._ledger.overriding(
            PROVIDER_BUSY, PROVIDER_DAILY_CAP
        )

    @cached_property
    def _provider_spans(self) -> tuple[Ints, Ints]:
        ledger, owner = self._ledger, self._ledger.provider
        before = np.array([row.buffer_before for row in self._clinic.providers], np.int64)[owner]
        after = np.array([row.buffer_after for row in self._clinic.providers], np.int64)[owner]
        before, after = np.maximum(ledger.before, before), np.maximum(ledger.after, after)
        return self._spans(owner, before, after)

    def _spans(self, owner: Ints, before: Ints, after: Ints) -> tuple[Ints, Ints]:
        """Return busy spans on one line of minutes, each owner's far from all others'."""
        midnight = owner * FAR + self._ledger.day * DAY_MINUTES
        return midnight + self._ledger.start - before, midnight + self._ends + after


def _is_open(
    asked: tuple[Ints, Ints, Ints, Ints], rows: Sequence[Any], windows: Sequence[Mapping[str, Any]]
) -> Bools:
    """Return whether owners are open: of each the windows' position, the row, start and end."""
    at, owner, start, end = asked
    step = 2 * DAY_MINUTES
    spans = [
        ((number * len(rows) + position) * step + opens, closes)
        for number, of_owner in enumerate(windows)
        for position, row in enumerate(rows)
        for opens, closes in of_owner[row.id]
    ]
    if not spans:
        return np.zeros(len(owner), np.bool_)
    opens, closes = np.array(spans, np.int64).T
    begins = (at * len(rows) + owner) * step + start
    found = np.maximum(np.searchsorted(opens, begins, "right") - 1, 0)
    is_open: Bools = (opens[found] // step == begins // step) & (opens[found] <= begins)
    is_open &= end <= closes[found]
    return is_open


def _overlaps(begins: Ints, ends: Ints) -> Bools:
    """Return whether each span overlaps another."""
    order = np.argsort(begins, kind="stable")
    begin, end = begins[order], ends[order]
    is_hit = np.zeros(len(begins), np.bool_)
    is_hit[1:] = np.maximum.accumulate(end)[:-1] > begin[1:]
    is_hit[:-1] |= begin[1:] < end[:-1]
    result = np.empty_like(is_hit)
    result[order] = is_hit
    return result


def _places(clinic: Clinic) -> Ints:
    """[R] where the rooms are."""
    return np.array([clinic.places.of_room[room.id] for room in clinic.rooms], np.int64)


def _meets(spans: tuple[Ints, Ints], others: tuple[Ints, Ints]) -> Bools:
    """Return whether each span overlaps one of the others."""
    begun = np.searchsorted(np.sort(others[0]), spans[1])
    meets: Bools = begun > np.searchsorted(np.sort(others[1]), spans[0], "right")
    return meets


def _most_at_once(begin: Ints, end: Ints, quantity: Ints) -> Ints:
    """Return for each span the greatest sum of the quantities of all that share a minute of it."""
    if not len(begin):
        return np.zeros(0, np.int64)
    moments = np.unique(np.concatenate([begin, end]))
    first, last = np.searchsorted(moments, begin), np.searchsorted(moments, end)
    steps = np.bincount(first, quantity, len(moments)) - np.bincount(last, quantity, len(moments))
    levels = np.cumsum(steps).astype(np.int64)
    return np.maximum.reduceat(levels, np.stack([first, last], axis=1).ravel())[::2]


def _alike_count(keys: Ints) -> Ints:
    """Return for each key how many are equal to it."""
    _, where, count = np.unique(keys, return_inverse=True, return_counts=True)
    return count[where]


def _alike_sum(keys: Ints, values: Ints) -> Ints:
    """Return for each key the sum of the values of all that are equal to it."""
    _, where = np.unique(keys, return_inverse=True)
    return np.bincount(where, values).astype(np.int64)[where]


def _alike(clinic: Clinic, days: Iterable[dt.date]) -> list[dt.date]:
    """Return for each date the first of those that the availability rows say the same of."""
    dated = {row.date for row in clinic.availability if row.date is not None}
    bounds = {row.valid_from.toordinal() for row in clinic.availability if row.valid_from}
    bounds |= {row.valid_to.toordinal() + 1 for row in clinic.availability if row.valid_to}
    edges = sorted(bounds)
    cycle = lcm(*(row.every_weeks for row in clinic.availability))
    first: dict[object, dt.date] = {}

    def said_of(day: dt.date) -> object:
        if day in dated:
            return day
        return (
            day.isoweekday(),
            bisect_right(edges, day.toordinal()),
            week_number(day) % cycle,
        )

    return [first.setdefault(said_of(day), day) for day in days]
