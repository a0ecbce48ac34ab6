"""Multipliers of the score: no plan exceeds their bound, and what they call cheap is used."""

import numpy as np

from benchmarks.instances import library
from solver.planning.bounds.lagrangian import best_multipliers
from solver.planning.bounds.type_tasks import TypeTasks
from solver.planning.instance.columns import Columns, positions
from solver.planning.instance.easy_bounds import easy_bounds
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.problem import Progress
from solver.planning.search.solve import solve
from tests.support.oracle import BruteForce, TooManyPlansError
from tests.support.random_problems import busy_problem, tiny_problem


def test_no_legal_plan_scores_more_than_the_bound() -> None:
    checked = 0
    for seed in range(48):
        problem = tiny_problem(seed)
        if problem.movable:
            continue
        try:
            best = BruteForce(problem, most=1000).run()
        except TooManyPlansError:
            continue
        multipliers = best_multipliers(Instance(problem), best[1], time_limit=0.05)
        assert multipliers.bound(best[1]) >= float(best[4]) - 1e-6, seed
        checked += 1
    assert checked > 15


def test_a_week_of_a_clinic_that_is_asked_for_too_much() -> None:
    """The bound is near, and columns of little opportunity cost make up a good plan."""
    problem = library.load("s0")
    instance = Instance(problem)
    told: list[Progress] = []

    def is_good() -> bool:
        return any(p.stage == "score" and p.objective > 46 for p in told)

    plan = solve(problem, time_limit=600, workers=1, on_progress=told.append, should_stop=is_good)
    stages = {stage.name: stage for stage in plan.stages}
    priority, reached = (int(stages["priority"].objective), float(stages["score"].objective))
    easy = easy_bounds(instance).score / instance.unit

    multipliers = best_multipliers(instance, priority, time_limit=10)
    assert reached <= multipliers.bound(priority) < reached + 0.5 * (easy - reached)

    every = Columns.of(instance, range(len(instance.tasks)))
    few = multipliers.cheapest(instance, every, len(every) // 10)
    assert len(few) == len(every) // 10
    member = {id_: i for i, task in enumerate(instance.tasks) for id_ in task.members}
    assignments = [
        Assignment(
            member[p.id],
            instance.provider_at[p.provider_id],
            instance.room_at[p.room_id],
            0,
            p.start,
            p.is_overbooked,
        )
        for p in plan.placements
    ]
    assert len(positions(instance, few, assignments)) > len(assignments) / 2


def test_some_provider_days_are_enough_to_choose_there() -> None:
    instance = Instance(busy_problem(2))
    multipliers = best_multipliers(instance, 0, time_limit=30)
    pairs = {(0, 0), (2, 1)}
    columns = Columns.of_provider_days(instance, range(0, len(instance.tasks), 2), pairs)
    assert len(columns) > 300
    whole = multipliers.cheapest(instance, columns, 300)
    part = multipliers.of(pairs).cheapest(instance, columns, 300)
    assert whole.keys == part.keys
    assert len(multipliers.cheapest(instance, Columns.at(instance, []), 300)) == 0


def test_no_task_gains_where_its_patient_is_elsewhere() -> None:
    """What tasks that may go to the same places share is what each would find by itself."""
    closed = 0
    for seed in range(800):
        instance = Instance(tiny_problem(seed))
        for kind in range(len(instance.kinds)):
            of_type = TypeTasks(instance, kind)
            table = instance.kinds[kind]
            for row, i in enumerate(of_type.tasks.tolist()):
                open_ = np.zeros(table.shape, np.bool_)
                open_.ravel()[instance.columns(i)] = True
                task = instance.tasks[i]
                here = slice(None) if task.provider < 0 else [task.provider]
                for day in task.days:
                    could = (table.regular | table.allowed)[here, day]
                    expected = (could & ~open_[here, day]).any(axis=0)
                    found = [starts for r, starts in of_type.closed[day] if r == row]
                    assert np.array_equal(found[0] if found else expected & False, expected)
                    closed += bool(found)
    assert closed > 5
