"""Cliques of overlapping spans, and their complement: spans apart from all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from solver.arrays import Ints
from solver.clinic.entities import Span
from solver.clinic.spans import overlap
from solver.planning.instance.columns import FAR
from solver.planning.model.gap_terms import Literal


def cliques(owner: Ints, start: Ints, end: Ints) -> Iterator[Ints]:
    """Yield, as indices, each maximal set of spans of one owner that share a moment."""
    if not len(start):
        return
    base = owner * FAR
    start, end = start + base, end + base
    moments, ends = np.unique(start), np.unique(end)
    following = np.append(moments[1:], np.iinfo(np.int64).max)
    is_largest = np.searchsorted(ends, following, "right") > np.searchsorted(ends, moments, "right")
    moments = moments[is_largest]
    first, last = np.searchsorted(moments, start), np.searchsorted(moments, end)
    count = last - first
    member = np.repeat(np.arange(len(start)), count)
    moment = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
    order = np.argsort(moment, kind="stable")
    yield from np.split(member[order], np.flatnonzero(np.diff(moment[order])) + 1)


def disjoint(stays: Sequence[tuple[Span, Literal]]) -> tuple[list[int], list[int]]:
    """Split spans, as indices, into some of which no two overlap, and the rest."""
    apart: list[int] = []
    rest: list[int] = []
    for i, (span, _) in enumerate(stays):
        overlaps = any(overlap(span, stays[j][0]) for j in apart)
        (rest if overlaps else apart).append(i)
    return apart, rest
