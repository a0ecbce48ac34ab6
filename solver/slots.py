"""One request answered: masks narrow, the CP-SAT model certifies, best first.

The masks give every placement its score. Placements go to the model in the order in which they
would be shown, until as many are certified as were asked for, so the solver's work grows with the
length of the list and not with the clinic.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from solver import masks as masks_module
from solver.clinic import AppointmentType, Clinic, Provider, Room, SlotRequest
from solver.masks import Masks
from solver.objective import DEFAULT_WEIGHTS, POINTS, ScoreParts, Scores, Weights
from solver.ranking import Ranking, Rooms, in_order
from solver.rules import Candidates, PlacementModel
from solver.timeline import Day, Ints

LOOK_AHEAD_DAYS = 14
"""How far the next date with a slot is looked for."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One feasible placement, certified by the model, with its score.

    `points` is the score in ten-thousandths.
    """

    provider: Provider
    room: Room
    date: dt.date
    start: int
    end: int
    points: int
    parts: ScoreParts
    is_overbooked: bool

    @property
    def score(self) -> float:
        """The score in [0, 1], to four decimals."""
        return self.points / POINTS


@dataclass(frozen=True)
class SlotPage:
    """The answer to one slot query.

    `total` counts every feasible placement of all the `candidates` over all rooms, however many
    are listed; `blocked_by` tells, when there is none, how many candidates each rule was the first
    to exclude.
    """

    date: dt.date
    kind: AppointmentType
    candidates: int
    total: int
    slots: tuple[Slot, ...]
    blocked_by: dict[str, int]


def find_slots(
    clinic: Clinic,
    request: SlotRequest,
    *,
    limit: int = 50,
    rooms: Rooms = "best",
    weights: Weights = DEFAULT_WEIGHTS,
) -> SlotPage:
    """Return the best slots of one date in the order of the score.

    Parameters
    ----------
    clinic
        The clinic with the live bookings of the date and its two neighbours.
    request
        What is asked for.
    limit
        The most slots to list.
    rooms
        ``best``: for each provider and start the room that ranks first; ``all``: every room.
    weights
        The weights of the score's parts.
    """
    query = _Query.whole(clinic, request, weights)
    total = query.masks.total()
    slots = tuple(query.certified(limit, rooms)) if total else ()
    kind = query.masks.kind
    blocked_by = {} if slots else query.masks.blocked_by()
    return SlotPage(request.date, kind, query.masks.candidates(), total, slots, blocked_by)


def next_available_date(
    clinic: Clinic, request: SlotRequest, *, last: dt.date = dt.date.max
) -> dt.date | None:
    """Return the first of the following 14 days, up to `last`, that has a slot.

    `clinic` holds the bookings of all these days.
    """
    for ahead in range(1, LOOK_AHEAD_DAYS + 1):
        if (last - request.date).days < ahead:
            break
        day = request.date + dt.timedelta(days=ahead)
        if find_slots(clinic, replace(request, date=day), limit=1).slots:
            return day
    return None


@dataclass(frozen=True)
class Verdict:
    """Where one provider can start at one time: the slots, best room first, or why nowhere.

    `reasons` are the codes of all rules that stand against the start; a rule about rooms does when
    it excludes every room asked about.
    """

    slots: tuple[Slot, ...]
    reasons: tuple[str, ...]


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
    """Return what must be equal for one set of masks, whose starts are the grid's or one other."""
    kind, start = clinic.type_by_id[request.appointment_type_id], request.start
    assert start is not None
    is_on_axis = start in masks_module.grid_starts(clinic, kind)
    return (
        kind.id,
        request.date,
        request.preferred,
        None if is_on_axis else start,
        masks_module.earliest_start(clinic, request),
        request.is_given,
    )


def _judge_together(
    clinic: Clinic,
    requests: Sequence[SlotRequest],
    weights: Weights,
    *,
    limit: int,
    certify: bool,
) -> list[Verdict]:
    """Judge requests that share their masks."""
    starts = {request.start for request in requests}
    rooms = {request.room_id for request in requests}
    query = _Query.of(
        clinic,
        replace(requests[0], start=requests[0].start if len(starts) == 1 else None),
        weights,
        provider_ids=frozenset(_provider_of(request) for request in requests),
        room_ids=None if None in rooms else frozenset(room for room in rooms if room is not None),
    )
    masks = query.masks
    if not masks.starts.size:  # the appointment would not end within the date
        return [Verdict((), (masks_module.OUTSIDE_PROVIDER_HOURS,)) for _ in requests]
    cells = [query.cell(request) for request in requests]
    ranked = [query.ranked(*cell) for cell in cells]
    chosen = query.certified_each(ranked, limit) if certify else [rows[:limit] for rows in ranked]
    verdicts = []
    for cell, passed, rows in zip(cells, ranked, chosen, strict=True):
        if len(rows):
            verdicts.append(Verdict(tuple(query.slot(row) for row in rows), ()))
        elif len(passed):
            verdicts.append(Verdict((), (masks_module.PROVIDER_BUSY,)))
        else:
            verdicts.append(Verdict((), tuple(masks.broken(*cell))))
    return verdicts


def _provider_of(request: SlotRequest) -> str:
    """Return the one provider that a request to be judged names."""
    assert request.provider_ids is not None
    (provider_id,) = request.provider_ids
    return provider_id


type Cell = tuple[int, int | None, int]
"""Positions of a provider, a room (None: any) and a start."""


@dataclass(frozen=True)
class _Query:
    """One request with its masks and scores."""

    masks: Masks
    scores: Scores

    @classmethod
    def of(
        cls,
        clinic: Clinic,
        request: SlotRequest,
        weights: Weights,
        *,
        provider_ids: frozenset[str] | None,
        room_ids: frozenset[str] | None,
    ) -> _Query:
        day = Day.of(clinic, request.date, provider_ids=provider_ids, room_ids=room_ids)
        masks = masks_module.build(day, request)
        return cls(masks, Scores.of(masks, request, weights))

    @classmethod
    def whole(cls, clinic: Clinic, request: SlotRequest, weights: Weights) -> _Query:
        """Return the query over all that `request` asks about."""
        return cls.of(
            clinic,
            request,
            weights,
            provider_ids=request.provider_ids,
            room_ids=None if request.room_id is None else frozenset({request.room_id}),
        )

    def cell(self, request: SlotRequest) -> Cell:
        """Return the positions of the provider, the room and the start that `request` names."""
        day = self.masks.day
        provider = next(i for i, row in enumerate(day.providers) if row.id == _provider_of(request))
        room = None
        if request.room_id is not None:
            room = next(i for i, row in enumerate(day.rooms) if row.id == request.room_id)
        (start,) = np.flatnonzero(self.masks.starts == request.start).tolist()
        return provider, room, start

    def ranked(self, provider: int, room: int | None, start: int) -> Ints:
        """Return what the masks pass in one cell, best room first: rows as of a ranking."""
        free = self.masks.room_free[:, start] & self.masks.provider_free[provider, start]
        rooms = np.flatnonzero(free)
        if room is not None:
            rooms = rooms[rooms == room]
        same = np.ones_like(rooms)
        return in_order(self.scores, start * same, provider * same, rooms)

    def certified_each(self, ranked: Sequence[Ints], limit: int) -> list[Ints]:
        """Return of each list of rows the first `limit` that the model certifies."""
        found = [rows[:0] for rows in ranked]
        for begin in range(0, max(len(rows) for rows in ranked), limit):
            fresh = [
                rows[begin : begin + limit] if len(have) < limit else rows[:0]
                for rows, have in zip(ranked, found, strict=True)
            ]
            if not any(len(rows) for rows in fresh):
                break
            feasible = self.model(np.concatenate(fresh), independent=True).certify()
            ends = np.cumsum([len(rows) for rows in fresh])[:-1]
            found = [
                np.concatenate([have, rows[passes]])[:limit]
                for have, rows, passes in zip(found, fresh, np.split(feasible, ends), strict=True)
            ]
        return found

    def certified(self, limit: int, rooms: Rooms) -> list[Slot]:
        """Return the first `limit` placements, in order, that the model certifies."""
        ranking = Ranking(self.masks, self.scores)
        slots: list[Slot] = []
        done = 0
        for ranked in ranking.growing(limit, rooms):
            fresh = ranked[done:]
            feasible = self.model(fresh, independent=True).certify()
            slots += [self.slot(row) for row in fresh[feasible]]
            if len(slots) >= limit:
                break
            done = len(ranked)
        return slots[:limit]

    def model(self, ranked: Ints, *, independent: bool) -> PlacementModel:
        """Return the CP-SAT model over rows of the ranking."""
        _, start, provider, room = ranked.T
        is_overbooked = ~self.masks.regular[provider, start]
        return PlacementModel(
            self.masks.day,
            self.masks.kind,
            Candidates(provider, room, self.masks.starts[start], is_overbooked),
            earliest=self.masks.earliest,
            grid=self.masks.grid,
            independent=independent,
        )

    def slot(self, row: Ints) -> Slot:
        """Return one row of the ranking as the slot it stands for."""
        points, start, provider, room = row.tolist()
        is_overbooked = not self.masks.regular[provider, start]
        minute = int(self.masks.starts[start])
        return Slot(
            provider=self.masks.day.providers[provider],
            room=self.masks.day.rooms[room],
            date=self.masks.day.date,
            start=minute,
            end=minute + self.masks.kind.duration_minutes,
            points=points,
            parts=self.scores.parts(provider, room, start, is_overbooked=is_overbooked),
            is_overbooked=is_overbooked,
        )


def best_slot(
    clinic: Clinic, request: SlotRequest, *, weights: Weights = DEFAULT_WEIGHTS
) -> tuple[Slot, Fraction] | None:
    """Return one slot of the highest exact score, proved by the solver, and that score.

    All the placements that survive the masks stand in one model whose objective is the score.
    """
    query = _Query.whole(clinic, request, weights)
    total = query.masks.total()
    if not total:
        return None
    ranked = next(Ranking(query.masks, query.scores).growing(total, "all"))
    slots = [query.slot(row) for row in ranked]
    found = query.model(ranked, independent=False).best([slot.parts for slot in slots], weights)
    return None if found is None else (slots[found[0]], found[1])


def enumerate_placements(clinic: Clinic, request: SlotRequest) -> set[tuple[str, str, int, bool]]:
    """Return every feasible (provider id, room id, start, is_overbooked) without any mask.

    The model alone decides on every provider, room and start of the grid. Slow: this is the
    definition that the fast way is held against.
    """
    query = _Query.whole(clinic, request, DEFAULT_WEIGHTS)
    day = query.masks.day
    every = Candidates.every(day, query.masks.starts)
    found = set()
    for provider in range(len(day.providers)):
        candidates = every[every.provider == provider]
        if not len(candidates):
            continue
        model = PlacementModel(
            day,
            query.masks.kind,
            candidates,
            earliest=query.masks.earliest,
            grid=query.masks.grid,
        )
        feasible = candidates[model.enumerate()]
        for room, start, is_overbooked in zip(
            feasible.room.tolist(),
            feasible.start.tolist(),
            feasible.is_overbooked.tolist(),
            strict=True,
        ):
            found.add((day.providers[provider].id, day.rooms[room].id, start, is_overbooked))
    return found
