"""The processes that plan together, and their end."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from solver.planning.instance.tables import Instance
from solver.planning.model.solving import SolveControl
from solver.planning.search.solve import solve
from solver.planning.search.workers import WorkerPool
from tests.support.random_problems import busy_problem

PLAN = """
from solver.planning.search.solve import solve
from tests.support.random_problems import busy_problem
if __name__ == "__main__":
    solve(busy_problem(2), time_limit=600, workers=2)
"""


AT_LEAST = 3
"""The two workers, and what they are forked from."""


def test_none_outlives_a_planner_that_is_killed() -> None:
    root = Path(__file__).parents[4]
    with subprocess.Popen([sys.executable, "-c", PLAN], cwd=root) as process:
        planner = psutil.Process(process.pid)
        deadline = time.monotonic() + 60
        while len(children := planner.children(recursive=True)) < AT_LEAST:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two looks
        process.kill()
    _, left = psutil.wait_procs(children, timeout=30)
    assert not left


def test_a_plan_that_is_stopped_early_does_not_wait_for_those_who_have_yet_to_begin() -> None:
    instance = Instance(busy_problem(2))
    pool = WorkerPool(instance, 2, SolveControl(lambda: False))
    job = pool.submit(lambda given, _control, number: (given is instance, number), 7)
    assert job.result() == (True, 7)  # by a thread of this process
    pool.end()


def test_what_a_watcher_raises_ends_the_search() -> None:
    def fail() -> bool:
        raise LookupError

    began = time.monotonic()
    with pytest.raises(LookupError):
        solve(busy_problem(2), time_limit=600, workers=1, should_stop=fail)
    assert time.monotonic() - began < 60
