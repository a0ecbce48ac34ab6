"""A neighbourhood: the provider-days whose part of a plan is destroyed and repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from solver.planning.bounds.lagrangian import Multipliers
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment

type Aim = Literal["priority", "retime", "score"]
"""What a neighbourhood is repaired for.

``priority``: the sum of priorities. ``retime``: the starts and rooms of a date, each provider's
tasks being given. ``score``: the whole score, among the columns of the least opportunity cost.
"""


@dataclass(frozen=True)
class Neighbourhood:
    """A part of a plan to repair; all other provider-days are frozen.

    Attributes
    ----------
    provider_days
        The providers and days.
    waiting
        Tasks without a place that may be placed there, and how many members of each.
    seed
        Of the choice of what is freed, and of the solver.
    roomless
        Types that get their rooms after the repair, where the gap part does not count.
    freed_share
        The part of the assignments there that is freed, drawn uniformly but for those with an
        opportunity cost, which are likelier; the rest is frozen.
    prices
        Multipliers and opportunity costs at these provider-days, once there are any.
    most_columns
        The most columns in a repair for the score.
    """

    aim: Aim
    provider_days: frozenset[tuple[int, int]]
    waiting: tuple[tuple[int, int], ...]
    seed: int
    roomless: frozenset[int]
    freed_share: float = 1.0
    prices: Multipliers | None = None
    most_columns: int = 0


def waiting_tasks(instance: Instance, assignments: Iterable[Assignment]) -> dict[int, int]:
    """Return tasks with members without a place, displaced bookings too, and how many of each."""
    placed = Counter(assignment.task for assignment in assignments)
    return {
        i: len(task.members) - placed[i]
        for i, task in enumerate(instance.tasks)
        if not task.stays_if_not_moved and len(task.members) > placed[i] and instance.options(i)
    }


def could_be_at(instance: Instance, number: int, provider_days: Iterable[tuple[int, int]]) -> bool:
    """Return whether a task could be placed in some of these provider-days."""
    task = instance.tasks[number]
    kind = instance.kinds[task.kind]
    return any(
        d in task.days
        and task.provider in (-1, p)
        and bool((kind.regular_anywhere[p, d] | kind.allowed_anywhere[p, d]).any())
        for p, d in provider_days
    )
