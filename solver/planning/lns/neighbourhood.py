"""A neighbourhood: the part of a plan that is freed, and what its repair brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from solver.planning.bounds.lagrangian import Multipliers
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment

WAITING = 8
"""The most tasks without a place that a neighbourhood takes on, for each of its provider-days."""


type Aim = Literal["priority", "timing", "score"]
"""What a neighbourhood is solved for.

``priority``: to place what is worth most. ``timing``: the best starts, who sees whom being settled.
``score``: all of the score, among the columns that lose least at the prices of requests.
"""


@dataclass(frozen=True)
class Effort:
    """Provider-days that are freed at first, and the solver's deterministic seconds for each."""

    provider_days: float
    work_limit: float


EFFORTS: dict[Aim, Effort] = {
    "priority": Effort(10.0, 3.0),
    "score": Effort(12.0, 1.2),
}


@dataclass(frozen=True)
class Neighbourhood:
    """A part of a plan to solve again.

    Attributes
    ----------
    provider_days
        The providers and days.
    waiting
        Tasks that could be placed there, and how many of each.
    roomless
        Kinds whose rooms are looked for afterwards, where the gap part does not count.
    lifted
        The part of what is placed there that is lifted, by chance, and, where there are prices,
        more of what loses by its place; the rest stays.
    prices
        Of requests at these provider-days, once there are any.
    most
        Columns that are tried where the gap part counts.
    """

    aim: Aim
    provider_days: frozenset[tuple[int, int]]
    waiting: tuple[tuple[int, int], ...]
    seed: int
    roomless: frozenset[int]
    lifted: float = 1.0
    prices: Multipliers | None = None
    most: int = 0


def waiting_tasks(instance: Instance, assignments: Iterable[Assignment]) -> dict[int, int]:
    """Return tasks that wait for a place, displaced bookings too, and how many of each."""
    placed = Counter(assignment.task for assignment in assignments)
    return {
        i: len(task.members) - placed[i]
        for i, task in enumerate(instance.tasks)
        if not task.stays_if_not_moved and len(task.members) > placed[i] and instance.options(i)
    }


def could_be_at(instance: Instance, number: int, provider_days: Iterable[tuple[int, int]]) -> bool:
    """Return whether a task could be placed at some of these providers' dates."""
    task = instance.tasks[number]
    kind = instance.kinds[task.kind]
    return any(
        d in task.days
        and task.provider in (-1, p)
        and bool((kind.regular[p, d] | kind.allowed[p, d]).any())
        for p, d in provider_days
    )
