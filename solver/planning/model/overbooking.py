"""Rule 7 in the planning model: overbooked placements, in an order that it chooses.

Overbooked placements of a provider-day get ordinals 1 to n. The n-th is checked against fixed
bookings and those that stay, all regular placements, and the overbooked ones of smaller ordinals.
Moves are made before placements; within each, regular ones may always go first: one that came after
an overbooked one that it overlaps would not be regular.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Ints
from solver.clinic.entities import Span
from solver.clinic.spans import overlap
from solver.planning.instance.columns import FAR, grouped
from solver.planning.model.gap_terms import Literal
from solver.planning.model.variables import Variables


class Overbooked(NamedTuple):
    """The overbooked columns of one type at one provider and start.

    `ordinals` are literals: whether one of the columns is chosen as the first, the second, ...
    """

    kind: int
    at: int
    start: int
    busy: Span
    is_move: bool
    columns: tuple[int, ...]
    ordinals: list[Literal]


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
            )
        )
    for (provider, day), present in by_day.items():
        _never_at_the_same_start(v, provider, present)
        moves = [o for o in present if o.is_move]
        _in_order(v, provider, day, moves, [])
        _in_order(v, provider, day, [o for o in present if not o.is_move], moves)
        _regular_clear_of(v, moves, _regular_columns(v, provider, is_move=False))
    return by_day


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


def _in_order(
    v: Variables,
    provider: int,
    day: int,
    present: Sequence[Overbooked],
    earlier: Sequence[Overbooked],
) -> None:
    """Give the overbooked columns of a phase ordinals, each covered at its turn.

    Per turn at most one has its ordinal, and none without one in the turn before; the sum of the
    ordinals of a place = the sum of its columns. `earlier` are the overbooked moves where
    placements are at stake: they come before all of these.
    """
    model = v.model
    if not present:
        return
    booked = [s for s in v.booked if s.provider == provider]
    overbooked = int(v.capacity.overbooked[provider, day])
    before_all = [
        literal
        for i, literal in v.keep_booking.items()
        if (v.own(i).provider, v.own(i).day) == (provider, day) and v.own(i).booking.is_overbooked
    ] + [v.assign[c] for move in earlier for c in move.columns]
    regular = _regular_columns(v, provider, is_move=present[0].is_move)
    shortest = int((v.at.busy_end - v.at.busy_start)[regular].min(initial=FAR))
    allowed = [v.capacity.allowances(o.kind, provider, day, o.start) for o in present]
    last = max((per_day for pairs in allowed for _, per_day in pairs), default=0) - overbooked
    for n in range(max(0, min(last, len(present)))):
        before = [(o, list(o.ordinals)) for o in present]
        for over, pairs in zip(present, allowed, strict=True):
            u = model.new_bool_var("")
            over.ordinals.append(u)
            certain = sum(overlap(over.busy, s.busy) for s in booked)
            here = regular[
                (v.at.busy_start[regular] < over.busy[1]) & (v.at.busy_end[regular] > over.busy[0])
            ]
            others = [
                literal
                for i, literal in v.keep_booking.items()
                if v.own(i).provider == provider and overlap(v.own(i).busy, over.busy)
            ]
            others += [
                v.assign[c] for m in earlier if overlap(m.busy, over.busy) for c in m.columns
            ]
            turns = [
                o
                for other, literals in before
                if other is not over and overlap(other.busy, over.busy)
                for o in literals
            ]
            most = min(len(here), -(-(over.busy[1] - over.busy[0]) // shortest) + 1)
            most += len(others) + min(n, len(turns))
            overlaps = cp_model.LinearExpr.sum([v.assign[c] for c in here] + others + turns)
            if over.is_move:
                _could_not_be_regular(v, u, provider, day, overlaps, certain)
            if not before_all:
                allowance = max((o for o, per in pairs if overbooked + n < per), default=-1)
                if allowance < certain:
                    model.add(u == 0)
                elif certain + most > allowance:
                    model.add(overlaps + (most - (allowance - certain)) * u <= most)
                continue
            under_some_allowance(
                v, u, pairs, overbooked + n, cp_model.LinearExpr.sum(before_all), overlaps, certain
            )
        of_turn = [o.ordinals[n] for o in present]
        model.add_at_most_one(of_turn)
        if n:
            sums = cp_model.LinearExpr.sum(of_turn)
            model.add(sums <= cp_model.LinearExpr.sum([o.ordinals[n - 1] for o in present]))
    for over in present:
        chosen = cp_model.LinearExpr.sum([v.assign[c] for c in over.columns])
        model.add(chosen == cp_model.LinearExpr.sum(over.ordinals))


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
    v: Variables, u: Literal, provider: int, day: int, overlaps: cp_model.LinearExpr, certain: int
) -> None:
    """An overbooked move overlaps something, or the regular ones before it fill the cap.

    `u` implies `overlaps` >= 1 or regular moves and bookings that stay >= what the cap leaves; not
    stated where `certain` already makes it so.
    """
    if certain:
        return
    if not v.capacity.has_provider_cap[provider]:
        v.model.add(overlaps >= 1).only_enforce_if(u)
        return
    regular = _regular_columns(v, provider, is_move=True)
    present = [v.assign[c] for c in regular[v.at.day[regular] == day]]
    present += v.regular_stays(provider, day)
    places = int(v.capacity.regular_left[provider, day])
    is_full = v.model.new_bool_var("")
    v.derive(is_full, lambda v: sum(v[x.index] for x in present) >= places)
    v.model.add(cp_model.LinearExpr.sum(present) >= places).only_enforce_if(is_full)
    v.model.add(overlaps >= 1).only_enforce_if([u, is_full.negated()])


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
