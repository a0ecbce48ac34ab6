"""The candidate starts of a date, and these as an axis: positions on it, counts, idle minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.day import Day, Edges
from solver.clinic.entities import DAY_MINUTES, AppointmentType
from solver.clinic.request import SlotRequest


def alike(day: Day, request: SlotRequest) -> list[tuple[AppointmentType, Day]]:
    """Return the type as providers do it at a place, each time with the day of those, and there.

    All for whom it has the same duration and buffers are together, and all rooms of a place.
    """
    clinic = day.clinic
    ids: dict[AppointmentType, list[str]] = {}
    if not clinic.provider_types or not day.providers:
        provider_id = day.providers[0].id if day.providers else ""
        ids[request.kind_at(clinic, provider_id)] = []
    else:
        for provider in day.providers:
            ids.setdefault(request.kind_at(clinic, provider.id), []).append(provider.id)
    whole = len(ids) == 1
    return [
        (kind, here)
        for kind, those in ids.items()
        for here in (day if whole else day.narrowed(frozenset(those))).at_each_place()
    ]


def candidate_starts(parts: Sequence[tuple[AppointmentType, Day]]) -> Ints:
    """[S] the starts of all providers from which the shortest appointment ends within the date.

    A type is given as the providers do it, each time with the day of those who do it so.
    """
    shortest = min(kind.duration_minutes for kind, _ in parts)
    kind, day = parts[0]
    regular = starts_from_midnight(day.clinic, kind, shortest)
    starts = np.arange(regular.start, regular.stop, regular.step, dtype=np.int64)
    if not kind.has_own_starts:
        return starts
    own = np.concatenate([starts, *(own_starts(day, kind)[1] for kind, day in parts)])
    return np.unique(own[own <= DAY_MINUTES - shortest])


def starts_from_midnight(clinic: Clinic, kind: AppointmentType, duration: int) -> range:
    """Return the starts that are every provider's, from which `duration` ends within the date."""
    if kind.start_anchor == "window":
        return range(0)
    return range(kind.start_offset, DAY_MINUTES - duration + 1, clinic.start_every(kind))


def own_starts(day: Day, kind: AppointmentType) -> tuple[Ints, Ints]:
    """[n], [n] providers, and the starts that their windows and their busy spans give them."""
    edges, book = day.provider_edges, day.book
    owner, start = np.empty((2, 0), np.int64)
    if kind.start_anchor == "window":
        every = day.clinic.start_every(kind)
        count = -((edges.opens - edges.closes) // every)
        owner = np.repeat(edges.owner, count)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        start = np.repeat(edges.opens, count) + every * step
    if kind.packed and len(edges.owner):
        busy = book.busy[np.flatnonzero(book.busy.provider >= 0)]
        who = busy.provider
        behind = busy.end + np.maximum(kind.buffer_before, day.buffers[0])[who]
        in_turn = edges.owner * DAY_MINUTES + edges.opens
        window = np.searchsorted(in_turn, who * DAY_MINUTES + behind, "right") - 1
        is_open = (behind < DAY_MINUTES) & (edges.owner[window] == who)
        is_open &= (edges.opens[window] <= behind) & (behind < edges.closes[window])
        owner = np.concatenate([owner, who[is_open]])
        start = np.concatenate([start, behind[is_open]])
    return owner, start


def in_rhythm(day: Day, kind: AppointmentType, starts: Ints) -> Bools:
    """[P or 1, S] whether each of `starts`, in ascending order, is a start of the provider's."""
    of_all = np.zeros((1, len(starts)), np.bool_)
    if kind.start_anchor == "midnight":
        of_all[0] = (starts - kind.start_offset) % day.clinic.start_every(kind) == 0
    if not kind.has_own_starts:
        return of_all
    of_each = np.repeat(of_all, len(day.providers), axis=0)
    owner, start = own_starts(day, kind)
    position = np.searchsorted(starts, start)
    found = np.flatnonzero(position < len(starts))
    found = found[starts[position[found]] == start[found]]
    of_each[owner[found], position[found]] = True
    return of_each


@dataclass(frozen=True)
class OpenStarts:
    """Windows that can hold the appointment, each of shape [n], and their first and last starts."""

    owner: Ints
    first: Ints
    last: Ints
    edges: tuple[Ints, Ints]


class StartAxis:
    """Minutes translated to positions among candidate starts, which ascend."""

    def __init__(self, starts: Ints) -> None:
        self.starts = starts
        self.size = len(starts)
        self.origin = int(starts[0]) if self.size else 0
        self.step = int(starts[1] - starts[0]) if self.size > 1 else DAY_MINUTES
        self.is_even = bool((np.diff(starts) == self.step).all())

    def at_or_after(self, minute: Ints) -> Ints:
        """Return the position of the first start >= `minute`, at most `size`."""
        if not self.is_even:
            return np.searchsorted(self.starts, minute)
        return np.minimum(np.maximum(-((self.origin - minute) // self.step), 0), self.size)

    def at_or_before(self, minute: Ints) -> Ints:
        """Return the position of the last start <= `minute`, at least -1."""
        if not self.is_even:
            return np.searchsorted(self.starts, minute, "right") - 1
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
        start = int(self.axis.starts[position])
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

        idle_before = np.maximum(axis.starts - before[:, None] - behind, 0)
        idle_after = np.maximum(ahead - (axis.starts + self.duration + after[:, None]), 0)
        return idle_before, idle_after
