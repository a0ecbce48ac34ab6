"""Starts bettered by dynamic programming: legal, never worse, and the best there are."""

from itertools import pairwise, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    ClinicSettings,
    Provider,
    Room,
)
from solver.planning.greedy import greedy_assignments
from solver.planning.instance.evaluation import evaluate, ordered
from solver.planning.instance.result import to_plan
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.retime import retimed
from solver.planning.problem import Problem, Request
from solver.whatif.verify import read_plan
from tests.support.random_problems import busy_problem, tiny_problem
from tests.support.strategies import BEFORE, MONDAY, uid


def never() -> bool:
    return False


def is_legal(instance: Instance, assignments: list[Assignment]) -> bool:
    order = ordered(instance, assignments)
    zero = evaluate(instance, order)
    plan = to_plan(instance, order, status="feasible", bounds=zero, seconds=0.0)
    return not read_plan(instance.problem, plan).violations


def test_what_comes_out_is_legal_and_places_the_same() -> None:
    changed = 0
    for seed in range(150):
        problem = tiny_problem(seed)
        if problem.movable:
            continue
        instance = Instance(problem)
        assignments = greedy_assignments(instance)
        for day in range(len(instance.dates)):
            better = retimed(instance, assignments, day, never)
            assert sorted((p.task, p.provider, p.day) for p in better) == sorted(
                (p.task, p.provider, p.day) for p in assignments
            )
            if better != assignments:
                assert is_legal(instance, better), seed
                changed += 1
    assert changed > 10


@pytest.mark.parametrize("seed", [1, 2])
def test_a_busy_week_scores_more_and_stays_legal(seed: int) -> None:
    instance = Instance(busy_problem(seed))
    assignments = greedy_assignments(instance)
    better = assignments
    for day in range(len(instance.dates)):
        better = retimed(instance, better, day, never)
    assert is_legal(instance, better)
    before, after = (evaluate(instance, ordered(instance, p)) for p in (assignments, better))
    assert after.priority == before.priority
    assert after.score > before.score


def morning(wishes: list[tuple[int, int]], grid: int = 30, closes: int = 720) -> Problem:
    """One provider, 9 to 12 by the half hour; a request for each (kind, preferred start)."""
    kinds = [
        AppointmentType(uid(3, n), f"T{n}", duration_minutes=minutes)
        for n, minutes in enumerate((30, 60))
    ]
    clinic = Clinic(
        ClinicSettings("Morning", "Europe/Berlin", grid_minutes=grid),
        (Provider(uid(1, 0), "P"),),
        (Room(uid(2, 0), "R"), Room(uid(2, 1), "S", equipment=frozenset({"ecg"}))),
        tuple(kinds),
        (Availability(540, closes, provider_id=uid(1, 0), date=MONDAY),),
    )
    requests = tuple(
        Request(f"r{n}", kinds[kind].id, preferred=(wish, wish + 60))
        for n, (kind, wish) in enumerate(wishes)
    )
    return Problem(clinic, MONDAY, 1, requests, BEFORE)


def best_by_trying(instance: Instance, assignments: list[Assignment]) -> int:
    """The most that the same placements score at any starts and rooms at which they are legal."""
    best = 0
    for order in permutations(assignments):
        for starts in product(range(540, 720, 30), repeat=len(order)):
            moved = [
                assignment._replace(start=start, room=0)
                for assignment, start in zip(order, starts, strict=True)
            ]
            spans = sorted(instance.busy(assignment) for assignment in moved)
            apart = all(end <= begin for (_, end), (begin, _) in pairwise(spans))
            if apart and spans[-1][1] <= 720:
                best = max(best, evaluate(instance, moved).score)
    return best


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1]), st.sampled_from([540, 570, 630, 660])),
        max_size=3,
        min_size=1,
    )
)
def test_a_providers_date_gets_its_best_starts(wishes: list[tuple[int, int]]) -> None:
    instance = Instance(morning(wishes))
    assignments = greedy_assignments(instance)
    better = retimed(instance, assignments, 0, never)
    assert evaluate(instance, better).score == best_by_trying(instance, assignments)


def test_on_the_finest_grid_starts_are_bettered_though_not_all_are_tried() -> None:
    wishes = [(n % 2, 545 + 80 * n) for n in range(6)]
    instance = Instance(morning(wishes, grid=1, closes=1020))
    late = [
        Assignment(task, 0, 0, 0, 547 + 77 * task, is_overbooked=False)
        for task in range(len(instance.tasks))
    ]
    assert is_legal(instance, late)
    better = retimed(instance, late, 0, never)
    assert is_legal(instance, better)
    assert evaluate(instance, better).score > evaluate(instance, late).score
    again = retimed(instance, better, 0, never)
    assert evaluate(instance, again).score >= evaluate(instance, better).score
