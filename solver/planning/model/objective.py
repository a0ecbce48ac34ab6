"""What the planning model counts: priorities, moves, and the sum of scores."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.entities import Span
from solver.planning.instance.columns import grouped
from solver.planning.instance.evaluation import gap_quarters
from solver.planning.instance.tasks import FixedBooking
from solver.planning.model.gap_terms import Gaps, Literal, Spot
from solver.planning.model.variables import Variables
from solver.planning.problem import StageName


def expression(v: Variables, name: StageName) -> cp_model.LinearExpr:
    """Return what a stage counts, save the score; moves and minutes count as negative."""
    tasks, columns = v.instance.tasks, v.columns
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
            day, start = int(v.at.day[c]), int(v.at.start[c])
            worth.append(-v.instance.distance(i, day, start))
    literals = list(v.assign)
    if name == "saved":
        stays = [x for i, x in v.keep_booking.items() if tasks[i].is_displaced]
        literals, worth = literals + stays, worth + [1] * len(stays)
    return cp_model.LinearExpr.weighted_sum(literals, worth)


def score(
    v: Variables, *, with_gap: bool = True, with_standing: bool = True
) -> cp_model.LinearExpr:
    """Return the sum of scores in score units, placed and existing; adds what it needs.

    What stands outside does not count, but for gap parts of it that depend on what is chosen.
    """
    instance = v.instance
    literals: list[Literal] = list(v.assign)
    worth = np.zeros(len(v.assign), np.int64)
    for i, members in grouped(v.columns.task):
        worth[members] += instance.preference(i)[v.at.position[members]]
    worth[~v.columns.is_overbooked] += instance.regular_bonus
    shares = worth.tolist()
    literals += v.room_choice
    shares += [
        instance.room_parts[int(v.at.kind[c])][room]
        for c, room in zip(v.column_of_choice, v.room_of_choice, strict=True)
    ]
    for i, literal in v.keep_booking.items():
        literals.append(literal)
        shares.append(_worth_standing(v, v.own(i)))
    constant = sum(_worth_standing(v, s) for s in v.standing if with_standing and v.counts(s))
    if with_gap:
        sure, gaps = _gap_terms(v, with_standing=with_standing)
        constant += sure * instance.gap_quarter
        literals += [literal for literal, _ in gaps]
        shares += [quarters * instance.gap_quarter for _, quarters in gaps]
    return cp_model.LinearExpr.weighted_sum(literals, shares) + constant


def _worth_standing(v: Variables, s: FixedBooking) -> int:
    instance = v.instance
    worth = instance.units(instance.problem.weights.preference)
    worth += instance.room_parts[s.kind][s.room]
    return worth + (0 if s.booking.is_overbooked else instance.regular_bonus)


def _gap_terms(v: Variables, *, with_standing: bool) -> tuple[int, list[tuple[Literal, int]]]:
    """Return the sure quarters and, per literal, the quarters it is worth.

    Sure ones of what stands outside count where there is something to choose beside it.
    """
    sure = 0
    terms: list[tuple[Literal, int]] = []
    spots: dict[int, list[Spot]] = defaultdict(list, _new_spots(v))

    def spot_of(s: FixedBooking, literals: tuple[Literal, ...]) -> Spot:
        counts = with_standing and v.counts(s) and s.window is not None
        return Spot(s.busy, s.window, literals, s.booking.is_overbooked, counts, False)

    for i, literal in v.keep_booking.items():
        spots[v.own(i).provider].append(spot_of(v.own(i), (literal,)))
    chosen_at = set(spots)
    for s in v.standing:
        if s.provider >= 0:
            spots[s.provider].append(spot_of(s, ()))
    for assignment in v.outside:
        if assignment.provider in chosen_at:
            window = v.instance.window(assignment)
            busy = v.instance.busy(assignment)
            spots[assignment.provider].append(
                Spot(busy, window, (), assignment.is_overbooked, True, True)
            )
    for provider, present in spots.items():
        shortest = int(v.instance.shortest[provider])
        if provider not in chosen_at:
            spans = [(spot.busy, spot.window, spot.counts) for spot in present]
            sure += gap_quarters(spans, shortest)
            continue
        gaps = Gaps(v.model, present, shortest)
        sure += gaps.sure
        terms += gaps.terms
        v.derived += gaps.derived
    return sure, terms


def _new_spots(v: Variables) -> dict[int, list[Spot]]:
    spots: dict[int, list[Spot]] = defaultdict(list)
    instance, at = v.instance, v.at
    alike: dict[tuple[int, Span, Span, int | None], list[Literal]] = defaultdict(list)
    for c, x in enumerate(v.assign):
        kind = instance.kinds[int(at.kind[c])]
        site = int(v.columns.site[c])
        window = int(kind.opens.ravel()[site]), int(kind.closes.ravel()[site])
        over = int(at.at[c]) if v.columns.is_overbooked[c] else None
        alike[int(at.provider[c]), v.busy(c), window, over].append(x)
    for (provider, busy, window, over), literals in alike.items():
        is_overbooked = over is not None
        spots[provider].append(Spot(busy, window, tuple(literals), is_overbooked, True, True))
    return spots
