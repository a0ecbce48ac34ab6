"""The candidate starts of a date as an axis: positions on it, counts, and idle minutes."""

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


@dataclass(frozen=True)
class Around:
    """The windows and the provider busy spans that may lie next to a placement."""

    axis: StartAxis
    windows: OpenStarts
    owner: Ints
    busy: tuple[Ints, Ints]
    duration: int
    buffers: tuple[Ints, Ints]

    def idle_all_day(self, provider: int, position: int) -> tuple[int, int]:
        """Return the idle minutes on both sides of one placement, of a day that is all open."""
        start = self.axis.origin + self.axis.step * position
        begin = start - int(self.buffers[0][provider])
        end = start + self.duration + int(self.buffers[1][provider])
        begins, ends = (side[self.owner == provider] for side in self.busy)
        earlier = int(ends[ends <= begin].max(initial=0))
        later = int(begins[begins >= end].min(initial=DAY_MINUTES))
        return max(0, begin - earlier), max(0, later - end)

    def idle(self) -> tuple[Ints, Ints]:
        """[P, S] idle minutes before and after the provider busy span, each at least 0.

        A window's edge or a busy span's end is written at the first start that has it behind, and
        carried on to the later starts by a running maximum; the other side is its mirror image.
        """
        axis, windows, owner, busy = self.axis, self.windows, self.owner, self.busy
        before, after = self.buffers
        shape = (len(before), axis.size)
        if not axis.size:
            return np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        starts = axis.origin + axis.step * np.arange(axis.size)

        behind = np.full(shape, -DAY_MINUTES, np.int64)
        np.maximum.at(behind, (windows.owner, windows.first), windows.edges[0])
        position = axis.at_or_after(busy[1] + before[owner])
        seen = position < axis.size
        np.maximum.at(behind, (owner[seen], position[seen]), busy[1][seen])
        behind = np.maximum.accumulate(behind, axis=1)

        ahead = np.full(shape, 2 * DAY_MINUTES, np.int64)
        np.minimum.at(ahead, (windows.owner, windows.last), windows.edges[1])
        position = axis.at_or_before(busy[0] - self.duration - after[owner])
        seen = position >= 0
        np.minimum.at(ahead, (owner[seen], position[seen]), busy[0][seen])
        ahead = np.minimum.accumulate(ahead[:, ::-1], axis=1)[:, ::-1]

        idle_before = np.maximum(starts - before[:, None] - behind, 0)
        idle_after = np.maximum(ahead - (starts + self.duration + after[:, None]), 0)
        return idle_before, idle_after
