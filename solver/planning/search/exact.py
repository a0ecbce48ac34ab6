"""The whole problem as one model, solved stage by stage."""

from __future__ import annotations

from functools import partial

from solver.planning.instance.columns import Columns, within
from solver.planning.instance.result import stages
from solver.planning.instance.tables import Instance
from solver.planning.model.planning_model import PlanningModel
from solver.planning.search.incumbent import Incumbent


def column_count(instance: Instance) -> int:
    """Return how many columns all tasks have."""
    return sum(instance.options(i) for i in range(len(instance.tasks)))


def has_at_most(incumbent: Incumbent, columns: int, radius: int | None = None) -> bool:
    """Whether all tasks together have at most `columns`, within `radius` as :func:`solve_exactly`.

    False, too, when the time is over before they are counted.
    """
    instance = incumbent.instance
    narrow = partial(within, instance, radius)
    count = 0
    for task in range(len(instance.tasks)):
        count += Columns.count(instance, task, narrow)
        if count > columns or incumbent.limits.is_over():
            return False
    return True


def solve_exactly(incumbent: Incumbent, radius: int | None = None) -> None:
    """Solve all columns as one model, stage by stage, each with the earlier ones as constraints.

    With a `radius`, bookings that need not move may move by at most so many minutes. The bounds
    then hold for such plans only, and are not noted.
    """
    instance, limits = incumbent.instance, incumbent.limits
    if limits.is_over():
        return
    columns = Columns.of(instance, range(len(instance.tasks)), partial(within, instance, radius))
    model = PlanningModel(instance, columns, instance.asked)
    for name in stages(instance):
        if limits.is_over():
            return
        objective = model.score() if name == "score" else model.expression(name)
        model.hint(incumbent.best)
        outcome = model.maximise(
            objective,
            time_limit=limits.seconds_left,
            seed=limits.seed,
            control=incumbent.control(name, is_whole=radius is None),
        )
        incumbent.note_size(model.size())
        if outcome.assignments is not None:
            incumbent.accept(outcome.assignments)
            if radius is None:
                incumbent.note_bound(name, outcome.bound)
                incumbent.tell(name, getattr(incumbent.totals, name), at_once=True)
        model.require(objective >= getattr(incumbent.totals, name))
