"""What sessions alone keep from being booked now, and when it can be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools
from solver.clinic.clock import first_bookable_minute
from solver.clinic.sessions.of_day import SessionsOfDay
from solver.rules.codes import NOT_YET_OPEN, RESERVED, SESSION_FULL
from solver.rules.masks import Masks
from solver.slots.query import Query

MOST_OPENINGS = 10
"""How many moments are told."""


_OF_SESSIONS = frozenset({NOT_YET_OPEN, RESERVED, SESSION_FULL})


@dataclass(frozen=True, slots=True)
class Opening:
    """A moment, and how many placements can be booked then that sessions alone exclude now."""

    at: dt.datetime
    count: int


def opens_later(parts: Sequence[Query]) -> tuple[Opening, ...]:
    """Return the moments at which the number changes of what sessions alone exclude until then.

    The first :data:`MOST_OPENINGS` after the moment that a query asks about. Counted are the
    placements, over all rooms, that no other rule excludes at that moment, and which neither
    sessions nor the notice exclude at the later one.
    """
    masks = [part.masks for part in parts if part.masks.day.sessions is not None]
    if not masks:
        return ()
    day, request = masks[0].day, masks[0].request
    found: list[Opening] = []
    excluded = [_Excluded(each) for each in masks]
    for at in SessionsOfDay.on(day.clinic, day.date).moments:
        if at <= request.moment:
            continue
        count = sum(each.count_at(at) for each in excluded)
        if count != (found[-1].count if found else 0):
            found.append(Opening(at, count))
            if len(found) == MOST_OPENINGS:
                break
    return tuple(found)


class _Excluded:
    """What no rule but that of sessions excludes at the moment asked about."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        day, starts = masks.day, len(masks.starts)
        providers = np.ones((len(day.providers), starts), np.bool_)
        rooms = np.ones((len(day.rooms), starts), np.bool_)
        for rule in masks.rules:
            if rule.code not in _OF_SESSIONS and rule.provider is not None:
                providers &= rule.provider
            if rule.code not in _OF_SESSIONS and rule.room is not None:
                rooms &= rule.room
        self._otherwise = providers, rooms

    def count_at(self, at: dt.datetime) -> int:
        """Count what sessions exclude at the moment asked about, and nothing does at another."""
        masks, day = self._masks, self._masks.day
        assert day.sessions is not None
        settings = day.clinic.settings
        earliest = first_bookable_minute(settings.zone, day.date, at, settings.min_notice_minutes)
        passes = day.sessions.passes(masks.kind, masks.starts, at)
        providers, rooms = self._otherwise
        then = providers & (masks.starts >= earliest), rooms
        for provider, room in passes:
            then = then[0] & provider, then[1] & room
        return _triples(*then) - _triples(then[0] & masks.provider_free, then[1] & masks.room_free)


def _triples(providers: Bools, rooms: Bools) -> int:
    """Count the providers, rooms and starts that pass on both sides."""
    at_start = providers.sum(axis=0, dtype=np.int64)
    return int(at_start @ rooms.sum(axis=0, dtype=np.int64))
