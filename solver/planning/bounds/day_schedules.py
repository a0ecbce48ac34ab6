"""The best regular schedules of all provider-days at once, by dynamic programming over moments.

A provider's date is a path from appointment to appointment, and what the score gains between two of
them depends on the idle time there alone, so the gap part of the finished plan is a sum along the
path (a shortest path of resource-free labels, the pricing problem of Dantzig & Wolfe 1960). The
moments are the same for all provider-days, and one step of the programme is a few operations on
arrays over all of them.

A task may be in a path more than once: what comes out bounds what schedules can be worth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import FixedBooking

type Floats = NDArray[np.float64]


_NEVER = -1e12


_SHUT = 1 << 40
"""In the place of a moment, where no window is open."""


@dataclass(frozen=True)
class Stay:
    """Bookings of one provider-day that meet one another, or one alone, whose gap part counts."""

    busy: Span
    counts: bool


@dataclass(frozen=True)
class Found:
    """The best path of each provider-day, in the order of provider and date.

    Attributes
    ----------
    value
        [N] what it is worth, with the gap parts of bookings that stand.
    starts
        [placements, 3] provider-day, kind and moment of each placement on them.
    arrival
        [M, N] the most a path can have gained when a placement begins, its own left side included.
    """

    value: Floats
    starts: Ints
    arrival: Floats


class Schedules:
    """Where appointments may begin and end on the provider-days of a problem.

    Parameters
    ----------
    begins, lengths
        By kind: [S, N] minutes of the day at which the busy span of each start begins, and [N] the
        busy span's minutes.
    may
        By kind: [S, N] where it may begin.
    windows, stays
        By provider-day, in order.
    shortest
        [N] minutes below which idle time is a fragment.
    quarter
        What a quarter of the gap part is worth.
    is_loose
        [N] provider-days whose windows lie closer together than buffers reach: there each side of
        an appointment that is beside a window's edge counts as touching it, which is never less.

    Attributes
    ----------
    moments
        [M] minutes of the day at which something can begin or end.
    at
        By kind: [S, N] the moment at which each start begins, where it may.
    is_exact
        [N] where what comes out is what schedules are worth, and not only never less: bookings that
        meet others count as neighbours with a gap part of their own on one side.
    """

    def __init__(
        self,
        begins: Sequence[Ints],
        lengths: Sequence[Ints],
        may: Sequence[Bools],
        windows: Sequence[Sequence[Span]],
        stays: Sequence[Sequence[Stay]],
        shortest: Ints,
        quarter: float,
        is_loose: Bools,
    ) -> None:
        self._given = begins, lengths, may, windows, stays, shortest, quarter, is_loose
        self._shortest, self._quarter, self._is_loose = shortest, quarter, is_loose
        self.count = len(shortest)
        whole = [all(stay.counts for stay in some) for some in stays]
        self.is_exact: Bools = ~is_loose & np.array(whole, np.bool_)
        self._open = [np.nonzero(open_) for open_ in may]
        edges = [0, *(minute for spans in windows for span in spans for minute in span)]
        edges += [minute for some in stays for stay in some for minute in stay.busy]
        used = [np.array(edges, np.int64)]
        used += [
            np.concatenate([b[m], (b + n)[m]]) for b, n, m in zip(begins, lengths, may, strict=True)
        ]
        self.moments = np.unique(np.concatenate(used))
        self._events = self._lay_out_events(windows, stays)
        self.at, self._end, self._begin_here = self._lay_out_starts(begins, lengths, may)
        self._layers = _layers(lengths)

    @classmethod
    def of(cls, instance: Instance, quarter: float) -> Schedules:
        """Lay out the whole of a problem, beside the bookings that stay whatever happens."""
        providers, days = len(instance.providers), len(instance.dates)
        before = np.zeros(providers, np.int64)
        after = np.zeros(providers, np.int64)
        begins, lengths, may = [], [], []
        for kind in instance.kinds:
            length = kind.before + kind.after
            begins.append(np.repeat(kind.starts[:, None] - kind.before[None, :], days, axis=1))
            lengths.append(np.repeat(length, days))
            may.append(kind.regular.transpose(2, 0, 1).reshape(len(kind.starts), -1))
            before = np.maximum(before, kind.before)
            after = np.maximum(after, kind.after - kind.row.duration_minutes)
        standing: dict[tuple[int, int], list[FixedBooking]] = defaultdict(list)
        for s in instance.fixed:
            standing[s.provider, s.day].append(s)
        provider_days = [(p, d) for p in range(providers) for d in range(days)]
        windows = [instance.windows(p, d) for p, d in provider_days]
        loose = [
            _are_close(spans, int(before[p]), int(after[p]))
            for spans, (p, _) in zip(windows, provider_days, strict=True)
        ]
        return cls(
            begins,
            lengths,
            may,
            windows,
            [_stays(standing[provider_day], provider_day[1]) for provider_day in provider_days],
            np.repeat(instance.shortest, days),
            quarter,
            np.array(loose, np.bool_),
        )

    def mirrored(self) -> Schedules:
        """Return the same with time running backwards."""
        begins, lengths, may, windows, stays, shortest, quarter, is_loose = self._given
        return Schedules(
            [-(b + n) for b, n in zip(begins, lengths, strict=True)],
            lengths,
            may,
            [[(-end, -start) for start, end in reversed(spans)] for spans in windows],
            [[Stay((-s.busy[1], -s.busy[0]), s.counts) for s in reversed(some)] for some in stays],
            shortest,
            quarter,
            is_loose,
        )

    # Laying out

    def _lay_out_events(
        self, windows: Sequence[Sequence[Span]], stays: Sequence[Sequence[Stay]]
    ) -> Mapping[int, list[tuple[int, int, int, bool]]]:
        """By moment: what happens at which provider-day.

        In the order of (0, a window closes), (1, one opens), (2, a stay begins): the last with the
        moment of its end and whether its gap part counts.
        """
        events: dict[int, list[tuple[int, int, int, bool]]] = defaultdict(list)
        where = {minute: m for m, minute in enumerate(self.moments.tolist())}
        for n, spans in enumerate(windows):
            for start, end in spans:
                events[where[end]].append((0, n, 0, False))
                events[where[start]].append((1, n, start, False))
        for n, some in enumerate(stays):
            for stay in some:
                start, end = stay.busy
                events[where[start]].append((2, n, where[end], stay.counts))
        return {m: sorted(here) for m, here in events.items()}

    def _lay_out_starts(
        self, begins: Sequence[Ints], lengths: Sequence[Ints], may: Sequence[Bools]
    ) -> tuple[list[Ints], Ints, Bools]:
        """By kind: [S, N] the moments of starts; [M, kinds, N] those of ends; [M] where one is."""
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

    # The programme

    def best(self, worth: Sequence[Floats]) -> Found:
        """Return the best paths when a placement is `worth` so much; by kind: [S, N]."""
        moments, count = len(self.moments), self.count
        gains = np.full((moments, len(worth), count), _NEVER)
        for k, values in enumerate(worth):
            where = self._open[k]
            gains[self.at[k][where], k, where[1]] = values[where]
        state = _State(self.moments, self._shortest, self._quarter, self._is_loose)
        for m in range(moments):
            state.come_to(m)
            events = self._events.get(m, ())
            for what, n, value, _ in events:
                if what == 0:
                    state.close(m, n)
                elif what == 1:
                    state.opened[n] = value
            if self._begin_here[m] or any(what == 2 for what, *_ in events):
                state.arrive(m)
            for layer in self._layers if self._begin_here[m] else ():
                state.depart(m, layer, gains[m, layer], self._end[m, layer])
            for what, n, value, counts in events:
                if what == 2:
                    state.stay(m, n, value, counts=counts)
            state.rest_outside(m)
        return Found(state.outside, state.paths(), state.arrival)


class _State:
    """What the best paths to each moment are worth, and where they came from.

    A path that has come to a moment has *ended* an appointment there, or is *idle* long enough for
    the last one's right side to be a usable rest, or is *outside* the windows.
    """

    def __init__(self, minutes: Ints, shortest: Ints, quarter: float, is_loose: Bools) -> None:
        moments, count = len(minutes), len(shortest)
        self._minutes, self._every = minutes, np.arange(count)
        self._shortest, self._quarter, self._loose = shortest, quarter, is_loose
        self._ended = np.full((moments, count), _NEVER)
        self._how = np.full((moments, count), -1, np.int64)
        """[M, N] kind × moments + start of what ended there; -2 - start for what stays."""
        self._most = np.full((moments, count), _NEVER)
        self._most_at = np.zeros((moments, count), np.int64)
        """[M, N] the best end up to each moment, and its moment."""
        self._idle_from = np.minimum(
            np.searchsorted(minutes, minutes[:, None] - shortest[None, :], "right"),
            np.arange(moments)[:, None],
        )
        """[M, N] how many earlier moments lie at least the shortest appointment back."""
        self.outside = np.zeros(count)
        self._outside_at = np.full(count, -1, np.int64)
        self.opened = np.full(count, _SHUT)
        self.arrival = np.full((moments, count), _NEVER)
        self._bare = np.full(count, _NEVER)
        self._from = np.full((moments, count), -1, np.int64)
        self._bare_from = np.full(count, -1, np.int64)

    def come_to(self, m: int) -> None:
        """Everything that ends here is known: note the best end so far."""
        here = self._ended[m]
        if not m:
            self._most[0], self._most_at[0] = here, 0
            return
        better = here > self._most[m - 1]
        self._most[m] = np.where(better, here, self._most[m - 1])
        self._most_at[m] = np.where(better, m, self._most_at[m - 1])

    def _idle(self, m: int) -> tuple[Floats, Ints]:
        """[N] the best that has been idle for long enough, and where it ended."""
        far = self._idle_from[m]
        row = np.maximum(far - 1, 0)
        value = np.where(far > 0, self._most[row, self._every] + self._quarter, _NEVER)
        return value, self._most_at[row, self._every]

    def arrive(self, m: int) -> None:
        """Work out what a path can have gained when something begins here."""
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
            self._loose, 0, self._minutes[m] - np.minimum(self.opened, self._minutes[m])
        )
        side = np.where(idle <= 0, 2 * quarter, np.where(idle < self._shortest, 0.0, quarter))
        best, came = _better(best, came, self.outside + side, self._outside_at)
        bare, bare_from = _better(bare, bare_from, self.outside, self._outside_at)
        self.arrival[m], self._from[m] = best, came
        self._bare, self._bare_from = bare, bare_from

    def depart(self, m: int, kinds: Ints, gain: Floats, end: Ints) -> None:
        """Let kinds begin here, where that is the best that could end then.

        No two of them end at the same moment; `gain` and `end` are of shape [kinds, N].
        """
        value = self.arrival[m] + gain
        better = value > np.maximum(self._ended[end, self._every], _NEVER / 2)
        row, n = np.nonzero(better)
        at = end[row, n]
        self._ended[at, n] = value[row, n]
        self._how[at, n] = kinds[row] * len(self._minutes) + m

    def stay(self, m: int, n: int, end: int, *, counts: bool) -> None:
        """Every path goes through what stays; one that meets another has no gap part."""
        value = self.arrival[m, n] if counts else self._bare[n]
        if not counts:
            self._from[m, n] = self._bare_from[n]
        self._forget(m, n)
        self.outside[n] = _NEVER
        self._ended[end, n], self._how[end, n] = value, -2 - m

    def close(self, m: int, n: int) -> None:
        """A window closes: what ended in it goes outside."""
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
        self._forget(m, n)
        self.opened[n] = _SHUT

    def _forget(self, m: int, n: int) -> None:
        self._ended[: m + 1, n] = _NEVER
        self._most[: m + 1, n] = _NEVER

    def rest_outside(self, m: int) -> None:
        """What ends beyond its window touches the edge."""
        value = self._ended[m] + 2 * self._quarter
        better = (self._loose | (self.opened == _SHUT)) & (value > self.outside)
        better &= self._ended[m] > _NEVER / 2
        self.outside[better], self._outside_at[better] = value[better], m

    def paths(self) -> Ints:
        """[placements, 3] provider-day, kind and moment, all last ones first."""
        size = len(self._minutes)
        found = [np.empty((0, 3), np.int64)]
        provider_day = np.flatnonzero(self._outside_at >= 0)
        at = self._outside_at[provider_day]
        while len(provider_day):
            how = self._how[at, provider_day]
            start = np.where(how < 0, -2 - how, how % size)
            found.append(np.stack([provider_day, how // size, start], axis=1)[how >= 0])
            at = self._from[start, provider_day]
            provider_day, at = provider_day[at >= 0], at[at >= 0]
        return np.concatenate(found)


def _better(value: Floats, at: Ints, other: Floats, other_at: Ints) -> tuple[Floats, Ints]:
    better = other > value
    return np.where(better, other, value), np.where(better, other_at, at)


def _layers(lengths: Sequence[Ints]) -> list[Ints]:
    """Kinds in sets of which no two are of the same length at any provider-day."""
    layers: list[list[int]] = []
    for k, length in enumerate(lengths):
        fits = (layer for layer in layers if all((lengths[j] != length).all() for j in layer))
        layer = next(fits, None)
        if layer is None:
            layers.append(layer := [])
        layer.append(k)
    return [np.array(layer, np.int64) for layer in layers]


def _are_close(windows: Sequence[Span], before: int, after: int) -> bool:
    """Whether buffers reach from one window into the next, or over midnight."""
    closes = [-after, *(end for _, end in windows)]
    opens = [*(start for start, _ in windows), DAY_MINUTES + before]
    return any(start - end < before + after for end, start in zip(closes, opens, strict=True))


def _stays(standing: Sequence[FixedBooking], day: int) -> list[Stay]:
    """Group what stands on a provider-day by what meets."""
    midnight = day * DAY_MINUTES
    groups: list[tuple[Span, bool]] = []
    for s in sorted(standing, key=lambda s: s.busy):
        start, end = s.busy[0] - midnight, s.busy[1] - midnight
        if groups and start < groups[-1][0][1]:
            groups[-1] = (groups[-1][0][0], max(groups[-1][0][1], end)), False
        else:
            groups.append(((start, end), s.window is not None and s.room >= 0))
    return [Stay(busy, counts) for busy, counts in groups]
