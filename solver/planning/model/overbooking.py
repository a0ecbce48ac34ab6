"""Rule 7 in the planning model: overbooked placements, in an order that it chooses.

Overbooked placements of a provider-day get ordinals 1 to n. The n-th is checked against fixed
bookings and those that stay, all regular placements, and the overbooked ones of smaller ordinals.
Moves are made before placements; within each, regular ones may always go first: one that came after
an overbooked one that it overlaps would not be regular.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Ints
from solver.clinic.clinic import uses_allowance
from solver.clinic.entities import Span
from solver.clinic.spans import overlap
from solver.planning.instance.columns import FAR, grouped
from solver.planning.instance.stay_feasibility import spans_at
from solver.planning.model.gap_terms import Literal
from solver.planning.model.variables import Variables


class Overbooked(NamedTuple):
    """The overbooked columns of one type at one provider and start.

    `ordinals` are literals: whether one of the columns is chosen as the first, the second, ...
    `rank` is empty, or the number by which those of all provider-days are in order.
    """

    kind: int
    at: int
    start: int
    busy: Span
    is_move: bool
    columns: tuple[int, ...]
    ordinals: list[Literal]
    rank: list[Literal]


type OverbookedByDay = dict[tuple[int, int], list[Overbooked]]
"""By provider and date."""


def overbooked_by_allowance(v: Variables) -> OverbookedByDay:
    """Rule 7: the n-th overbooked placement of a provider-day is covered by an overbooking rule."""
    by_day: OverbookedByDay = defaultdict(list)
    over = np.flatnonzero(v.columns.is_overbooked)
    is_move = v.is_move[over]
    place = (v.at.kind[over] * 2 + is_move) * FAR + v.columns.position[over]
    for _, members in grouped(place):
        c = int(over[members[0]])
        by_day[int(v.at.provider[c]), int(v.at.day[c])].append(
            Overbooked(
                kind=int(v.at.kind[c]),
                at=int(v.at.at[c]),
                start=int(v.at.start[c]),
                busy=v.busy(c),
                is_move=bool(is_move[members[0]]),
                columns=tuple(over[members].tolist()),
                ordinals=[],
                rank=[],
            )
        )
    for (provider, day), present in by_day.items():
        _never_at_the_same_start(v, provider, present)
        moves, placements = ([o for o in present if o.is_move == is_move] for is_move in (1, 0))
        if moves:
            _in_order(v, _Phase.of(v, provider, day, [], is_move=True), moves)
        if placements:
            _in_order(v, _Phase.of(v, provider, day, moves, is_move=False), placements)
        _regular_clear_of(v, moves, _regular_columns(v, provider, is_move=False))
    _roles_come_first(v, by_day)
    return by_day


def _roles_come_first(v: Variables, by_day: OverbookedByDay) -> None:
    """Rule 9: whoever takes on a role is busy with nothing then, overbooked or not.

    What overbooks somebody in a role comes after it: no move comes after a placement, and where
    both are overbooked, in one phase, their ranks say so.
    """
    of_column = {c: over for present in by_day.values() for over in present for c in over.columns}
    pairs: list[tuple[Literal, int, Overbooked]] = []
    roles = v.roles
    for (provider, _), present in by_day.items():
        of_provider = np.flatnonzero(roles.provider == provider)
        for over in present:
            for i in of_provider[roles.overlapping(of_provider, over.busy)].tolist():
                group, literal = roles.groups[int(roles.group[i])], roles.literals[i]
                if over.is_move and not group.is_move:
                    v.model.add_at_most_one([literal, *(v.assign[c] for c in over.columns)])
                elif over.is_move == group.is_move:
                    pairs += [(literal, c, over) for c in group.columns if c in of_column]
    if pairs:
        _in_ranks(v, by_day, of_column, pairs)


def _in_ranks(
    v: Variables,
    by_day: OverbookedByDay,
    of_column: Mapping[int, Overbooked],
    pairs: Sequence[tuple[Literal, int, Overbooked]],
) -> None:
    """Let a column with somebody in a role, by a literal, come before what overbooks that person.

    Ranks grow with the ordinals of a provider-day.
    """
    for over in of_column.values():
        if not over.rank:
            over.rank.append(v.model.new_int_var(1, len(of_column), ""))
    for literal, first, over in pairs:
        (before,), (after,) = of_column[first].rank, over.rank
        for later in over.columns:
            both = [literal, v.assign[first], v.assign[later]]
            v.model.add(before < after).only_enforce_if(both)
    for present in by_day.values():
        for one, other in permutations(present, 2):
            turns = _turns(one, other) if one.is_move == other.is_move else []
            for turn in turns:
                v.model.add(one.rank[0] < other.rank[0]).only_enforce_if(list(turn))


def _turns(one: Overbooked, other: Overbooked) -> list[tuple[Literal, Literal]]:
    """Return ordinals of two places by which the second comes right after the first."""
    return list(zip(one.ordinals, other.ordinals[1:], strict=False))


def _never_at_the_same_start(v: Variables, provider: int, present: Sequence[Overbooked]) -> None:
    """At most one placement or booking of a provider begins where an overbooked one could."""
    for at in {over.at for over in present}:
        here = np.flatnonzero((v.at.provider == provider) & (v.at.at == at))
        stays = [
            literal
            for i, literal in v.keep_booking.items()
            if (v.own(i).provider, v.own(i).at) == (provider, at)
        ]
        v.model.add_at_most_one([v.assign[c] for c in here])
        for stay in stays:
            for c in here:
                v.model.add_at_most_one([v.assign[c], stay])


class _Phase(NamedTuple):
    """What comes before the overbooked placements, or moves, of a provider-day.

    Attributes
    ----------
    booked
        Busy spans of bookings that are not freed, in roles as well.
    stays
        Busy spans of those that may stay, likewise, and of overbooked moves where placements are at
        stake.
    roles
        Positions in :class:`Roles` of roles that come before, if they are taken on.
    regular, shortest
        The regular columns, and the minutes of the shortest of their busy spans.
    overbooked, overbooked_before
        Overbooked ones that come before in any case, and literals of others.
    """

    provider: int
    day: int
    booked: Sequence[Span]
    stays: Sequence[tuple[Span, Literal]]
    roles: Ints
    regular: Ints
    shortest: int
    overbooked: int
    overbooked_before: Sequence[Literal]

    @classmethod
    def of(
        cls, v: Variables, provider: int, day: int, moves: Sequence[Overbooked], *, is_move: bool
    ) -> _Phase:
        """Return what comes before a phase; before placements, overbooked `moves` do."""
        kept = [(v.own(i), x) for i, x in v.keep_booking.items()]
        at_provider = [(own, x) for own, x in kept if own.provider == provider]
        moved = [(move.busy, v.assign[c]) for move in moves for c in move.columns]
        overbooked = [x for own, x in at_provider if own.day == day and uses_allowance(own.booking)]
        regular = _regular_columns(v, provider, is_move=is_move)
        return cls(
            provider,
            day,
            booked=[b for s in v.booked for b in spans_at(s, provider)],
            stays=[*((b, x) for own, x in kept for b in spans_at(own, provider)), *moved],
            roles=v.roles.of(provider, of_moves=is_move),
            regular=regular,
            shortest=int((v.at.busy_end - v.at.busy_start)[regular].min(initial=FAR)),
            overbooked=int(v.capacity.overbooked[provider, day]),
            overbooked_before=[*overbooked, *(x for _, x in moved)],
        )


def _in_order(v: Variables, phase: _Phase, present: Sequence[Overbooked]) -> None:
    """Give the overbooked columns of a phase ordinals, each covered at its turn.

    The sum of a place's ordinals = the sum of its columns.
    """
    allowed = [v.capacity.allowances(o.kind, phase.provider, phase.day, o.start) for o in present]
    last = max((per_day for pairs in allowed for _, per_day in pairs), default=0) - phase.overbooked
    for n in range(max(0, min(last, len(present)))):
        turns = [(o, list(o.ordinals)) for o in present]
        for over, pairs in zip(present, allowed, strict=True):
            over.ordinals.append(v.model.new_bool_var(""))
            others = [(o.busy, x) for o, literals in turns if o is not over for x in literals]
            _cover(v, phase, over, pairs, n, others)
        in_turn(v, [over.ordinals for over in present], n)
    for over in present:
        chosen = cp_model.LinearExpr.sum([v.assign[c] for c in over.columns])
        v.model.add(chosen == cp_model.LinearExpr.sum(over.ordinals))


def in_turn(v: Variables, ordinals: Sequence[Sequence[Literal]], n: int) -> None:
    """At most one place has the ordinal n, counted from 0; none has without one that has n - 1."""
    of_turn = [literals[n] for literals in ordinals]
    v.model.add_at_most_one(of_turn)
    if n:
        before = cp_model.LinearExpr.sum([literals[n - 1] for literals in ordinals])
        v.model.add(cp_model.LinearExpr.sum(of_turn) <= before)


def _cover(
    v: Variables,
    phase: _Phase,
    over: Overbooked,
    pairs: Sequence[tuple[int, int]],
    n: int,
    turns: Sequence[tuple[Span, Literal]],
) -> None:
    """Let the last ordinal of a place, n from 0, hold only where a rule of `pairs` covers it.

    `turns` are the busy spans of other places, with their ordinals below n.
    """
    u, (begin, end), regular = over.ordinals[-1], over.busy, phase.regular
    certain = sum(overlap(over.busy, busy) for busy in phase.booked)
    here = regular[(v.at.busy_start[regular] < end) & (v.at.busy_end[regular] > begin)]
    stays = [x for busy, x in phase.stays if overlap(busy, over.busy)]
    before = [x for busy, x in turns if overlap(busy, over.busy)]
    roles = phase.roles[v.roles.overlapping(phase.roles, over.busy)]
    before += [v.roles.literals[i] for i in roles]
    overlaps = cp_model.LinearExpr.sum([v.assign[c] for c in here] + stays + before)
    if over.is_move:
        _could_not_be_regular(v, over, phase, overlaps, certain)
    if phase.overbooked_before:
        total = cp_model.LinearExpr.sum(list(phase.overbooked_before))
        under_some_allowance(v, u, pairs, phase.overbooked + n, total, overlaps, certain)
        return
    allowance = max((most for most, per_day in pairs if phase.overbooked + n < per_day), default=-1)
    most = min(len(here), -(-(end - begin) // phase.shortest) + 1)
    most += len(stays) + min(n, len(before) - len(roles)) + len(roles)
    if allowance < certain:
        v.model.add(u == 0)
    elif certain + most > allowance:
        v.model.add(overlaps + (most - (allowance - certain)) * u <= most)


def _regular_columns(v: Variables, provider: int, *, is_move: bool) -> Ints:
    """Indices of the regular columns that are made before a phase's overbooked ones."""
    here = (v.at.provider == provider) & ~v.columns.is_overbooked
    return np.flatnonzero(here & v.is_move if is_move else here)


def _regular_clear_of(v: Variables, moves: Sequence[Overbooked], regular: Ints) -> None:
    """Regular placements overlap no overbooked move, as moves are made before them."""
    placements = regular[~v.is_move[regular]]
    for move in moves:
        start, end = v.at.busy_start[placements], v.at.busy_end[placements]
        for c in placements[(start < move.busy[1]) & (end > move.busy[0])]:
            v.model.add_at_most_one([v.assign[c], *(v.assign[m] for m in move.columns)])


def _could_not_be_regular(
    v: Variables, over: Overbooked, phase: _Phase, overlaps: cp_model.LinearExpr, certain: int
) -> None:
    """An overbooked move overlaps something, or the regular ones before it fill a cap.

    Its last ordinal implies `overlaps` >= 1, or regular moves and bookings that stay >= what the
    cap leaves, or their minutes with its own > those that are left; not stated where `certain`
    already makes it so.
    """
    if certain:
        return
    at, capacity = (phase.provider, phase.day), v.capacity
    columns = phase.regular[v.at.day[phase.regular] == phase.day]
    stays = v.regular_stays(*at)
    present = [*(v.assign[c] for c in columns), *stays.values()]
    full = []
    if capacity.has_provider_cap[phase.provider]:
        full.append(_at_least(v, present, [1] * len(present), int(capacity.regular_left[at])))
    if capacity.has_minutes_cap[phase.provider]:
        minutes = [*(v.at.end - v.at.at)[columns].tolist(), *(v.own(i).minutes for i in stays)]
        own = int(capacity.minutes[over.kind, phase.provider])
        full.append(_at_least(v, present, minutes, int(capacity.minutes_left[at]) - own + 1))
    u = over.ordinals[-1]
    v.model.add(overlaps >= 1).only_enforce_if([u, *(is_full.negated() for is_full in full)])


def _at_least(
    v: Variables, present: Sequence[Literal], weights: Sequence[int], least: int
) -> Literal:
    """Return a literal that holds only where the weights of what is present are so many."""
    is_so = v.model.new_bool_var("")
    pairs = list(zip(present, weights, strict=True))
    v.derive(is_so, lambda values: sum(w * values[x.index] for x, w in pairs) >= least)
    total = cp_model.LinearExpr.weighted_sum(list(present), list(weights))
    v.model.add(total >= least).only_enforce_if(is_so)
    return is_so


def under_some_allowance(
    v: Variables,
    u: Literal,
    pairs: Sequence[tuple[int, int]],
    overbooked: int,
    before: cp_model.LinearExpr,
    overlaps: cp_model.LinearExpr,
    certain: int,
) -> None:
    """Let `u` hold only where one of the overbooking rules in `pairs` covers it.

    A rule (max_overlap, max_per_day) covers it if `certain` + `overlaps` <= max_overlap and
    `overbooked` + `before` < max_per_day.

    Parameters
    ----------
    overbooked, before
        Overbooked ones of its provider-day that come before it: booked whatever is chosen, and
        literals.
    overlaps, certain
        What it overlaps at its turn: literals, and bookings whatever is chosen.
    """
    allowances = []
    for max_overlap, max_per_day in pairs:
        if overbooked < max_per_day and certain <= max_overlap:
            allowance = v.model.new_bool_var("")
            allowances.append(allowance)
            v.model.add(overlaps <= max_overlap - certain).only_enforce_if(allowance)
            v.model.add(before <= max_per_day - 1 - overbooked).only_enforce_if(allowance)
    v.model.add_bool_or([*allowances, u.negated()])
