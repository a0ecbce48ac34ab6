"""The rules as constraints of the planning model, one function a rule.

Busy spans that must stay apart become cliques, one at each moment where a set of overlapping spans
is largest, whose linear relaxation is far tighter than that of intervals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.entities import Span
from solver.clinic.places import NOWHERE
from solver.planning.instance.capacity import NO_CAP
from solver.planning.instance.columns import grouped, grouped_pairs, too_near
from solver.planning.instance.session_places import Limit
from solver.planning.model.cliques import cliques, disjoint
from solver.planning.model.gap_terms import Literal
from solver.planning.model.variables import Variables
from solver.planning.pools import FIRST


def each_placed_once(v: Variables) -> None:
    """Each task is placed at most as often as its members are free; a booking moves or stays.

    Per task: sum of its columns, and of `keep_booking`, <= free members; = 1 for a booking that is
    not displaced, as only displaced ones can be lost.
    """
    columns_of = dict(grouped(v.columns.task))
    for i, count in v.free.items():
        literals = [v.assign[c] for c in columns_of.get(i, ())]
        if i in v.keep_booking and v.instance.tasks[i].is_displaced:
            v.model.add_at_most_one([*literals, v.keep_booking[i]])
        elif i in v.keep_booking:
            v.model.add_exactly_one([*literals, v.keep_booking[i]])
        elif count == 1:
            v.model.add_at_most_one(literals)
        elif len(literals) > count:
            v.model.add(cp_model.LinearExpr.sum(literals) <= count)


def room_is_free(v: Variables) -> None:
    """Rule 3: busy spans of one room never overlap: sum of each clique <= 1."""
    instance, column = v.instance, np.array(v.column_of_choice, np.int64)
    room = np.array(v.room_of_choice, np.int64)
    start, end = np.zeros(len(column), np.int64), np.zeros(len(column), np.int64)
    for number in np.unique(v.at.kind[column]).tolist():
        kind = instance.kinds[number]
        of_kind = v.at.kind[column] == number
        at, provider = v.at.at[column[of_kind]], v.at.provider[column[of_kind]]
        start[of_kind] = at - kind.room_before[provider]
        end[of_kind] = at + kind.room_after[provider, room[of_kind]]
    stays = defaultdict(list)
    for i, literal in v.keep_booking.items():
        own = v.own(i)
        stays[own.room].append((own.room_busy, literal))
    _keep_apart(v, room, start, end, v.room_choice, stays)


def equipment_is_free(v: Variables) -> None:
    """Rule 10: columns and bookings that stay take at most the pieces of a pool that are left.

    Per pool: at each moment at which most of them share the fewest pieces, sum of what they take
    <= those; where nothing that is frozen has some, only once a column or a displaced booking does.
    """
    for pool, quantity in enumerate(v.pools.quantity):
        returns = int(v.pools.return_minutes[pool])
        columns = np.flatnonzero(quantity[v.at.kind])
        tasks = [i for i in v.keep_booking if quantity[v.own(i).kind]]
        tasks.sort(key=lambda i: not v.instance.tasks[i].is_displaced)
        if not len(columns) and not tasks:
            continue
        appointments = np.array([v.own(i).appointment for i in tasks], np.int64).reshape(-1, 2)
        begin = np.concatenate([v.at.at[columns], appointments[:, 0]])
        end = np.concatenate([v.at.end[columns], appointments[:, 1]]) + returns
        kinds = [*v.at.kind[columns].tolist(), *(v.own(i).kind for i in tasks)]
        taken = quantity[kinds]
        literals = [*(v.assign[c] for c in columns), *(v.keep_booking[i] for i in tasks)]
        count = len(columns) + sum(v.instance.tasks[i].is_displaced for i in tasks)
        left, before = v.pools.left[pool], v.pools_before.left[pool]
        is_frozen = left < before
        for minute in _tightest(begin, end, left, is_frozen):
            here = np.flatnonzero((begin <= minute) & (minute < end))
            places = int(left[minute - FIRST])
            if taken[here].sum() <= places:
                continue
            new = [literals[n] for n in here if n < count]
            stays = [literals[n] for n in here if n >= count]
            weights = taken[here].tolist()
            if is_frozen[minute - FIRST]:
                new, stays = new + stays, []
            at_most(v, new, stays, places, weights)


def _tightest(begin: Ints, end: Ints, left: Ints, is_frozen: Bools) -> list[int]:
    """Return moments such that what holds for the spans there holds for them at any other.

    A moment is left out where all its spans last until the next one, no more pieces are left
    there, and something frozen has some there if it has at this one. `left` is as of
    :class:`PoolsLeft`, `is_frozen` where something frozen has some.
    """
    changes = np.flatnonzero((np.diff(left) != 0) | np.diff(is_frozen)) + 1 + FIRST
    within = (changes > begin.min()) & (changes < end.max())
    moments = np.unique(np.concatenate([begin, changes[within]]))
    ended = np.searchsorted(np.sort(end), moments, "right")
    pieces = left[moments - FIRST]
    is_tight = np.ones(len(moments), np.bool_)
    is_tight[:-1] = (ended[1:] > ended[:-1]) | (pieces[1:] > pieces[:-1])
    frozen = is_frozen[moments - FIRST]
    is_tight[:-1] |= frozen[:-1] & ~frozen[1:]
    found: list[int] = moments[is_tight].tolist()
    return found


def type_under_its_cap(v: Variables) -> None:
    """Rule 5: per type and date, chosen columns and bookings that stay <= what the cap leaves."""
    for (kind, day), members in grouped_pairs(v.at.kind, v.at.day):
        if v.capacity.has_type_cap[kind]:
            new, stays = [v.assign[c] for c in members], v.type_stays(kind, day)
            at_most(v, new, list(stays.values()), int(v.capacity.type_left[kind, day]))


def provider_type_under_its_cap(v: Variables) -> None:
    """Rule 6: per type and provider-day, columns and bookings that stay <= what the cap leaves."""
    for kind, left in v.capacity.pair_left.items():
        of_kind = np.flatnonzero(v.at.kind == kind)
        for (provider, day), members in grouped_pairs(v.at.provider[of_kind], v.at.day[of_kind]):
            if left[provider, day] < NO_CAP // 2:
                stays = v.type_stays(kind, day).items()
                here = [literal for i, literal in stays if v.own(i).provider == provider]
                new = [v.assign[of_kind[c]] for c in members]
                at_most(v, new, here, int(left[provider, day]))


def has_place_in_sessions(v: Variables) -> None:
    """Rule 8: what begins in a session that takes so many, and bookings that stay, <= its places.

    Asked where something is held to the limit. What comes late by it is left out, but beside
    overbooked ones that are held to it, which come later still.
    """
    for number, limit in enumerate(v.capacity.sessions.limits):
        of_limit = _OfLimit.among_choices(v, limit) if limit.room >= 0 else _OfLimit.of(v, limit)
        bound = of_limit.regular + of_limit.overbooked
        if not bound:
            continue
        places = int(v.capacity.sessions.left[number])
        stays = [
            literal
            for i, literal in v.keep_booking.items()
            if limit.counts(v.own(i).kind, *v.own(i).place)
        ]
        at_most(v, bound + of_limit.others, stays, places)
        if of_limit.late and of_limit.overbooked:
            rest = of_limit.regular + of_limit.others + of_limit.late + stays
            at_most(v, of_limit.overbooked, rest, places)


class _OfLimit(NamedTuple):
    """The literals that take places of a session.

    Those held to its limit, which are `regular` or `overbooked`; those that come late; the others.
    """

    regular: list[Literal]
    overbooked: list[Literal]
    late: list[Literal]
    others: list[Literal]

    @classmethod
    def of(cls, v: Variables, limit: Limit) -> _OfLimit:
        """Return the columns that take places of a limit of a provider or of everybody."""
        found = cls([], [], [], [])
        for c in _counted(v, limit, np.arange(len(v.columns))).tolist():
            literal = v.assign[c]
            if limit.governs[v.at.start[c]]:
                is_overbooked = v.columns.is_overbooked[c]
                (found.overbooked if is_overbooked else found.regular).append(literal)
            else:
                (found.late if v.comes_late(c, -1) else found.others).append(literal)
        return found

    @classmethod
    def among_choices(cls, v: Variables, limit: Limit) -> _OfLimit:
        """Return the choices of rooms that take places of a limit of a room.

        None is told to be overbooked: where some placement of the date is, none is late.
        """
        found = cls([], [], [], [])
        column = np.array(v.column_of_choice, np.int64)
        mine = np.flatnonzero(np.array(v.room_of_choice, np.int64) == limit.room)
        is_overbooked = bool(v.columns.is_overbooked[v.at.day == limit.day].any())
        for y in mine[_counted(v, limit, column[mine])].tolist():
            alike = np.flatnonzero(v.room_key == v.room_key[column[y]]).tolist()
            if limit.governs[v.at.start[column[y]]]:
                found.regular.append(v.room_choice[y])
            elif not is_overbooked and all(v.comes_late(c, limit.room) for c in alike):
                found.late.append(v.room_choice[y])
            else:
                found.others.append(v.room_choice[y])
        return found


def _counted(v: Variables, limit: Limit, columns: Ints) -> Ints:
    """Return the positions of those columns that take places of a limit, but for their rooms."""
    at, start = v.at, v.at.start[columns]
    counted = (at.day[columns] == limit.day) & (limit.start <= start) & (start < limit.end)
    counted &= limit.kinds[at.kind[columns]]
    if limit.provider >= 0:
        counted &= at.provider[columns] == limit.provider
    return np.flatnonzero(counted)


def regular_within_capacity(v: Variables) -> None:
    """Rule 6: regular busy spans of one provider never overlap, and fit under the daily caps.

    Nor do those in roles (rule 9). Sum of each clique <= 1; per provider-day, regular columns and
    bookings that stay <= what the cap leaves, and their minutes <= those that are left.
    """
    at, roles, regular = v.at, v.roles, np.flatnonzero(~v.columns.is_overbooked)
    stays = defaultdict(list)
    for i, literal in v.keep_booking.items():
        for each in v.own(i).presences:
            stays[each.provider].append((each.busy, literal))
    _keep_apart(
        v,
        np.concatenate([at.provider[regular], roles.provider]),
        np.concatenate([at.busy_start[regular], roles.busy_start]),
        np.concatenate([at.busy_end[regular], roles.busy_end]),
        [v.assign[c] for c in regular] + roles.literals,
        stays,
    )
    for (provider, day), members in grouped_pairs(at.provider[regular], at.day[regular]):
        if not v.capacity.is_limited[provider]:
            continue
        new = [v.assign[regular[c]] for c in members]
        stays_here = v.regular_stays(provider, day)
        stay = list(stays_here.values())
        if v.capacity.has_provider_cap[provider]:
            at_most(v, new, stay, int(v.capacity.regular_left[provider, day]))
        if v.capacity.has_minutes_cap[provider]:
            minutes = (at.end - at.at)[regular[members]].tolist()
            minutes += [v.own(i).minutes for i in stays_here]
            at_most(v, new, stay, int(v.capacity.minutes_left[provider, day]), minutes)


def roles_are_filled(v: Variables) -> None:
    """Rule 9: each role of what is chosen has one person, and nobody has two of its roles.

    Per group of columns and role: sum of its literals = sum of the columns.
    """
    for group in v.roles.groups:
        chosen = cp_model.LinearExpr.sum([v.assign[c] for c in group.columns])
        of_person = defaultdict(list)
        for role in group.roles:
            literals = [v.roles.literals[i] for i in role]
            v.model.add(cp_model.LinearExpr.sum(literals) == chosen)
            for i, literal in zip(role, literals, strict=True):
                of_person[int(v.roles.provider[i])].append(literal)
        for literals in of_person.values():
            if len(literals) > 1:
                v.model.add_at_most_one(literals)


def time_to_travel(v: Variables) -> None:
    """Rule 11: between two places of a date lies time for the way, for provider and patient.

    For whoever is in a role, too. But for bookings that both stay.
    """
    if not v.instance.places.are_several:
        return
    at, roles = v.at, v.roles
    at_work = _Whereabouts(
        np.concatenate([at.provider, roles.provider]),
        np.concatenate([at.day, roles.day]),
        np.concatenate([at.place, roles.place]),
        np.concatenate([at.busy_start, roles.busy_start]),
        np.concatenate([at.busy_end, roles.busy_end]),
        v.assign + roles.literals,
    )
    working = ((i, each) for i in v.keep_booking for each in v.own(i).presences)
    stays = [(v.keep_booking[i], *each) for i, each in working]
    _leave_time_between(v, at_work, stays)
    patient = np.array([v.patient_number(i) for i in v.columns.task.tolist()], np.int64)
    treated = _Whereabouts(patient, at.day, at.place, at.at, at.end, v.assign)
    own = ((i, v.own(i)) for i in v.keep_booking)
    stays = [
        (v.keep_booking[i], v.patient_number(i), s.appointment, s.day, s.location) for i, s in own
    ]
    _leave_time_between(v, treated, stays)


class _Whereabouts(NamedTuple):
    """Where and when somebody is, if a literal holds: parallel columns of shape [n].

    Of nobody, the owner is -1.
    """

    owner: Ints
    day: Ints
    place: Ints
    start: Ints
    end: Ints
    literals: Sequence[Literal]


def _leave_time_between(
    v: Variables, new: _Whereabouts, stays: Sequence[tuple[Literal, int, Span, int, int]]
) -> None:
    """Of two columns of an owner at two places the spans lie the way apart.

    Spans at two places lie so far apart where they do not overlap once each reaches on by the way
    to the other's place. Where some share a moment, a literal tells whether the owner is at the
    first place then: each of those there implies it, each of those at the second one its contrary.
    Bookings that stay, given with owner, span, date and place, are kept apart from each column that
    they are too near.
    """
    places = v.instance.places
    for _, group in grouped_pairs(new.owner, new.day):
        if new.owner[group[0]] < 0:
            continue
        there = [p for p in np.unique(new.place[group]).tolist() if p != NOWHERE]
        for one, other in combinations(there, 2):
            to, back = int(places.minutes[one, other]), int(places.minutes[other, one])
            members = group[np.isin(new.place[group], (one, other))]
            reach = new.end[members] + np.where(new.place[members] == one, to, back)
            for clique in cliques(np.zeros_like(members), new.start[members], reach):
                _at_one_place(v, new, members[clique], one)
    for literal, owner, span, day, place in stays:
        near = too_near((new.day, new.place, new.start, new.end), day, place, span, places)
        for c in np.flatnonzero(near & (new.owner == owner) & (new.owner >= 0)).tolist():
            v.model.add_at_most_one([new.literals[c], literal])


def _at_one_place(v: Variables, new: _Whereabouts, chosen: Ints, place: int) -> None:
    """What is at two places, one of them `place`, excludes one another."""
    is_there = new.place[chosen] == place
    here, away = ([new.literals[c] for c in chosen[side]] for side in (is_there, ~is_there))
    if not here or not away:
        return
    literal = v.model.new_bool_var("")
    v.derive(literal, lambda values: any(values[x.index] for x in here))
    for x in here:
        v.model.add_implication(x, literal)
    for x in away:
        v.model.add_implication(x, literal.negated())


def patient_in_one_place(v: Variables) -> None:
    """Appointments of one patient never overlap, but for bookings that both stay.

    Sum of each clique <= 1.
    """
    patient = np.array([v.patient_number(i) for i in v.columns.task.tolist()], np.int64)
    named = np.flatnonzero(patient >= 0)
    stays = defaultdict(list)
    for i, literal in v.keep_booking.items():
        if v.patient_number(i) >= 0:
            stays[v.patient_number(i)].append((v.own(i).appointment, literal))
    _keep_apart(
        v,
        patient[named],
        v.at.at[named],
        v.at.end[named],
        [v.assign[c] for c in named],
        stays,
    )


def at_most(
    v: Variables,
    new: list[Literal],
    stays: list[Literal],
    places: int,
    weights: Sequence[int] | None = None,
) -> None:
    """Sum of `new` and `stays` <= `places`, unless none of `new` is chosen.

    A cap that changed since may leave fewer places than there are bookings: they may all stay.
    `weights` are what each takes of the places, first those of `new`; one each without them.
    """
    weights = [1] * len(new + stays) if weights is None else weights
    total = cp_model.LinearExpr.weighted_sum(new + stays, weights)
    if sum(weights[len(new) :]) <= places or not stays:
        v.model.add(total <= max(0, places))
        return
    some = v.model.new_bool_var("")
    v.derive(some, lambda v: any(v[x.index] for x in new))
    v.model.add(cp_model.LinearExpr.sum(new) <= len(new) * some)
    v.model.add(total <= places).only_enforce_if(some)


def _keep_apart(
    v: Variables,
    owner: Ints,
    start: Ints,
    end: Ints,
    literals: Sequence[Literal],
    stays: Mapping[int, Sequence[tuple[Span, Literal]]],
) -> None:
    """No two of an owner's new spans overlap, nor a new one and that of a booking that stays.

    Bookings may overlap one another as they are. Those that do not join the cliques of the new
    spans; of the rest, each is kept apart from each new span by a constraint of two.
    """
    owners, starts, ends, members = [owner], [start], [end], list(literals)
    for number, spans in stays.items():
        apart, rest = disjoint(spans)
        for i in apart:
            owners.append(np.array([number]))
            starts.append(np.array([spans[i][0][0]]))
            ends.append(np.array([spans[i][0][1]]))
            members.append(spans[i][1])
        for i in rest:
            (from_, to), stay = spans[i]
            for c in np.flatnonzero((owner == number) & (start < to) & (end > from_)).tolist():
                v.model.add_at_most_one([literals[c], stay])
    for clique in cliques(np.concatenate(owners), np.concatenate(starts), np.concatenate(ends)):
        if len(clique) > 1:
            v.model.add_at_most_one([members[i] for i in clique.tolist()])
