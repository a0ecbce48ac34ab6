"""What the planning model optimises, stage by stage: priorities, moves, and the sum of scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.entities import Span
from solver.planning.instance.columns import grouped
from solver.planning.instance.evaluation import booking_score, gap_quarters, is_scored
from solver.planning.instance.layout import roles_of
from solver.planning.instance.tasks import FixedBooking, InRole
from solver.planning.model.gap_terms import GapTerms, Literal, Presence
from solver.planning.model.variables import Variables
from solver.planning.problem import StageName


def expression(v: Variables, name: StageName) -> cp_model.LinearExpr:
    """Return what a stage before the score maximises; moves and minutes count as negative."""
    tasks, weights = v.instance.tasks, []
    for c, i in enumerate(v.columns.task.tolist()):
        match name:
            case "saved":
                weights.append(int(tasks[i].is_displaced))
            case "priority":
                weights.append(tasks[i].priority)
            case "moved":
                weights.append(-int(tasks[i].own is not None))
            case "distance":
                day, start = int(v.at.day[c]), int(v.at.start[c])
                weights.append(-v.instance.distance(i, day, start))
            case "score":
                raise ValueError("the score has a function of its own")
    stays = [x for i, x in v.keep_booking.items() if tasks[i].is_displaced and name == "saved"]
    return cp_model.LinearExpr.weighted_sum([*v.assign, *stays], weights + [1] * len(stays))


def score(v: Variables, *, with_gap: bool = True, with_booked: bool = True) -> cp_model.LinearExpr:
    """Return the sum of scores, in score units; adds the literals that it needs.

    Of columns, bookings that stay and, `with_booked`, those that are not freed. Frozen assignments
    add only gap terms, of providers for whom there is something to choose.
    """
    instance = v.instance
    weights = np.zeros(len(v.assign), np.int64)
    for i, members in grouped(v.columns.task):
        at = v.at.variant[members], v.at.start_index[members]
        weights[members] += instance.preference(i)[at]
    weights[~v.columns.is_overbooked] += instance.regular_bonus
    terms: list[tuple[Literal, int]] = list(zip(v.assign, weights.tolist(), strict=True))
    for literal, c, room in zip(v.room_choice, v.column_of_choice, v.room_of_choice, strict=True):
        terms.append((literal, instance.room_parts[int(v.at.kind[c])][room]))
    terms += [(x, booking_score(instance, v.own(i))) for i, x in v.keep_booking.items()]
    constant = 0
    if with_booked:
        scored = [own for own in v.booked if is_scored(instance, own)]
        constant += sum(booking_score(instance, own) for own in scored)
    if with_gap:
        quarters, gaps = _gap_terms(v, with_booked=with_booked)
        constant += quarters * instance.gap_quarter
        terms += [(literal, quarters * instance.gap_quarter) for literal, quarters in gaps]
    literals = [literal for literal, _ in terms]
    return cp_model.LinearExpr.weighted_sum(literals, [weight for _, weight in terms]) + constant


def _gap_terms(v: Variables, *, with_booked: bool) -> tuple[int, list[tuple[Literal, int]]]:
    """Return the constant of the gap part and, per literal, what it adds; both in quarters.

    Of a provider for whom there is nothing to choose, bookings alone add to the constant.
    """
    constant = 0
    terms: list[tuple[Literal, int]] = []
    at_provider = _presences_of_columns(v)

    def presence(own: FixedBooking, literals: tuple[Literal, ...]) -> Presence:
        counts = with_booked and is_scored(v.instance, own) and own.window is not None
        return Presence(own.busy, own.window, literals, own.booking.is_overbooked, counts, False)

    def engage(in_roles: Iterable[InRole], literals: tuple[Literal, ...], among: set[int]) -> None:
        for each in in_roles:
            if each.provider in among:
                at_provider[each.provider].append(_in_role(each.busy, literals))

    busy_in_roles = zip(v.roles.busy_start.tolist(), v.roles.busy_end.tolist(), strict=True)
    members = v.roles.provider.tolist()
    for literal, member, busy in zip(v.roles.literals, members, busy_in_roles, strict=True):
        at_provider[member].append(_in_role(busy, (literal,)))
    everybody = set(range(len(v.instance.providers)))
    for i, literal in v.keep_booking.items():
        at_provider[v.own(i).provider].append(presence(v.own(i), (literal,)))
        engage(v.own(i).in_roles, (literal,), everybody)
    with_choice = set(at_provider)
    for own in v.booked:
        if own.provider >= 0:
            at_provider[own.provider].append(presence(own, ()))
        engage(own.in_roles, (), everybody)
    for assignment in v.frozen:
        engage(roles_of(v.instance, assignment), (), with_choice)
        if assignment.provider in with_choice:
            span, window = v.instance.busy(assignment), v.instance.window(assignment)
            is_overbooked = assignment.is_overbooked
            at_provider[assignment.provider].append(
                Presence(span, window, (), is_overbooked, True, True)
            )
    for provider, presences in at_provider.items():
        shortest = int(v.instance.shortest[provider])
        if provider not in with_choice:
            spans = [(each.busy, each.window, each.counts) for each in presences]
            constant += gap_quarters(spans, shortest)
            continue
        gaps = GapTerms(v.model, presences, shortest)
        constant += gaps.constant
        terms += gaps.terms
        v.derived += gaps.derived
    return constant, terms


def _in_role(busy: Span, literals: tuple[Literal, ...]) -> Presence:
    """Return the presence of somebody in a role, who has no gap part of it."""
    return Presence(busy, None, literals, is_overbooked=False, counts=False, is_new=True)


def _presences_of_columns(v: Variables) -> dict[int, list[Presence]]:
    """By provider: one presence for all columns that only differ in what the gap part ignores."""
    presences: dict[int, list[Presence]] = defaultdict(list)
    alike: dict[tuple[int, Span, Span, int | None], list[Literal]] = defaultdict(list)
    for c, x in enumerate(v.assign):
        kind, position = v.instance.kinds[int(v.at.kind[c])], int(v.columns.position[c])
        window = int(kind.opens.ravel()[position]), int(kind.closes.ravel()[position])
        overbooked_at = int(v.at.at[c]) if v.columns.is_overbooked[c] else None
        alike[int(v.at.provider[c]), v.busy(c), window, overbooked_at].append(x)
    for (provider, busy, window, overbooked_at), literals in alike.items():
        is_overbooked = overbooked_at is not None
        presences[provider].append(
            Presence(busy, window, tuple(literals), is_overbooked, True, True)
        )
    return presences
