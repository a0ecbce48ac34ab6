"""One planner on one instance: ``python -m benchmarks.planners PLANNER INSTANCE SECONDS``.

The answer is the last line of standard output, as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import orjson

from benchmarks.instances.library import load
from benchmarks.planners.answer import Answer
from solver.planning.problem import Problem

PLANNERS = {
    "ours": ("ours", "plan"),
    "ours, regular only": ("ours", "plan_regularly"),
    "greedy": ("ours", "plan_greedily"),
    "HiGHS": ("highs", "plan"),
    "PyJobShop": ("jobshop", "plan"),
}
"""By name: the module and its function. A peer is imported only when it is asked."""


def main(planner: str, instance: str, seconds: float) -> None:
    """Plan an instance and print the answer."""
    module, function = PLANNERS[planner]
    plan: Callable[[Problem, float], Answer] = getattr(
        import_module(f"benchmarks.planners.{module}"), function
    )
    print(orjson.dumps(plan(load(instance), seconds).as_json()).decode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
