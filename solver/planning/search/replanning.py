"""Replanning: bookings that may move, first as few of them as can be, then within some minutes."""

from __future__ import annotations

from dataclasses import replace

from solver.clinic.entities import Booking
from solver.planning.instance.easy_bounds import least_to_leave
from solver.planning.instance.result import stages
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.move_bookings import Exchange
from solver.planning.model.solving import SolveControl
from solver.planning.problem import Plan, Problem, Progress
from solver.planning.search.exact import column_count, has_at_most, solve_exactly
from solver.planning.search.incumbent import Incumbent
from solver.planning.search.portfolio import Portfolio, place_requests


def replan(incumbent: Incumbent) -> None:
    """Solve with all bookings fixed that need not move, then let them move further and further.

    When the former saves all that is displaced and places all that is requested, and only those
    move that cannot stay in any case, it is over: no plan moves fewer, and none that moves as few
    moves others.
    """
    if _has_time_for_a_part(incumbent) and not _is_enough_without_moving(incumbent):
        _let_move(incumbent)
    incumbent.note_bound("moved", -_least_to_move(incumbent))
    for name in stages(incumbent.instance):
        incumbent.tell(name, getattr(incumbent.totals, name), at_once=True)


def _is_enough_without_moving(incumbent: Incumbent) -> bool:
    """Fix all bookings that need not move; return whether others moving could not be better."""
    problem, limits = incumbent.instance.problem, incumbent.limits
    part = _part(
        incumbent,
        replace(problem, movable=problem.movable & problem.displaced),
        limits.time_limit / 2,
    )
    params = limits.params
    columns = params.whole_columns if problem.displaced else params.exact_columns
    if has_at_most(part, limits.most(columns)):
        solve_exactly(part)
    elif problem.displaced:
        _save_displaced_first(part)
    else:
        Portfolio(part, column_count(part.instance)).run()
    incumbent.size = part.size
    incumbent.accept(_translated(part, incumbent))
    easy, totals = incumbent.bounds, incumbent.totals
    is_all = (totals.saved, totals.priority) == (easy.saved, easy.priority)
    if is_all and -totals.moved == _least_to_move(incumbent):
        incumbent.bounds = part.bounds._replace(saved=easy.saved, priority=easy.priority)
        return True
    return False


def _let_move(incumbent: Incumbent) -> None:
    """Let bookings move within each radius in turn, by one model where that can hold it."""
    limits = incumbent.limits
    incumbent.bounds = incumbent.bounds._replace(moved=0, distance=0)
    is_whole = False
    for radius in limits.params.radii:
        if limits.is_over():
            return
        is_whole = has_at_most(incumbent, limits.most(limits.params.whole_columns), radius)
        if is_whole:
            solve_exactly(incumbent, radius)
        else:
            _move_by_neighbourhoods(incumbent, radius)
    if not is_whole and has_at_most(incumbent, _provable_columns(incumbent)):
        solve_exactly(incumbent)


def _save_displaced_first(incumbent: Incumbent) -> None:
    """Save what is displaced as though nothing were requested; then place the requests."""
    if not _has_time_for_a_part(incumbent):
        return
    problem, limits = incumbent.instance.problem, incumbent.limits
    first = _part(incumbent, replace(problem, requests=()), limits.time_limit / 3)
    first.accept(_translated(incumbent, first))
    columns = max(limits.most(limits.params.whole_columns), _provable_columns(first))
    if has_at_most(first, columns):
        solve_exactly(first)
    else:
        _move_by_neighbourhoods(first, None)
    incumbent.accept(_translated(first, incumbent))
    incumbent.note_bound("saved", first.bounds.saved)
    incumbent.size = first.size
    if not _has_time_for_a_part(incumbent):
        return
    book = _book_after(problem, first.plan())
    then = _part(
        incumbent,
        replace(
            problem,
            clinic=problem.clinic.with_bookings(book),
            movable=frozenset(),
            displaced=frozenset(),
        ),
        limits.seconds_left,
    )
    place_requests(then)
    incumbent.size = max(first.size, then.size)
    incumbent.accept([*_translated(first, incumbent), *_translated(then, incumbent)])


def _book_after(problem: Problem, plan: Plan) -> list[Booking]:
    """Return the bookings as they are once a plan's moves are made, without those it loses.

    What moves takes what its type has now.
    """
    moves = {move.id: move for move in plan.moves}
    return [
        booking
        if (move := moves.get(booking.id)) is None
        else replace(
            booking,
            provider_id=move.provider_id,
            room_id=move.room_id,
            date=move.date,
            start=move.start,
            is_overbooked=move.is_overbooked,
            team=move.team,
            duration_minutes=None,
            buffer_before=None,
            buffer_after=None,
        )
        for booking in problem.clinic.bookings
        if booking.id not in plan.lost
    ]


def _move_by_neighbourhoods(incumbent: Incumbent, radius: int | None) -> None:
    """Repair neighbourhoods in which bookings may move, until many in a row bring nothing."""
    limits = incumbent.limits
    exchange = Exchange(incumbent.instance, radius, limits.seed)
    control, in_vain = SolveControl(limits.is_over), 0
    while in_vain < limits.params.exchanges_in_vain and not limits.is_over():
        if incumbent.totals[:2] == incumbent.bounds[:2]:
            return
        assignments = exchange.better(incumbent.best, control, limits.seconds_left)
        is_accepted = assignments is not None and incumbent.accept(assignments)
        in_vain = 0 if is_accepted else in_vain + 1
        incumbent.tell("priority", incumbent.totals.priority)


def _least_to_move(incumbent: Incumbent) -> int:
    """Return how many bookings move at least in any plan that saves as many as the incumbent."""
    instance = incumbent.instance
    lost = sum(t.is_displaced for t in instance.tasks) - incumbent.totals.saved
    return max(0, least_to_leave(instance) - lost)


def _provable_columns(incumbent: Incumbent) -> int:
    """Return how many columns one model can prove in the time that is left."""
    limits, params = incumbent.limits, incumbent.limits.params
    return min(
        limits.most(params.proved_columns),
        int(params.proved_columns_a_second * limits.seconds_left),
    )


# Parts of the problem


def _has_time_for_a_part(incumbent: Incumbent) -> bool:
    """Whether there is time to set a part up: about what setting all of it up took."""
    limits = incumbent.limits
    return not limits.is_over() and incumbent.set_up_seconds < limits.seconds_left


def _part(incumbent: Incumbent, problem: Problem, time_limit: float) -> Incumbent:
    """Return the incumbent of a part of the problem, whose progress is told as the whole's.

    The bounds that are told are the whole's: those of the part hold for less.
    """

    def tell(progress: Progress) -> None:
        unit = incumbent.instance.unit if progress.stage == "score" else 1
        sign = -1 if progress.stage in {"moved", "distance"} else 1
        value = sign * progress.objective * unit
        incumbent.tell(progress.stage, value, placed=progress.placed, at_once=True)

    whole = incumbent.instance
    moving = frozenset(t.own.booking.id for t in whole.tasks if t.own is not None)
    problem = replace(problem, not_behind=whole.problem.not_behind | moving)
    return Incumbent(problem, incumbent.limits.part(time_limit), tell)


def _translated(source: Incumbent, target: Incumbent) -> list[Assignment]:
    """Return the plan of one incumbent in the tasks of another, as far as it has them."""
    number = {t.members: i for i, t in enumerate(target.instance.tasks)}
    tasks = source.instance.tasks
    return [
        assignment._replace(task=number[members])
        for assignment in source.best
        if (members := tasks[assignment.task].members) in number
    ]
