"""The best schedules of provider-days: their values are right, and none is better."""

from dataclasses import replace

import numpy as np
import pytest

from solver.arrays import Floats
from solver.clinic.entities import Availability, Provider, Span
from solver.planning.bounds.day_schedules import DaySchedules
from solver.planning.instance.evaluation import evaluate
from solver.planning.instance.tables import Instance
from tests.support.random_problems import busy_problem, tiny_problem
from tests.support.strategies import BEFORE, MONDAY, uid

QUARTER = 0.0875


type Start = tuple[int, int, int]
"""A provider-day, a kind and the moment at which it begins."""


def random_gains(instance: Instance, chance: np.random.Generator) -> list[Floats]:
    pairs = len(instance.providers) * len(instance.dates)
    return [chance.uniform(-0.4, 1.0, (len(kind.starts), pairs)) for kind in instance.kinds]


def gap_quarters(spans: list[tuple[Span, Span | None, bool]], shortest: int) -> int:
    """Both sides of all that counts, read plainly."""
    quarters = 0
    for (start, end), window, counts in spans:
        others = [span for span, _, _ in spans if span != (start, end)]
        met = any(a < end and start < b for a, b in others) or len(others) < len(spans) - 1
        if not counts or window is None or met:
            continue
        earlier = max([window[0], *(b for _, b in others if b <= start)])
        later = min([window[1], *(a for a, _ in others if a >= end)])
        for idle in (start - earlier, later - end):
            quarters += 2 if idle <= 0 else 0 if idle < shortest else 1
    return quarters


class Reading:
    """What schedules score, read without label setting."""

    def __init__(self, instance: Instance, gains: list[Floats], schedules: DaySchedules) -> None:
        self.instance, self.gains, self.schedules = instance, gains, schedules
        self.days = len(instance.dates)

    def site(self, start: Start) -> tuple[int, int, int, int]:
        n, k, moment = start
        provider, day = divmod(n, self.days)
        kind = self.instance.kinds[k]
        minute = int(self.schedules.moments[moment]) + int(kind.before[provider])
        return provider, day, k, int(np.searchsorted(kind.starts, minute))

    def span(self, start: Start) -> tuple[Span, Span]:
        provider, day, k, s = self.site(start)
        kind, midnight = self.instance.kinds[k], day * 1440
        at = provider, day, s
        return (
            (int(kind.busy_start[at]) - midnight, int(kind.busy_end[at]) - midnight),
            (int(kind.opens[at]) - midnight, int(kind.closes[at]) - midnight),
        )

    def value(self, n: int, chosen: list[Start]) -> float:
        provider, day = divmod(n, self.days)
        spans: list[tuple[Span, Span | None, bool]] = []
        for s in self.instance.fixed:
            if (s.provider, s.day) == (provider, day):
                midnight = day * 1440
                window = s.window and (s.window[0] - midnight, s.window[1] - midnight)
                busy = s.busy[0] - midnight, s.busy[1] - midnight
                spans.append((busy, window, s.room >= 0))
        total = 0.0
        for start in chosen:
            _, _, k, s = self.site(start)
            total += float(self.gains[k][s, n])
            busy, opened = self.span(start)
            spans.append((busy, opened, True))
        return total + QUARTER * gap_quarters(spans, int(self.instance.shortest[provider]))

    def at_random(self, n: int, chance: np.random.Generator) -> list[Start]:
        """Some placements of a provider-day that do not meet."""
        provider, day = divmod(n, self.days)
        could = [
            (n, k, int(self.schedules.at[k][s, n]))
            for k, kind in enumerate(self.instance.kinds)
            for s in np.flatnonzero(kind.regular[provider, day]).tolist()
        ]
        chosen: list[Start] = []
        for c in chance.permutation(len(could)).tolist()[: int(chance.integers(0, 40))]:
            (a, b), _ = self.span(could[c])
            if all(b <= x or y <= a for (x, y), _ in map(self.span, chosen)):
                chosen.append(could[c])
        return chosen


def problems() -> list[Instance]:
    tiny = [tiny_problem(seed) for seed in range(120)]
    made = [p for p in tiny if not p.movable]
    busy = busy_problem(1)
    idle = Provider(uid(1, 9), "Takes nothing", skills=frozenset())
    hours = Availability(480, 720, provider_id=idle.id, weekday=1)
    with_one_idle = replace(
        busy.clinic,
        providers=(*busy.clinic.providers, idle),
        availability=(*busy.clinic.availability, hours),
    )
    made += [busy, replace(busy, clinic=with_one_idle), busy_problem(2)]
    return [Instance(p) for p in made]


@pytest.mark.parametrize("seed", range(3))
def test_paths_have_the_values_they_say_and_no_schedule_a_greater_one(seed: int) -> None:
    chance = np.random.default_rng(seed)
    exact = 0
    for instance in problems():
        gains = random_gains(instance, chance)
        schedules = DaySchedules.of(instance, QUARTER)
        reading = Reading(instance, gains, schedules)
        found = schedules.best(gains)
        backwards = schedules.mirrored().best(gains)
        some = schedules.is_exact
        assert found.value[some] == pytest.approx(backwards.value[some])
        for n in range(schedules.count):
            path = [start for start in found.starts if start[0] == n]
            value = reading.value(n, path)
            assert value <= found.value[n] + 1e-9
            if schedules.is_exact[n]:
                assert value == pytest.approx(found.value[n])
                exact += len(path)
            for _ in range(15):
                other = reading.at_random(n, chance)
                assert reading.value(n, other) <= found.value[n] + 1e-9, (n, other)
    assert exact > 100


def test_the_best_path_through_a_placement_adds_up() -> None:
    instance = Instance(busy_problem(3))
    gains = random_gains(instance, np.random.default_rng(3))
    schedules = DaySchedules.of(instance, QUARTER)
    mirrored = schedules.mirrored()
    there, back = schedules.best(gains), mirrored.best(gains)
    every = np.arange(schedules.count)
    for k, kind in enumerate(instance.kinds):
        through = there.reached[schedules.at[k], every] + back.reached[mirrored.at[k], every]
        through += gains[k]
        may = kind.regular.transpose(2, 0, 1).reshape(through.shape)
        assert (through[may] <= np.broadcast_to(there.value, may.shape)[may] + 1e-9).all()
    for n, k, moment in there.starts:
        here = instance.kinds[k].regular[divmod(n, len(instance.dates))]
        s = int(np.flatnonzero(here & (schedules.at[k][:, n] == moment))[0])
        gained = there.reached[moment, n] + back.reached[mirrored.at[k][s, n], n] + gains[k][s, n]
        assert gained == pytest.approx(there.value[n])


def test_nothing_to_place_leaves_the_gap_parts_of_fixed_bookings() -> None:
    instance = Instance(busy_problem(1, requests=0))
    assert instance.problem.now == BEFORE
    assert instance.dates[0] == MONDAY
    schedules = DaySchedules.of(instance, QUARTER)
    pairs = len(instance.providers) * len(instance.dates)
    nothing = [np.full((len(kind.starts), pairs), -1e9) for kind in instance.kinds]
    found = schedules.best(nothing)
    assert not len(found.starts)
    quarters = evaluate(instance, []).score / instance.gap_quarter
    assert found.value.sum() / QUARTER == pytest.approx(
        quarters
        - sum(
            instance.units(instance.problem.weights.preference)
            + instance.room_parts[s.kind][s.room]
            + instance.regular_bonus
            for s in instance.fixed
        )
        / instance.gap_quarter
    )
