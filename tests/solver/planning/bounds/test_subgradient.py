"""Subgradient rounds: they come near the least of a function with kinks, and end in time."""

import numpy as np
import pytest

from solver.planning.bounds.subgradient import SubgradientParams, SubgradientRounds

PARAMS = SubgradientParams(
    rounds=200, first_step=1.0, last_step=1e-3, mean_weight=0.2, square_weight=0.05, damping=0.1
)


def test_rounds_come_near_the_least_of_a_function_with_kinks() -> None:
    least, at = np.array([3.0, -0.5]), np.zeros(2)
    rounds = SubgradientRounds(2, PARAMS, time_limit=600, should_stop=lambda: False)
    while not rounds.is_over():
        rounds.advance()
        mean, size = rounds.averaged(np.sign(at - least))
        at = at - rounds.step * mean / size
    assert rounds.number == PARAMS.rounds
    assert rounds.step == pytest.approx(PARAMS.last_step)
    assert at == pytest.approx(least, abs=0.05)


def test_the_first_step_goes_against_each_entry_alike_whatever_its_size() -> None:
    rounds = SubgradientRounds(2, PARAMS, time_limit=600, should_stop=lambda: False)
    rounds.advance()
    mean, size = rounds.averaged(np.array([1000.0, -1.0]))
    assert mean == pytest.approx([1000.0, -1.0])
    assert size == pytest.approx([1000.0 + PARAMS.damping, 1.0 + PARAMS.damping])


def test_rounds_end_when_they_are_asked_to_or_out_of_time() -> None:
    asked = iter([False, True])
    rounds = SubgradientRounds(2, PARAMS, time_limit=600, should_stop=lambda: next(asked))
    assert not rounds.is_over()
    assert rounds.is_over()
    assert SubgradientRounds(2, PARAMS, time_limit=0, should_stop=lambda: False).is_over()
