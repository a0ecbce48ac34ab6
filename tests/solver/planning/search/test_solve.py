"""The planner against every legal plan there is, and its manners."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    ClinicSettings,
    OverbookingRule,
    Provider,
    Room,
)
from solver.planning import params
from solver.planning.greedy import GreedyParams, greedy, greedy_assignments
from solver.planning.instance.columns import Columns
from solver.planning.instance.easy_bounds import easy_bounds
from solver.planning.instance.tables import Instance
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl
from solver.planning.params import SearchParams
from solver.planning.problem import Plan, Problem, Progress, Request, StageName
from solver.planning.search.incumbent import Incumbent
from solver.planning.search.solve import solve
from solver.planning.search.unpacked import packs
from solver.whatif.verify import read_plan
from tests.support.oracle import BruteForce, TooManyPlansError, Value
from tests.support.random_problems import busy_problem, colliding_problem, tiny_problem
from tests.support.strategies import BEFORE, MONDAY, uid
from tests.support.what_if import VISIT, booked, changed, clinic_of_two

BATCH = 20


def told(plan: Plan) -> Value:
    """What a plan says that it is worth."""
    stages = {stage.name: stage.objective for stage in plan.stages}
    return (
        int(stages.get("saved", 0)),
        int(stages["priority"]),
        -int(stages.get("moved", 0)),
        -int(stages.get("distance", 0)),
        stages["score"],
    )


def small_enough(
    batch: int, make: Callable[[int], Problem] = tiny_problem
) -> Iterator[tuple[int, Problem, BruteForce, Value]]:
    """Yield the seeds of a batch whose every plan can be gone through, and the best of each."""
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        problem = make(seed)
        every = BruteForce(problem, most=1000)
        try:
            best = every.run()
        except TooManyPlansError:
            continue
        yield seed, problem, every, best


@pytest.mark.parametrize("batch", range(8))
def test_every_stage_is_as_good_as_the_best_of_all_legal_plans(batch: int) -> None:
    solved = 0
    for seed, problem, every, best in small_enough(batch):
        plan = solve(problem, time_limit=60, workers=1)
        assert every.value_of(plan) == told(plan) == best, seed
        assert is_proved(problem, plan), seed
        first = greedy(problem)
        assert every.value_of(first) == told(first) <= best
        solved += 1
    assert solved > BATCH / 2


def is_proved(problem: Problem, plan: Plan) -> bool:
    """Whether all that can be is: where types are packed, plans that chain them may be better."""
    return packs(problem) or (
        plan.status in {"optimal", "infeasible"} and all(stage.is_proved for stage in plan.stages)
    )


def packed(problem: Problem) -> Problem:
    """The problem with packed types only."""
    kinds = tuple(replace(kind, packed=True) for kind in problem.clinic.appointment_types)
    return replace(problem, clinic=replace(problem.clinic, appointment_types=kinds))


@pytest.mark.parametrize("make", [tiny_problem, colliding_problem])
def test_bounds_hold_for_plans_that_pack_behind_what_they_place(
    make: Callable[[int], Problem],
) -> None:
    found = Counter[str]()
    for seed in range(BATCH):
        problem = packed(make(seed))
        every = BruteForce(problem, most=500, step=5)
        try:
            best = every.run()
        except TooManyPlansError:
            continue
        plan = solve(problem, time_limit=30, workers=1)
        assert read_plan(problem, plan).violations == (), seed
        assert every.value_of(plan) == told(plan) <= best, seed
        bounds = {stage.name: stage.bound for stage in plan.stages}
        names: tuple[StageName, ...] = ("saved", "priority", "moved", "distance", "score")
        for name, mine, other in zip(names, told(plan), best, strict=True):
            sign = -1 if name in {"moved", "distance"} else 1
            assert sign * bounds.get(name, 0) >= other, (seed, name)
            if mine != other:
                break
        found["is proved"] += plan.status in {"optimal", "infeasible"}
        found["is not the best"] += told(plan) < best
    assert min(found["is proved"], found["is not the best"]) > 0


def on_grid(minutes: int, problem: Problem) -> Problem:
    settings = replace(problem.clinic.settings, grid_minutes=minutes)
    return replace(problem, clinic=replace(problem.clinic, settings=settings))


def test_on_a_grid_that_fits_no_hour_every_stage_is_as_good() -> None:
    solved = 0
    for seed, problem, every, best in small_enough(8, lambda s: on_grid(35, tiny_problem(s))):
        plan = solve(problem, time_limit=60, workers=1)
        assert every.value_of(plan) == told(plan) == best, seed
        solved += 1
    assert solved > BATCH / 2


def test_on_a_grid_of_one_minute_a_plan_is_legal_and_no_worse_than_greedy() -> None:
    problem = on_grid(1, busy_problem(1))
    plan = solve(problem, time_limit=4, workers=1)
    assert read_plan(problem, plan).violations == ()
    assert told(plan) >= told(greedy(problem))
    assert all(stage.bound >= stage.objective for stage in plan.stages)


@pytest.mark.parametrize("batch", range(6))
def test_bookings_that_collide_are_parted_as_well_as_they_can_be(batch: int) -> None:
    kinds = Counter[str]()
    for seed, problem, every, best in small_enough(batch, colliding_problem):
        plan = solve(problem, time_limit=60, workers=1)
        assert read_plan(problem, plan).violations == (), seed
        assert every.value_of(plan) == told(plan) == best, seed
        assert is_proved(problem, plan), seed
        instance = Instance(problem)
        easy = easy_bounds(instance)
        assert len(problem.displaced) >= easy.saved >= best[0], seed
        assert easy.score >= best[4] * instance.unit, seed
        first = greedy(problem)
        assert every.value_of(first) == told(first) <= best, seed
        gone = len(plan.moves) + len(plan.lost)
        kinds["all go"] += 0 < len(problem.displaced) <= gone
        kinds["some stay"] += len(problem.displaced) > gone
        kinds["none are displaced"] += not problem.displaced
    assert sum(count > 0 for count in kinds.values()) >= 2  # in most batches all of them
    assert kinds.total() > BATCH / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_not_solved_whole_is_legal_and_no_worse_than_greedy(workers: int) -> None:
    problem = busy_problem(1)
    every = BruteForce(problem)
    told_so_far: list[Progress] = []

    plan = solve(problem, time_limit=4, workers=workers, on_progress=told_so_far.append)

    assert every.value_of(plan) == told(plan) >= told(greedy(problem))
    assert all(stage.bound >= stage.objective for stage in plan.stages)
    assert told_so_far
    seconds = [progress.seconds for progress in told_so_far]
    assert seconds == sorted(seconds)
    priorities = [p.objective for p in told_so_far if p.stage == "priority"]
    assert priorities == sorted(priorities)
    assert all(progress.bound >= progress.objective for progress in told_so_far)


def of_no_columns(instance: Instance, columns: Columns, left: dict[int, int]) -> PlanningModel:
    assert not len(columns)
    return PlanningModel(instance, columns, left)


@pytest.mark.parametrize(("batch", "is_ever_whole"), [(0, True), (1, False)])
def test_bookings_that_move_block_by_block(
    batch: int, is_ever_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what is displaced is too much for one model."""
    params = SearchParams(exact_columns=0, whole_columns=0)
    if not is_ever_whole:
        params = replace(params, proved_columns=0)
        monkeypatch.setattr("solver.planning.search.exact.PlanningModel", of_no_columns)
    solved = 0
    for seed, problem, every, best in small_enough(batch, colliding_problem):
        if problem.movable:
            plan = solve(problem, time_limit=1, seed=seed, workers=1, params=params)
            assert read_plan(problem, plan).violations == (), seed
            assert told(greedy(problem)) <= told(plan) == every.value_of(plan) <= best, seed
            bounds = {stage.name: stage.bound for stage in plan.stages}
            assert bounds.get("saved", 0) >= best[0]
            assert bounds["priority"] >= best[1] or told(plan)[0] < best[0]
            solved += told(plan)[:2] == best[:2]
    assert solved > BATCH / 5


def test_bounds_are_those_of_their_stage_and_never_get_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the solver says of a bound before it knows one."""
    maximise = PlanningModel.maximise

    def loose(
        self: PlanningModel, objective: Any, *, control: SolveControl, **options: Any
    ) -> JobResult:
        outcome = maximise(self, objective, control=control, **options)
        for bound in (math.inf, 10_000_000.0, outcome.bound):
            control.tell(-1.0 if outcome.assignments is None else outcome.bound, bound)
        return outcome

    monkeypatch.setattr(PlanningModel, "maximise", loose)
    stages = Counter[str]()
    problems = [colliding_problem(seed) for seed in range(12)]
    none = frozenset[str]()
    problems += [replace(p, movable=none, displaced=none, left=none) for p in problems[:4]]
    for seed, problem in enumerate(problems):
        told_so_far: list[Progress] = []
        plan = solve(
            problem,
            time_limit=60,
            workers=1,
            on_progress=told_so_far.append,
            params=SearchParams(told_every_seconds=0),
        )
        last = {stage.name: stage for stage in plan.stages}
        assert {p.stage for p in told_so_far} <= set(last), seed
        for name, stage in last.items():
            bounds = [p.bound for p in told_so_far if p.stage == name] + [float(stage.bound)]
            stages[name] += len(bounds) > 1
            if name in ("moved", "distance"):
                assert bounds[0] >= 0
                assert bounds == sorted(bounds), (seed, name)
            else:
                assert bounds == sorted(bounds, reverse=True), (seed, name)
        most = {
            "saved": len(problem.displaced),
            "priority": sum(r.priority for r in problem.requests),
            "score": len(problem.requests) + len(problem.clinic.bookings),
        }
        assert all(p.bound <= most.get(p.stage, math.inf) for p in told_so_far), seed
    assert min(stages.values()) > 3


def test_caps_bound_what_can_be_saved() -> None:
    """Three displaced visits, two dates with a cap of two, one of which is booked already."""
    kinds = [{"id": VISIT, "name": "Visit", "duration_minutes": 30, "daily_cap": 2}]
    clinic = clinic_of_two(
        appointment_types=kinds,
        bookings=[
            *(booked(n, f"{n}:00", date="2027-03-03") for n in range(10, 13)),
            booked(1, "09:00", status="checked_in"),
        ],
    )
    problem = changed(clinic, existing="movable", requests=[], days=3)
    assert len(problem.displaced) == 3
    assert easy_bounds(Instance(problem)).saved == 3
    away = {"op": "set", "entity": "appointment_types", "id": VISIT}
    capped = changed(
        clinic, away | {"field": "daily_cap", "value": 1}, existing="movable", requests=[], days=3
    )
    assert easy_bounds(Instance(capped)).saved == 1
    plan = solve(capped, time_limit=60, workers=1)
    assert (plan.status, len(plan.moves), len(plan.lost)) == ("optimal", 1, 2)
    assert read_plan(capped, plan).violations == ()


def test_what_is_not_solved_whole_may_still_be_proved_to_the_end() -> None:
    params = SearchParams(exact_columns=0, score_bounded_after_share=0)
    proved = 0
    for seed, problem, every, best in small_enough(0):
        can_be = not (problem.movable or packs(problem))
        if problem.requests and can_be and best[1] and proved < 3:
            plan = solve(problem, time_limit=60, workers=2, params=params)
            assert plan.status == "optimal"
            assert told(plan) == every.value_of(plan) == best, seed
            proved += 1
    assert proved == 3


def test_an_overbooked_placement_keeps_its_turn() -> None:
    rule = OverbookingRule(uid(4, 0), appointment_type_id=uid(3, 0), max_overlap=1, max_per_day=2)
    clinic = Clinic(
        ClinicSettings("Two turns", "Europe/Berlin", grid_minutes=30),
        (Provider(uid(1, 0), "P", buffer_after=15),),
        (Room(uid(2, 0), "R0"), Room(uid(2, 1), "R1")),
        (
            AppointmentType(uid(3, 0), "T0", duration_minutes=60),
            AppointmentType(uid(3, 1), "T1", duration_minutes=30),
        ),
        (Availability(540, 660, provider_id=uid(1, 0), date=MONDAY),),
        (rule,),
    )
    asked = (
        Request("a#1", uid(3, 0)),
        Request("a#2", uid(3, 0)),
        Request("b", uid(3, 1), preferred=(630, 720)),
    )
    problem = Problem(clinic, MONDAY, 1, asked, BEFORE)
    plan = solve(problem, time_limit=60, workers=1)
    every = BruteForce(problem)
    assert every.value_of(plan) == told(plan) == every.run()
    assert [p.is_overbooked for p in plan.placements] == [False, True, True]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_keeps_the_best_plan_so_far(workers: int) -> None:
    problem = busy_problem(2)
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    plan = solve(problem, time_limit=600, workers=workers, should_stop=should_stop)

    assert plan.status == "stopped"
    assert BruteForce(problem).value_of(plan) == told(plan) >= told(greedy(problem))


def test_no_time_at_all_leaves_the_greedy_plan() -> None:
    problem = busy_problem(3)
    first, plan = greedy(problem), solve(problem, time_limit=0)
    assert plan.status == "feasible"
    assert plan.placements == first.placements
    assert told(plan) == told(first)


def test_what_is_done_with_a_plan_has_its_part_of_the_time() -> None:
    problem = busy_problem(3)
    asked_with: list[Plan] = []

    def keep_back(plan: Plan) -> float:
        asked_with.append(plan)
        return 600

    plan = solve(problem, time_limit=600, workers=1, keep_back=keep_back)
    assert [p.placements for p in asked_with] == [greedy(problem).placements] == [plan.placements]


def test_a_greedy_plan_cut_short_is_legal() -> None:
    problem = busy_problem(3)
    instance = Instance(problem)
    whole = greedy_assignments(instance)
    turns = iter([False] * 5)
    cut = greedy_assignments(instance, lambda: next(turns, True))
    assert cut == whole[:5]


def test_places_are_looked_through_date_by_date_where_they_are_many() -> None:
    for seed in range(4):
        problem = busy_problem(seed)
        by_date = greedy(problem, GreedyParams(at_once=0))
        assert read_plan(problem, by_date).violations == ()
        assert abs(len(by_date.placements) - len(greedy(problem).placements)) <= 4


def test_requests_that_may_go_to_the_same_places_share_them() -> None:
    problem = busy_problem(1)
    kind = problem.clinic.appointment_types[0].id
    asked = tuple(Request(f"r{n}", kind, patient_ref=f"patient {n}") for n in range(9))
    instance = Instance(
        replace(problem, requests=(*asked, Request("ann", kind, patient_ref="ann")))
    )
    first, *others, anns = [instance.columns(i) for i in range(10)]
    assert all(columns is first for columns in others)
    assert len(anns) < len(first)
    once_more = Instance(instance.problem, kept_bytes=0)
    for i in range(10):
        assert (once_more.columns(i) == instance.columns(i)).all()
        assert once_more.options(i) == len(instance.columns(i))
        assert len(once_more._columns) == 1


def test_little_memory_means_one_process_and_smaller_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = busy_problem(1)
    made: list[tuple[int, int]] = []

    def search(incumbent: Incumbent) -> None:
        made.append((incumbent.limits.workers, incumbent.limits.most(1000)))

    monkeypatch.setattr("solver.planning.search.solve.search", search)
    usual = params.MEMORY_LIMIT_BYTES
    for memory in (usual, usual // 2, usual // 10, 2 * usual):
        solve(problem, time_limit=1, workers=2, memory_limit_bytes=memory)
    assert made == [(2, 1000), (1, 500), (1, 100), (2, 1000)]


def test_the_same_seed_gives_the_same_plan() -> None:
    for seed in (3, 14, 15, 92):
        problem = tiny_problem(seed)
        plans = [solve(problem, time_limit=60, seed=7, workers=1) for _ in range(2)]
        assert is_proved(problem, plans[0])
        assert plans[0].placements == plans[1].placements
        assert plans[0].moves == plans[1].moves


def test_requests_that_are_alike_are_placed_as_often_as_there_is_room() -> None:
    problem = busy_problem(4, requests=0)
    kind = problem.clinic.appointment_types[4]
    alike = tuple(Request(f"r#{n}", kind.id, dates=frozenset({MONDAY})) for n in range(1, 30))
    problem = replace(problem, requests=alike)
    plan = solve(problem, time_limit=60, workers=1)
    ids = [placement.id for placement in plan.placements]
    assert len(set(ids)) == len(ids) > 0
    assert BruteForce(problem).value_of(plan) == told(plan)
    assert plan.stages[0].is_proved
