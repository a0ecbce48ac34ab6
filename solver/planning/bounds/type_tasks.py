"""The tasks of one appointment type, and which of them gains most at each place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from solver.arrays import Bools, Floats, Ints
from solver.planning.instance.tables import Instance

IMPOSSIBLE = -1e9
"""The value of what may not be."""


class TypeTasks:
    """The tasks of one type that are to be placed, [tasks], and where they may go.

    Attributes
    ----------
    tasks
        [tasks] their positions in the instance.
    closed
        By day: positions in `tasks`, with [S] the starts at which the patient is elsewhere.
    """

    def __init__(self, instance: Instance, kind: int) -> None:
        table = instance.kinds[kind]
        self.tasks = np.array(
            [
                i
                for i, t in enumerate(instance.tasks)
                if t.kind == kind and t.own is None and t.days
            ],
            np.int64,
        )
        _, days, starts = table.shape
        self._shape = starts, table.providers, days
        scores = [start_scores(instance, i) for i in self.tasks.tolist()]
        self._scores = np.array(scores).reshape(-1, starts)
        self.closed: dict[int, list[tuple[int, Bools]]] = defaultdict(list)
        rows: dict[tuple[int, int], list[int]] = defaultdict(list)
        known: dict[Hashable, list[tuple[int, Bools]]] = {}
        for row, i in enumerate(self.tasks.tolist()):
            task = instance.tasks[i]
            places = instance.places_of(task)
            if places not in known:
                known[places] = _closed(instance, i)
            for d in task.days:
                rows[task.provider, d].append(row)
            for d, starts_closed in known[places]:
                self.closed[d].append((row, starts_closed))
        self._rows = {key: np.array(some, np.int64) for key, some in rows.items()}
        """By provider, -1 for tasks that any may take, and day: positions in `tasks`."""
        self._named = [self._by_provider(day) for day in range(days)]

    def _by_provider(self, day: int) -> _Named:
        asked = [(p, rows) for (p, d), rows in self._rows.items() if d == day and p >= 0]
        providers = np.array([p for p, _ in asked], np.int64)
        sizes = [len(rows) for _, rows in asked]
        return _Named(
            providers,
            rows=np.concatenate([np.empty(0, np.int64), *(rows for _, rows in asked)]),
            begins=np.cumsum([0, *sizes[:-1]]),
            owner=np.repeat(providers, sizes),
        )

    def gains(self, day: int, multipliers: Floats) -> Floats:
        """[tasks, S] each task's score by its start on a date, less its multiplier."""
        gains = self._scores - multipliers[:, None]
        for row, closed in self.closed[day]:
            gains[row, closed] = IMPOSSIBLE
        return gains

    def best_gains(self, multipliers: Floats) -> Floats:
        """[S, P, D] the greatest gain of any task."""
        best = np.full(self._shape, IMPOSSIBLE)
        for d, (providers, rows, begins, _) in enumerate(self._named):
            gains = self.gains(d, multipliers)
            if (-1, d) in self._rows:
                best[:, :, d] = gains[self._rows[-1, d]].max(axis=0)[:, None]
            if len(providers):
                asked = np.maximum.reduceat(gains[rows], begins, axis=0)
                best[:, providers, d] = np.maximum(best[:, providers, d], asked.T)
        return best

    def best_tasks(self, gains: Floats, day: int, providers: Ints, starts: Ints) -> Ints:
        """[n] the position of the task of the greatest gain at each provider and start."""
        chosen, value = np.zeros(len(starts), np.int64), np.full(len(starts), -np.inf)
        if (-1, day) in self._rows:
            anybody = self._rows[-1, day]
            chosen = anybody[gains[anybody].argmax(axis=0)[starts]]
            value = gains[chosen, starts]
        named = self._named[day]
        if len(named.rows):
            is_own = named.owner[:, None] == providers[None, :]
            own = np.where(is_own, gains[np.ix_(named.rows, starts)], -np.inf)
            top = own.argmax(axis=0)
            better = own[top, np.arange(len(starts))] > value
            chosen = np.where(better, named.rows[top], chosen)
        return chosen


def start_scores(instance: Instance, task: int) -> Floats:
    """[S] what a task scores by its start, but for the gap part, in the best room, as regular.

    With the provider whose minutes suit the preference best.
    """
    number = instance.tasks[task].kind
    score = instance.preference(task).max(axis=0)
    return (score + max(instance.room_parts[number]) + instance.regular_bonus) / instance.unit


class _Named(NamedTuple):
    """The tasks that ask for one of some `providers` by name on a date, provider by provider.

    `owner` is the provider that each of `rows` asks for; `begins`, where each provider's begin.
    """

    providers: Ints
    rows: Ints
    begins: Ints
    owner: Ints


def _closed(instance: Instance, task: int) -> list[tuple[int, Bools]]:
    """Return days with the starts, [S], at which only the patient keeps a task from all places."""
    t = instance.tasks[task]
    table = instance.kinds[t.kind]
    closed, left = table.regular | table.allowed, np.zeros(table.shape, np.bool_)
    left.ravel()[instance.columns(task)] = True
    here = slice(None) if t.provider < 0 else table.posts_of(t.provider)
    each = ((d, closed[here, d].any(axis=0) & ~left[here, d].any(axis=0)) for d in t.days)
    return [(d, starts) for d, starts in each if starts.any()]
