"""Which rules the bookings of a whole book break, all of them at once.

The plain checker says it of one booking at a time and is too slow for a hospital's book. Here the
book is columns, and a rule is read for all bookings in a few operations of numpy, which leave
other threads free to run. What cannot be said so (which of several overbooked ones came last) is
left to the checker, and so are the words: :func:`violations` reads only the bookings that break
something.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints
from solver.clinic.clock import clock_changes
from solver.clinic.entities import DAY_MINUTES, Booking, Clinic
from solver.clinic.windows import Windows
from solver.rules.checker import Checker, Violation

RULES = frozenset({0, 1, 2, 3, 5, 6, 7})
"""The numbers under which violations are told; rule 4 only says what rules 3 and 6 mean."""


PACKED = np.dtype(
    [
        ("id", "V16"),
        ("provider", "S16"),
        ("room", "S16"),
        ("kind", "S16"),
        ("day", ">i4"),
        ("start", ">i2"),
        ("is_overbooked", "?"),
    ]
)
"""One booking as PostgreSQL sends it: UUIDs, days since 2000-01-01, the minute of the day."""


EPOCH = dt.date(2000, 1, 1).toordinal()


_FAR = 2**32
"""More minutes than lie between any two bookings."""


@dataclass(frozen=True)
class Ledger:
    """Live bookings, column by column, each of shape [n].

    Providers, rooms and types are positions in the clinic's tuples; the rows may change as long as
    these stay.
    """

    id: NDArray[np.void]
    provider: Ints
    room: Ints
    kind: Ints
    day: Ints
    """Proleptic ordinals of the dates."""
    start: Ints
    is_overbooked: Bools

    @classmethod
    def of(cls, clinic: Clinic) -> Ledger:
        """Return the live bookings of a clinic."""
        live = [b for b in clinic.bookings if b.is_live]
        rows = [
            (
                _key(b.id),
                _key(b.provider_id),
                _key(b.room_id),
                _key(b.appointment_type_id),
                b.date.toordinal() - EPOCH,
                b.start,
                b.is_overbooked,
            )
            for b in live
        ]
        return cls.unpack(clinic, np.array(rows, PACKED).tobytes())

    @classmethod
    def unpack(cls, clinic: Clinic, packed: bytes) -> Ledger:
        """Return bookings that came packed, as :data:`PACKED` says, one after the other."""
        rows = np.frombuffer(packed, PACKED)
        return cls(
            rows["id"],
            _positions(rows["provider"], clinic.providers),
            _positions(rows["room"], clinic.rooms),
            _positions(rows["kind"], clinic.appointment_types),
            rows["day"].astype(np.int64) + EPOCH,
            rows["start"].astype(np.int64),
            rows["is_overbooked"],
        )

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: Any) -> Ledger:
        """Return some of the bookings, by position or mask."""
        return Ledger(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def ids(self) -> list[str]:
        """Return the bookings' ids."""
        keys = map(bytes.hex, self.id.tolist())
        return [f"{k[:8]}-{k[8:12]}-{k[12:16]}-{k[16:20]}-{k[20:]}" for k in keys]

    def bookings(self, clinic: Clinic) -> tuple[Booking, ...]:
        """Return the bookings as the clinic has them, without patient and status."""
        providers = [row.id for row in clinic.providers]
        rooms = [row.id for row in clinic.rooms]
        kinds = [row.id for row in clinic.appointment_types]
        columns = (self.provider, self.room, self.kind, self.day, self.start, self.is_overbooked)
        return tuple(
            Booking(
                key,
                providers[provider],
                rooms[room],
                kinds[kind],
                dt.date.fromordinal(day),
                start,
                is_overbooked=is_overbooked,
            )
            for key, provider, room, kind, day, start, is_overbooked in zip(
                self.ids(), *(column.tolist() for column in columns), strict=True
            )
        )

    def in_order(self, chosen: Ints) -> Ints:
        """Return positions in the order of date, start and id."""
        rows = self.take(chosen)
        high, low = np.frombuffer(rows.id.tobytes(), ">u8").reshape(-1, 2).T
        return chosen[np.lexsort((low, high, rows.start, rows.day))]

    def beside(self, chosen: Ints, broken: NDArray[np.uint8]) -> Bools:
        """Return a mask of the `chosen` and the bookings that decide what each of them breaks.

        `broken` has the rules of each of the `chosen` that are asked about: ``1 << rule``.
        """
        near = np.zeros(len(self), np.bool_)
        near[chosen] = True
        for owner, rules, days in (
            (self.provider, {6, 7}, (-1, 0, 1)),
            (self.room, {3}, (-1, 0, 1)),
            (self.kind, {5}, (0,)),
        ):
            place = owner * _FAR + self.day
            asked = place[chosen[(broken & bits_of(rules)) > 0]]
            near |= np.isin(place, np.concatenate([asked + shift for shift in days]))
        return near


def _key(text: str) -> bytes:
    return UUID(text).bytes


def _positions(keys: NDArray[np.bytes_], rows: Sequence[Any]) -> Ints:
    """Return where each key stands among the ids of `rows`."""
    known = np.array([_key(row.id) for row in rows], "S16")
    order = np.argsort(known)
    return order[np.searchsorted(known[order], keys)].astype(np.int64)


def violations(
    clinic: Clinic, *, since: dt.date | None = None, only: Collection[str] | None = None
) -> list[Violation]:
    """Return every rule that a live booking breaks: what :meth:`Checker.violations` tells."""
    ledger = Ledger.of(clinic)
    broken = broken_rules(clinic, ledger)
    told = broken > 0
    if since is not None:
        told &= ledger.day >= since.toordinal()
    flagged = np.flatnonzero(told)
    if only is not None:
        ids = np.array(ledger.take(flagged).ids(), object)
        flagged = flagged[[key in only for key in ids]]
    known = {b.id: b for b in clinic.bookings}
    return [
        Violation(known[v.booking.id], v.rule, v.code, v.detail)
        for v in read_plainly(clinic, ledger, flagged, broken[flagged])
    ]


def bits_of(rules: Iterable[int]) -> np.uint8:
    """Return rules as bits: ``1 << rule``."""
    return np.uint8(sum(1 << rule for rule in set(rules)))


def read_plainly(
    clinic: Clinic, ledger: Ledger, chosen: Ints, broken: NDArray[np.uint8]
) -> list[Violation]:
    """Return what the plain checker says of the `chosen`: which of the rules `broken` they break.

    The ledger has their neighbours; only those of the rules that are asked about are read.
    """
    if not len(chosen):
        return []
    near = ledger.in_order(np.flatnonzero(ledger.beside(chosen, broken)))
    around = ledger.take(near).bookings(clinic)  # in one order: the words are always the same
    checker = Checker(clinic.with_bookings(around))
    asked = dict(zip(ledger.take(chosen).ids(), broken.tolist(), strict=True))
    told = checker.violations(only=frozenset(asked))
    return [v for v in told if asked[v.booking.id] >> v.rule & 1]


def broken_rules(
    clinic: Clinic, ledger: Ledger, rules: Collection[int] = RULES
) -> NDArray[np.uint8]:
    """Return the rules that each booking breaks, bit by bit: ``1 << rule``; only these `rules`."""
    reading = _Reading(clinic, ledger)
    broken = np.zeros(len(ledger), np.uint8)
    if not len(ledger):
        return broken
    for rule in rules:
        broken |= reading.breaks(rule).astype(np.uint8) << np.uint8(rule)
    doubtful = reading.doubtful & ((broken & np.uint8(0b1100_1000)) > 0) | reading.unsettled
    if set(rules) & {3, 6, 7} and doubtful.any():
        chosen = np.flatnonzero(doubtful)
        asked = np.full(len(chosen), bits_of(set(rules) & {3, 6, 7}))
        plain = dict.fromkeys(ledger.take(chosen).ids(), 0)
        for violation in read_plainly(clinic, ledger, chosen, asked):
            plain[violation.booking.id] |= 1 << violation.rule
        broken[chosen] &= np.uint8(0b0011_0111)
        broken[chosen] |= np.fromiter(plain.values(), np.uint8, len(plain))
    return broken


class _Reading:
    """The rules of one clinic, read over one ledger."""

    def __init__(self, clinic: Clinic, ledger: Ledger) -> None:
        self._clinic, self._ledger = clinic, ledger
        self._of_type = {
            name: np.array([getattr(row, name) for row in clinic.appointment_types], np.int64)
            for name in ("duration_minutes", "buffer_before", "buffer_after")
        }
        self._duration = self._of_type["duration_minutes"][ledger.kind]
        self._before = self._of_type["buffer_before"][ledger.kind]
        self._after = self._of_type["buffer_after"][ledger.kind]
        self._ends = ledger.start + self._duration
        self.unsettled = np.zeros(len(ledger), np.bool_)
        """Overbooked ones that some order of booking may allow: which, only the checker tries."""

    def breaks(self, rule: int) -> Bools:
        """Return a mask of the bookings that break a rule, or may: see :attr:`doubtful`."""
        reading: Bools = getattr(self, f"_rule_{rule}")()
        return reading

    @cached_property
    def doubtful(self) -> Bools:
        """Those whose provider or room has a booking that runs past its date.

        Such a one may reach the date after the next, which the rules do not read.
        """
        ledger, is_long = self._ledger, self._ends > DAY_MINUTES
        return np.isin(ledger.provider, ledger.provider[is_long]) | np.isin(
            ledger.room, ledger.room[is_long]
        )

    def _rule_0(self) -> Bools:
        ledger, zone = self._ledger, self._clinic.settings.zone
        touched = np.zeros(len(ledger), np.bool_)
        for ordinal in np.unique(ledger.day).tolist():
            for from_, to in clock_changes(zone, dt.date.fromordinal(ordinal)):
                touched |= (ledger.day == ordinal) & (ledger.start < to) & (self._ends > from_)
        return touched

    def _rule_1(self) -> Bools:
        clinic, ledger = self._clinic, self._ledger
        has_skills = np.array(
            [
                [p.active and k.active and k.required_skills <= p.skills for p in clinic.providers]
                for k in clinic.appointment_types
            ]
        )
        is_equipped = np.array(
            [
                [r.active and k.required_equipment <= r.equipment for r in clinic.rooms]
                for k in clinic.appointment_types
            ]
        )
        fits: Bools = has_skills[ledger.kind, ledger.provider]
        fits &= is_equipped[ledger.kind, ledger.room]
        return ~fits

    def _rule_2(self) -> Bools:
        clinic, ledger = self._clinic, self._ledger
        days, at = np.unique(ledger.day, return_inverse=True)
        alike = _alike(clinic, [dt.date.fromordinal(day) for day in days.tolist()])
        shown = {day: position for position, day in enumerate(dict.fromkeys(alike))}
        at = np.array([shown[day] for day in alike], np.int64)[at]
        windows = [Windows.on(clinic, day) for day in shown]
        return ~(
            self._is_open(at, ledger.provider, clinic.providers, [w.provider for w in windows])
            & self._is_open(at, ledger.room, clinic.rooms, [w.room for w in windows])
        )

    def _is_open(
        self, at: Ints, owner: Ints, rows: Sequence[Any], windows: list[dict[str, Any]]
    ) -> Bools:
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
        begins = (at * len(rows) + owner) * step + self._ledger.start
        found = np.maximum(np.searchsorted(opens, begins, "right") - 1, 0)
        is_open: Bools = (opens[found] // step == begins // step) & (opens[found] <= begins)
        is_open &= self._ends <= closes[found]
        return is_open

    def _rule_3(self) -> Bools:
        turnover = np.array([row.turnover_minutes for row in self._clinic.rooms], np.int64)
        owner = self._ledger.room
        return _meets(*self._spans(owner, self._before, np.maximum(self._after, turnover[owner])))

    def _rule_5(self) -> Bools:
        ledger = self._ledger
        caps = np.array(
            [
                _FAR if row.daily_cap is None else row.daily_cap
                for row in self._clinic.appointment_types
            ],
            np.int64,
        )
        return _alike_count(ledger.kind * _FAR + ledger.day) > caps[ledger.kind]

    def _rule_6(self) -> Bools:
        ledger = self._ledger
        broken = np.zeros(len(ledger), np.bool_)
        regular = np.flatnonzero(~ledger.is_overbooked)
        begins, ends = self._provider_spans
        owner = ledger.provider[regular]
        caps = np.array(
            [_FAR if row.daily_cap is None else row.daily_cap for row in self._clinic.providers],
            np.int64,
        )
        broken[regular] = _meets(begins[regular], ends[regular])
        broken[regular] |= _alike_count(owner * _FAR + ledger.day[regular]) > caps[owner]
        return broken

    def _rule_7(self) -> Bools:
        ledger = self._ledger
        moment = ledger.day * DAY_MINUTES + ledger.start
        broken = _alike_count(ledger.provider * _FAR + moment) > 1
        over = np.flatnonzero(ledger.is_overbooked)
        if len(over):
            is_allowed, is_possible = self._allowances(over)
            broken[over] |= ~is_possible
            self.unsettled[over] = is_possible & ~is_allowed
        return broken

    def _allowances(self, over: Ints) -> tuple[Bools, Bools]:
        """Return which overbooked ones are allowed beside all others, and which beside none."""
        ledger, (begins, ends) = self._ledger, self._provider_spans
        regular = ~ledger.is_overbooked

        def met(others: Any) -> Ints:
            earlier, later = np.sort(begins[others]), np.sort(ends[others])
            return np.searchsorted(earlier, ends[over]) - np.searchsorted(
                later, begins[over], "right"
            )

        met_regular, met_all = met(regular), met(slice(None)) - 1
        same_day = _alike_count(ledger.provider[over] * _FAR + ledger.day[over]) - 1
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
            if rule.end is not None:
                covers &= end <= rule.end
            if rule.provider_id is not None:
                covers &= provider == providers[rule.provider_id]
            if rule.appointment_type_id is not None:
                covers &= kind == kinds[rule.appointment_type_id]
            if rule.weekday is not None:
                covers &= weekday == rule.weekday
            is_allowed |= covers & (met_all <= rule.max_overlap) & (same_day < rule.max_per_day)
            is_possible |= covers & (met_regular <= rule.max_overlap) & (rule.max_per_day > 0)
        return is_allowed, is_possible

    @cached_property
    def _provider_spans(self) -> tuple[Ints, Ints]:
        owner = self._ledger.provider
        before = np.array([row.buffer_before for row in self._clinic.providers], np.int64)[owner]
        after = np.array([row.buffer_after for row in self._clinic.providers], np.int64)[owner]
        return self._spans(owner, np.maximum(self._before, before), np.maximum(self._after, after))

    def _spans(self, owner: Ints, before: Ints, after: Ints) -> tuple[Ints, Ints]:
        """Return busy spans on one line of minutes, each owner's far from all others'."""
        midnight = owner * _FAR + self._ledger.day * DAY_MINUTES
        return midnight + self._ledger.start - before, midnight + self._ends + after


def _meets(begins: Ints, ends: Ints) -> Bools:
    """Return whether each span meets another."""
    order = np.argsort(begins, kind="stable")
    begin, end = begins[order], ends[order]
    met = np.zeros(len(begins), np.bool_)
    met[1:] = np.maximum.accumulate(end)[:-1] > begin[1:]
    met[:-1] |= begin[1:] < end[:-1]
    result = np.empty_like(met)
    result[order] = met
    return result


def _alike_count(keys: Ints) -> Ints:
    """Return for each key how many are equal to it."""
    _, where, count = np.unique(keys, return_inverse=True, return_counts=True)
    return count[where]


def _alike(clinic: Clinic, days: Iterable[dt.date]) -> list[dt.date]:
    """Return for each date the first of those that the availability rows say the same of."""
    dated = {row.date for row in clinic.availability if row.date is not None}
    bounds = {row.valid_from.toordinal() for row in clinic.availability if row.valid_from}
    bounds |= {row.valid_to.toordinal() + 1 for row in clinic.availability if row.valid_to}
    edges = sorted(bounds)
    first: dict[object, dt.date] = {}
    return [
        first.setdefault(
            day if day in dated else (day.isoweekday(), bisect_right(edges, day.toordinal())),
            day,
        )
        for day in days
    ]
