"""Rule 7 in the planning model: overbooked placements, in an order that it chooses.

Overbooked placements of one provider and date are made one after another, by ordinals: the n-th
meets what stands, every regular placement and the overbooked ones before it. Moves are made before
placements; within each, regular ones may always go first, as an overbooked one that came before a
regular one is not met by it.
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
    """The overbooked columns of one kind at one provider and start."""

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
    """Rule 7: the n-th overbooked placement of a provider's date is covered by an allowance."""
    by_day: OverbookedByDay = defaultdict(list)
    over = np.flatnonzero(v.columns.is_overbooked)
    is_move = v.is_move[over]
    site = (v.at.kind[over] * 2 + is_move) * FAR + v.columns.site[over]
    for _, members in grouped(site):
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
    for at in {over.at for over in present}:
        here = np.flatnonzero((v.at.provider == provider) & (v.at.at == at))
        stays = [
            literal
            for i, literal in v.keep_booking.items()
            if (v.own(i).provider, v.own(i).at) == (provider, at)
        ]
        new = [v.assign[c] for c in here]
        v.model.add_at_most_one(new)
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
    """Give the overbooked ones of a phase ordinals, each covered at its turn.

    `earlier` are the overbooked moves when placements are at stake: those count against all
    of these.
    """
    instance, model = v.instance, v.model
    if not present:
        return
    standing = [s for s in v.standing if s.provider == provider]
    overbooked = sum(s.day == day and s.booking.is_overbooked for s in standing)
    variable = [
        literal
        for i, literal in v.keep_booking.items()
        if (v.own(i).provider, v.own(i).day) == (provider, day) and v.own(i).booking.is_overbooked
    ] + [v.assign[c] for move in earlier for c in move.columns]
    regular = _regular_columns(v, provider, is_move=present[0].is_move)
    shortest = int((v.at.busy_end - v.at.busy_start)[regular].min(initial=FAR))
    allowed = [instance.allowances(o.kind, provider, day, o.start) for o in present]
    last = max((per_day for pairs in allowed for _, per_day in pairs), default=0) - overbooked
    for n in range(max(0, min(last, len(present)))):
        before = [(o, list(o.ordinals)) for o in present]
        for over, pairs in zip(present, allowed, strict=True):
            u = model.new_bool_var("")
            over.ordinals.append(u)
            sure = sum(overlap(over.busy, s.busy) for s in standing)
            meets = regular[
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
            met_before = [
                o
                for other, literals in before
                if other is not over and overlap(other.busy, over.busy)
                for o in literals
            ]
            most = min(len(meets), -(-(over.busy[1] - over.busy[0]) // shortest) + 1)
            most += len(others) + min(n, len(met_before))
            met = cp_model.LinearExpr.sum([v.assign[c] for c in meets] + others + met_before)
            if over.is_move:
                _could_not_be_regular(v, u, provider, day, met, sure)
            if not variable:
                most_met = max((o for o, per in pairs if overbooked + n < per), default=-1)
                if most_met < sure:
                    model.add(u == 0)
                elif sure + most > most_met:
                    spare = most_met - sure
                    model.add(met + (most - spare) * u <= most)
                continue
            under_some_allowance(
                v, u, pairs, overbooked + n, cp_model.LinearExpr.sum(variable), met, sure
            )
        of_turn = [o.ordinals[n] for o in present]
        model.add_at_most_one(of_turn)
        if n:
            sums = cp_model.LinearExpr.sum(of_turn)
            model.add(sums <= cp_model.LinearExpr.sum([o.ordinals[n - 1] for o in present]))
    for over in present:
        here = cp_model.LinearExpr.sum([v.assign[c] for c in over.columns])
        model.add(here == cp_model.LinearExpr.sum(over.ordinals))


def _regular_columns(v: Variables, provider: int, *, is_move: bool) -> Ints:
    """Positions of the regular columns that are made before a phase's overbooked ones."""
    here = (v.at.provider == provider) & ~v.columns.is_overbooked
    return np.flatnonzero(here & v.is_move if is_move else here)


def _regular_clear_of(v: Variables, moves: Sequence[Overbooked], regular: Ints) -> None:
    """Keep regular placements clear of overbooked moves, which are made before them."""
    placements = regular[~v.is_move[regular]]
    for move in moves:
        start, end = v.at.busy_start[placements], v.at.busy_end[placements]
        for c in placements[(start < move.busy[1]) & (end > move.busy[0])]:
            v.model.add_at_most_one([v.assign[c], *(v.assign[m] for m in move.columns)])


def _could_not_be_regular(
    v: Variables, u: Literal, provider: int, day: int, met: cp_model.LinearExpr, sure: int
) -> None:
    """An overbooked move meets something, or the regular ones before it fill the cap."""
    if sure:
        return
    cap = v.instance.providers[provider].daily_cap
    if cap is None:
        v.model.add(met >= 1).only_enforce_if(u)
        return
    regular = _regular_columns(v, provider, is_move=True)
    present = [v.assign[c] for c in regular[v.at.day[regular] == day]]
    present += v.regular_stays(provider, day)
    standing = v.regular_standing(provider, day)
    is_full = v.model.new_bool_var("")
    v.derive(is_full, lambda v: standing + sum(v[x.index] for x in present) >= cap)
    total = cp_model.LinearExpr.sum(present) + standing
    v.model.add(total >= cap).only_enforce_if(is_full)
    v.model.add(met >= 1).only_enforce_if([u, is_full.negated()])


def under_some_allowance(
    v: Variables,
    u: Literal,
    pairs: Sequence[tuple[int, int]],
    overbooked: int,
    variable: cp_model.LinearExpr,
    met: cp_model.LinearExpr,
    sure: int,
) -> None:
    """Let `u` hold only where one of the allowances `pairs`, (overlap, per day), covers it.

    `met` are literals of what it overlaps, beside `sure` that stand; `variable` are literals of
    overbooked ones of its provider's date that come before it, beside `overbooked` that stand.
    """
    allowances = []
    for most_met, per_day in pairs:
        if overbooked < per_day and sure <= most_met:
            allowance = v.model.new_bool_var("")
            allowances.append(allowance)
            v.model.add(met <= most_met - sure).only_enforce_if(allowance)
            v.model.add(variable <= per_day - 1 - overbooked).only_enforce_if(allowance)
    v.model.add_bool_or([*allowances, u.negated()])
