"""Solving a problem within a time and a memory limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from solver.planning.params import DEFAULT_PARAMS, MEMORY_LIMIT_BYTES, SearchParams
from solver.planning.problem import Plan, Problem, Progress
from solver.planning.search.incumbent import Incumbent
from solver.planning.search.limits import Limits
from solver.planning.search.portfolio import place_requests
from solver.planning.search.replanning import replan
from solver.planning.search.unpacked import bounded_by, loosely, packs, unpacked


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
    params: SearchParams = DEFAULT_PARAMS,
) -> Plan:
    """Return the best plan found within `time_limit` seconds, never worse than the greedy one.

    Setting up and the greedy plan count; where there is not even time for that, what has been
    placed by then is the plan. Where types are packed, the end of the time goes to the bounds.

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
    params
        How the search goes about it.
    """
    limits = Limits(time_limit, seed, workers, should_stop, params)
    given = workers, memory_limit_bytes, keep_back
    if not packs(problem):
        return _solved(problem, limits, on_progress, *given)
    told = None if on_progress is None else loosely(problem, on_progress)
    first = limits.part((1 - params.unpacked_share) * time_limit)
    plan, other = _solved(problem, first, told, *given), None
    left = limits.seconds_left - (0.0 if keep_back is None else keep_back(plan))
    if left > 0 and not limits.is_stopped():
        loose, part = unpacked(problem, params.unpacked_positions), limits.part(left)
        if loose is not None:
            other = _solved(loose, part, None, workers, memory_limit_bytes, None)
    return replace(bounded_by(problem, plan, other), seconds=limits.seconds)


def _solved(
    problem: Problem,
    limits: Limits,
    on_progress: Callable[[Progress], None] | None,
    workers: int,
    memory_limit_bytes: int,
    keep_back: Callable[[Plan], float] | None,
) -> Plan:
    """Return the best plan of a problem, with what is proved of those that are searched."""
    incumbent = Incumbent(problem, limits, on_progress)
    params = limits.params
    processes = memory_limit_bytes // (params.process_bytes + incumbent.instance.table_bytes)
    limits.workers = max(1, min(workers, processes - 1))
    limits.size_share = min(1.0, memory_limit_bytes / MEMORY_LIMIT_BYTES)
    if keep_back is not None:
        limits.time_limit -= keep_back(incumbent.plan())
    search(incumbent)
    return incumbent.plan()


def search(incumbent: Incumbent) -> None:
    """Better the incumbent and its bounds until they meet, or until time is up."""
    if any(task.own is not None for task in incumbent.instance.tasks):
        replan(incumbent)
    else:
        place_requests(incumbent)
