"""Large-neighbourhood search (Shaw 1998) over blocks of provider-days.

A block is a few providers on a few dates. All that is placed there is lifted, requests that found
no place are added, the linear relaxation of the block is sifted to a kernel, and CP-SAT solves the
kernel from the incumbent, rooms and all. Blocks that share no provider, date or task can be solved
side by side, in processes, and their answers put together.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import numpy as np

from solver.gaps import meet
from solver.instance import Instance, Put
from solver.joint import Columns, JointModel, Watch
from solver.kernel import Sifter, priority_worth
from solver.problem import Problem

KERNEL_FROM = 1500
"""Blocks of fewer columns are solved whole."""
ROOMS = 8
"""The most rooms offered at one type and start of a block, beside those that are in use."""


@dataclass(frozen=True)
class Block:
    """A part of a plan to solve again.

    Attributes
    ----------
    pairs
        The providers and days.
    waiting
        Tasks that could be placed there, and how many of each.
    with_gap
        Whether the gap part of the score counts, or only what is linear in the placements.
    work_limit
        In the solver's deterministic seconds.
    """

    pairs: frozenset[tuple[int, int]]
    waiting: tuple[tuple[int, int], ...]
    with_gap: bool
    work_limit: float
    seed: int


@dataclass(frozen=True)
class Answer:
    """What solving a block brought: its placements, or None when nothing better was found."""

    puts: list[Put] | None
    is_proved: bool
    size: tuple[int, int]


def solve_block(
    instance: Instance,
    puts: Sequence[Put],
    block: Block,
    time_limit: float,
    watch: Watch | None = None,
) -> Answer:
    """Solve a block, everything outside it standing as in `puts`."""
    inside = [p for p in puts if (p.provider, p.day) in block.pairs]
    outside = [p for p in puts if (p.provider, p.day) not in block.pairs]
    left: dict[int, int] = defaultdict(int, block.waiting)
    for put in inside:
        left[put.task] += 1
    columns = _columns_in(instance, sorted(left), block.pairs)
    if not len(columns):
        return Answer(None, is_proved=True, size=(0, 0))
    if len(columns) > KERNEL_FROM:
        share = 0.5 if block.with_gap else 0.1
        worth = priority_worth(instance, columns, share)
        sifter = Sifter(instance, columns, left, worth, outside)
        start = positions(instance, columns, inside)
        columns = sifter.run(start, time_limit=time_limit / 2, tolerance=0.02).kernel
    joint = JointModel(instance, columns, left, outside, rooms=ROOMS, keep=inside)
    score = joint.score(with_gap=block.with_gap)
    most = sum(len(t.members) for t in instance.tasks) + len(instance.fixed)
    objective = joint.expression("priority") * (instance.unit * most) + score
    joint.hint(inside)
    outcome = joint.maximise(
        objective,
        time_limit=time_limit,
        seed=block.seed,
        work_limit=block.work_limit,
        watch=watch,
    )
    return Answer(outcome.puts, outcome.is_proved, joint.size())


def _columns_in(
    instance: Instance, tasks: Iterable[int], pairs: frozenset[tuple[int, int]]
) -> Columns:
    """The columns of some tasks at the provider-days of a block."""
    inside = {}
    for number in {instance.tasks[i].kind for i in tasks}:
        mask = np.zeros(instance.kinds[number].shape, np.bool_)
        for provider, day in pairs:
            mask[provider, day] = True
        inside[number] = mask.ravel()
    columns = Columns.of(
        instance,
        tasks,
        lambda i, sites: sites[inside[instance.tasks[i].kind][sites]],
    )
    return columns


def positions(instance: Instance, columns: Columns, puts: Sequence[Put]) -> list[int]:
    """Return where `puts` are among the columns, for those that are."""
    wanted = set()
    for put in puts:
        kind = instance.kinds[instance.tasks[put.task].kind]
        s = int(np.searchsorted(kind.starts, put.start))
        site = int(np.ravel_multi_index((put.provider, put.day, s), kind.shape))
        wanted.add((put.task, site, put.is_overbooked))
    of_task = np.flatnonzero(np.isin(columns.task, [put.task for put in puts]))
    return [
        c
        for c in of_task.tolist()
        if (int(columns.task[c]), int(columns.site[c]), bool(columns.is_overbooked[c])) in wanted
    ]


class Blocks:
    """Chooses blocks, around tasks that wait; they grow while they are solved with ease."""

    def __init__(self, instance: Instance, seed: int) -> None:
        self._instance = instance
        self._chance = np.random.default_rng(seed)
        self.pairs = 6.0

    def adapt(self, *, is_proved: bool) -> None:
        """Take larger blocks after one that was solved to the end, smaller ones after others."""
        self.pairs = min(30.0, self.pairs * 1.04) if is_proved else max(3.0, self.pairs * 0.93)

    def choose(
        self, puts: Sequence[Put], count: int, *, with_gap: bool, work_limit: float
    ) -> list[Block]:
        """Return up to `count` blocks of different days, and so of different rooms."""
        instance = self._instance
        days = self._chance.permutation(len(instance.dates)).tolist()
        count = min(count, len(days))
        waiting = self._waiting(puts)
        taken: set[int] = set()
        blocks = []
        for number in range(count):
            own = days[number::count]
            pairs = self._pairs(own, waiting)
            fits = [
                i
                for i in waiting
                if i not in taken and self._could(i, pairs) and len(taken) < 10_000
            ]
            fits.sort(key=lambda i: -instance.tasks[i].priority * self._chance.random() ** 0.3)
            chosen = fits[:40]
            taken |= set(chosen)
            blocks.append(
                Block(
                    pairs,
                    tuple((i, waiting[i]) for i in chosen),
                    with_gap,
                    work_limit,
                    int(self._chance.integers(1 << 30)),
                )
            )
        return blocks

    def _waiting(self, puts: Sequence[Put]) -> dict[int, int]:
        left = {i: len(t.members) for i, t in enumerate(self._instance.tasks) if t.own is None}
        for put in puts:
            if put.task in left:
                left[put.task] -= 1
        return {i: n for i, n in left.items() if n and len(self._instance.columns(i))}

    def _pairs(self, days: list[int], waiting: dict[int, int]) -> frozenset[tuple[int, int]]:
        instance, chance = self._instance, self._chance
        providers = len(instance.providers)
        days = days[: max(1, min(len(days), round(self.pairs**0.5)))]
        most = max(2, round(self.pairs / len(days)))
        able: set[int] = set()
        around = [i for i in waiting if set(instance.tasks[i].days) & set(days)]
        if around:
            weight = np.array([instance.tasks[i].priority for i in around], np.float64)
            seed = around[int(chance.choice(len(around), p=weight / weight.sum()))]
            kind = instance.kinds[instance.tasks[seed].kind]
            able = set((instance.columns(seed) // (kind.shape[1] * kind.shape[2])).tolist())
        first = chance.permutation(sorted(able)).tolist()[: max(1, most * 2 // 3)]
        rest = [p for p in chance.permutation(providers).tolist() if p not in first]
        chosen = (first + rest)[:most]
        return frozenset((p, d) for p in chosen for d in days)

    def _could(self, number: int, pairs: frozenset[tuple[int, int]]) -> bool:
        task = self._instance.tasks[number]
        kind = self._instance.kinds[task.kind]
        return any(
            d in task.days
            and task.provider in (-1, p)
            and bool((kind.regular[p, d] | kind.allowed[p, d]).any())
            for p, d in pairs
        )


def combined(instance: Instance, puts: Sequence[Put], solved: Iterable[tuple[Block, Answer]]) -> list[Put]:
    """Put the answers of blocks in the place of what was there, save those that clash."""
    result = list(puts)
    new: list[Put] = []
    for block, answer in solved:
        if answer.puts is None or any(
            a.room == b.room and meet(instance.room_busy(a), instance.room_busy(b))
            for a in new
            for b in answer.puts
            if abs(a.day - b.day) <= 1
        ):
            continue
        result = [p for p in result if (p.provider, p.day) not in block.pairs] + answer.puts
        new += answer.puts
    return result


# Processes

_instance: Instance | None = None
_stop: Event | None = None


def _begin(problem: Problem, stop: Event) -> None:
    global _instance, _stop  # noqa: PLW0603
    _instance, _stop = Instance(problem), stop


def _solve_in_process(puts: Sequence[Put], block: Block, time_limit: float) -> Answer:
    assert _instance is not None
    assert _stop is not None
    return solve_block(
        _instance, puts, block, time_limit, Watch(_stop.is_set, lambda _value, _bound: None)
    )


class Team:
    """Processes that solve blocks; with one worker, this process does."""

    def __init__(self, problem: Problem, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self.workers = workers
        self._pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(problem, self._stop)
        )

    def submit(self, puts: Sequence[Put], block: Block, time_limit: float) -> Future[Answer]:
        """Have a block solved."""
        return self._pool.submit(_solve_in_process, list(puts), block, time_limit)

    def end(self) -> None:
        """Stop whatever runs and let the processes go."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
