"""Half-open spans of minutes: merging, cutting, overlap, and the busy spans of an appointment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

from solver.clinic.entities import AppointmentType, Provider, Room, Span


def merge(spans: Iterable[Span]) -> list[Span]:
    """Unite overlapping and touching spans, sorted."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def cut(spans: Iterable[Span], cuts: Iterable[Span]) -> list[Span]:
    """Take `cuts` out of `spans`."""
    remaining = list(spans)
    for from_, to in cuts:
        pieces: list[Span] = []
        for start, end in remaining:
            if to <= start or end <= from_:
                pieces.append((start, end))
                continue
            if start < from_:
                pieces.append((start, from_))
            if to < end:
                pieces.append((to, end))
        remaining = pieces
    return remaining


def provider_busy_span(provider: Provider, kind: AppointmentType, start: int) -> Span:
    """Return what an appointment of `kind` at `start` takes of the provider, buffers included."""
    return (
        start - max(kind.buffer_before, provider.buffer_before),
        start + kind.duration_minutes + max(kind.buffer_after, provider.buffer_after),
    )


def room_busy_span(room: Room, kind: AppointmentType, start: int) -> Span:
    """Return what an appointment of `kind` at `start` takes of the room, turnover included."""
    return (
        start - kind.buffer_before,
        start + kind.duration_minutes + max(kind.buffer_after, room.turnover_minutes),
    )


def window_around(windows: Sequence[Span], start: int, end: int) -> Span | None:
    """Return the window that holds all of ``[start, end)``, if one does."""
    position = bisect_right(windows, start, key=itemgetter(0)) - 1
    if position >= 0 and end <= windows[position][1]:
        return windows[position]
    return None


def overlap(a: Span, b: Span) -> bool:
    """Whether two spans overlap."""
    return a[0] < b[1] and b[0] < a[1]
