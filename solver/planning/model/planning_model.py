"""The scheduling rules over many tasks at once, as a CP-SAT model, one method a rule.

Time is indexed (Dyer & Wolsey 1990): a *column* is one task at one provider and start, regular or
overbooked, and a Boolean. Busy spans that must stay apart become cliques, one at each moment where
a set of overlapping spans is largest, whose linear relaxation is far tighter than that of
intervals. Rooms are explicit but do not multiply the columns: what matters to a room is only which
type begins when, so at each type and start as many rooms are taken as tasks are placed.

Overbooked placements of one provider and date are made in an order that the model chooses, by
ordinals: the n-th meets what stands, every regular placement and the overbooked ones before it.
Moves are made before placements; within each, regular ones may always go first, as an overbooked
one that came before a regular one is not met by it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import overlap
from solver.planning.instance.columns import FAR, Columns, ColumnTimes, grouped, grouped_pairs
from solver.planning.instance.evaluation import gap_quarters
from solver.planning.instance.rooms import NO_ROOM, rooms_left
from solver.planning.instance.tables import Instance, Put, Standing, collide
from solver.planning.model.cliques import cliques, disjoint
from solver.planning.model.gap_terms import Derived, Gaps, Literal, Spot, Values
from solver.planning.model.solving import SolveControl, SolveResult, watched


class _Over(NamedTuple):
    """The overbooked columns of one kind at one provider and start."""

    kind: int
    at: int
    start: int
    busy: Span
    is_move: bool
    columns: tuple[int, ...]
    ordinals: list[Literal]


class JointModel:
    """The rules over some columns of some tasks, all else standing as it is.

    Parameters
    ----------
    instance
        The problem.
    columns
        What may be chosen. Columns that what stands rules out are dropped.
    left
        How many of each task are to be placed; bookings among them may move or stay.
    outside
        Placements that stand: those of other tasks, or of others that a task stands for. None is
        at a provider and date that `columns` has.
    rooms
        The most rooms to offer at each type and start; those of `keep` are always offered.
    keep
        The placements to start from.
    roomless
        Kinds whose rooms are not chosen here, for which the model is a relaxation: their
        placements come out with :data:`NO_ROOM`. Rooms that are not scarce make the linear
        relaxation many times larger and rule out next to nothing.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        left: Mapping[int, int],
        outside: Sequence[Put] = (),
        *,
        rooms: int | None = None,
        keep: Sequence[Put] = (),
        roomless: Collection[int] = (),
    ) -> None:
        self.model = cp_model.CpModel()
        self._instance = instance
        self._left = left
        self._rooms = rooms
        self._roomless = list(roomless)
        self._kept_rooms = {(instance.tasks[p.task].kind, p.day, p.start, p.room) for p in keep}
        self._stay: dict[int, Literal] = {}
        self._derived: list[Derived] = []
        self._outside = list(outside)
        moved = {put.task for put in outside}
        self._standing = instance.fixed + [
            t.own
            for i, t in enumerate(instance.tasks)
            if t.own is not None and not t.is_displaced and i not in moved and i not in left
        ]
        self._drop_what_stands_in_the_way(columns)

        self._choose()
        self._each_placed_once()
        self._room_is_free()
        self._type_under_its_cap()
        self._regular_within_capacity()
        self._overbooked_by_allowance()
        self._patient_in_one_place()
        self._displaced_stay_within_the_rules()

    # Columns and their literals

    def _drop_what_stands_in_the_way(self, columns: Columns) -> None:
        """Drop columns that overlap what stands and the masks did not know, or find no room."""
        instance = self._instance
        at = ColumnTimes.of(instance, columns)
        keep = np.ones(len(columns), np.bool_)
        providers = set(at.provider.tolist())
        spans = [(p.provider, instance.busy(p)) for p in self._outside if p.provider in providers]
        new = len(spans)
        spans += [(s.provider, s.busy) for s in self._standing[len(instance.fixed) :]]
        days = set(at.day.tolist())
        near = {d + ahead for d in days for ahead in (-1, 0, 1)}
        for i, (provider, (start, end)) in enumerate(spans):
            if start // DAY_MINUTES in near or (end - 1) // DAY_MINUTES in near:
                meets = at.keeping(provider, start, end)
                keep &= ~(meets & (~columns.is_overbooked | (i < new)))
        for s in self._standing[len(instance.fixed) :]:
            keep &= ~((at.provider == s.provider) & (at.at == s.at))
        patients = np.array([self._patient_number(i) for i in range(len(instance.tasks))])
        of_patient = patients[columns.task]
        for patient, (start, end) in self._patients_outside():
            keep &= ~((of_patient == patient) & (at.at < end) & (at.end > start))
        taken = [(put.room, instance.room_busy(put)) for put in self._outside]
        taken += [(s.room, s.room_busy) for s in self._standing[len(instance.fixed) :]]
        self._free_rooms = rooms_left(instance, days, taken)
        self._room_key = self._keys(columns, at)
        for key, members in grouped(self._room_key):
            if not self._rooms_for(columns, at, int(members[0]), key):
                keep[members] = False
        self.columns = columns[keep]
        self._at = ColumnTimes.of(instance, self.columns)
        self._room_key = self._room_key[keep]

    def _patient_number(self, task: int) -> int:
        numbers = self.__dict__.setdefault("_patients", {})
        patient = self._instance.tasks[task].patient
        return -1 if patient is None else int(numbers.setdefault(patient, len(numbers)))

    def _patients_outside(self) -> Iterator[tuple[int, Span]]:
        instance = self._instance
        for put in self._outside:
            task = instance.tasks[put.task]
            if task.patient is not None:
                at = put.day * DAY_MINUTES + put.start
                end = at + instance.kinds[task.kind].row.duration_minutes
                yield self._patient_number(put.task), (at, end)
        numbers = self.__dict__.get("_patients", {})
        for s in self._standing[len(instance.fixed) :]:
            patient = s.booking.patient_key
            if patient in numbers:
                end = s.at + instance.kinds[s.kind].row.duration_minutes
                yield numbers[patient], (s.at, end)

    def _keys(self, columns: Columns, at: ColumnTimes) -> Ints:
        """[n] a number for each type and start; a booking's own place has one to itself."""
        key = (at.kind * len(self._instance.dates) + at.day) * DAY_MINUTES + at.start
        for i, task in enumerate(self._instance.tasks):
            if task.own is not None and i in self._left:
                own = (at.provider == task.own.provider) & (at.at == task.own.at)
                key[(columns.task == i) & own] = -1 - i
        return key

    def _rooms_for(self, columns: Columns, at: ColumnTimes, column: int, key: int) -> list[int]:
        """Return the rooms offered to the columns of a key, of which `column` is one."""
        kind, day, start = int(at.kind[column]), int(at.day[column]), int(at.start[column])
        free = np.flatnonzero(self._free_rooms[kind, day][:, at.position[column]])
        rooms: list[int]
        if self._rooms is not None and len(free) > self._rooms:
            surplus = self._instance.kinds[kind].surplus[free]
            first = free[np.argsort(surplus, kind="stable")].tolist()
            kept = [r for r in first[self._rooms :] if (kind, day, start, r) in self._kept_rooms]
            rooms = first[: self._rooms] + kept
        else:
            rooms = free.tolist()
        if key < 0:
            own = self._instance.tasks[int(columns.task[column])].own
            return [r for r in rooms if own is None or r != own.room]
        return rooms

    def _choose(self) -> None:
        """Give every column, every room at every type and start, and every stay a literal."""
        new = self.model.new_bool_var
        self._x = [new("") for _ in range(len(self.columns))]
        for i in self._left:
            task = self._instance.tasks[i]
            if task.stays_if_not_moved or task.could_stay:
                self._stay[i] = new("")
                if self._is_taken(self._own(i)):
                    self.model.add(self._stay[i] == 0)
        self._y: list[Literal] = []
        self._y_room: list[int] = []
        self._y_column: list[int] = []
        self._y_of_key: dict[int, range] = {}
        in_rooms = np.flatnonzero(~np.isin(self._at.kind, self._roomless))
        for key, of_key in grouped(self._room_key[in_rooms]):
            members = in_rooms[of_key]
            first = len(self._y)
            for room in self._rooms_for(self.columns, self._at, int(members[0]), key):
                self._y.append(new(""))
                self._y_room.append(room)
                self._y_column.append(int(members[0]))
            self._y_of_key[key] = range(first, len(self._y))
            here = [self._x[c] for c in members]
            there = self._y[first:]
            self.model.add(cp_model.LinearExpr.sum(here) == cp_model.LinearExpr.sum(there))

    def _is_taken(self, own: Standing) -> bool:
        """Whether the place that a booking has left has since been given to what stands outside."""
        instance = self._instance
        length = instance.kinds[own.kind].row.duration_minutes
        for put in self._outside:
            patient = instance.tasks[put.task].patient
            if instance.is_stay(put):
                if collide(own, instance.own(put.task)):
                    return True
            elif (
                (put.room == own.room and overlap(instance.room_busy(put), own.room_busy))
                or (
                    put.provider == own.provider
                    and not put.is_overbooked
                    and overlap(instance.busy(put), own.busy)
                )
                or (
                    patient is not None
                    and patient == own.booking.patient_key
                    and overlap(instance.appointment(put), (own.at, own.at + length))
                )
            ):
                return True
        return False

    def _each_placed_once(self) -> None:
        """A task is placed as often as it stands for requests; a booking moves, stays or is lost.

        Only displaced bookings can be lost.
        """
        columns_of = dict(grouped(self.columns.task))
        for i, count in self._left.items():
            literals = [self._x[c] for c in columns_of.get(i, ())]
            if i in self._stay and self._instance.tasks[i].is_displaced:
                self.model.add_at_most_one([*literals, self._stay[i]])
            elif i in self._stay:
                self.model.add_exactly_one([*literals, self._stay[i]])
            elif count == 1:
                self.model.add_at_most_one(literals)
            elif len(literals) > count:
                self.model.add(cp_model.LinearExpr.sum(literals) <= count)

    # The rules

    def _room_is_free(self) -> None:
        """Rule 3: a room's busy spans never overlap."""
        instance, column = self._instance, np.array(self._y_column, np.int64)
        room = np.array(self._y_room, np.int64)
        start, end = np.zeros(len(column), np.int64), np.zeros(len(column), np.int64)
        for number in np.unique(self._at.kind[column]).tolist():
            kind = instance.kinds[number]
            of_kind = self._at.kind[column] == number
            at = self._at.at[column[of_kind]]
            start[of_kind] = at - kind.row.buffer_before
            end[of_kind] = at + kind.room_after[room[of_kind]]
        stays = defaultdict(list)
        for i, literal in self._stay.items():
            own = self._own(i)
            stays[own.room].append((own.room_busy, literal))
        self._keep_apart(room, start, end, self._y, stays)

    def _type_under_its_cap(self) -> None:
        """Rule 5: nothing is placed beyond the cap of its type on a date."""
        for (kind, day), members in grouped_pairs(self._at.kind, self._at.day):
            cap = self._instance.kinds[kind].row.daily_cap
            if cap is not None:
                stays = [
                    literal
                    for i, literal in self._stay.items()
                    if (self._own(i).kind, self._own(i).day) == (kind, day)
                ]
                places = cap - self._standing_of_kind(kind, day)
                self._at_most([self._x[c] for c in members], stays, places)

    def _regular_within_capacity(self) -> None:
        """Rule 6: a regular placement meets none that is there before, and fits under the cap."""
        at, regular = self._at, np.flatnonzero(~self.columns.is_overbooked)
        stays = defaultdict(list)
        for i, literal in self._stay.items():
            stays[self._own(i).provider].append((self._own(i).busy, literal))
        self._keep_apart(
            at.provider[regular],
            at.busy_start[regular],
            at.busy_end[regular],
            [self._x[c] for c in regular],
            stays,
        )
        for (provider, day), members in grouped_pairs(at.provider[regular], at.day[regular]):
            cap = self._instance.providers[provider].daily_cap
            if cap is not None:
                present = [self._x[regular[c]] for c in members]
                standing = self._regular_standing(provider, day)
                self._at_most(present, self._regular_stays(provider, day), cap - standing)

    def _overbooked_by_allowance(self) -> None:
        """Rule 7: the n-th overbooked placement of a provider's date is covered by an allowance."""
        by_day: dict[tuple[int, int], list[_Over]] = defaultdict(list)
        self._overs = by_day
        over = np.flatnonzero(self.columns.is_overbooked)
        is_move = self._moves[over]
        site = (self._at.kind[over] * 2 + is_move) * FAR + self.columns.site[over]
        for _, members in grouped(site):
            c = int(over[members[0]])
            by_day[int(self._at.provider[c]), int(self._at.day[c])].append(
                _Over(
                    kind=int(self._at.kind[c]),
                    at=int(self._at.at[c]),
                    start=int(self._at.start[c]),
                    busy=self._busy(c),
                    is_move=bool(is_move[members[0]]),
                    columns=tuple(over[members].tolist()),
                    ordinals=[],
                )
            )
        for (provider, day), present in by_day.items():
            self._never_at_the_same_start(provider, present)
            moves = [o for o in present if o.is_move]
            self._in_order(provider, day, moves, [])
            self._in_order(provider, day, [o for o in present if not o.is_move], moves)
            self._regular_clear_of(moves, self._regular_columns(provider, is_move=False))

    def _displaced_stay_within_the_rules(self) -> None:
        """Rules 3 and 5 to 7: a displaced booking stays only beside what lets it.

        Of bookings that collide, one stays; of those over a cap, as many as it allows; overbooked
        ones stay if in some order each is covered at its turn, before anything moves.
        """
        contested = [i for i in self._stay if self._instance.tasks[i].is_displaced]
        of_kind: dict[tuple[int, int], list[int]] = defaultdict(list)
        on_day: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
        for i in contested:
            own = self._own(i)
            of_kind[own.kind, own.day].append(i)
            on_day[own.provider, own.day, own.booking.is_overbooked].append(i)
        self._no_two_stay_that_collide(contested)
        for (kind, day), members in of_kind.items():
            cap = self._instance.kinds[kind].row.daily_cap
            if cap is not None:
                others = [
                    literal
                    for i, literal in self._stay.items()
                    if (self._own(i).kind, self._own(i).day) == (kind, day) and i not in members
                ]
                places = cap - self._standing_of_kind(kind, day)
                self._at_most([self._stay[i] for i in members], others, places)
        for (provider, day, is_overbooked), members in on_day.items():
            cap = self._instance.providers[provider].daily_cap
            if is_overbooked:
                self._stays_in_order(provider, day)
            elif cap is not None:
                new = [self._stay[i] for i in members]
                among = {literal.index for literal in new}
                others = [
                    literal
                    for literal in self._regular_stays(provider, day)
                    if literal.index not in among
                ]
                self._at_most(new, others, cap - self._regular_standing(provider, day))

    def _standing_of_kind(self, kind: int, day: int) -> int:
        return sum(s.kind == kind and s.day == day for s in self._standing) + sum(
            self._instance.tasks[p.task].kind == kind and p.day == day for p in self._outside
        )

    def _no_two_stay_that_collide(self, contested: Sequence[int]) -> None:
        """Let no displaced booking stay beside another that stays, if they collide."""
        among = set(contested)
        where: dict[tuple[str, int], list[Standing]] = defaultdict(list)
        for s in self._standing[len(self._instance.fixed) :]:
            where["room", s.room].append(s)
            where["provider", s.provider].append(s)
        stays: dict[tuple[str, int], list[int]] = defaultdict(list)
        for i in self._stay:
            stays["room", self._own(i).room].append(i)
            stays["provider", self._own(i).provider].append(i)
        pairs: set[tuple[int, int]] = set()
        for i in contested:
            own = self._own(i)
            for key in (("room", own.room), ("provider", own.provider)):
                if any(collide(own, s) for s in where[key]):
                    self.model.add(self._stay[i] == 0)
                pairs |= {
                    (min(i, j), max(i, j))
                    for j in stays[key]
                    if j != i and collide(own, self._own(j))
                }
        for i, j in sorted(pairs):
            self.model.add_at_most_one([self._stay[i], self._stay[j]])
        for key, members in stays.items():
            self._cliques_of(key[0], [i for i in members if i in among])

    def _cliques_of(self, owner: str, members: Sequence[int]) -> None:
        """Say of whole sets that share a moment what has been said of pairs: it bounds better."""
        own = [self._own(i) for i in members]
        if owner == "provider":
            members = [i for i, s in zip(members, own, strict=True) if not s.booking.is_overbooked]
            own = [self._own(i) for i in members]
        spans = [s.room_busy if owner == "room" else s.busy for s in own]
        start, end = np.array(spans, np.int64).reshape(-1, 2).T
        for clique in cliques(np.zeros(len(spans), np.int64), start, end):
            if len(clique) > 2:
                self.model.add_at_most_one([self._stay[members[c]] for c in clique.tolist()])

    def _stays_in_order(self, provider: int, day: int) -> None:
        """Give overbooked bookings that stay ordinals, each covered at its turn.

        What stands, regular bookings that stay and those that are left to break the rules come
        before them.
        """
        instance, model = self._instance, self.model
        standing = [s for s in self._standing if s.provider == provider]
        overbooked = sum(s.day == day and s.booking.is_overbooked for s in standing)
        at_provider = {i: self._own(i) for i in self._stay if self._own(i).provider == provider}
        present = {
            i: own
            for i, own in at_provider.items()
            if own.day == day and own.booking.is_overbooked and not instance.tasks[i].is_left
        }
        earlier = [
            self._stay[i]
            for i, own in at_provider.items()
            if own.day == day and own.booking.is_overbooked and i not in present
        ]
        ordinals: dict[int, list[Literal]] = {i: [] for i in present}
        for n in range(len(present)):
            before = {i: list(literals) for i, literals in ordinals.items()}
            for i, own in present.items():
                u = model.new_bool_var("")
                ordinals[i].append(u)
                met = [
                    self._stay[j]
                    for j, other in at_provider.items()
                    if j not in present and overlap(other.busy, own.busy)
                ]
                for j, literals in before.items():
                    if j != i and overlap(present[j].busy, own.busy):
                        met += literals
                self._under_some_allowance(
                    u,
                    instance.allowances(own.kind, provider, day, own.booking.start),
                    overbooked + n,
                    cp_model.LinearExpr.sum(earlier),
                    cp_model.LinearExpr.sum(met),
                    sum(overlap(own.busy, s.busy) for s in standing),
                )
            of_turn = [literals[n] for literals in ordinals.values()]
            model.add_at_most_one(of_turn)
            if n:
                earlier_turn = [literals[n - 1] for literals in ordinals.values()]
                model.add(cp_model.LinearExpr.sum(of_turn) <= cp_model.LinearExpr.sum(earlier_turn))
        for i, literals in ordinals.items():
            model.add(cp_model.LinearExpr.sum(literals) == self._stay[i])

    def _patient_in_one_place(self) -> None:
        """Appointments of one patient never overlap, but for bookings that both stay."""
        patient = np.array([self._patient_number(i) for i in self.columns.task.tolist()], np.int64)
        named = np.flatnonzero(patient >= 0)
        stays = defaultdict(list)
        for i, literal in self._stay.items():
            if self._patient_number(i) >= 0:
                own = self._own(i)
                end = own.at + self._instance.kinds[own.kind].row.duration_minutes
                stays[self._patient_number(i)].append(((own.at, end), literal))
        self._keep_apart(
            patient[named],
            self._at.at[named],
            self._at.end[named],
            [self._x[c] for c in named],
            stays,
        )

    # What the rules are built from

    def _own(self, task: int) -> Standing:
        own = self._instance.tasks[task].own
        assert own is not None
        return own

    @cached_property
    def _moves(self) -> Bools:
        """[n] whether a column is a booking's."""
        is_move = np.array([task.own is not None for task in self._instance.tasks], np.bool_)
        return is_move[self.columns.task]

    def _busy(self, column: int) -> Span:
        return int(self._at.busy_start[column]), int(self._at.busy_end[column])

    def _regular_standing(self, provider: int, day: int) -> int:
        return sum(
            (s.provider, s.day) == (provider, day) and not s.booking.is_overbooked
            for s in self._standing
        )

    def _regular_stays(self, provider: int, day: int) -> list[Literal]:
        return [
            literal
            for i, literal in self._stay.items()
            if (self._own(i).provider, self._own(i).day) == (provider, day)
            and not self._own(i).booking.is_overbooked
        ]

    def _at_most(self, new: list[Literal], stays: list[Literal], places: int) -> None:
        """Allow new ones in the places left; bookings may stay beyond a cap if none is new."""
        total = cp_model.LinearExpr.sum(new + stays)
        if len(stays) <= places or not stays:
            self.model.add(total <= max(0, places))
            return
        some = self.model.new_bool_var("")
        self._derive(some, lambda v: any(v[x.index] for x in new))
        self.model.add(cp_model.LinearExpr.sum(new) <= len(new) * some)
        self.model.add(total <= places).only_enforce_if(some)

    def _keep_apart(
        self,
        owner: Ints,
        start: Ints,
        end: Ints,
        literals: Sequence[Literal],
        stays: Mapping[int, Sequence[tuple[Span, Literal]]],
    ) -> None:
        """Keep each owner's new spans apart, from one another and from bookings that stay."""
        owners, starts, ends, members = [owner], [start], [end], list(literals)
        for who, spans in stays.items():
            apart, rest = disjoint(spans)
            for i in apart:
                owners.append(np.array([who]))
                starts.append(np.array([spans[i][0][0]]))
                ends.append(np.array([spans[i][0][1]]))
                members.append(spans[i][1])
            for i in rest:
                (from_, to), stay = spans[i]
                for c in np.flatnonzero((owner == who) & (start < to) & (end > from_)).tolist():
                    self.model.add_at_most_one([literals[c], stay])
        for clique in cliques(np.concatenate(owners), np.concatenate(starts), np.concatenate(ends)):
            if len(clique) > 1:
                self.model.add_at_most_one([members[i] for i in clique.tolist()])

    def _never_at_the_same_start(self, provider: int, present: Sequence[_Over]) -> None:
        for at in {over.at for over in present}:
            here = np.flatnonzero((self._at.provider == provider) & (self._at.at == at))
            stays = [
                literal
                for i, literal in self._stay.items()
                if (self._own(i).provider, self._own(i).at) == (provider, at)
            ]
            new = [self._x[c] for c in here]
            self.model.add_at_most_one(new)
            for stay in stays:
                for c in here:
                    self.model.add_at_most_one([self._x[c], stay])

    def _in_order(
        self, provider: int, day: int, present: Sequence[_Over], earlier: Sequence[_Over]
    ) -> None:
        """Give the overbooked ones of a phase ordinals, each covered at its turn.

        `earlier` are the overbooked moves when placements are at stake: those count against all
        of these.
        """
        instance, model = self._instance, self.model
        if not present:
            return
        standing = [s for s in self._standing if s.provider == provider]
        overbooked = sum(s.day == day and s.booking.is_overbooked for s in standing)
        variable = [
            literal
            for i, literal in self._stay.items()
            if (self._own(i).provider, self._own(i).day) == (provider, day)
            and self._own(i).booking.is_overbooked
        ] + [self._x[c] for move in earlier for c in move.columns]
        regular = self._regular_columns(provider, is_move=present[0].is_move)
        shortest = int((self._at.busy_end - self._at.busy_start)[regular].min(initial=FAR))
        allowed = [instance.allowances(o.kind, provider, day, o.start) for o in present]
        last = max((per_day for pairs in allowed for _, per_day in pairs), default=0) - overbooked
        for n in range(max(0, min(last, len(present)))):
            before = [(o, list(o.ordinals)) for o in present]
            for over, pairs in zip(present, allowed, strict=True):
                u = model.new_bool_var("")
                over.ordinals.append(u)
                sure = sum(overlap(over.busy, s.busy) for s in standing)
                meets = regular[
                    (self._at.busy_start[regular] < over.busy[1])
                    & (self._at.busy_end[regular] > over.busy[0])
                ]
                others = [
                    literal
                    for i, literal in self._stay.items()
                    if self._own(i).provider == provider and overlap(self._own(i).busy, over.busy)
                ]
                others += [
                    self._x[c] for m in earlier if overlap(m.busy, over.busy) for c in m.columns
                ]
                met_before = [
                    o
                    for other, literals in before
                    if other is not over and overlap(other.busy, over.busy)
                    for o in literals
                ]
                most = min(len(meets), -(-(over.busy[1] - over.busy[0]) // shortest) + 1)
                most += len(others) + min(n, len(met_before))
                met = cp_model.LinearExpr.sum([self._x[c] for c in meets] + others + met_before)
                if over.is_move:
                    self._could_not_be_regular(u, provider, day, met, sure)
                if not variable:
                    most_met = max((o for o, per in pairs if overbooked + n < per), default=-1)
                    if most_met < sure:
                        model.add(u == 0)
                    elif sure + most > most_met:
                        spare = most_met - sure
                        model.add(met + (most - spare) * u <= most)
                    continue
                self._under_some_allowance(
                    u, pairs, overbooked + n, cp_model.LinearExpr.sum(variable), met, sure
                )
            of_turn = [o.ordinals[n] for o in present]
            model.add_at_most_one(of_turn)
            if n:
                sums = cp_model.LinearExpr.sum(of_turn)
                model.add(sums <= cp_model.LinearExpr.sum([o.ordinals[n - 1] for o in present]))
        for over in present:
            here = cp_model.LinearExpr.sum([self._x[c] for c in over.columns])
            model.add(here == cp_model.LinearExpr.sum(over.ordinals))

    def _regular_columns(self, provider: int, *, is_move: bool) -> Ints:
        """Positions of the regular columns that are made before a phase's overbooked ones."""
        here = (self._at.provider == provider) & ~self.columns.is_overbooked
        return np.flatnonzero(here & self._moves if is_move else here)

    def _regular_clear_of(self, moves: Sequence[_Over], regular: Ints) -> None:
        """Keep regular placements clear of overbooked moves, which are made before them."""
        placements = regular[~self._moves[regular]]
        for move in moves:
            start, end = self._at.busy_start[placements], self._at.busy_end[placements]
            for c in placements[(start < move.busy[1]) & (end > move.busy[0])]:
                self.model.add_at_most_one([self._x[c], *(self._x[m] for m in move.columns)])

    def _could_not_be_regular(
        self, u: Literal, provider: int, day: int, met: cp_model.LinearExpr, sure: int
    ) -> None:
        """An overbooked move meets something, or the regular ones before it fill the cap."""
        if sure:
            return
        cap = self._instance.providers[provider].daily_cap
        if cap is None:
            self.model.add(met >= 1).only_enforce_if(u)
            return
        regular = self._regular_columns(provider, is_move=True)
        present = [self._x[c] for c in regular[self._at.day[regular] == day]]
        present += self._regular_stays(provider, day)
        standing = self._regular_standing(provider, day)
        is_full = self.model.new_bool_var("")
        self._derive(is_full, lambda v: standing + sum(v[x.index] for x in present) >= cap)
        total = cp_model.LinearExpr.sum(present) + standing
        self.model.add(total >= cap).only_enforce_if(is_full)
        self.model.add(met >= 1).only_enforce_if([u, is_full.negated()])

    def _under_some_allowance(
        self,
        u: Literal,
        pairs: Sequence[tuple[int, int]],
        overbooked: int,
        variable: cp_model.LinearExpr,
        met: cp_model.LinearExpr,
        sure: int,
    ) -> None:
        allowances = []
        for most_met, per_day in pairs:
            if overbooked < per_day and sure <= most_met:
                allowance = self.model.new_bool_var("")
                allowances.append(allowance)
                self.model.add(met <= most_met - sure).only_enforce_if(allowance)
                self.model.add(variable <= per_day - 1 - overbooked).only_enforce_if(allowance)
        self.model.add_bool_or([*allowances, u.negated()])

    def _derive(self, literal: Literal, value: Callable[[Values], bool]) -> None:
        """Say how a literal follows from others, for a whole hint."""
        self._derived.append((literal, value))

    # What is asked for

    def expression(self, name: str) -> cp_model.LinearExpr:
        """Return what a stage counts, save the score; moves and minutes count as negative."""
        tasks, columns = self._instance.tasks, self.columns
        worth = []
        for c, i in enumerate(columns.task.tolist()):
            task = tasks[i]
            if name == "saved":
                worth.append(int(task.is_displaced))
            elif name == "priority":
                worth.append(task.priority)
            elif name == "moved":
                worth.append(-int(task.own is not None))
            else:
                day, start = int(self._at.day[c]), int(self._at.start[c])
                worth.append(-self._instance.distance(i, day, start))
        literals = list(self._x)
        if name == "saved":
            stays = [x for i, x in self._stay.items() if tasks[i].is_displaced]
            literals, worth = literals + stays, worth + [1] * len(stays)
        return cp_model.LinearExpr.weighted_sum(literals, worth)

    def score(self, *, with_gap: bool = True) -> cp_model.LinearExpr:
        """Return the sum of scores in score units, placed and existing; adds what it needs.

        What stands outside does not count, but for gap parts of it that depend on what is chosen.
        """
        instance = self._instance
        literals: list[Literal] = list(self._x)
        worth = np.zeros(len(self._x), np.int64)
        for i, members in grouped(self.columns.task):
            worth[members] += instance.preference(i)[self._at.position[members]]
        worth[~self.columns.is_overbooked] += instance.regular_bonus
        shares = worth.tolist()
        literals += self._y
        shares += [
            instance.room_parts[int(self._at.kind[c])][room]
            for c, room in zip(self._y_column, self._y_room, strict=True)
        ]
        for i, literal in self._stay.items():
            literals.append(literal)
            shares.append(self._worth_standing(self._own(i)))
        constant = sum(self._worth_standing(s) for s in self._standing if self._counts(s))
        if with_gap:
            sure, gaps = self._gap_terms()
            constant += sure * instance.gap_quarter
            literals += [literal for literal, _ in gaps]
            shares += [quarters * instance.gap_quarter for _, quarters in gaps]
        return cp_model.LinearExpr.weighted_sum(literals, shares) + constant

    def _counts(self, s: Standing) -> bool:
        return 0 <= s.day < len(self._instance.dates) and s.provider >= 0 and s.room >= 0

    def _worth_standing(self, s: Standing) -> int:
        instance = self._instance
        worth = instance.units(instance.problem.weights.preference)
        worth += instance.room_parts[s.kind][s.room]
        return worth + (0 if s.booking.is_overbooked else instance.regular_bonus)

    # The gap part

    def _gap_terms(self) -> tuple[int, list[tuple[Literal, int]]]:
        """Return the sure quarters and, per literal, the quarters it is worth.

        Sure ones of what stands outside count where there is something to choose beside it.
        """
        sure = 0
        terms: list[tuple[Literal, int]] = []
        spots: dict[int, list[Spot]] = defaultdict(list, self._new_spots())
        for i, literal in self._stay.items():
            spots[self._own(i).provider].append(self._spot_of(self._own(i), (literal,)))
        chosen_at = set(spots)
        for s in self._standing:
            if s.provider >= 0:
                spots[s.provider].append(self._spot_of(s, ()))
        for put in self._outside:
            if put.provider in chosen_at:
                window = self._instance.window(put)
                busy = self._instance.busy(put)
                spots[put.provider].append(Spot(busy, window, (), put.is_overbooked, True, True))
        for provider, present in spots.items():
            shortest = int(self._instance.shortest[provider])
            if provider not in chosen_at:
                spans = [(spot.busy, spot.window, spot.counts) for spot in present]
                sure += gap_quarters(spans, shortest)
                continue
            gaps = Gaps(self.model, present, shortest)
            sure += gaps.sure
            terms += gaps.terms
            self._derived += gaps.derived
        return sure, terms

    def _spot_of(self, s: Standing, literals: tuple[Literal, ...]) -> Spot:
        counts = self._counts(s) and s.window is not None
        return Spot(s.busy, s.window, literals, s.booking.is_overbooked, counts, False)

    def _new_spots(self) -> dict[int, list[Spot]]:
        spots: dict[int, list[Spot]] = defaultdict(list)
        instance, at = self._instance, self._at
        alike: dict[tuple[int, Span, Span, int | None], list[Literal]] = defaultdict(list)
        for c, x in enumerate(self._x):
            kind = instance.kinds[int(at.kind[c])]
            site = int(self.columns.site[c])
            window = int(kind.opens.ravel()[site]), int(kind.closes.ravel()[site])
            over = int(at.at[c]) if self.columns.is_overbooked[c] else None
            alike[int(at.provider[c]), self._busy(c), window, over].append(x)
        for (provider, busy, window, over), literals in alike.items():
            is_overbooked = over is not None
            spots[provider].append(Spot(busy, window, tuple(literals), is_overbooked, True, True))
        return spots

    # Solving

    def fix(self, puts: Sequence[Put]) -> None:
        """Let only plans through that contain these placements; their rooms may change."""
        for literal in self._literals_of(puts):
            self.model.add(literal == 1)

    def kept(self, puts: Sequence[Put]) -> cp_model.LinearExpr:
        """Return how many of these placements stay, in whatever room."""
        return cp_model.LinearExpr.sum(self._literals_of(puts))

    def _literals_of(self, puts: Sequence[Put]) -> list[Literal]:
        keys = set(Columns.at(self._instance, puts).keys)
        own = zip(self._x, self.columns.keys, strict=True)
        stays = [self._stay[put.task] for put in puts if self._instance.is_stay(put)]
        return [literal for literal, key in own if key in keys] + stays

    def keep_away(self, tasks: Iterable[int]) -> None:
        """Let displaced bookings not stay, though they may move."""
        for i in tasks:
            if i in self._stay:
                self.model.add(self._stay[i] == 0)

    def hint(self, puts: Sequence[Put]) -> None:
        """Start from placements: every literal gets a value."""
        values: Values = {}
        instance = self._instance
        where = {key: c for c, key in enumerate(self.columns.keys)}
        for literal in (*self._x, *self._y, *self._stay.values()):
            values[literal.index] = 0
        stays = {put.task for put in puts if instance.is_stay(put)}
        puts = instance.made(puts)
        moved = {put.task for put in puts}
        for i, literal in self._stay.items():
            is_default = instance.tasks[i].stays_if_not_moved and i not in moved
            values[literal.index] = int(i in stays or is_default)
        order: dict[tuple[int, int, bool], int] = defaultdict(int)
        overs = {c: o for present in self._overs.values() for o in present for c in o.columns}
        for over in overs.values():
            for u in over.ordinals:
                values[u.index] = 0
        for put, key in zip(puts, Columns.at(instance, puts).keys, strict=True):
            c = where.get(key)
            if c is None:
                continue
            values[self._x[c].index] = 1
            for y in self._y_of_key.get(int(self._room_key[c]), ()):
                if self._y_room[y] == put.room:
                    values[self._y[y].index] = 1
            if c in overs:
                turn = (put.provider, put.day, overs[c].is_move)
                if order[turn] < len(overs[c].ordinals):
                    values[overs[c].ordinals[order[turn]].index] = 1
                order[turn] += 1
        for literal, follows in self._derived:
            values[literal.index] = int(follows(values))
        hint = self.model.proto.solution_hint
        hint.vars.clear()
        hint.values.clear()
        hint.vars.extend(values.keys())
        hint.values.extend(values.values())

    def maximise(
        self,
        objective: cp_model.LinearExprT,
        *,
        time_limit: float,
        seed: int = 0,
        work_limit: float | None = None,
        watch: SolveControl | None = None,
        for_bound: bool = False,
    ) -> SolveResult:
        """Look for the placements of the greatest `objective`.

        One worker with a strong linear relaxation; the same seed gives the same search, cut off
        at the same point when `work_limit`, in the solver's deterministic seconds, ends it. Where
        it is not to be ended by proof, a search `for_bound` goes where the bound is highest.
        """
        self.model.maximize(objective)
        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.catch_sigint_signal = False  # its handler ends a process that has threads
        parameters.num_workers = 1
        parameters.linearization_level = 2
        parameters.random_seed = seed
        parameters.optimize_with_lb_tree_search = for_bound
        parameters.cp_model_probing_level = 0
        parameters.symmetry_level = 0
        parameters.max_presolve_iterations = 1
        parameters.max_time_in_seconds = max(0.0, time_limit)
        if work_limit is not None:
            parameters.max_deterministic_time = work_limit
        status = watched(solver, self.model, watch)
        if status == cp_model.INFEASIBLE:
            return SolveResult(None, -math.inf, is_proved=True)
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            return SolveResult(None, math.inf, is_proved=False)
        return SolveResult(
            self.puts(solver), solver.best_objective_bound, is_proved=status == cp_model.OPTIMAL
        )

    def size(self) -> tuple[int, int]:
        """Return the numbers of variables and of constraints."""
        return len(self.model.proto.variables), len(self.model.proto.constraints)

    def puts(self, solver: cp_model.CpSolver) -> list[Put]:
        """Read the placements of a solution, those of one provider's date in their order."""
        chosen = [c for c, x in enumerate(self._x) if solver.boolean_value(x)]
        turn: dict[int, int] = {}
        for present in self._overs.values():
            for over in present:
                for n, u in enumerate(over.ordinals):
                    if solver.boolean_value(u):
                        turn |= dict.fromkeys(over.columns, n + 1)
        rooms = {
            key: [self._y_room[y] for y in ys if solver.boolean_value(self._y[y])]
            for key, ys in self._y_of_key.items()
        }
        chosen.sort(key=lambda c: (turn.get(c, 0), c))
        stays = [
            self._instance.stay(i)
            for i, literal in self._stay.items()
            if self._instance.tasks[i].is_displaced and solver.boolean_value(literal)
        ]
        return stays + [
            Put(
                int(self.columns.task[c]),
                int(self._at.provider[c]),
                rooms[key].pop() if (key := int(self._room_key[c])) in rooms else NO_ROOM,
                int(self._at.day[c]),
                int(self._at.start[c]),
                bool(self.columns.is_overbooked[c]),
            )
            for c in chosen
        ]
