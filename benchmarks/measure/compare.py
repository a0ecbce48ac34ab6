"""One run held against an older one: what became worse by more than noise.

Samples come in the order in which they were taken, and what disturbs a machine lasts longer than
one of them, so they are put into blocks whose medians are resampled (the non-overlapping block
bootstrap: Carlstein 1986; Künsch 1989). What depends on the machine is divided by the yardstick of
its own run. A figure is worse when even the favourable end of the ratio's interval is beyond the
figure's tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.figures import MACHINE_UNITS, Figure

BLOCKS = 20


RESAMPLES = 4000


CONFIDENCE = 0.99
"""So high as many figures are looked at in one comparison."""


type Floats = NDArray[np.float64]


type Verdict = Literal["worse", "better", "same"]


@dataclass(frozen=True)
class Change:
    """How a figure changed: new to old, above 1 is worse, with an interval."""

    suite: str
    group: str
    label: str
    ratio: float
    low: float
    high: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return how the figures that both reports have changed, the worst first.

    Parameters
    ----------
    old, new
        Reports as :func:`benchmarks.registry.run` returns them.
    """
    chance = np.random.default_rng(0)
    changes = []
    for name, suite in new["suites"].items():
        before = old["suites"].get(name)
        if before is None:
            continue
        known = {(row["group"], row["label"]): row for row in before["figures"]}
        yards = before["yardstick"], suite["yardstick"]
        for row in suite["figures"]:
            was = known.get((row["group"], row["label"]))
            if was is None or row["tolerance"] is None or was["unit"] != row["unit"]:
                continue
            figures = Figure.from_json(was), Figure.from_json(row)
            changes.append(_change(name, figures, yards, chance))
    return sorted(changes, key=lambda change: -change.low)


def _change(
    suite: str,
    figures: tuple[Figure, Figure],
    yards: tuple[Sequence[float], Sequence[float]],
    chance: np.random.Generator,
) -> Change:
    now = figures[1]
    power = MACHINE_UNITS.get(now.unit, 0)
    levels = [
        _medians(figure.samples, chance) / _medians(yard, chance) ** power
        for figure, yard in zip(figures, yards, strict=True)
    ]
    points = [
        figure.median / float(np.median(yard)) ** power
        for figure, yard in zip(figures, yards, strict=True)
    ]
    ratios = levels[1] / levels[0]
    ratio = points[1] / points[0]
    if now.more_is_better:
        ratios, ratio = 1 / ratios, 1 / ratio
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    assert now.tolerance is not None
    verdict: Verdict = "same"
    if low > 1 + now.tolerance:
        verdict = "worse"
    elif high < 1 / (1 + now.tolerance):
        verdict = "better"
    return Change(
        suite, now.group, now.label, round(ratio, 4), round(low, 4), round(high, 4), verdict
    )


def _medians(samples: Sequence[float], chance: np.random.Generator) -> Floats:
    """[RESAMPLES] medians of resampled blocks; a value of 0 counts as a tiny one."""
    values = np.maximum(np.array(samples, np.float64), 1e-9)
    blocks = np.array(
        [np.median(block) for block in np.array_split(values, min(BLOCKS, len(values)))]
    )
    chosen = chance.integers(len(blocks), size=(RESAMPLES, len(blocks)))
    medians: Floats = np.median(blocks[chosen], axis=1)
    return medians
