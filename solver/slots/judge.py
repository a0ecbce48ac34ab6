"""Whether one placement is feasible, and every code that refuses it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from solver.arrays import Ints
from solver.clinic.clinic import Clinic
from solver.clinic.clock import first_bookable_minute
from solver.clinic.request import SlotRequest
from solver.clinic.sessions.of_day import SessionsOfDay
from solver.rules import codes, solving
from solver.rules import masks as masks_module
from solver.rules.start_axis import starts_from_midnight
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from solver.slots.query import Cell, Query, Slot, provider_of
from solver.slots.ranking import in_order


@dataclass(frozen=True)
class Verdict:
    """Where one provider can start at one time: the slots, best room first, or why nowhere.

    `reasons` are the codes of all rules that stand against the start in the room asked about, or in
    the active, equipped one that they exclude least. `overriding` are the slots that a booking wins
    all the same by what it overrides: those that break the fewest rules first, then the best.
    """

    slots: tuple[Slot, ...]
    reasons: tuple[str, ...]
    overriding: tuple[Slot, ...] = ()


def judge(
    clinic: Clinic,
    request: SlotRequest,
    *,
    limit: int = 1,
    weights: Weights = DEFAULT_WEIGHTS,
    certify: bool = True,
) -> Verdict:
    """Judge one start of one provider; see :func:`judge_each`."""
    return judge_each(clinic, [request], limit=limit, weights=weights, certify=certify)[0]


def judge_each(
    clinic: Clinic,
    requests: Sequence[SlotRequest],
    *,
    limit: int,
    weights: Weights,
    certify: bool,
) -> list[Verdict]:
    """Judge for each request one start of one provider, in the room that it names or in any.

    The function behind every booking: the same masks and the same model as :func:`find_slots`.
    Each is judged as though it were alone. Those that differ in the provider, the room and the
    start only share one set of masks and one solve, so many cost little more than one.

    Without `certify` the masks alone judge: a start they refuse is refused for good, since they
    never pass too little, while one they pass is still to be certified.
    """
    alike: defaultdict[Hashable, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        alike[_what_masks_share(clinic, request)].append(number)
    verdicts: dict[int, Verdict] = {}
    for numbers in alike.values():
        group = [requests[number] for number in numbers]
        judged = _judge_together(clinic, group, weights, limit=limit, certify=certify)
        verdicts.update(zip(numbers, judged, strict=True))
    return [verdicts[number] for number in range(len(requests))]


def _what_masks_share(clinic: Clinic, request: SlotRequest) -> Hashable:
    """Return what must be equal for one set of masks, whose starts are all or one."""
    kind, start = request.kind_at(clinic, provider_of(request)), request.start
    assert start is not None
    is_on_axis = start in starts_from_midnight(clinic, kind, kind.duration_minutes)
    return (
        kind,
        request.date,
        request.preferred,
        None if is_on_axis and not kind.has_own_starts else start,
        masks_module.earliest_start(clinic, request),
        request.is_given,
        request.team,
        request.kept_team,
        SessionsOfDay.on(clinic, request.date).state_at(request.moment)
        if clinic.sessions
        else None,
    )


def _judge_together(
    clinic: Clinic,
    requests: Sequence[SlotRequest],
    weights: Weights,
    *,
    limit: int,
    certify: bool,
) -> list[Verdict]:
    """Judge requests that share their masks, at each place that has rooms for them."""
    starts = {request.start for request in requests}
    rooms = {request.room_id for request in requests}
    queries = Query.of(
        clinic,
        replace(requests[0], start=requests[0].start if len(starts) == 1 else None),
        weights,
        provider_ids=frozenset(provider_of(request) for request in requests),
        room_ids=None if None in rooms else frozenset(room for room in rooms if room is not None),
    )
    found: list[list[_Cell]] = [[] for _ in requests]
    for query in queries:
        here = [n for n, request in enumerate(requests) if query.has_rooms_for(request)]
        cells = [query.cell(requests[n]) for n in here]
        ranked = [query.ranked(*cell) for cell in cells]
        able = query.certified_each(ranked, limit) if certify and here else ranked
        for n, at, passed, rows in zip(here, cells, ranked, able, strict=True):
            found[n].append(_Cell(query, at, passed, rows[:limit]))
    return [
        _verdict(request, at_places, limit, certify=certify)
        for request, at_places in zip(requests, found, strict=True)
    ]


class _Cell(NamedTuple):
    """Where a request lies in the query of one place, what the masks pass and what is certified."""

    query: Query
    at: Cell
    passed: Ints
    certified: Ints


def _verdict(
    request: SlotRequest, at_places: Sequence[_Cell], limit: int, *, certify: bool
) -> Verdict:
    slots = [cell.query.slot(row) for cell in at_places for row in cell.certified]
    if slots:
        return Verdict(tuple(sorted(slots, key=_best_first)[:limit]), ())
    if any(len(cell.passed) for cell in at_places):
        return Verdict((), (codes.PROVIDER_BUSY,))
    over = [
        slot
        for cell in at_places
        for slot in _overriding(cell.query, request, cell.at, limit, certify=certify)
    ]
    over.sort(key=lambda slot: (len(slot.overrides), _best_first(slot)))
    return Verdict((), _reasons(at_places), tuple(over[:limit]))


def _best_first(slot: Slot) -> tuple[int, str]:
    return -slot.points, slot.room.id


def _reasons(at_places: Sequence[_Cell]) -> tuple[str, ...]:
    """Return the codes that stand against a start; without a room, in the easiest one.

    Of several places that is the one whose easiest room the fewest rules exclude.
    """
    easiest: list[tuple[bool, int, str, list[str]]] = []
    for query, (provider, room, start), *_ in at_places:
        masks, rooms = query.masks, query.masks.day.rooms
        at = masks.easiest_room(start) if room is None else room
        broken = masks.broken(provider, at, start)
        unfit = not {codes.ROOM_INACTIVE, codes.ROOM_LACKS_EQUIPMENT}.isdisjoint(broken)
        easiest.append((unfit, len(broken), "" if at is None else rooms[at].id, broken))
    return tuple(min(easiest)[-1])


def _overriding(
    query: Query, request: SlotRequest, cell: Cell, limit: int, *, certify: bool
) -> tuple[Slot, ...]:
    """Return the slots of a cell that break no other rules than those that `request` overrides.

    Nothing lifts a start before now, nor one at which another booking of the provider starts.
    """
    provider, room, start = cell
    masks, settings = query.masks, query.masks.day.clinic.settings
    now = (
        0
        if request.is_given
        else first_bookable_minute(settings.zone, request.date, request.now, 0)
    )
    if not request.override or masks.starts[start] < now or masks.begin_there[provider, start]:
        return ()
    rooms = range(len(masks.day.rooms)) if room is None else [room]
    broken = {each: masks.broken(provider, each, start) for each in rooms}
    able = np.array([r for r in rooms if request.override.issuperset(broken[r])], np.int64)
    if not able.size:
        return ()
    if codes.OUTSIDE_PROVIDER_HOURS in broken[int(able[0])]:
        query = replace(query, scores=query.scores.with_whole_day(provider, start))
    alike = np.ones_like(able)
    rows = in_order(query.scores, start * alike, provider * alike, able)
    count = np.array([len(broken[r]) for r in rows[:, 3].tolist()])
    rows = rows[np.argsort(count, kind="stable")][:limit]
    if certify:
        model = query.model(rows, independent=True, lifted=request.override, earliest=now)
        rows = rows[solving.certify(model)]
    return tuple(replace(query.slot(row), overrides=tuple(broken[int(row[3])])) for row in rows)
