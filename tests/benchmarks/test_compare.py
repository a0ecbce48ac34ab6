"""What became slower is found, and noise is not taken for it."""

from typing import Any

import numpy as np
import pytest

from benchmarks.measure.compare import Change, compare
from benchmarks.measure.figures import Figure, Suite

SEEDS = range(40)


def report(
    seed: int,
    *,
    machine: float = 1.0,
    code: float = 1.0,
    repeats: int = 200,
    unit: str = "ms",
) -> dict[str, Any]:
    """A run on a machine so many times slower, of code so many times slower, with noise."""
    chance = np.random.default_rng(seed)
    is_rate = unit == "a second"

    def samples(level: float, count: int) -> tuple[float, ...]:
        noise = np.exp(chance.normal(0, 0.1, count))
        begin = int(chance.integers(count))
        noise[begin : begin + count // 8] *= 1.8  # something else runs for a while
        values = level * noise * machine
        return tuple((1000 / values if is_rate else values).tolist())

    figure = Figure("queries", "small", unit, samples(10 * code, repeats), more_is_better=is_rate)
    chance_of_yard = np.random.default_rng(seed + 1000)
    yard = 2 * machine * np.exp(chance_of_yard.normal(0, 0.05, 60))
    return {"suites": {"slots": Suite([figure]).as_json(yard.tolist())}}


def change(old: dict[str, Any], new: dict[str, Any]) -> Change:
    (only,) = compare(old, new)
    return only


@pytest.mark.parametrize("unit", ["ms", "a second"])
def test_noise_is_not_taken_for_a_change(unit: str) -> None:
    verdicts = {change(report(s, unit=unit), report(s + 1, unit=unit)).verdict for s in SEEDS}
    assert verdicts == {"same"}


@pytest.mark.parametrize("unit", ["ms", "a second"])
def test_a_planted_slowdown_is_found(unit: str) -> None:
    for seed in SEEDS:
        slower = change(report(seed, unit=unit), report(seed + 1, code=1.3, unit=unit))
        assert slower.verdict == "worse"
        assert slower.low < 1.3 < slower.high
        faster = change(report(seed, code=1.3, unit=unit), report(seed + 1, unit=unit))
        assert faster.verdict == "better"


def test_few_samples_need_a_greater_slowdown() -> None:
    few = change(report(0, repeats=8), report(1, repeats=8))
    many = change(report(0), report(1))
    assert few.high - few.low > 2 * (many.high - many.low)
    assert change(report(0, repeats=8), report(1, code=3, repeats=8)).verdict == "worse"


@pytest.mark.parametrize("unit", ["ms", "a second"])
def test_a_slower_machine_is_no_slower_code(unit: str) -> None:
    for seed in SEEDS:
        assert change(report(seed, unit=unit), report(seed, machine=3, unit=unit)).verdict == "same"


def test_what_does_not_depend_on_the_machine_is_compared_as_it_is() -> None:
    def placed(priority: float, yard: float) -> dict[str, Any]:
        figure = Figure("placed", "m0", "", (priority,), more_is_better=True, tolerance=0.01)
        return {"suites": {"plan": Suite([figure]).as_json([yard])}}

    assert change(placed(515, 1), placed(512, 3)).verdict == "same"
    assert change(placed(515, 1), placed(505, 3)).verdict == "worse"


def test_only_what_both_have_and_may_be_compared_is() -> None:
    def of(*figures: Figure) -> dict[str, Any]:
        return {"suites": {"slots": Suite(figures).as_json([2.0, 2.0])}}

    kept = Figure("a", "kept", "ms", (1.0, 1.0))
    old = of(kept, Figure("a", "gone", "ms", (1.0,)), Figure("a", "told", "ms", (1.0,)))
    new = of(
        kept,
        Figure("a", "new", "ms", (9.0,)),
        Figure("a", "told", "ms", (9.0,), tolerance=None),
    )
    assert [c.label for c in compare(old, new)] == ["kept"]
    assert compare({"suites": {}}, new) == []
