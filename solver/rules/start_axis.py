"""The candidate starts of a date as an axis: minutes as positions on it, and counts at each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solver.arrays import Ints
from solver.clinic.day import Edges
from solver.clinic.entities import DAY_MINUTES


@dataclass(frozen=True)
class OpenStarts:
    """Windows that can hold the appointment, each of shape [n], and their first and last starts."""

    owner: Ints
    first: Ints
    last: Ints
    edges: tuple[Ints, Ints]


class StartAxis:
    """Minutes translated to positions among the candidate starts, which are evenly spaced."""

    def __init__(self, starts: Ints) -> None:
        self.size = len(starts)
        self.origin = int(starts[0]) if self.size else 0
        self.step = int(starts[1] - starts[0]) if self.size > 1 else DAY_MINUTES

    def at_or_after(self, minute: Ints) -> Ints:
        """Return the position of the first start >= `minute`, at most `size`."""
        return np.minimum(np.maximum(-((self.origin - minute) // self.step), 0), self.size)

    def at_or_before(self, minute: Ints) -> Ints:
        """Return the position of the last start <= `minute`, at least -1."""
        return np.minimum(np.maximum((minute - self.origin) // self.step, -1), self.size - 1)

    def counts(self, *groups: tuple[int, Ints, Ints, Ints]) -> list[Ints]:
        """[rows, S] of each group, how many of its ranges hold a start.

        A group is how many rows there are, and for each range its row, its first and its last
        position; ranges that end before they begin are empty.
        """
        width = self.size + 1
        above = np.cumsum([0] + [rows for rows, *_ in groups])
        rows, first, last = (
            np.concatenate(parts)
            for parts in zip(
                *((owner + n, a, b) for n, (_, owner, a, b) in zip(above, groups, strict=False)),
                strict=True,
            )
        )
        keep = first <= last
        flat = rows[keep] * width
        steps = np.bincount(flat + first[keep], minlength=above[-1] * width)
        steps -= np.bincount(flat + last[keep] + 1, minlength=above[-1] * width)
        sums = np.cumsum(steps.reshape(-1, width)[:, : self.size], axis=1, dtype=np.int64)
        return np.split(sums, above[1:-1])

    def between(self, after: Ints, before: Ints) -> tuple[Ints, Ints]:
        """Return the first and the last position in the open intervals ``(after, before)``."""
        return self.at_or_after(after + 1), self.at_or_before(before - 1)

    def windows(self, edges: Edges, duration: int) -> OpenStarts:
        """Place windows on the axis."""
        first, last = self.at_or_after(edges.opens), self.at_or_before(edges.closes - duration)
        fits = first <= last
        edges_that_fit = edges.opens[fits], edges.closes[fits]
        return OpenStarts(edges.owner[fits], first[fits], last[fits], edges_that_fit)
