"""Bounds of a problem with packed types: those of the same one with more starts, and none packed.

A plan packs behind what it may not move alone, though what it places itself could be packed behind,
too. So what is proved of such plans is not proved of all. Where the types that are packed may start
at each minute to which any row of appointments could lead, every legal plan is one of that problem,
and what is proved there holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import gcd

from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES
from solver.clinic.spans import provider_busy_span
from solver.clinic.teams.in_roles import busy_in_role, in_roles
from solver.planning.problem import Plan, PlanStatus, Problem, Progress, StageName


def packs(problem: Problem) -> bool:
    """Whether a type is packed that is asked for, or that a booking has which may move."""
    asked = {request.appointment_type_id for request in problem.requests}
    asked |= {b.appointment_type_id for b in problem.clinic.bookings if b.id in problem.movable}
    return any(kind.packed for kind in problem.clinic.appointment_types if kind.id in asked)


def unpacked(problem: Problem, most_positions: int) -> Problem | None:
    """Return the problem in which packed types start as often as any row of appointments may end.

    Every busy span begins and ends at a multiple of some number of minutes, as everything does that
    it could lie behind. None where a type has more than `most_positions` places then.
    """
    every, clinic = 0, problem.clinic
    for minutes in _minutes(problem):
        every = gcd(every, minutes)
    if len(clinic.providers) * problem.days * (DAY_MINUTES // every) > most_positions:
        return None
    kinds = (
        replace(kind, start_every=every, start_offset=0, start_anchor="midnight", packed=False)
        if kind.packed
        else kind
        for kind in clinic.appointment_types
    )
    return replace(problem, clinic=replace(clinic, appointment_types=tuple(kinds)))


def _minutes(problem: Problem) -> Iterator[int]:
    """Yield what every start of a packed type is a sum of multiples of."""
    clinic = problem.clinic
    yield DAY_MINUTES
    for kind in clinic.appointment_types:
        yield clinic.start_every(kind)
        yield kind.start_offset
        for provider in clinic.providers:
            own = clinic.kind_at(kind.id, provider.id)
            yield from provider_busy_span(provider, own, 0)
            for role in own.roles:
                for member in clinic.providers:
                    yield from busy_in_role(member, role.span(own.duration_minutes))
    for b in clinic.bookings:
        if b.is_live and b.provider_id in clinic.provider_by_id:
            provider = clinic.provider_by_id[b.provider_id]
            yield provider_busy_span(provider, clinic.kind_of(b), b.start)[1]
        if b.is_live:
            for each in in_roles(clinic.kind_of(b), b):
                yield busy_in_role(clinic.provider_by_id.get(each.provider_id), each.span)[1]
    if any(kind.start_anchor == "window" for kind in clinic.appointment_types):
        for date in problem.dates:
            for windows in Day.of(clinic, date).provider_windows:
                yield from (opens for opens, _ in windows)


def trivial_bounds(problem: Problem) -> dict[StageName, Fraction]:
    """Return what no plan exceeds, or at the moves no plan falls below, whatever the rules are."""
    asked = [Fraction(request.priority) for request in problem.requests]
    bookings = sum(b.is_live for b in problem.clinic.bookings)
    return {
        "saved": Fraction(len(problem.displaced)),
        "priority": sum(asked, Fraction()),
        "moved": Fraction(),
        "distance": Fraction(),
        "score": Fraction(len(asked) + bookings),
    }


def loosely(
    problem: Problem, on_progress: Callable[[Progress], None]
) -> Callable[[Progress], None]:
    """Return what tells the progress of a search whose own bounds do not hold."""
    bounds = trivial_bounds(problem)
    return lambda told: on_progress(replace(told, bound=float(bounds[told.stage])))


def bounded_by(problem: Problem, plan: Plan, other: Plan | None) -> Plan:
    """Return a plan with the bounds of the problem's :func:`unpacked` one, of which `other` is.

    A bound holds given what the stages before reached: as soon as that is another for `other`, or
    where there is none, the trivial ones are all there is.
    """
    trivial, stages, is_alike = trivial_bounds(problem), [], other is not None
    for position, stage in enumerate(plan.stages):
        bound = trivial[stage.name]
        if other is not None and is_alike:
            bound = other.stages[position].bound
            is_alike = other.stages[position].objective == stage.objective
        stages.append(replace(stage, bound=bound))
    status: PlanStatus = "stopped" if plan.status == "stopped" else "feasible"
    if all(stage.is_proved for stage in stages):
        wanted = bool(problem.requests or problem.displaced)
        placed = any(s.objective for s in stages if s.name in {"saved", "priority"})
        status = "infeasible" if wanted and not placed else "optimal"
    return replace(plan, stages=tuple(stages), status=status)
