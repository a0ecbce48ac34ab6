"""The best regular schedules of all provider-days at once, by label setting over moments.

A schedule is a path from appointment to appointment, and what the gap part gains between two of
them depends on the idle time there alone: it is a sum along the path, and the best schedule a
longest path, the pricing problem of Dantzig & Wolfe (1960). Moments are the minutes at which
something can begin or end, in order. A label is the value of a partial path that ends at a moment;
labels carry no resource, so of those in the same state the greatest dominates. Moments are the same
for all provider-days, and to extend labels by one moment is a few operations on arrays over all.

A task may be in a path more than once, so the value of a path bounds that of any schedule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Floats, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import FixedBooking

_NEVER = -1e12
"""The label of a state that no path reaches."""

_CLOSED = 1 << 40
"""In the place of the minute at which a window opened, where none is open."""


@dataclass(frozen=True)
class FixedSpan:
    """Fixed bookings of one provider-day that overlap one another, or one alone.

    Their gap part counts if it is one alone, inside a window and in a room that is there.
    """

    busy: Span
    counts: bool


@dataclass(frozen=True)
class BestPaths:
    """The best path of each provider-day, in the order of provider and date.

    Attributes
    ----------
    value
        [N] its value, with the gap parts of fixed bookings.
    starts
        [placements, 3] provider-day, type and moment of each placement on them.
    reached
        [M, N] the greatest value of a path up to a placement that begins at a moment, the left side
        of its gap part included, its own gain not.
    """

    value: Floats
    starts: Ints
    reached: Floats


class DaySchedules:
    """Where appointments may begin and end on the provider-days of a problem.

    Parameters
    ----------
    begins, lengths
        By type: [S, N] minutes of the day at which the busy span of each start begins, and [N] the
        busy span's minutes.
    may
        By type: [S, N] where it may begin.
    windows, fixed
        By provider-day: open windows and fixed bookings, in order.
    shortest
        [N] minutes below which idle time is a fragment.
    quarter
        The score of a quarter of the gap part.
    is_loose
        [N] provider-days where buffers can reach from one window into the next, or where a provider
        has other windows at another place. There every side of an appointment counts as touching a
        window's edge: an upper bound.

    Attributes
    ----------
    moments
        [M] minutes of the day at which something can begin or end.
    at
        By type: [S, N] the moment at which each start begins, where it may.
    is_exact
        [N] whether a path's value is that of its schedule. Elsewhere it is an upper bound: windows
        are loose, or fixed bookings that overlap one another count as neighbours of a gap part.
    """

    def __init__(
        self,
        begins: Sequence[Ints],
        lengths: Sequence[Ints],
        may: Sequence[Bools],
        windows: Sequence[Sequence[Span]],
        fixed: Sequence[Sequence[FixedSpan]],
        shortest: Ints,
        quarter: float,
        is_loose: Bools,
    ) -> None:
        self._given = begins, lengths, may, windows, fixed, shortest, quarter, is_loose
        self._shortest, self._quarter, self._is_loose = shortest, quarter, is_loose
        self.count = len(shortest)
        whole = [all(span.counts for span in spans) for spans in fixed]
        self.is_exact: Bools = ~is_loose & np.array(whole, np.bool_)
        self._open = [np.nonzero(open_) for open_ in may]
        edges = [0, *(minute for spans in windows for span in spans for minute in span)]
        edges += [minute for spans in fixed for span in spans for minute in span.busy]
        used = [np.array(edges, np.int64)]
        used += [
            np.concatenate([b[m], (b + n)[m]]) for b, n, m in zip(begins, lengths, may, strict=True)
        ]
        self.moments = np.unique(np.concatenate(used))
        self._events = self._lay_out_events(windows, fixed)
        self.at, self._end, self._begin_here = self._lay_out_starts(begins, lengths, may)
        self._layers = _layers(lengths)

    @classmethod
    def of(cls, instance: Instance, quarter: float) -> DaySchedules:
        """Lay out the whole of a problem, beside its fixed bookings."""
        providers, days = len(instance.providers), len(instance.dates)
        before = np.zeros(providers, np.int64)
        after = np.zeros(providers, np.int64)
        begins, lengths, may = [], [], []
        for kind in instance.kinds:
            length = kind.before + kind.after
            begins.append(np.repeat(kind.starts[:, None] - kind.before[None, :], days, axis=1))
            lengths.append(np.repeat(length, days))
            may.append(kind.regular_anywhere.transpose(2, 0, 1).reshape(len(kind.starts), -1))
            before = np.maximum(before, kind.before)
            after = np.maximum(after, kind.after - kind.duration)
        fixed: dict[tuple[int, int], list[FixedBooking]] = defaultdict(list)
        for s in instance.fixed:
            fixed[s.provider, s.day].append(s)
        provider_days = [(p, d) for p in range(providers) for d in range(days)]
        windows = [instance.days[d].provider_windows[p] for p, d in provider_days]
        differs = _hours_differ(instance)
        loose = [
            _are_close(spans, int(before[p]), int(after[p])) or differs[p, d]
            for spans, (p, d) in zip(windows, provider_days, strict=True)
        ]
        return cls(
            begins,
            lengths,
            may,
            windows,
            [_fixed_spans(fixed[p, d], d) for p, d in provider_days],
            np.repeat(instance.shortest, days),
            quarter,
            np.array(loose, np.bool_),
        )

    def mirrored(self) -> DaySchedules:
        """Return the same with time running backwards."""
        begins, lengths, may, windows, fixed, shortest, quarter, is_loose = self._given
        return DaySchedules(
            [-(b + n) for b, n in zip(begins, lengths, strict=True)],
            lengths,
            may,
            [[(-end, -start) for start, end in reversed(spans)] for spans in windows],
            [[FixedSpan((-s.busy[1], -s.busy[0]), s.counts) for s in reversed(f)] for f in fixed],
            shortest,
            quarter,
            is_loose,
        )

    # Laying out

    def _lay_out_events(
        self, windows: Sequence[Sequence[Span]], fixed: Sequence[Sequence[FixedSpan]]
    ) -> Mapping[int, list[tuple[int, int, int, bool]]]:
        """By moment: what happens at which provider-day.

        In the order of (0, a window closes), (1, one opens), (2, a fixed span begins): the last
        with the moment of its end and whether its gap part counts.
        """
        events: dict[int, list[tuple[int, int, int, bool]]] = defaultdict(list)
        where = {minute: m for m, minute in enumerate(self.moments.tolist())}
        for n, spans in enumerate(windows):
            for start, end in spans:
                events[where[end]].append((0, n, 0, False))
                events[where[start]].append((1, n, start, False))
        for n, fixed_spans in enumerate(fixed):
            for span in fixed_spans:
                start, end = span.busy
                events[where[start]].append((2, n, where[end], span.counts))
        return {m: sorted(here) for m, here in events.items()}

    def _lay_out_starts(
        self, begins: Sequence[Ints], lengths: Sequence[Ints], may: Sequence[Bools]
    ) -> tuple[list[Ints], Ints, Bools]:
        """By type: [S, N] the moments of starts; [M, types, N] those of ends; [M] where one is."""
        at = []
        last = len(self.moments) - 1
        ends = np.zeros((len(self.moments), len(lengths), self.count), np.int64)
        here = np.zeros(len(self.moments), np.bool_)
        for k, (begin, length, open_) in enumerate(zip(begins, lengths, may, strict=True)):
            at.append(np.minimum(np.searchsorted(self.moments, begin), last))
            end = np.searchsorted(self.moments, self.moments[:, None] + length[None, :])
            ends[:, k] = np.minimum(end, last)
            here[at[-1][open_]] = True
        return at, ends, here

    # Label setting

    def best(self, gains: Sequence[Floats]) -> BestPaths:
        """Return the best paths; `gains`, by type: [S, N], of a placement but for its gap part."""
        moments, count = len(self.moments), self.count
        gain = np.full((moments, len(gains), count), _NEVER)
        for k, values in enumerate(gains):
            where = self._open[k]
            gain[self.at[k][where], k, where[1]] = values[where]
        labels = _Labels(self.moments, self._shortest, self._quarter, self._is_loose)
        for m in range(moments):
            labels.dominate(m)
            events = self._events.get(m, ())
            for what, n, value, _ in events:
                if what == 0:
                    labels.close_window(m, n)
                elif what == 1:
                    labels.opened[n] = value
            if self._begin_here[m] or any(what == 2 for what, *_ in events):
                labels.extend_to(m)
            for layer in self._layers if self._begin_here[m] else ():
                labels.place(m, layer, gain[m, layer], self._end[m, layer])
            for what, n, value, counts in events:
                if what == 2:
                    labels.pass_fixed(m, n, value, counts=counts)
            labels.end_outside(m)
        return BestPaths(labels.outside, labels.paths(), labels.reached)


class _Labels:
    """The labels of all provider-days, and the predecessors by which paths are traced back.

    States of a path at a moment: its last appointment *ended* there; it has been *idle* for at
    least the shortest appointment; it is *outside* the windows.

    Attributes
    ----------
    outside
        [N] the label of the state outside; in the end, of the whole path.
    opened
        [N] the minute at which the window opened that is open.
    reached
        As of :class:`BestPaths`.
    """

    def __init__(self, minutes: Ints, shortest: Ints, quarter: float, is_loose: Bools) -> None:
        moments, count = len(minutes), len(shortest)
        self._minutes, self._every = minutes, np.arange(count)
        self._shortest, self._quarter, self._is_loose = shortest, quarter, is_loose
        self._ended = np.full((moments, count), _NEVER)
        self._ended_by = np.full((moments, count), -1, np.int64)
        """[M, N] type × moments + start of what ended there; -2 - start for a fixed span."""
        self._most = np.full((moments, count), _NEVER)
        self._most_at = np.zeros((moments, count), np.int64)
        """[M, N] the dominating label of all that ended up to each moment, and its moment."""
        self._idle_from = np.minimum(
            np.searchsorted(minutes, minutes[:, None] - shortest[None, :], "right"),
            np.arange(moments)[:, None],
        )
        """[M, N] how many earlier moments lie at least the shortest appointment back."""
        self.outside = np.zeros(count)
        self._outside_at = np.full(count, -1, np.int64)
        self.opened = np.full(count, _CLOSED)
        self.reached = np.full((moments, count), _NEVER)
        self._reached_from = np.full((moments, count), -1, np.int64)
        self._bare = np.full(count, _NEVER)
        self._bare_from = np.full(count, -1, np.int64)
        """[N] the same at the moment at hand, without the left side of what begins."""

    def dominate(self, m: int) -> None:
        """Let the greatest label that ended up to a moment dominate; all that end there exist."""
        here = self._ended[m]
        if not m:
            self._most[0], self._most_at[0] = here, 0
            return
        better = here > self._most[m - 1]
        self._most[m] = np.where(better, here, self._most[m - 1])
        self._most_at[m] = np.where(better, m, self._most_at[m - 1])

    def _idle(self, m: int) -> tuple[Floats, Ints]:
        """[N] the dominating label of those that are idle, and the moment at which it ended."""
        far = self._idle_from[m]
        row = np.maximum(far - 1, 0)
        value = np.where(far > 0, self._most[row, self._every] + self._quarter, _NEVER)
        return value, self._most_at[row, self._every]

    def extend_to(self, m: int) -> None:
        """Extend labels to something that begins at a moment, and keep the dominating ones.

        Between it and what ended before lie 2 quarters of a gap part on each side if they touch, 0
        if the idle time is a fragment, and 1 on each side otherwise; the same at a window's edge.
        """
        quarter, every = self._quarter, self._every
        touching = self._ended[m] + 2 * quarter
        best, came = touching + 2 * quarter, np.full(len(every), m)
        bare, bare_from = touching, came
        first = int(self._idle_from[m].min())
        if first < m:
            near = np.arange(first, m)[:, None] >= self._idle_from[m][None, :]
            fragments = np.where(near, self._ended[first:m], _NEVER)
            row = fragments.argmax(axis=0)
            value, at = fragments[row, every], first + row
            best, came = _better(best, came, value, at)
            bare, bare_from = _better(bare, bare_from, value, at)
        value, at = self._idle(m)
        best, came = _better(best, came, value + quarter, at)
        bare, bare_from = _better(bare, bare_from, value, at)
        idle = np.where(
            self._is_loose, 0, self._minutes[m] - np.minimum(self.opened, self._minutes[m])
        )
        side = np.where(idle <= 0, 2 * quarter, np.where(idle < self._shortest, 0.0, quarter))
        best, came = _better(best, came, self.outside + side, self._outside_at)
        bare, bare_from = _better(bare, bare_from, self.outside, self._outside_at)
        self.reached[m], self._reached_from[m] = best, came
        self._bare, self._bare_from = bare, bare_from

    def place(self, m: int, kinds: Ints, gain: Floats, end: Ints) -> None:
        """Place appointments that begin at a moment, where their labels dominate at their ends.

        No two of the types end at the same moment; `gain` and `end` are of shape [types, N].
        """
        value = self.reached[m] + gain
        better = value > np.maximum(self._ended[end, self._every], _NEVER / 2)
        row, n = np.nonzero(better)
        at = end[row, n]
        self._ended[at, n] = value[row, n]
        self._ended_by[at, n] = kinds[row] * len(self._minutes) + m

    def pass_fixed(self, m: int, n: int, end: int, *, counts: bool) -> None:
        """Lead every path through a fixed span; all labels but the one that does are dropped."""
        value = self.reached[m, n] if counts else self._bare[n]
        if not counts:
            self._reached_from[m, n] = self._bare_from[n]
        self._drop(m, n)
        self.outside[n] = _NEVER
        self._ended[end, n], self._ended_by[end, n] = value, -2 - m

    def close_window(self, m: int, n: int) -> None:
        """Extend labels of what ended in a window to the state outside, and drop them."""
        quarter = self._quarter
        first = int(self._idle_from[m, n])
        ended = self._ended[first : m + 1, n].copy()
        ended[-1] += 2 * quarter
        found = [(float(ended.max()), first + int(ended.argmax()))]
        if first:
            found.append(
                (float(self._most[first - 1, n]) + quarter, int(self._most_at[first - 1, n]))
            )
        for value, at in found:
            if value > max(self.outside[n], _NEVER / 2):
                self.outside[n], self._outside_at[n] = value, at
        self._drop(m, n)
        self.opened[n] = _CLOSED

    def _drop(self, m: int, n: int) -> None:
        """Drop the labels of all that ended up to a moment."""
        self._ended[: m + 1, n] = _NEVER
        self._most[: m + 1, n] = _NEVER

    def end_outside(self, m: int) -> None:
        """Extend labels to the state outside where no window is open: they touch the edge."""
        value = self._ended[m] + 2 * self._quarter
        better = (self._is_loose | (self.opened == _CLOSED)) & (value > self.outside)
        better &= self._ended[m] > _NEVER / 2
        self.outside[better], self._outside_at[better] = value[better], m

    def paths(self) -> Ints:
        """[placements, 3] provider-day, type and moment, all last ones first, traced back."""
        size = len(self._minutes)
        found = [np.empty((0, 3), np.int64)]
        provider_day = np.flatnonzero(self._outside_at >= 0)
        at = self._outside_at[provider_day]
        while len(provider_day):
            how = self._ended_by[at, provider_day]
            start = np.where(how < 0, -2 - how, how % size)
            found.append(np.stack([provider_day, how // size, start], axis=1)[how >= 0])
            at = self._reached_from[start, provider_day]
            provider_day, at = provider_day[at >= 0], at[at >= 0]
        return np.concatenate(found)


def _better(value: Floats, at: Ints, other: Floats, other_at: Ints) -> tuple[Floats, Ints]:
    better = other > value
    return np.where(better, other, value), np.where(better, other_at, at)


def _layers(lengths: Sequence[Ints]) -> list[Ints]:
    """Types in sets of which no two are of the same length at any provider-day."""
    layers: list[list[int]] = []
    for k, length in enumerate(lengths):
        fits = (layer for layer in layers if all((lengths[j] != length).all() for j in layer))
        layer = next(fits, None)
        if layer is None:
            layers.append(layer := [])
        layer.append(k)
    return [np.array(layer, np.int64) for layer in layers]


def _hours_differ(instance: Instance) -> Bools:
    """[P, D] whether a provider's windows for rooms at some place are not those for all."""
    differ = np.zeros((len(instance.providers), len(instance.dates)), np.bool_)
    for d, day in enumerate(instance.days):
        for there in day.at_each_place():
            pairs = zip(there.provider_windows, day.provider_windows, strict=True)
            differ[:, d] |= [windows != anywhere for windows, anywhere in pairs]
    return differ


def _are_close(windows: Sequence[Span], before: int, after: int) -> bool:
    """Whether buffers reach from one window into the next, or over midnight."""
    closes = [-after, *(end for _, end in windows)]
    opens = [*(start for start, _ in windows), DAY_MINUTES + before]
    return any(start - end < before + after for end, start in zip(closes, opens, strict=True))


def _fixed_spans(fixed: Sequence[FixedBooking], day: int) -> list[FixedSpan]:
    """Group the fixed bookings of a provider-day by what overlaps."""
    midnight = day * DAY_MINUTES
    groups: list[tuple[Span, bool]] = []
    for s in sorted(fixed, key=lambda s: s.busy):
        start, end = s.busy[0] - midnight, s.busy[1] - midnight
        if groups and start < groups[-1][0][1]:
            groups[-1] = (groups[-1][0][0], max(groups[-1][0][1], end)), False
        else:
            groups.append(((start, end), s.window is not None and s.room >= 0))
    return [FixedSpan(busy, counts) for busy, counts in groups]
