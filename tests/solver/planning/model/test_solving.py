"""Solving leaves the process's signals alone."""

import subprocess
import sys
from pathlib import Path

import pytest

SLOTS = """
from benchmarks.support.clinics import make_clinic
from benchmarks.suites.slots import queries
for ask in queries(make_clinic(2, 2), 1):
    ask()
"""


PLAN = """
from solver.planning.search.solve import solve
from tests.support.random_problems import tiny_problem
solve(tiny_problem(1), time_limit=60, workers=1)
"""


INTERRUPT = """
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("work", [SLOTS, PLAN], ids=["slots", "plan"])
def test_an_interrupt_after_a_solve_is_still_pythons_to_handle(work: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", work + INTERRUPT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr
