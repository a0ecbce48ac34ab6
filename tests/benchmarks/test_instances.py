"""The instances on disk are what the generator makes, and what they claim to be."""

from fractions import Fraction

import pytest

from benchmarks.instances.generate import SIZES
from benchmarks.instances.library import NAMES, best_known, generated, load
from benchmarks.planners import settle_best_known as proof
from solver.planning.greedy import greedy
from solver.planning.search.solve import solve
from solver.rules.checked_book import BookChecker
from solver.whatif.kpis import mean_score
from solver.whatif.verify import read_plan
from tests.support.random_problems import tiny_problem


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_what_the_generator_makes(name: str) -> None:
    for path, content in generated(name).items():
        assert path.read_bytes() == content, path.name


@pytest.mark.parametrize("name", ["s0", "s1", "s2", "m0", "l0", "r-s0", "r-m0", "r-l0"])
def test_the_book_breaks_no_rule_and_not_everybody_fits(name: str) -> None:
    problem = load(name)
    size = SIZES[NAMES[name][0]]
    assert len(problem.requests) == size.requests
    assert (len(problem.clinic.providers), len(problem.clinic.rooms)) == (
        size.providers,
        size.rooms,
    )
    assert not any(BookChecker(problem.clinic).violations())
    plan = greedy(problem)
    assert read_plan(problem, plan).violations == ()
    assert size.requests / 3 < len(plan.placements) < size.requests


def test_weeks_with_real_rules_have_all_of_them() -> None:
    for name in ("r-s0", "r-m0", "r-l0"):
        clinic = load(name).clinic
        assert clinic.sessions
        assert clinic.provider_types
        assert clinic.quantities
        assert clinic.places.are_several
        assert clinic.travel
        assert {kind.start_anchor for kind in clinic.appointment_types} == {"midnight", "window"}


def test_what_is_known_of_every_instance_fits_together() -> None:
    known = best_known()
    assert known.keys() == NAMES.keys()
    for name, stages in known.items():
        for stage in ("priority", "score"):
            objective, bound = stages[stage]["objective"], stages[stage]["bound"]
            assert (objective is None) == (bound is None)
            assert objective is None or objective <= bound, name
        asked = sum(request.priority for request in load(name).requests)
        assert 0 < stages["priority"]["objective"] < asked


def test_what_has_been_proved_of_small_instances_holds_for_what_is_solved_whole() -> None:
    tried = 0
    for seed in range(16):
        problem = tiny_problem(seed)
        if problem.movable or not problem.requests:
            continue
        plan = solve(problem, time_limit=60, workers=1)
        stages = {stage.name: stage.objective for stage in plan.stages}
        priority, score = int(stages["priority"]), stages["score"]
        if not priority:
            continue
        less = float(score) - 0.01
        assert proof.best_score(problem, priority, less, 60) == (score, score)
        assert proof.best_score(problem, priority, float(score), 60) == (None, score)
        mean = mean_score(problem, read_plan(problem, plan))
        assert proof.has_mean(problem, priority, mean, 60)
        assert proof.has_mean(problem, priority, Fraction(101, 100), 60) is False
        tried += 1
    assert tried > 2
