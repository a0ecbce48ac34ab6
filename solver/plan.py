"""Many requests at once: the best plan of a horizon, stage by stage, each with a proven bound.

The stages are lexicographic: displaced bookings saved, priorities placed, bookings moved and how
far, and last the score of the finished plan. What is small is solved as one model, stage by stage,
to the end. What is not is improved block by block while the linear relaxation bounds it; where the
bound leaves little, one model of the columns that could still matter closes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import partial
from typing import Any

from solver.exchange import Exchange
from solver.greedy import greedy_puts
from solver.instance import Instance, Put
from solver.joint import Columns, JointModel, Watch
from solver.neighbourhood import (
    Answer,
    Block,
    Blocks,
    Relaxed,
    Team,
    bound,
    bound_score,
    close,
    combined,
    priced,
    relax,
    solve_block,
)
from solver.prices import Prices
from solver.problem import Plan, PlanStatus, Problem, Progress, StageName

EXACT_UP_TO = 3000
"""Columns that one model takes in whole."""
WHOLE_UP_TO = 10_000
"""Columns that one model takes in whole where bookings may move, within some minutes at least."""
PROVED_UP_TO, PROVED_A_SECOND = 60_000, 3_000
"""Columns that one model takes in whole at the end, to prove what blocks have found, if there is
time for so many."""
EXCHANGES = 30
"""Blocks in a row that bring nothing before bookings may move further."""
SIFTED_UP_TO = 200_000
"""Columns whose relaxation is sifted to the end; beyond, it is bounded by a subgradient."""
CLOSED_UP_TO = 8_000
"""Columns with which one model may settle the priorities."""
SCORE_BOUNDED_UP_TO = 12_000
"""Columns of the plans of the greatest priority whose score one model may bound."""
SCORE_BOUNDED_AFTER_SHARE, SCORE_BOUNDED_SECONDS, SCORE_BOUNDED_SHARE = 0.5, 10.0, 0.9
"""The part of the time after which it does, the least that is then left, and what it has of that:
until then, blocks have all processes."""
PRIORITY_SHARE = 0.5
"""The part of the time that is the priorities' alone; the score's blocks better them little."""
CLOSED_UNTIL_SHARE = 0.65
"""The part of the time after which no model is begun that could settle the priorities."""
PRICED_AFTER_SHARE = 0.04
"""The part of the time after which requests are priced: prices tell blocks where to begin."""

GREEDY_SHARE, GREEDY_SECONDS = 0.4, 1.0
"""The part of the time that the greedy plan may take, and what it may take in any case."""
MEMORY_LIMIT_BYTES = 700 * 2**20
"""What a solver may take where nobody says otherwise, the processes that help it included."""
PROCESS_BYTES = 200 * 2**20
"""What one of them takes beside the tables of the problem: what it has to load, and models of the
sizes above. With less memory than usual, the models are smaller by as much."""
TOLD_AFTER_SECONDS = 0.5
"""Seconds from one word on the progress to the next, if nothing is settled between them."""


def solve(
    problem: Problem,
    *,
    time_limit: float,
    seed: int = 0,
    workers: int = 2,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    keep_back: Callable[[Plan], float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Plan:
    """Return the best plan found within `time_limit` seconds, never worse than the greedy one.

    Setting up and the greedy plan count; where there is not even time for that, what has been
    placed by then is the plan.

    Parameters
    ----------
    problem
        What to plan.
    time_limit
        Seconds. Most of what is not proved goes to the priorities, the rest to the score.
    seed
        Of the random choices. A solve that ends by proof gives the same plan for the same seed.
    workers
        Jobs that may be done at once, in as many processes; with 1 everything happens in this one.
    memory_limit_bytes
        Memory for this process and those it begins: it decides how many there are at most, and how
        large models become.
    keep_back
        Asked with the greedy plan how many of the seconds to leave for what is done with a plan.
    on_progress
        Called in this thread, about every half second.
    should_stop
        Asked often; once true, the best plan so far is returned.
    """
    search = _Search(problem, time_limit, seed, workers, on_progress, should_stop)
    processes = memory_limit_bytes // (PROCESS_BYTES + search.instance.table_bytes)
    search.workers = max(1, min(workers, processes - 1))
    search.size_share = min(1.0, memory_limit_bytes / MEMORY_LIMIT_BYTES)
    if keep_back is not None:
        search.limit -= keep_back(search.plan())
    search.run()
    return search.plan()


class _Search:
    """One solve: the best plan so far, the bounds so far, and the ways to better either."""

    def __init__(
        self,
        problem: Problem,
        time_limit: float,
        seed: int,
        workers: int,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
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
        self.bounds = self.instance.easy_bounds()
        self.best: list[Put] = []
        self.totals = self.instance.totals([])
        greedy_limit = max(GREEDY_SECONDS, GREEDY_SHARE * time_limit)
        self.take(greedy_puts(self.instance, lambda: self.seconds > greedy_limit))

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def run(self) -> None:
        """Improve and bound until there is nothing left to prove, or no time."""
        tasks = self.instance.tasks
        columns = sum(self.instance.options(i) for i in range(len(tasks)))
        if any(t.own is not None for t in tasks):
            self._replan()
            self.note("moved", -self._least_to_move())
            for name in self.instance.stages:
                self.tell(name, getattr(self.totals, name), at_once=True)
        elif columns <= self.most(EXACT_UP_TO):
            self.solve_exactly()
        else:
            _Rounds(self, columns).run()

    def _least_to_move(self) -> int:
        """How many bookings move at least in any plan that saves as many as the best one."""
        lost = sum(t.is_displaced for t in self.instance.tasks) - self.totals.saved
        return max(0, self.instance.least_to_leave - lost)

    def most(self, columns: int) -> int:
        """Return how many columns there may be where so many are usual."""
        return int(columns * self.size_share)

    # The state

    def take(self, puts: Sequence[Put]) -> bool:
        """Keep a plan that is better than the best so far."""
        puts = self.instance.ordered(puts)
        totals = self.instance.totals(puts)
        if totals < self.totals:
            return False
        self.best, self.totals = puts, totals
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
        is_early = self.seconds - self._told < TOLD_AFTER_SECONDS and not at_once
        if self._on_progress is None or is_early:
            return
        self._told = self.seconds
        unit = self.instance.unit if name == "score" else 1
        sign = -1 if name in {"moved", "distance"} else 1
        bound = max(getattr(self.bounds, name), value)
        if placed is None:
            placed = sum(self.instance.tasks[put.task].own is None for put in self.best)
        self._on_progress(
            Progress(self.seconds, name, sign * value / unit, sign * bound / unit, placed)
        )

    def watch(self, name: StageName, *, is_whole: bool) -> Watch:
        """Look after a solve for a stage, whose bound holds for all plans if it `is_whole`."""

        def tell(value: float, bound: float) -> None:
            if is_whole:
                self.note(name, bound)
            self.tell(name, value)

        return Watch(self.over, tell)

    # One model

    def solve_exactly(self, radius: int | None = None) -> None:
        """Solve all columns as one model, stage by stage.

        With a `radius`, bookings that need not move may move so many minutes at most, and the
        bounds hold for such moves only, so that they are not noted.
        """
        instance = self.instance
        if self.over():
            return
        joint = JointModel(instance, self._columns(radius), instance.asked)
        for name in instance.stages:
            if self.over():
                return
            objective = joint.score() if name == "score" else joint.expression(name)
            joint.hint(self.best)
            outcome = joint.maximise(
                objective,
                time_limit=self.limit - self.seconds,
                seed=self.seed,
                watch=self.watch(name, is_whole=radius is None),
            )
            self.size = max(self.size, joint.size())
            if outcome.puts is not None:
                self.take(outcome.puts)
                if radius is None:
                    self.note(name, outcome.bound)
                    self.tell(name, getattr(self.totals, name), at_once=True)
            joint.model.add(objective >= getattr(self.totals, name))

    def _columns(self, radius: int | None = None) -> Columns:
        """Return all columns, those of bookings that need not move within `radius` minutes."""
        instance = self.instance
        return Columns.of(instance, range(len(instance.tasks)), partial(instance.within, radius))

    # Bookings that may move

    def _replan(self) -> None:
        """Fix all bookings that need not move; let them move when that saves or places more.

        When all that is displaced is saved and all that is asked for placed without them, and
        only those move that cannot stay in any case, no plan moves fewer, and none that moves as
        few moves others.
        """
        problem = self.instance.problem
        search = self._part(
            replace(problem, movable=problem.movable & problem.displaced), self.limit / 2
        )
        columns = len(search._columns())  # noqa: SLF001 - one of us
        if columns <= self.most(WHOLE_UP_TO if problem.displaced else EXACT_UP_TO):
            search.solve_exactly()
        elif problem.displaced:
            search._displaced_first()  # noqa: SLF001
        else:
            _Rounds(search, columns).run()
        self.size = search.size
        self.take(self._as_own(search))
        easy = self.bounds
        is_all = (self.totals.saved, self.totals.priority) == (easy.saved, easy.priority)
        if is_all and -self.totals.moved == self._least_to_move():
            self.bounds = search.bounds._replace(saved=easy.saved, priority=easy.priority)
            return
        self.bounds = easy._replace(moved=0, distance=0)
        for radius in (30, 120, None):
            columns = len(self._columns(radius))
            if columns <= self.most(WHOLE_UP_TO):
                self.solve_exactly(radius)
            else:
                self._exchange(radius)
        time_left = self.limit - self.seconds
        most = min(self.most(PROVED_UP_TO), PROVED_A_SECOND * time_left)
        if self.most(WHOLE_UP_TO) < columns <= most:
            self.solve_exactly()

    def _part(self, problem: Problem, limit: float) -> _Search:
        """Return a search for the plan of a part of the problem."""
        part = _Search(
            problem, limit, self.seed, self.workers, self._tell_of_part, self._stop_asked
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
        problem = self.instance.problem
        first = self._part(replace(problem, requests=()), self.limit / 3)
        first.solve_exactly()
        self.take(self._as_own(first))
        self.note("saved", first.bounds.saved)
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
        """Let bookings move block by block, until many in a row bring nothing."""
        exchange = Exchange(self.instance, radius, self.seed)
        watch, in_vain = Watch(self.over), 0
        while in_vain < EXCHANGES and not self.over():
            if self.totals[:2] == self.bounds[:2]:
                return
            puts = exchange.better(self.best, watch, self.limit - self.seconds)
            in_vain = 0 if puts is not None and self.take(puts) else in_vain + 1
            self.tell("priority", self.totals.priority)

    def _stop_asked(self) -> bool:
        if self._should_stop is not None and self._should_stop():
            self._was_stopped = True
        return self._was_stopped

    def _as_own(self, other: _Search) -> list[Put]:
        """Return another search's plan in the tasks of this one."""
        number = {t.members: i for i, t in enumerate(self.instance.tasks)}
        tasks = other.instance.tasks
        return [put._replace(task=number[tasks[put.task].members]) for put in other.best]

    # The answer

    def plan(self) -> Plan:
        """Return the best plan and what is proved of it."""
        return self.instance.plan(
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


class _Rounds:
    """Improving block by block while the relaxation bounds, until the one meets the other."""

    def __init__(self, search: _Search, columns: int) -> None:
        self._search = search
        self._columns = columns
        self._blocks = Blocks(search.instance, search.seed)
        self._team = Team(search.instance, search.workers, Watch(search.over, self._tell))
        self._solving: dict[Future[Answer], Block] = {}
        self._bounding: Future[float] | None = None
        self._relaxing: Future[Relaxed] | None = None
        self._pricing: Future[Prices] | None = None
        self._prices: Prices | None = None
        self._closing: dict[Future[Answer], int | None] = {}
        self._relaxed: Relaxed | None = None
        self._bounding_score: Future[Answer] | None = None
        self._score_is_bounded = False
        self._closed_at: tuple[int, frozenset[int]] | None = None
        self._is_bounded = False
        self._proof_is_told = False
        self._kernel_is_tried_with: frozenset[int] | None = None

    def run(self) -> None:
        """Keep every worker busy until time is up, or everything is proved."""
        search = self._search
        try:
            while not search.over() and search.totals != search.bounds:
                while self._free() and not search.over() and self._send():
                    pass
                running: list[Future[Any]] = [
                    *self._solving,
                    *self._closing,
                    *self._others(),
                ]
                wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                self._receive()
                self._tell()
        finally:
            self._team.end()

    def _tell(self, _value: float = 0.0, _bound: float = 0.0) -> None:
        """Tell how far the whole is; what a block has reached says little."""
        search = self._search
        name: StageName = "score" if self._is_about_score() else "priority"
        is_news = self._is_proved() and not self._proof_is_told
        if is_news:
            name, self._proof_is_told = "priority", True
        search.tell(name, getattr(search.totals, name), at_once=is_news)

    def _is_about_score(self) -> bool:
        return self._is_late(PRIORITY_SHARE) or self._blocks.is_stale

    def _is_proved(self) -> bool:
        return self._search.totals.priority == self._search.bounds.priority

    def _is_late(self, share: float) -> bool:
        search = self._search
        return self._is_proved() or search.seconds > share * search.limit

    def _free(self) -> int:
        busy = len(self._solving) + len(self._closing) + len(self._others())
        return self._team.workers - busy

    def _others(self) -> list[Future[Any]]:
        """Return what is under way of which there is one at most."""
        each = (self._bounding, self._relaxing, self._pricing, self._bounding_score)
        return [future for future in each if future is not None]

    def _send(self) -> bool:
        """Give a free worker the job that promises most, if there is one."""
        search, team = self._search, self._team
        left = search.limit - search.seconds
        if self._columns > search.most(SIFTED_UP_TO) and not self._is_bounded:
            self._is_bounded = True
            self._bounding = team.submit(bound, left / 8)
        elif (
            self._columns <= search.most(SIFTED_UP_TO)
            and self._relaxed is None
            and self._relaxing is None
        ):
            self._relaxing = team.submit(relax, left / 2)
        elif (target := self._to_better()) is not None:
            self._closed_at = target, self._blocks.roomless
            self._send_to_close(left, target)
        elif self._could_try_kernel():
            self._kernel_is_tried_with = self._blocks.roomless
            self._send_to_close(left / 2, None)
        elif self._could_price():
            self._pricing = team.submit(priced, search.totals.priority, left / 3)
        elif self._could_bound_score(left):
            assert self._relaxed is not None
            self._score_is_bounded = True
            self._bounding_score = team.submit(
                bound_score, self._relaxed, search.best, SCORE_BOUNDED_SHARE * left
            )
        else:
            about_score = self._is_about_score()
            if about_score and not self._prices and not self._blocks.has_untimed:
                return False
            block = self._blocks.choose(
                search.best, self._solving.values(), self._prices, for_score=about_score
            )
            if not block.pairs:
                return False
            job = team.submit(solve_block, search.best, block, min(left, 10.0))
            self._solving[job] = block
        return True

    def _send_to_close(self, time_limit: float, target: int | None) -> None:
        assert self._relaxed is not None
        job = self._team.submit(
            close, self._relaxed, self._search.best, time_limit, self._blocks.roomless, target
        )
        self._closing[job] = target

    def _could_try_kernel(self) -> bool:
        return (
            self._relaxed is not None
            and self._relaxed.priced is not None
            and None not in self._closing.values()
            and self._kernel_is_tried_with != self._blocks.roomless
            and not self._is_late(CLOSED_UNTIL_SHARE)
        )

    def _could_price(self) -> bool:
        search = self._search
        is_time = self._is_about_score() or search.seconds > PRICED_AFTER_SHARE * search.limit
        return is_time and self._prices is None and self._pricing is None

    def _could_bound_score(self, left: float) -> bool:
        relaxed, reached = self._relaxed, self._search.totals.priority
        return (
            self._team.workers > 1
            and self._prices is not None
            and relaxed is not None
            and not self._score_is_bounded
            and self._is_proved()
            and self._search.seconds > SCORE_BOUNDED_AFTER_SHARE * self._search.limit
            and left >= SCORE_BOUNDED_SECONDS
            and 0 < relaxed.count(reached - 1) <= self._search.most(SCORE_BOUNDED_UP_TO)
        )

    def _to_better(self) -> int | None:
        """Return a priority of which one model may settle whether there is more.

        That takes that few columns could have a part in more. It is what has been reached, or else
        one less than the bound.
        """
        search, relaxed = self._search, self._relaxed
        is_closing = bool(set(self._closing.values()) - {None})
        if relaxed is None or is_closing or self._is_late(CLOSED_UNTIL_SHARE):
            return None
        for target in (search.totals.priority, search.bounds.priority - 1):
            if (target, self._blocks.roomless) == self._closed_at:
                return None
            if 0 < relaxed.count(target) <= search.most(CLOSED_UP_TO):
                return target
        return None

    def _receive(self) -> None:
        search = self._search
        for future in [f for f in self._solving if f.done()]:
            block, answer = self._solving.pop(future), future.result()
            search.size = max(search.size, answer.size)
            before = search.totals
            if answer.puts is not None:
                plan = combined(search.instance, search.best, block, answer.puts)
                if plan is not None:
                    search.take(plan)
            self._blocks.learn(block, answer, before, search.totals)
        if self._bounding is not None and self._bounding.done():
            search.note("priority", self._bounding.result())
            self._bounding = None
        if self._relaxing is not None and self._relaxing.done():
            self._relaxed, self._relaxing = self._relaxing.result(), None
            search.note("priority", self._relaxed.bound)
        if self._pricing is not None and self._pricing.done():
            self._prices, self._pricing = self._pricing.result(), None
        if self._prices is not None:
            bound = self._prices.bound(search.totals.priority) * search.instance.unit
            search.note("score", bound)
        if self._bounding_score is not None and self._bounding_score.done():
            answer, self._bounding_score = self._bounding_score.result(), None
            search.size = max(search.size, answer.size)
            search.note("score", answer.bound)
            if answer.puts is not None:
                search.take(answer.puts)
        for future in [f for f in self._closing if f.done()]:
            target, answer = self._closing.pop(future), future.result()
            search.size = max(search.size, answer.size)
            self._blocks.note_short(answer.short)
            if answer.puts is not None:
                search.take(answer.puts)
            if target is not None:
                search.note("priority", max(answer.bound, target))
