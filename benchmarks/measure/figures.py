"""Measuring: figures with all their samples, so that one run can be held against another.

Beside what is measured runs the *yardstick*, a piece of work that never changes. A figure in
yardsticks means the same on a slow and on a fast machine, and on one that is busy with other
things for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MACHINE_UNITS = {"ms": 1, "s": 1, "a second": -1}
"""Units that depend on the machine, and how they go with the time that a yardstick takes."""


TOLERANCE = 0.1
"""By how much two runs of the same code may differ, beyond what their samples tell."""


@dataclass(frozen=True)
class Figure:
    """One thing measured.

    Attributes
    ----------
    group, label
        What it is of, and which of the group; together unique in a suite.
    unit
        ``ms``, ``s``, ``a second``, ``MiB`` or a count of something.
    samples
        In the order in which they were taken.
    size
        Where on the axis of a curve it lies; None if it is no point of a curve.
    more_is_better
        For rates and for what a plan reached.
    tolerance
        By how much it may become worse from one run to another; None keeps it out of comparisons.
    """

    group: str
    label: str
    unit: str
    samples: tuple[float, ...]
    size: float | None = None
    more_is_better: bool = False
    tolerance: float | None = TOLERANCE

    @property
    def median(self) -> float:
        """The median of the samples."""
        return float(np.median(self.samples))

    def quantile(self, share: float) -> float:
        """Return the value that `share` of the samples do not exceed."""
        return float(np.quantile(self.samples, share))

    def as_json(self) -> dict[str, Any]:
        """Return all of it, with what a reader looks at first."""
        return {
            "group": self.group,
            "label": self.label,
            "unit": self.unit,
            "median": round(self.median, 4),
            "p95": round(self.quantile(0.95), 4),
            "p99": round(self.quantile(0.99), 4),
            "repeats": len(self.samples),
            "size": self.size,
            "more_is_better": self.more_is_better,
            "tolerance": self.tolerance,
            "samples": [round(value, 4) for value in self.samples],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Figure:
        """Read what :meth:`as_json` wrote."""
        names = ("group", "label", "unit", "size", "more_is_better", "tolerance")
        return cls(**{name: row[name] for name in names}, samples=tuple(row["samples"]))


@dataclass(frozen=True)
class Ratio:
    """What is held against an aim, if there is one.

    Most are relations of two figures of one run, which hold on any machine; a few are times and
    rates that are asked for on two quiet cores.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it with whether the aim is met."""
        is_met = None
        if self.at_most is not None:
            is_met = self.value <= self.at_most
        elif self.at_least is not None:
            is_met = self.value >= self.at_least
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "at_most": self.at_most,
            "at_least": self.at_least,
            "is_met": is_met,
        }


@dataclass(frozen=True)
class Suite:
    """What a suite found out.

    Attributes
    ----------
    tables
        By title: rows of named cells, for what is no single figure.
    curves
        By title: lines by name, each a list of points ``[x, y]``.
    profiles
        By title: a call tree, ``{"name", "ms", "children"}``.
    texts
        By title: what is shown as it is, line by line.
    """

    figures: Sequence[Figure]
    ratios: Sequence[Ratio] = ()
    notes: Sequence[str] = ()
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def as_json(self, yardstick: Sequence[float]) -> dict[str, Any]:
        """Return all of it, with the milliseconds of the yardstick while it ran."""
        return {
            "ratios": [ratio.as_json() for ratio in self.ratios],
            "figures": [figure.as_json() for figure in self.figures],
            "notes": list(self.notes),
            "tables": self.tables,
            "curves": self.curves,
            "profiles": self.profiles,
            "texts": self.texts,
            "yardstick": [round(ms, 4) for ms in yardstick],
        }
