"""Displaced bookings in the planning model: which of them stay, and beside which others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.clinic import uses_allowance
from solver.clinic.spans import overlap
from solver.planning.instance.stay_feasibility import collide, met, spans_at
from solver.planning.instance.tasks import FixedBooking
from solver.planning.model.cliques import cliques
from solver.planning.model.constraints import at_most
from solver.planning.model.gap_terms import Literal
from solver.planning.model.overbooking import in_turn, under_some_allowance
from solver.planning.model.variables import Variables
from solver.rules.codes import PROVIDER_DAILY_CAP, TYPE_DAILY_CAP


def displaced_stay_within_the_rules(v: Variables) -> None:
    """Rules 3 and 5 to 8: displaced bookings that stay break no rule, before anything moves.

    Of two that collide at most one stays; under each cap as many as it leaves; overbooked ones
    only if in some order an overbooking rule covers each at its turn.
    """
    contested = [i for i in v.keep_booking if v.instance.tasks[i].is_displaced]
    own = [v.own(i) for i in contested]
    _no_two_stay_that_collide(v, contested)
    for kind, day in dict.fromkeys((s.kind, s.day) for s in own):
        if v.capacity.has_type_cap[kind]:
            stays = {
                i: literal
                for i, literal in v.type_stays(kind, day).items()
                if TYPE_DAILY_CAP not in v.own(i).booking.overrides
            }
            _under_cap(v, stays, int(v.capacity.type_left_to_stay[kind, day]))
    for kind, provider, day in dict.fromkeys((s.kind, s.provider, s.day) for s in own):
        if kind in v.capacity.pair_left:
            places = int(v.capacity.pair_left_to_stay[kind][provider, day])
            stays = {
                i: literal
                for i, literal in v.type_stays(kind, day).items()
                if v.own(i).provider == provider
                and PROVIDER_DAILY_CAP not in v.own(i).booking.overrides
            }
            _under_cap(v, stays, places)
    sessions = v.capacity.sessions
    for number in dict.fromkeys(n for s in own for n in sessions.binding(s)):
        stays = {i: x for i, x in v.keep_booking.items() if number in sessions.binding(v.own(i))}
        _under_cap(v, stays, int(sessions.left_to_stay[number]))
    for key in dict.fromkeys((s.provider, s.day, uses_allowance(s.booking)) for s in own):
        provider, day, is_by_allowance = key
        if is_by_allowance:
            _stays_in_order(v, provider, day)
            continue
        regular = v.regular_stays(provider, day)
        if v.capacity.has_provider_cap[provider]:
            _under_cap(v, regular, int(v.capacity.regular_left[provider, day]))
        if v.capacity.has_minutes_cap[provider]:
            minutes = {i: v.own(i).minutes for i in regular}
            _under_cap(v, regular, int(v.capacity.minutes_left[provider, day]), minutes)


def _under_cap(
    v: Variables,
    stays: Mapping[int, Literal],
    places: int,
    weights: Mapping[int, int] | None = None,
) -> None:
    """Bookings that stay <= `places`, unless no displaced one is among them.

    `weights` are what each takes of the places, by task; one each without them.
    """
    displaced = [i for i in stays if v.instance.tasks[i].is_displaced]
    others = [i for i in stays if not v.instance.tasks[i].is_displaced]
    at_most(
        v,
        [stays[i] for i in displaced],
        [stays[i] for i in others],
        places,
        None if weights is None else [weights[i] for i in (*displaced, *others)],
    )


def _no_two_stay_that_collide(v: Variables, contested: Sequence[int]) -> None:
    """No displaced booking stays beside a booking that stays and collides with it."""
    among = set(contested)
    where: dict[tuple[str, int], list[FixedBooking]] = defaultdict(list)
    for s in v.unmoved:
        for key in _owners(s):
            where[key].append(s)
    stays: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i in v.keep_booking:
        for key in _owners(v.own(i)):
            stays[key].append(i)
    pairs: set[tuple[int, int]] = set()
    for i in contested:
        own = v.own(i)
        for key in _owners(own):
            if any(collide(own, s, v.instance.places) for s in where[key]):
                v.model.add(v.keep_booking[i] == 0)
            pairs |= {
                (min(i, j), max(i, j))
                for j in stays[key]
                if j != i and collide(own, v.own(j), v.instance.places)
            }
    for i, j in sorted(pairs):
        v.model.add_at_most_one([v.keep_booking[i], v.keep_booking[j]])
    for key, members in stays.items():
        _cliques_of(v, key, [i for i in members if i in among])


def _owners(own: FixedBooking) -> list[tuple[str, int]]:
    """Return whose time a booking takes: its room, its provider, and whoever is in its roles."""
    return [("room", own.room), *(("provider", each.provider) for each in own.presences)]


def _cliques_of(v: Variables, key: tuple[str, int], members: Sequence[int]) -> None:
    """At most one of each clique stays: implied by the pairs, with a tighter relaxation."""
    own = [v.own(i) for i in members]
    owner, number = key
    if owner == "provider":
        members = [
            i
            for i, s in zip(members, own, strict=True)
            if not s.booking.is_overbooked and s.provider == number
        ]
        own = [v.own(i) for i in members]
    spans = [s.room_busy if owner == "room" else s.busy for s in own]
    start, end = np.array(spans, np.int64).reshape(-1, 2).T
    for clique in cliques(np.zeros(len(spans), np.int64), start, end):
        if len(clique) > 2:
            v.model.add_at_most_one([v.keep_booking[members[c]] for c in clique.tolist()])


def _stays_in_order(v: Variables, provider: int, day: int) -> None:
    """Overbooked bookings that stay in a provider-day have ordinals, each covered at its turn.

    Bookings that are not freed, regular ones that stay and those that may go on to break a rule
    come before them, those that override the provider's capacity after them. Per turn at most one
    booking has its ordinal, and none without one in the turn before; per booking, sum of its
    ordinals = `keep_booking`.
    """
    instance, model = v.instance, v.model
    booked = [s for s in v.booked if spans_at(s, provider)]
    overbooked = int(v.capacity.overbooked[provider, day])
    at_provider = {i: v.own(i) for i in v.keep_booking if v.own(i).provider == provider}
    present = {
        i: own
        for i, own in at_provider.items()
        if own.day == day and uses_allowance(own.booking) and not instance.tasks[i].is_left
    }
    earlier = [
        v.keep_booking[i]
        for i, own in at_provider.items()
        if own.day == day and uses_allowance(own.booking) and i not in present
    ]
    others = {i: v.own(i) for i in v.keep_booking if i not in present}
    ordinals: dict[int, list[Literal]] = {i: [] for i in present}
    for n in range(len(present)):
        before = {i: list(literals) for i, literals in ordinals.items()}
        for i, own in present.items():
            u = model.new_bool_var("")
            ordinals[i].append(u)
            overlapping = [
                v.keep_booking[j]
                for j, other in others.items()
                for busy in met(other, own)
                if overlap(busy, own.busy)
            ]
            for j, literals in before.items():
                if j != i and overlap(present[j].busy, own.busy):
                    overlapping += literals
            under_some_allowance(
                v,
                u,
                v.capacity.allowances_of(own),
                overbooked + n,
                cp_model.LinearExpr.sum(earlier),
                cp_model.LinearExpr.sum(overlapping),
                sum(overlap(own.busy, busy) for s in booked for busy in met(s, own)),
            )
        in_turn(v, list(ordinals.values()), n)
    for i, literals in ordinals.items():
        model.add(cp_model.LinearExpr.sum(literals) == v.keep_booking[i])
