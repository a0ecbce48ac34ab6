"""Displaced bookings of the planning model: which of them stay, and beside what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.spans import overlap
from solver.planning.instance.beside import collide
from solver.planning.instance.tasks import FixedBooking
from solver.planning.model.cliques import cliques
from solver.planning.model.constraints import at_most
from solver.planning.model.gap_terms import Literal
from solver.planning.model.overbooking import under_some_allowance
from solver.planning.model.variables import Variables


def displaced_stay_within_the_rules(v: Variables) -> None:
    """Rules 3 and 5 to 7: a displaced booking stays only beside what lets it.

    Of bookings that collide, one stays; of those over a cap, as many as it allows; overbooked
    ones stay if in some order each is covered at its turn, before anything moves.
    """
    contested = [i for i in v.keep_booking if v.instance.tasks[i].is_displaced]
    of_kind: dict[tuple[int, int], list[int]] = defaultdict(list)
    on_day: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
    for i in contested:
        own = v.own(i)
        of_kind[own.kind, own.day].append(i)
        on_day[own.provider, own.day, own.booking.is_overbooked].append(i)
    _no_two_stay_that_collide(v, contested)
    for (kind, day), members in of_kind.items():
        cap = v.instance.kinds[kind].row.daily_cap
        if cap is not None:
            others = [
                literal
                for i, literal in v.keep_booking.items()
                if (v.own(i).kind, v.own(i).day) == (kind, day) and i not in members
            ]
            places = cap - v.standing_of_kind(kind, day)
            at_most(v, [v.keep_booking[i] for i in members], others, places)
    for (provider, day, is_overbooked), members in on_day.items():
        cap = v.instance.providers[provider].daily_cap
        if is_overbooked:
            _stays_in_order(v, provider, day)
        elif cap is not None:
            new = [v.keep_booking[i] for i in members]
            among = {literal.index for literal in new}
            others = [
                literal for literal in v.regular_stays(provider, day) if literal.index not in among
            ]
            at_most(v, new, others, cap - v.regular_standing(provider, day))


def _no_two_stay_that_collide(v: Variables, contested: Sequence[int]) -> None:
    """Let no displaced booking stay beside another that stays, if they collide."""
    among = set(contested)
    where: dict[tuple[str, int], list[FixedBooking]] = defaultdict(list)
    for s in v.standing[len(v.instance.fixed) :]:
        where["room", s.room].append(s)
        where["provider", s.provider].append(s)
    stays: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i in v.keep_booking:
        stays["room", v.own(i).room].append(i)
        stays["provider", v.own(i).provider].append(i)
    pairs: set[tuple[int, int]] = set()
    for i in contested:
        own = v.own(i)
        for key in (("room", own.room), ("provider", own.provider)):
            if any(collide(own, s) for s in where[key]):
                v.model.add(v.keep_booking[i] == 0)
            pairs |= {
                (min(i, j), max(i, j)) for j in stays[key] if j != i and collide(own, v.own(j))
            }
    for i, j in sorted(pairs):
        v.model.add_at_most_one([v.keep_booking[i], v.keep_booking[j]])
    for key, members in stays.items():
        _cliques_of(v, key[0], [i for i in members if i in among])


def _cliques_of(v: Variables, owner: str, members: Sequence[int]) -> None:
    """Say of whole sets that share a moment what has been said of pairs: it bounds better."""
    own = [v.own(i) for i in members]
    if owner == "provider":
        members = [i for i, s in zip(members, own, strict=True) if not s.booking.is_overbooked]
        own = [v.own(i) for i in members]
    spans = [s.room_busy if owner == "room" else s.busy for s in own]
    start, end = np.array(spans, np.int64).reshape(-1, 2).T
    for clique in cliques(np.zeros(len(spans), np.int64), start, end):
        if len(clique) > 2:
            v.model.add_at_most_one([v.keep_booking[members[c]] for c in clique.tolist()])


def _stays_in_order(v: Variables, provider: int, day: int) -> None:
    """Give overbooked bookings that stay ordinals, each covered at its turn.

    What stands, regular bookings that stay and those that are left to break the rules come
    before them.
    """
    instance, model = v.instance, v.model
    standing = [s for s in v.standing if s.provider == provider]
    overbooked = sum(s.day == day and s.booking.is_overbooked for s in standing)
    at_provider = {i: v.own(i) for i in v.keep_booking if v.own(i).provider == provider}
    present = {
        i: own
        for i, own in at_provider.items()
        if own.day == day and own.booking.is_overbooked and not instance.tasks[i].is_left
    }
    earlier = [
        v.keep_booking[i]
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
                v.keep_booking[j]
                for j, other in at_provider.items()
                if j not in present and overlap(other.busy, own.busy)
            ]
            for j, literals in before.items():
                if j != i and overlap(present[j].busy, own.busy):
                    met += literals
            under_some_allowance(
                v,
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
        model.add(cp_model.LinearExpr.sum(literals) == v.keep_booking[i])
