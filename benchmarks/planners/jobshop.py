"""The instance as a job shop, for PyJobShop.

PyJobShop (Lan & Berkhout 2025) knows machines with breaks, tasks with modes, timing between tasks,
and a weighted number of tardy jobs. A request is two tasks that begin together: one occupies its
provider, in a mode for each provider and date, the other a room. The first has one mode more, the
waiting list, which lasts beyond the day's end and makes the job tardy by its priority, so that the
objective is the priority that is not placed. A machine is one provider's, room's or patient's
date; caps are consumables.

What it cannot express, and what became of it:

- overbooking: only regular places are offered (compare with ours, asked for those alone);
- the score: only priorities count;
- a window that ends for the appointment but not for the buffer after it: what a provider's
  shortest buffer needs beyond the window is open, what a longer one would need is not;
- the patient's own time: it is blocked as long as the provider's.

A provider's buffer before must not depend on the type, as in these instances; then the time of
each provider can be shifted by it.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pyjobshop import Model, Solution
from pyjobshop.Model import Consumable, Machine, Mode, Renewable, Task

from benchmarks.measure.memory import peak_mib
from benchmarks.planners.answer import Answer, Moment, answer, plan_of, whole_bound
from benchmarks.planners.ours import WORKERS
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import cut, merge
from solver.clinic.windows import Windows
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.problem import Problem

_BEST = re.compile(r"^#(?:\d+|Bound|Done)\s+([\d.]+)s\s+best:(-?[\d.]+|inf)\s+next:\[(-?[\d.]+)?")


def plan(problem: Problem, limit: float) -> Answer:
    """Plan with PyJobShop."""
    began = time.perf_counter()
    instance = Instance(problem)
    shop = _Shop(instance)
    data = shop.model.data()
    building = time.perf_counter() - began
    from pyjobshop import solve

    with _log() as read:
        begin = time.perf_counter()
        result = solve(data, time_limit=limit, display=True, num_workers=WORKERS)
        seconds = time.perf_counter() - begin
        log = read()
    found = np.isfinite(result.objective)
    assignments = shop.assignments(result.best) if found else []
    wanted = sum(request.priority for request in problem.requests)
    return answer(
        problem,
        plan_of(instance, assignments, seconds=seconds),
        status=result.status.value.lower() if found else "nothing found",
        bound=whole_bound(problem, wanted - result.lower_bound),
        seconds=seconds,
        building=building,
        mib=peak_mib(),
        history=_history(problem, log, wanted),
    )


def _history(problem: Problem, log: str, wanted: int) -> list[Moment]:
    moments = []
    for line in log.splitlines():
        found = _BEST.match(line)
        if found:
            seconds, best, bound = found.groups()
            lost = float(best)
            moments.append(
                Moment(
                    float(seconds),
                    wanted - lost if np.isfinite(lost) else None,
                    whole_bound(problem, wanted - float(bound or best)),
                )
            )
    return moments


@contextmanager
def _log() -> Iterator[Callable[[], str]]:
    """Keep what this process writes to standard output; yields a function that returns it."""
    with tempfile.TemporaryDirectory(prefix="slotwright-bench-") as directory:
        path = Path(directory) / "log"
        sys.stdout.flush()
        before = os.dup(1)
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)

        def read() -> str:
            sys.stdout.flush()
            os.dup2(before, 1)
            return path.read_text()

        try:
            yield read
        finally:
            os.dup2(before, 1)
            os.close(before)


class _Shop:
    """An instance as a job shop; times are in ticks, the largest unit that loses nothing."""

    def __init__(self, instance: Instance) -> None:
        self.model = Model()
        self._instance = instance
        self._tick = _tick(instance)
        self._day = DAY_MINUTES // self._tick
        self._never = self.model.add_renewable(0)
        self._shift = [_shift(instance, p) for p in range(len(instance.providers))]
        days = range(len(instance.dates))
        self._providers = {
            (p, d): self.model.add_machine(self._closed_to_provider(p, d))
            for p in range(len(instance.providers))
            for d in days
        }
        self._caps: dict[tuple[int, int], Consumable] = {}
        for (p, d), cap in self._capacity().items():
            self._caps[p, d] = self.model.add_consumable(cap)
        self._rooms = {
            (r, d): self.model.add_machine(self._closed_to_room(r, d))
            for r in range(len(instance.rooms))
            for d in days
        }
        self._patients: dict[tuple[str, int], Machine] = {}
        self._places: list[tuple[int, Task, Task]] = []
        self._modes: list[tuple[int, int]] = []
        for number, task in enumerate(instance.tasks):
            for _ in task.members:
                self._add(number)
        self.model.set_objective(weight_tardy_jobs=1)

    def assignments(self, best: Solution) -> list[Assignment]:
        """Return the placements of a solution."""
        assignments = []
        index = {id(task): i for i, task in enumerate(self.model.tasks)}
        for number, at_provider, in_room in self._places:
            first, second = (best.tasks[index[id(task)]] for task in (at_provider, in_room))
            provider, day = self._modes[first.mode]
            if provider >= 0:
                room, _ = self._modes[second.mode]
                assignments.append(
                    Assignment(number, provider, room, day, first.start * self._tick, False)
                )
        return assignments

    def _add(self, number: int) -> None:
        """Add a request."""
        instance, model = self._instance, self.model
        task = instance.tasks[number]
        kind = instance.kinds[task.kind]
        variant = kind.variants[0]
        job = model.add_job(weight=task.priority, due_date=self._day)
        options = {"latest_start": self._day, "latest_end": 3 * self._day}
        first = model.add_task(job, **options)
        second = model.add_task(optional=True, **options)
        model.add_start_at_start(first, second, -kind.row.buffer_before // self._tick)
        waiting: Renewable = self._never
        self._mode(first, [waiting], 2 * DAY_MINUTES, [0], (-1, -1))
        there: dict[int, list[Mode]] = defaultdict(list)
        for d in task.days:
            for r in np.flatnonzero(variant.room_free[:, d].any(axis=1)).tolist():
                minutes = kind.row.buffer_before + int(variant.room_after[r])
                there[d].append(self._mode(second, [self._rooms[r, d]], minutes, [0], (r, d)))
            able = kind.regular_anywhere[:, d].any(axis=1)
            for p in np.flatnonzero(able).tolist():
                if task.provider not in {-1, p} or not there[d]:
                    continue
                resources: list[Machine | Consumable] = [self._providers[p, d]]
                demands = [0]
                if (p, d) in self._caps:
                    resources.append(self._caps[p, d])
                    demands.append(1)
                if task.patient is not None:
                    resources.append(self._patient(task.patient, d))
                    demands.append(0)
                minutes = int(kind.before[p] + kind.after[p])
                mode = self._mode(first, resources, minutes, demands, (p, d))
                model.add_mode_dependency(mode, there[d])
        if any(there.values()):
            self._places.append((number, first, second))
        else:  # a task must have a mode
            self._mode(second, [waiting], 1, [0], (-1, -1))

    def _mode(
        self,
        task: Task,
        resources: list[Machine | Consumable] | list[Renewable] | list[Machine],
        minutes: int,
        demands: list[int],
        place: tuple[int, int],
    ) -> Mode:
        self._modes.append(place)
        return self.model.add_mode(task, list(resources), minutes // self._tick, demands)

    def _patient(self, patient: str, day: int) -> Machine:
        key = patient, day
        if key not in self._patients:
            taken = [
                (s.busy[0] - day * DAY_MINUTES, s.busy[1] - day * DAY_MINUTES)
                for s in self._instance.fixed
                if s.booking.patient_key == patient and s.day == day
            ]
            self._patients[key] = self.model.add_machine(self._breaks(taken))
        return self._patients[key]

    def _closed_to_provider(self, p: int, d: int) -> list[Span]:
        """Return when a provider's tasks cannot be: outside the windows, and at bookings."""
        instance, shift = self._instance, self._shift[p]
        row = instance.providers[p]
        windows = Windows.on(instance.clinic, instance.dates[d]).provider[row.id]
        buffer = min(int(k.after[p]) - k.row.duration_minutes for k in instance.kinds)
        closed = [
            (start + shift + buffer if start else 0, end)
            for start, end in cut([(0, DAY_MINUTES)], windows)
        ]
        busy = [s.busy for s in instance.fixed if s.provider == p]
        midnight = d * DAY_MINUTES
        closed += [(start - midnight + shift, end - midnight + shift) for start, end in busy]
        return self._breaks(closed)

    def _closed_to_room(self, r: int, d: int) -> list[Span]:
        instance = self._instance
        row = instance.rooms[r]
        windows = Windows.on(instance.clinic, instance.dates[d]).room[row.id]
        closed = cut([(0, DAY_MINUTES)], windows)
        midnight = d * DAY_MINUTES
        closed += [
            (s.room_busy[0] - midnight, s.room_busy[1] - midnight)
            for s in instance.fixed
            if s.room == r
        ]
        return self._breaks(closed)

    def _breaks(self, spans: list[Span]) -> list[Span]:
        """Return spans of one day, and all that is after it, as breaks: sorted, whole ticks."""
        tick = self._tick
        inside = [(max(0, start), min(DAY_MINUTES, end)) for start, end in spans]
        whole = [(start // tick, -(-end // tick)) for start, end in inside if start < end]
        return merge([*whole, (self._day, 4 * self._day)])

    def _capacity(self) -> dict[tuple[int, int], int]:
        instance = self._instance
        regular: dict[tuple[int, int], int] = defaultdict(int)
        for s in instance.fixed:
            regular[s.provider, s.day] += not s.booking.is_overbooked
        return {
            (p, d): max(0, row.daily_cap - regular[p, d])
            for p, row in enumerate(instance.providers)
            if row.daily_cap is not None
            for d in range(len(instance.dates))
        }


def _shift(instance: Instance, provider: int) -> int:
    shifts = {int(kind.before[provider]) for kind in instance.kinds}
    if len(shifts) > 1:
        raise NotImplementedError("the buffer before depends on the type")
    if any(kind.row.daily_cap is not None for kind in instance.kinds):
        raise NotImplementedError("a type has a daily cap")
    if instance.clinic.provider_types:
        raise NotImplementedError("a provider does a type in minutes of its own")
    if any(kind.row.has_own_starts or kind.row.start_every for kind in instance.kinds):
        raise NotImplementedError("a type has a rhythm of its own")
    if instance.capacity.has_minutes_cap.any():
        raise NotImplementedError("a provider has a cap on minutes")
    return shifts.pop()


def _tick(instance: Instance) -> int:
    """Return the greatest number of minutes of which every length and the day is a multiple."""
    lengths = [DAY_MINUTES, instance.clinic.settings.grid_minutes]
    for kind in instance.kinds:
        lengths += [kind.row.duration_minutes, kind.row.buffer_before]
        for array in (kind.before, kind.after, kind.variants[0].room_after):
            lengths += array.tolist()
    return math.gcd(*lengths)
