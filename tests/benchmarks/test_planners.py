"""Peers solve the same problem: their plans are legal, and what they prove agrees."""

from dataclasses import replace

import pytest

from benchmarks.instances import library
from benchmarks.planners import highs, jobshop, ours
from solver.planning.problem import Problem


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Long appointments that all want one provider, so that not all have a place."""
    whole = library.load("s0")
    kinds = whole.clinic.type_by_id
    provider = whole.clinic.providers[0]
    wanted = sorted(
        (
            request
            for request in whole.requests
            if kinds[request.appointment_type_id].required_skills <= provider.skills
        ),
        key=lambda request: -kinds[request.appointment_type_id].duration_minutes,
    )
    requests = tuple(replace(request, provider_id=provider.id) for request in wanted[:10])
    return replace(whole, requests=requests)


def test_highs_proves_what_ours_proves(problem: Problem) -> None:
    mine, theirs = ours.plan(problem, 30), highs.plan(problem, 30)
    assert not mine.faults
    assert not theirs.faults
    assert theirs.status == "optimal"
    assert mine.priority < sum(request.priority for request in problem.requests)
    assert mine.priority == mine.bound == theirs.priority == theirs.bound


def test_pyjobshop_finds_a_legal_plan_of_regular_places(problem: Problem) -> None:
    mine, theirs = ours.plan_regularly(problem, 30), jobshop.plan(problem, 5)
    assert not theirs.faults
    assert 0 < theirs.priority <= mine.priority <= theirs.bound
    assert theirs.priority >= 0.8 * mine.priority
    assert theirs.history


def test_what_ours_tells_over_time_leads_to_its_plan(problem: Problem) -> None:
    answer = ours.plan(problem, 30)
    assert answer.first == answer.history[0].seconds
    assert answer.history[-1].priority == answer.priority
    assert answer.history[-1].bound == answer.bound
    assert all(m.priority is None or m.priority <= m.bound for m in answer.history)
    assert answer.gap == 0
    assert type(answer).from_json(answer.as_json()) == answer
