"""Large-neighbourhood search (Shaw 1998) over blocks of provider-days.

A block is a few providers on a few dates. What is placed there is lifted, all or a part of it, and
requests that found no place are added. What could be placed is narrowed to a kernel, by sifting the
block's linear relaxation or by prices; CP-SAT solves it from the incumbent. For the priority, only
types that run short of rooms have them in the model; all other placements get theirs afterwards.
Blocks that share no provider, date or task can be solved side by side, in processes, and their
answers put together.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Literal

import numpy as np
from ortools.sat.python import cp_model

from solver.gaps import meet
from solver.instance import Instance, Put, Totals
from solver.joint import NO_ROOM, Columns, JointModel, Watch, given_rooms
from solver.kernel import Floats, Market, Sifter, priority_worth
from solver.prices import Prices, price
from solver.problem import Problem
from solver.timeline import Bools, Ints
from solver.timing import retimed

KERNEL_UP_TO = 2500
"""Columns of a kernel that are tried together: the solver's time grows much faster than they do."""
SCORED_AT_FIRST, SCORED_FROM, SCORED_TO = 60.0, 20.0, 500.0
"""Columns of each provider-day that are tried together where the gap part counts: more once such
blocks are easy, fewer when they are hard."""
LIFTED_SHARE = 0.6
"""The part of the placements that every other block for the priority lifts. Few requests with many
columns each bring more than many with few."""
LIFTED_FROM, LIFTED_TO = 0.2, 0.6
"""All blocks for the score are such, with a part between these: what one leaves, another finds."""
LOST = 3.0
"""How much likelier a placement is lifted for each score that its date loses by it."""
LEAST_LOST = 0.02
"""What a provider-day is taken to lose in any case, so that each has its turn."""
STAY_SHARE = 0.5
"""What it counts for, in gap parts, that a placement stays when a block betters the priority."""
TIDY_WORK, TIDY_SECONDS = 0.3, 2.0
"""The solver's deterministic seconds, and seconds, for bettering the score then."""
STALL = 0.001
"""A block's relaxation is near enough once two rounds better it by less than this share."""
ROOMS = 4
"""The most rooms offered at one type and start of a block, beside those that are in use."""
ONE_DATE_SHARE = 0.7
"""The part of the blocks that lie on as few dates as they can: providers who share rooms and can
take each other's appointments."""
ALL_DATES_SHARE = 0.5
"""The part of the blocks for the score that take all dates of a working week."""
ROOMS_SECONDS = 0.5
"""What finding other rooms for a block's answer may take."""
STALE_ROUNDS, STALE_BLOCKS = 2, 20
STALE_SHARE = 0.0005
"""It is the score's turn when so many blocks, which went over all provider-days so often, have
bettered the priority by no more than this share."""
WAITING = 8
"""The most tasks without a place that a block takes on, for each of its provider-days."""


type Aim = Literal["priority", "timing", "score"]
"""What a block is solved for.

``priority``: to place what is worth most. ``timing``: the best starts, who sees whom being settled.
``score``: all of the score, among the columns that lose least at the prices of requests.
"""


@dataclass(frozen=True)
class Effort:
    """The provider-days of a block, at first, and the solver's deterministic seconds for each."""

    pairs: float
    work_limit: float


EFFORTS: dict[Aim, Effort] = {
    "priority": Effort(10.0, 3.0),
    "score": Effort(12.0, 1.2),
}


@dataclass(frozen=True)
class Block:
    """A part of a plan to solve again.

    Attributes
    ----------
    pairs
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
    pairs: frozenset[tuple[int, int]]
    waiting: tuple[tuple[int, int], ...]
    seed: int
    roomless: frozenset[int]
    lifted: float = 1.0
    prices: Prices | None = None
    most: int = 0


@dataclass(frozen=True)
class Answer:
    """What a solve brought.

    Attributes
    ----------
    puts
        The placements; None when nothing better was found.
    bound
        Proven, of all that was asked about.
    is_proved
        Whether the model was solved to its end.
    short
        Kinds for which rooms ran short: some of what was chosen found none.
    size
        Variables and constraints.
    """

    puts: list[Put] | None
    is_proved: bool
    bound: float = math.inf
    short: frozenset[int] = frozenset()
    size: tuple[int, int] = (0, 0)


def solve_block(
    instance: Instance, watch: Watch, puts: Sequence[Put], block: Block, time_limit: float
) -> Answer:
    """Solve a block, everything outside it standing as in `puts`."""
    if block.aim == "timing":
        for day in sorted({day for _, day in block.pairs}):
            puts = retimed(instance, puts, day, watch.should_stop)
        return Answer([p for p in puts if (p.provider, p.day) in block.pairs], is_proved=True)
    inside = [p for p in puts if (p.provider, p.day) in block.pairs]
    outside = [p for p in puts if (p.provider, p.day) not in block.pairs]
    left: dict[int, int] = defaultdict(int, block.waiting)
    for put in inside:
        left[put.task] += 1
    draw = np.random.default_rng(block.seed).random(len(inside))
    if block.prices is not None and inside:
        lost = block.prices.lost(instance, Columns.at(instance, inside))
        draw -= LOST * np.maximum(lost, 0)
    is_kept = draw >= block.lifted
    kept = [put for put, stays in zip(inside, is_kept, strict=True) if stays]
    stay = Counter(put.task for put in kept)
    free = sorted(task for task, count in left.items() if count > stay[task])
    columns = Columns.inside(instance, free, block.pairs).clear_of(instance, kept)
    if block.prices is not None and block.aim == "score":
        columns = block.prices.best(instance, columns, block.most)
    columns = columns.joined(Columns.at(instance, inside))
    if not len(columns):
        return Answer(None, is_proved=True)
    if block.aim == "score":
        joint = JointModel(instance, columns, left, outside, rooms=ROOMS, keep=inside)
        joint.fix(kept)
        return _solve_for_score(instance, watch, block, joint, inside, time_limit)
    began = time.perf_counter()
    worth = priority_worth(instance, columns, 0.5 / sum(left.values()))
    sifter = Sifter(instance, columns, left, worth, outside)
    start = positions(instance, columns, inside)
    most = sifter.run(
        start,
        time_limit=time_limit / 2,
        first=4,
        per_task=3,
        tolerance=0.02,
        stall=STALL,
        should_stop=watch.should_stop,
    ).bound
    if sifter.priced is None:
        return Answer(None, is_proved=False)
    have = _priority(instance, inside)
    if most < have + 1 - 1e-6:
        return Answer(None, is_proved=True)
    return best_without_gaps(
        instance,
        watch,
        columns[_worth_trying(sifter, most, have, start)],
        left,
        outside,
        inside,
        roomless=block.roomless,
        most=most,
        time_limit=time_limit - (time.perf_counter() - began),
        work_limit=EFFORTS[block.aim].work_limit,
        seed=block.seed,
    )


def _solve_for_score(
    instance: Instance,
    watch: Watch,
    block: Block,
    joint: JointModel,
    inside: Sequence[Put],
    time_limit: float,
) -> Answer:
    objective = instance.most_score * joint.expression("priority") + joint.score()
    joint.hint(inside)
    outcome = joint.maximise(
        objective,
        time_limit=time_limit,
        seed=block.seed,
        work_limit=EFFORTS[block.aim].work_limit,
        watch=watch,
    )
    return Answer(outcome.puts, outcome.is_proved, size=joint.size())


def best_without_gaps(
    instance: Instance,
    watch: Watch,
    columns: Columns,
    left: Mapping[int, int],
    outside: Sequence[Put],
    inside: Sequence[Put],
    *,
    roomless: Collection[int],
    time_limit: float,
    least: float = -math.inf,
    most: float = math.inf,
    work_limit: float | None = None,
    seed: int = 0,
) -> Answer:
    """Look for the placements of the most priority among some columns, starting from `inside`.

    Only a priority from `least` to `most` is looked for, the latter being known to hold. Two steps:
    where and when, with the rooms of all kinds but the `roomless`; then the rooms. What finds none
    is left out, and its kind told of. With a `work_limit`, as blocks have it, what betters the
    priority is tidied up between the two.
    """
    began = time.perf_counter()
    joint = JointModel(instance, columns, left, outside, keep=inside, roomless=roomless)
    objective = joint.expression("priority")
    if math.isfinite(most):
        joint.model.add(objective <= math.floor(most + 1e-6))
    if math.isfinite(least):
        joint.model.add(objective >= math.ceil(least))
    joint.hint(inside)
    outcome = joint.maximise(
        objective, time_limit=time_limit, seed=seed, work_limit=work_limit, watch=watch
    )
    if outcome.puts is None:
        return Answer(None, outcome.is_proved, outcome.bound, size=joint.size())
    chosen = outcome.puts
    if work_limit is not None and _priority(instance, chosen) > _priority(instance, inside):
        chosen = _tidied(instance, joint, objective, chosen, inside, watch, seed)
    puts = chosen
    if any(put.room == NO_ROOM for put in chosen):
        time_left = max(1.0, time_limit - (time.perf_counter() - began))
        found = given_rooms(instance, chosen, left, outside, time_left, watch)
        if found is None:
            return Answer(None, is_proved=False, bound=outcome.bound, size=joint.size())
        puts = found
    lost = Counter(p.task for p in chosen) - Counter(p.task for p in puts)
    short = frozenset(instance.tasks[i].kind for i in lost)
    return Answer(puts, outcome.is_proved, outcome.bound, short, joint.size())


def _priority(instance: Instance, puts: Sequence[Put]) -> int:
    return sum(instance.tasks[put.task].priority for put in puts)


def _tidied(
    instance: Instance,
    joint: JointModel,
    objective: cp_model.LinearExpr,
    puts: list[Put],
    inside: Sequence[Put],
    watch: Watch,
    seed: int,
) -> list[Put]:
    """Return placements of as much priority that score more, or leave more of `inside` as it was.

    What has been placed well by its gap part would be scattered otherwise, as nothing in the
    priority speaks for one start or another.
    """
    joint.model.add(objective >= _priority(instance, puts))
    joint.hint(puts)
    stay = round(STAY_SHARE * 4 * instance.gap_quarter)
    outcome = joint.maximise(
        joint.score(with_gap=False) + stay * joint.kept(inside),
        time_limit=TIDY_SECONDS,
        seed=seed,
        work_limit=TIDY_WORK,
        watch=watch,
    )
    return puts if outcome.puts is None else outcome.puts


def _worth_trying(sifter: Sifter, bound: float, have: float, start: Sequence[int]) -> Ints:
    """Return positions of columns that a plan of more priority than `have` could contain.

    All of them where they are few (reduced-cost fixing), else the best of the kernel, and `start`
    in any case.
    """
    assert sifter.priced is not None
    could = np.flatnonzero(_could_better(sifter.priced, bound, have))
    if len(could) > KERNEL_UP_TO:
        could = best_of(sifter.entered, sifter.priced)
    return np.union1d(could, np.array(start, np.int64))


def _could_better(priced: Floats, bound: float, value: float) -> Bools:
    """[n] whether a column could be in a plan of more than `value` (reduced-cost fixing)."""
    could: Bools = priced >= value + 1 - bound - 1e-6
    return could


def best_of(kernel: Ints, priced: Floats) -> Ints:
    """Return the columns of a kernel that lose least by coming in, :data:`KERNEL_UP_TO` of them."""
    return kernel[np.argsort(-priced[kernel], kind="stable")[:KERNEL_UP_TO]]


def positions(instance: Instance, columns: Columns, puts: Sequence[Put]) -> list[int]:
    """Return where `puts` are among the columns, for those that are."""
    wanted = set(Columns.at(instance, puts).keys)
    of_task = np.flatnonzero(np.isin(columns.task, [put.task for put in puts]))
    found = zip(of_task.tolist(), columns[of_task].keys, strict=True)
    return [c for c, key in found if key in wanted]


class Blocks:
    """Chooses blocks, around tasks that wait; they grow while they are solved with ease."""

    def __init__(self, instance: Instance, seed: int) -> None:
        self._instance = instance
        self._chance = np.random.default_rng(seed)
        self._size = EFFORTS["priority"].pairs
        self._gains: list[tuple[float, int]] = []
        self._reached = 0
        self._most = SCORED_AT_FIRST
        self._lost: dict[Put, float] = {}
        self._is_little = len(instance.providers) * len(instance.dates) <= EFFORTS["score"].pairs
        self._untimed = list(range(len(instance.dates)))
        scarce = max(3, len(instance.providers) // 4)
        served_by = [int(k.room_free.any(axis=(1, 2)).sum()) for k in instance.kinds]
        self.roomless = frozenset(k for k, rooms in enumerate(served_by) if rooms > scarce)

    @property
    def is_stale(self) -> bool:
        """Whether blocks for the priority hardly better it any more."""
        everything = len(self._instance.providers) * len(self._instance.dates)
        covered, gained = 0.0, 0
        for blocks, (pairs, gain) in enumerate(reversed(self._gains), 1):
            covered, gained = covered + pairs, gained + gain
            if covered >= STALE_ROUNDS * everything and blocks >= STALE_BLOCKS:
                return gained <= STALE_SHARE * self._reached
        return False

    @property
    def has_untimed(self) -> bool:
        """Whether there are dates whose starts have yet to be bettered."""
        return bool(self._untimed)

    def note_short(self, kinds: frozenset[int]) -> None:
        """Give kinds for which rooms ran short their rooms in the model from now on."""
        self.roomless -= kinds

    def learn(self, block: Block, answer: Answer, before: Totals, after: Totals) -> None:
        """Take larger blocks once such as these bring nothing, smaller ones when they are hard.

        Those for the score keep their provider-days and take more columns or fewer.
        """
        self.note_short(answer.short)
        is_better = after > before
        if block.aim == "priority":
            self._gains.append((block.lifted * len(block.pairs), after.priority - before.priority))
            self._reached = after.priority
        factor = 0.93 if not answer.is_proved else 1.0 if is_better else 1.04
        if block.aim == "priority":
            self._size = min(30.0, max(2.0, self._size * factor))
        elif block.aim == "score":
            self._most = min(SCORED_TO, max(SCORED_FROM, self._most * factor))

    def choose(
        self,
        puts: Sequence[Put],
        running: Iterable[Block],
        prices: Prices | None,
        *,
        for_score: bool,
    ) -> Block:
        """Return a block that shares neither task nor, where it can, a date with those running.

        Blocks of different dates have no room, patient or cap in common; others may clash. Where
        all of the clinic is little, every block for the score is all of it: whoever is first with
        something better wins.
        """
        instance, chance = self._instance, self._chance
        running = [] if for_score and self._is_little else list(running)
        busy = {pair for block in running for pair in block.pairs}
        taken = {task for block in running for task, _ in block.waiting}
        taken |= {p.task for p in puts if (p.provider, p.day) in busy}
        waiting = {i: n for i, n in waiting_in(instance, puts).items() if i not in taken}
        aim: Aim = "score" if for_score else "priority"
        days: list[int] = chance.permutation(len(instance.dates)).tolist()
        if for_score:
            lifted = float(chance.uniform(LIFTED_FROM, LIFTED_TO))
        else:
            lifted = LIFTED_SHARE if chance.random() < 0.5 else 1.0
        if for_score and self._untimed:
            aim, day = "timing", self._untimed.pop()
            pairs = frozenset((p, day) for p in range(len(instance.providers)))
        elif for_score:
            pairs = self._across(days, busy, self._losses(puts, prices))
        else:
            free = [d for d in days if all(d != day for _, day in busy)]
            pairs = self._pairs(free or days, waiting, self._size / lifted) - busy
        fits = [i for i in waiting if could_be_at(instance, i, pairs)]
        weight = {i: instance.tasks[i].priority * chance.random() ** 0.3 for i in fits}
        fits.sort(key=lambda i: -weight[i])
        return Block(
            aim,
            pairs,
            tuple((i, waiting[i]) for i in fits[: WAITING * len(pairs)]),
            int(chance.integers(1 << 30)),
            self.roomless,
            lifted,
            prices.at(pairs) if prices is not None and aim != "timing" else None,
            round(self._most * len(pairs)),
        )

    def _losses(self, puts: Sequence[Put], prices: Prices | None) -> Floats:
        """[P, D] the most that a provider's date loses by one of its placements."""
        instance = self._instance
        losses = np.full((len(instance.providers), len(instance.dates)), LEAST_LOST)
        if prices is None:
            return losses
        new = [put for put in puts if put not in self._lost]
        if new:
            lost = prices.lost(instance, Columns.at(instance, new)).tolist()
            self._lost.update(zip(new, lost, strict=True))
        for put in puts:
            at = put.provider, put.day
            losses[at] = max(losses[at], self._lost[put])
        return losses

    def _across(
        self, days: Sequence[int], busy: Collection[tuple[int, int]], losses: Floats
    ) -> frozenset[tuple[int, int]]:
        """Return dates of some providers that are not busy, up to five of each.

        Who sees whom when is settled across a week. Half of the clinic is left to others. Those who
        lose more are likelier to be chosen, without repeats (Efraimidis & Spirakis 2006).
        """
        chance, providers = self._chance, range(len(self._instance.providers))
        if self._is_little:
            return frozenset((p, d) for p in providers for d in days)
        most = 5 if chance.random() < ALL_DATES_SHARE else int(chance.integers(1, 6))
        order = days[:most]
        turn = chance.random(len(providers)) ** (1 / losses[:, order].mean(axis=1))
        free = [
            p
            for p in np.argsort(-turn, kind="stable").tolist()
            if all((p, d) not in busy for d in order)
        ]
        count = max(1, round(EFFORTS["score"].pairs / len(order)))
        if len(order) == len(days):
            count = min((len(providers) + 1) // 2, count)
        return frozenset((p, d) for p in free[:count] for d in order)

    def _pairs(
        self, days: list[int], waiting: dict[int, int], size: float
    ) -> frozenset[tuple[int, int]]:
        instance, chance = self._instance, self._chance
        providers = len(instance.providers)
        wanted = 0.0 if chance.random() < ONE_DATE_SHARE else size**0.5
        least = math.ceil(size / providers)
        days = days[: max(1, least, min(len(days), round(wanted)))]
        most = max(2, round(size / len(days)))
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


def waiting_in(instance: Instance, puts: Iterable[Put]) -> dict[int, int]:
    """Return tasks that wait for a place, displaced bookings too, and how many of each."""
    placed = Counter(put.task for put in puts)
    return {
        i: len(task.members) - placed[i]
        for i, task in enumerate(instance.tasks)
        if not task.stays_if_not_moved and len(task.members) > placed[i] and instance.options(i)
    }


def could_be_at(instance: Instance, number: int, pairs: Iterable[tuple[int, int]]) -> bool:
    """Return whether a task could be placed at some of these providers' dates."""
    task = instance.tasks[number]
    kind = instance.kinds[task.kind]
    return any(
        d in task.days
        and task.provider in (-1, p)
        and bool((kind.regular[p, d] | kind.allowed[p, d]).any())
        for p, d in pairs
    )


def combined(
    instance: Instance, puts: Sequence[Put], block: Block, new: Sequence[Put]
) -> list[Put] | None:
    """Put a block's answer in the place of what was there; None when it clashes with the rest.

    What stands outside the block may have changed while the block was being solved; then the
    answer is given other rooms, if it can be.
    """
    outside = [p for p in puts if (p.provider, p.day) not in block.pairs]
    days = {day for _, day in block.pairs}
    by_room: dict[int, list[Put]] = defaultdict(list)
    by_patient: dict[str, list[Put]] = defaultdict(list)
    placed: dict[int, int] = defaultdict(int)
    of_kind: dict[tuple[int, int], int] = defaultdict(int)
    for put in outside:
        task = instance.tasks[put.task]
        placed[put.task] += 1
        of_kind[task.kind, put.day] += 1
        if any(abs(put.day - day) <= 1 for day in days):
            by_room[put.room].append(put)
            if task.patient is not None:
                by_patient[task.patient].append(put)
    standing: dict[tuple[int, int], int] = defaultdict(int)
    for s in instance.fixed:
        standing[s.kind, s.day] += 1
    left: dict[int, int] = defaultdict(int)
    for put in new:
        task = instance.tasks[put.task]
        left[put.task] += 1
        placed[put.task] += 1
        of_kind[task.kind, put.day] += 1
        cap = instance.kinds[task.kind].row.daily_cap
        if (
            placed[put.task] > len(task.members)
            or (
                cap is not None
                and of_kind[task.kind, put.day] > max(0, cap - standing[task.kind, put.day])
            )
            or (
                task.patient is not None
                and any(
                    meet(instance.appointment(put), instance.appointment(o))
                    for o in by_patient[task.patient]
                )
            )
        ):
            return None
    if any(
        meet(instance.room_busy(put), instance.room_busy(o))
        for put in new
        for o in by_room[put.room]
    ):
        found = given_rooms(instance, new, left, outside, ROOMS_SECONDS)
        if found is None:
            return None
        new = found
    return [*outside, *new]


def bound(instance: Instance, watch: Watch, time_limit: float) -> float:
    """Bound the priorities of a problem that is too large to be sifted."""
    return Market(instance).bound(time_limit=time_limit, should_stop=watch.should_stop)


def priced(instance: Instance, watch: Watch, priority: int, time_limit: float) -> Prices:
    """Price the requests of the whole problem, for plans of at least some priority."""
    return price(instance, priority, time_limit, watch.should_stop)


def relax(instance: Instance, watch: Watch, time_limit: float) -> Relaxed:
    """Sift the relaxation of the whole problem for the priorities."""
    columns = Columns.of(instance, range(len(instance.tasks)))
    share = 0.5 / max(1, sum(instance.asked.values()))
    sifter = Sifter(instance, columns, instance.asked, priority_worth(instance, columns, share))
    sifted = sifter.run(
        [], time_limit=time_limit, first=10, per_task=4, should_stop=watch.should_stop
    )
    return Relaxed(sifted.bound, sifter.priced, sifter.entered)


@dataclass(frozen=True)
class Relaxed:
    """A bound on the priorities, each column's reduced worth at its duals, and the kernel."""

    bound: float
    priced: Floats | None
    kernel: Ints

    def count(self, value: int) -> int:
        """Return how many columns could have a part in a plan of more priority than `value`."""
        return 0 if self.priced is None else int(self._could_matter(value).sum())

    def _could_matter(self, value: int) -> Bools:
        assert self.priced is not None
        return _could_better(self.priced, self.bound, value)

    def columns(self, instance: Instance, puts: Sequence[Put], reached: int | None) -> Columns:
        """Return the columns that could better what was reached, and those of `puts`.

        With nothing given, the best of the kernel in the place of the former.
        """
        assert self.priced is not None
        every = Columns.of(instance, range(len(instance.tasks)))
        keep = np.zeros(len(every), np.bool_)
        if reached is None:
            keep[best_of(self.kernel, self.priced)] = True
        else:
            keep = self._could_matter(reached)
        keep[positions(instance, every, puts)] = True
        return every[keep]


def close(
    instance: Instance,
    watch: Watch,
    relaxed: Relaxed,
    puts: Sequence[Put],
    time_limit: float,
    roomless: frozenset[int],
    reached: int | None,
) -> Answer:
    """Look for more priority than was `reached` among all columns that could have a part in it.

    A column whose reduced worth is so low that no plan with it can be better is left out
    (reduced-cost fixing), so when nothing is found nothing is there, whether or not `puts` have as
    much as was asked to be bettered (a destructive bound). That is not so of the kernel's best,
    which are looked through when nothing is given.
    """
    have = instance.totals(puts).priority
    columns = relaxed.columns(instance, puts, reached)
    return best_without_gaps(
        instance,
        watch,
        columns,
        instance.asked,
        (),
        puts,
        roomless=roomless,
        least=reached + 1 if reached is not None and reached > have else -math.inf,
        most=relaxed.bound,
        time_limit=time_limit,
    )


def of_priority[Model: JointModel](
    model: type[Model],
    instance: Instance,
    relaxed: Relaxed,
    puts: Sequence[Put],
    priority: int,
) -> Model:
    """Return a model of all plans with at least some priority.

    It has the columns that could have a part in one, and those of `puts`, with all their rooms.
    """
    columns = relaxed.columns(instance, puts, priority - 1)
    joint = model(instance, columns, instance.asked)
    joint.model.add(joint.expression("priority") >= priority)
    return joint


def bound_score(
    instance: Instance,
    watch: Watch,
    relaxed: Relaxed,
    puts: Sequence[Put],
    time_limit: float,
) -> Answer:
    """Bound the score of all plans with the priority of `puts`, which none exceeds.

    One model of all columns that could have a part in such a plan, with their rooms and gap parts,
    searched for its bound: blocks find better plans sooner than it does.
    """
    begin, priority = time.perf_counter(), instance.totals(puts).priority
    joint = of_priority(JointModel, instance, relaxed, puts, priority)
    score = joint.score()
    joint.hint(puts)
    outcome = joint.maximise(
        score, time_limit=time_limit - (time.perf_counter() - begin), watch=watch, for_bound=True
    )
    return Answer(outcome.puts, outcome.is_proved, outcome.bound, size=joint.size())


# Processes

_process: tuple[Instance, Event] | None = None


def _begin(problem: Problem, stop: Event) -> None:
    global _process  # noqa: PLW0603
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _process = Instance(problem), stop


def _end_with_parent() -> None:
    """End this process when the one that asked for it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run[*A, T](job: Callable[[Instance, Watch, *A], T], args: tuple[*A]) -> T:
    assert _process is not None
    instance, stop = _process
    return job(instance, Watch(stop.is_set), *args)


type _Context = multiprocessing.context.ForkServerContext | multiprocessing.context.SpawnContext


def _context() -> _Context:
    """Processes forked from a server that has imported what they need, where there is such."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class Team:
    """Processes that each know the problem and do jobs on it; with one worker, this one does.

    A job is a function of the instance, and of what else it is given. Processes take a second or
    more to begin; until they have, threads of this one do the jobs.
    """

    def __init__(self, instance: Instance, workers: int, watch: Watch) -> None:
        self._instance = instance
        self._watch = watch
        self.workers = max(1, workers)
        self._pool: ProcessPoolExecutor | None = None
        if self.workers > 1:
            context = _context()
            self._stop = context.Event()
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=context,
                initializer=_begin,
                initargs=(instance.problem, self._stop),
            )
            self._threads = ThreadPoolExecutor(1 + self.workers)
            self._beginning = self._threads.submit(self._begin_processes, context, self._pool)

    def _begin_processes(self, context: _Context, pool: ProcessPoolExecutor) -> None:
        """Have all begin at once, once there is what they are forked from, which takes longest."""
        first = context.Process(target=int)
        first.start()
        first.join()
        if not self._stop.is_set():
            wait([pool.submit(int) for _ in range(self.workers)])

    def submit[*A, T](self, job: Callable[[Instance, Watch, *A], T], *args: *A) -> Future[T]:
        """Have a job done; without other processes it is done when this returns."""
        if self._pool is None:
            done: Future[T] = Future()
            done.set_result(job(self._instance, self._watch, *args))
            return done
        if not self._beginning.done():
            return self._threads.submit(job, self._instance, Watch(self._stop.is_set), *args)
        return self._pool.submit(_run, job, args)

    def end(self) -> None:
        """Stop whatever runs and let the processes go; none that has yet to begin is waited for."""
        if self._pool is not None:
            has_begun = self._beginning.done()
            self._stop.set()
            self._threads.submit(self._pool.shutdown, cancel_futures=True)
            self._threads.shutdown(wait=has_begun)
