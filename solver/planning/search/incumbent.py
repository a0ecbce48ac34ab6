"""One solve: the incumbent, the bounds, and the ways to better either."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from solver.planning.greedy import greedy_assignments
from solver.planning.instance.columns import Columns, within
from solver.planning.instance.easy_bounds import easy_bounds, least_to_leave
from solver.planning.instance.evaluation import evaluate, ordered
from solver.planning.instance.result import stages, to_plan
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.move_bookings import Exchange
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import SolveControl
from solver.planning.params import SearchParams
from solver.planning.problem import Plan, PlanStatus, Problem, Progress, StageName
from solver.planning.search.portfolio import Portfolio


class Search:
    """One solve: the best plan so far, the bounds so far, and the ways to better either."""

    def __init__(
        self,
        problem: Problem,
        time_limit: float,
        seed: int,
        workers: int,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        params: SearchParams,
    ) -> None:
        self.params = params
        self._began = time.perf_counter()
        self.limit = time_limit
        self.seed = seed
        self.workers = workers
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._was_stopped = False
        self._told = 0.0
        self.size = (0, 0)
        self.size_share = 1.0
        self.instance = Instance(problem)
        self.bounds = easy_bounds(self.instance)
        self.best: list[Assignment] = []
        self.totals = evaluate(self.instance, [])
        greedy_limit = max(self.params.greedy_seconds, self.params.greedy_share * time_limit)
        self.take(greedy_assignments(self.instance, lambda: self.seconds > greedy_limit))
        self._set_up_seconds = self.seconds

    @property
    def seconds(self) -> float:
        """Seconds since the solve began."""
        return time.perf_counter() - self._began

    def run(self) -> None:
        """Improve and bound until there is nothing left to prove, or no time."""
        tasks = self.instance.tasks
        if any(t.own is not None for t in tasks):
            self._replan()
            self.note("moved", -self._least_to_move())
            for name in stages(self.instance):
                self.tell(name, getattr(self.totals, name), at_once=True)
        elif (columns := self.options()) <= self.most(self.params.exact_columns):
            self.solve_exactly()
        else:
            Portfolio(self, columns).run()

    def options(self) -> int:
        """Return how many columns all tasks have."""
        return sum(self.instance.options(i) for i in range(len(self.instance.tasks)))

    def has_at_most(self, columns: int, radius: int | None = None) -> bool:
        """Whether all tasks have so few columns; counted until there are more, or no time."""
        narrow = partial(within, self.instance, radius)
        count = 0
        for number in range(len(self.instance.tasks)):
            count += Columns.count(self.instance, number, narrow)
            if count > columns or self.over():
                return False
        return True

    def _least_to_move(self) -> int:
        """How many bookings move at least in any plan that saves as many as the best one."""
        lost = sum(t.is_displaced for t in self.instance.tasks) - self.totals.saved
        return max(0, least_to_leave(self.instance) - lost)

    def most(self, columns: int) -> int:
        """Return how many columns there may be where so many are usual."""
        return int(columns * self.size_share)

    # The state

    def take(self, assignments: Sequence[Assignment]) -> bool:
        """Keep a plan that is better than the best so far."""
        assignments = ordered(self.instance, assignments)
        totals = evaluate(self.instance, assignments)
        if totals < self.totals:
            return False
        self.best, self.totals = assignments, totals
        return True

    def over(self) -> bool:
        """Whether to stop: asked to, or out of time."""
        if self._should_stop is not None and self._should_stop():
            self._was_stopped = True
        return self._was_stopped or self.seconds >= self.limit

    def note(self, name: StageName, value: float) -> None:
        """Note a bound of a stage, if it is better than the one there is."""
        if math.isfinite(value):
            best = min(getattr(self.bounds, name), math.floor(value + 1e-6))
            best = max(best, getattr(self.totals, name))
            self.bounds = self.bounds._replace(**{name: best})

    def tell(
        self, name: StageName, value: float, *, placed: int | None = None, at_once: bool = False
    ) -> None:
        """Tell what a stage has reached, and what bounds it by now."""
        is_early = self.seconds - self._told < self.params.told_every_seconds and not at_once
        if self._on_progress is None or is_early:
            return
        self._told = self.seconds
        unit = self.instance.unit if name == "score" else 1
        sign = -1 if name in {"moved", "distance"} else 1
        bound = max(getattr(self.bounds, name), value)
        if placed is None:
            placed = sum(
                self.instance.tasks[assignment.task].own is None for assignment in self.best
            )
        self._on_progress(
            Progress(self.seconds, name, sign * value / unit, sign * bound / unit, placed)
        )

    def control(self, name: StageName, *, is_whole: bool) -> SolveControl:
        """Look after a solve for a stage, whose bound holds for all plans if it `is_whole`."""

        def tell(value: float, bound: float) -> None:
            if is_whole:
                self.note(name, bound)
            self.tell(name, value)

        return SolveControl(self.over, tell)

    # One model

    def solve_exactly(self, radius: int | None = None) -> None:
        """Solve all columns as one model, stage by stage.

        With a `radius`, bookings that need not move may move so many minutes at most, and the
        bounds hold for such moves only, so that they are not noted.
        """
        instance = self.instance
        if self.over():
            return
        model = PlanningModel(instance, self._columns(radius), instance.asked)
        for name in stages(instance):
            if self.over():
                return
            objective = model.score() if name == "score" else model.expression(name)
            model.hint(self.best)
            outcome = model.maximise(
                objective,
                time_limit=self.limit - self.seconds,
                seed=self.seed,
                control=self.control(name, is_whole=radius is None),
            )
            self.size = max(self.size, model.size())
            if outcome.assignments is not None:
                self.take(outcome.assignments)
                if radius is None:
                    self.note(name, outcome.bound)
                    self.tell(name, getattr(self.totals, name), at_once=True)
            model.require(objective >= getattr(self.totals, name))

    def _columns(self, radius: int | None = None) -> Columns:
        """Return all columns, those of bookings that need not move within `radius` minutes."""
        instance = self.instance
        return Columns.of(instance, range(len(instance.tasks)), partial(within, instance, radius))

    # Bookings that may move

    def _replan(self) -> None:
        """Fix all bookings that need not move; let them move when that saves or places more.

        When all that is displaced is saved and all that is asked for placed without them, and
        only those move that cannot stay in any case, no plan moves fewer, and none that moves as
        few moves others.
        """
        if not self._has_time_for_a_part():
            return
        problem = self.instance.problem
        search = self._part(
            replace(problem, movable=problem.movable & problem.displaced), self.limit / 2
        )
        params = self.params
        whole = params.whole_columns if problem.displaced else params.exact_columns
        if search.has_at_most(self.most(whole)):
            search.solve_exactly()
        elif problem.displaced:
            search._displaced_first()  # noqa: SLF001 - one of us
        else:
            Portfolio(search, search.options()).run()
        self.size = search.size
        self.take(self._as_own(search))
        easy = self.bounds
        is_all = (self.totals.saved, self.totals.priority) == (easy.saved, easy.priority)
        if is_all and -self.totals.moved == self._least_to_move():
            self.bounds = search.bounds._replace(saved=easy.saved, priority=easy.priority)
            return
        self.bounds = easy._replace(moved=0, distance=0)
        is_whole = False
        for radius in (30, 120, None):
            if self.over():
                return
            is_whole = self.has_at_most(self.most(self.params.whole_columns), radius)
            if is_whole:
                self.solve_exactly(radius)
            else:
                self._exchange(radius)
        if not is_whole and self.has_at_most(self._provable()):
            self.solve_exactly()

    def _provable(self) -> int:
        """Return how many columns one model can take in whole in the time that is left."""
        params, time_left = self.params, self.limit - self.seconds
        return min(
            self.most(params.proved_columns), int(params.proved_columns_a_second * time_left)
        )

    def _has_time_for_a_part(self) -> bool:
        """Whether there is time to set a part up: about what setting all of it up took."""
        return not self.over() and self.seconds + self._set_up_seconds < self.limit

    def _part(self, problem: Problem, limit: float) -> Search:
        """Return a search for the plan of a part of the problem."""
        part = Search(
            problem,
            limit,
            self.seed,
            self.workers,
            self._tell_of_part,
            self._stop_asked,
            self.params,
        )
        part.size_share = self.size_share
        return part

    def _tell_of_part(self, progress: Progress) -> None:
        """Tell of a part's progress with what bounds the whole: its own bounds hold for less."""
        unit = self.instance.unit if progress.stage == "score" else 1
        sign = -1 if progress.stage in {"moved", "distance"} else 1
        value = sign * progress.objective * unit
        self.tell(progress.stage, value, placed=progress.placed, at_once=True)

    def _displaced_first(self) -> None:
        """Save what is displaced as though nothing were asked for; then place the requests."""
        if not self._has_time_for_a_part():
            return
        problem = self.instance.problem
        first = self._part(replace(problem, requests=()), self.limit / 3)
        first.take(first._as_own(self))  # noqa: SLF001 - one of us
        if first.has_at_most(max(first.most(self.params.whole_columns), first._provable())):  # noqa: SLF001
            first.solve_exactly()
        else:
            first._exchange(None)  # noqa: SLF001
        self.take(self._as_own(first))
        self.note("saved", first.bounds.saved)
        self.size = first.size
        if not self._has_time_for_a_part():
            return
        plan = first.plan()
        moves = {move.id: move for move in plan.moves}
        book = [
            booking
            if (move := moves.get(booking.id)) is None
            else replace(
                booking,
                provider_id=move.provider_id,
                room_id=move.room_id,
                date=move.date,
                start=move.start,
                is_overbooked=move.is_overbooked,
            )
            for booking in problem.clinic.bookings
            if booking.id not in plan.lost
        ]
        then = self._part(
            replace(
                problem,
                clinic=problem.clinic.with_bookings(book),
                movable=frozenset(),
                displaced=frozenset(),
            ),
            self.limit - self.seconds,
        )
        then.run()
        self.size = max(first.size, then.size)
        self.take([*self._as_own(first), *self._as_own(then)])

    def _exchange(self, radius: int | None) -> None:
        """Let bookings move neighbourhood by neighbourhood, until many in a row bring nothing."""
        exchange = Exchange(self.instance, radius, self.seed)
        control, in_vain = SolveControl(self.over), 0
        while in_vain < self.params.exchanges_in_vain and not self.over():
            if self.totals[:2] == self.bounds[:2]:
                return
            assignments = exchange.better(self.best, control, self.limit - self.seconds)
            in_vain = 0 if assignments is not None and self.take(assignments) else in_vain + 1
            self.tell("priority", self.totals.priority)

    def _stop_asked(self) -> bool:
        if self._should_stop is not None and self._should_stop():
            self._was_stopped = True
        return self._was_stopped

    def _as_own(self, other: Search) -> list[Assignment]:
        """Return another search's plan in the tasks of this one, as far as it has them."""
        number = {t.members: i for i, t in enumerate(self.instance.tasks)}
        tasks = other.instance.tasks
        return [
            assignment._replace(task=number[members])
            for assignment in other.best
            if (members := tasks[assignment.task].members) in number
        ]

    # The answer

    def plan(self) -> Plan:
        """Return the best plan and what is proved of it."""
        return to_plan(
            self.instance,
            self.best,
            status=self._status(),
            bounds=self.bounds,
            seconds=self.seconds,
            size=self.size,
        )

    def _status(self) -> PlanStatus:
        if self.totals == self.bounds:
            placed = self.totals.saved or self.totals.priority
            wanted = any(t.own is None or t.is_displaced for t in self.instance.tasks)
            return "infeasible" if wanted and not placed else "optimal"
        return "stopped" if self._was_stopped else "feasible"
