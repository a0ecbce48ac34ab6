"""One slot query on one date: masks, ranking, certified slots."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Ints
from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from solver.clinic.entities import AppointmentType, Provider, Room
from solver.clinic.request import SlotRequest
from solver.clinic.sessions.of_day import SessionsOfDay, owners_at
from solver.clinic.sessions.session import SessionsRead
from solver.clinic.teams.roles import Team
from solver.rules import masks as masks_module
from solver.rules.codes import NOT_YET_OPEN, RESERVED, SESSION_FULL
from solver.rules.masks import Masks
from solver.rules.placement_model import PlacementModel
from solver.rules.presences import Candidates
from solver.rules.solving import certify
from solver.scoring.parts import POINTS, ScoreParts, Weights
from solver.scoring.scores import Scores
from solver.slots.ranking import Ranking, Rooms, in_order

_NOT_READ: dict[SessionsRead, frozenset[str]] = {
    "now": frozenset(),
    "released": frozenset({NOT_YET_OPEN, RESERVED}),
    "ignored": frozenset({NOT_YET_OPEN, RESERVED, SESSION_FULL}),
}
"""By how sessions are read: the codes that are not asked."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One feasible placement, certified by the model, with its score.

    `points` is the score in ten-thousandths; `kind` is the type, as long as this provider takes;
    `overrides` are the codes of the rules that it breaks, which only a booking that overrides them
    may. `session_ids` are the sessions that govern some of its minutes and admit it, sorted. `team`
    is who is in the roles of the type, complete.
    """

    kind: AppointmentType
    provider: Provider
    room: Room
    date: dt.date
    start: int
    end: int
    points: int
    parts: ScoreParts
    is_overbooked: bool
    overrides: tuple[str, ...] = ()
    session_ids: tuple[str, ...] = ()
    team: Team = ()

    @property
    def score(self) -> float:
        """The score in [0, 1], to four decimals."""
        return self.points / POINTS


type Cell = tuple[int, int | None, int]
"""Positions of a provider, a room (None: any) and a start."""


@dataclass(frozen=True)
class Query:
    """One request with its masks and scores, at providers whom it takes as long, at one place."""

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
    ) -> list[Query]:
        """Return the query over some providers and rooms; None: over all of them.

        One part for all providers whom the appointment takes as long and all rooms of one place;
        all parts together are it.
        """
        day = Day.of(clinic, request.date, provider_ids=provider_ids, room_ids=room_ids)
        parts = masks_module.build(day, request)
        return [cls(masks, Scores.of(masks, request, weights)) for masks in parts]

    @classmethod
    def whole(cls, clinic: Clinic, request: SlotRequest, weights: Weights) -> list[Query]:
        """Return the query, likewise in parts, over all that `request` asks about."""
        return cls.of(
            clinic,
            request,
            weights,
            provider_ids=request.provider_ids,
            room_ids=request.room_ids(clinic),
        )

    def has_rooms_for(self, request: SlotRequest) -> bool:
        """Whether the room that `request` names is at this place; or it names none."""
        rooms = self.masks.day.rooms
        return request.room_id is None or any(room.id == request.room_id for room in rooms)

    def cell(self, request: SlotRequest) -> Cell:
        """Return the positions of the provider, the room and the start that `request` names."""
        day = self.masks.day
        provider = next(i for i, row in enumerate(day.providers) if row.id == provider_of(request))
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
            feasible = certify(self.model(np.concatenate(fresh), independent=True))
            ends = np.cumsum([len(rows) for rows in fresh])[:-1]
            found = [
                np.concatenate([have, rows[passes]])[:limit]
                for have, rows, passes in zip(found, fresh, np.split(feasible, ends), strict=True)
            ]
        return found

    def growing(self, limit: int, rooms: Rooms) -> Iterator[Ints]:
        """Yield longer and longer heads of the ranking; see :meth:`Ranking.growing`."""
        return Ranking(self.masks, self.scores).growing(limit, rooms)

    def model(
        self,
        ranked: Ints,
        *,
        independent: bool,
        lifted: frozenset[str] = frozenset(),
        earliest: int | None = None,
    ) -> PlacementModel:
        """Return the CP-SAT model over rows of the ranking, without the rules that are lifted."""
        _, start, provider, room = ranked.T
        is_overbooked = ~self.masks.within_capacity[provider, start]
        return PlacementModel(
            self.masks.day,
            self.masks.kind,
            Candidates(provider, room, self.masks.starts[start], is_overbooked),
            earliest=self.masks.earliest if earliest is None else earliest,
            any_start=self.masks.request.is_given,
            moment=self.masks.request.moment,
            independent=independent,
            lifted=lifted | self.waived,
            named=self.masks.request.team,
        )

    @property
    def waived(self) -> frozenset[str]:
        """The codes of the rules that are not asked.

        Those of how sessions are not read; and what is given was open when it was granted.
        """
        request = self.masks.request
        return _NOT_READ[request.sessions] | ({NOT_YET_OPEN} if request.is_given else frozenset())

    def slot(self, row: Ints) -> Slot:
        """Return the slot of one row of the ranking."""
        points, start, provider, room = row.tolist()
        is_overbooked = not self.masks.within_capacity[provider, start]
        minute = int(self.masks.starts[start])
        return Slot(
            kind=self.masks.kind,
            provider=self.masks.day.providers[provider],
            room=self.masks.day.rooms[room],
            date=self.masks.day.date,
            start=minute,
            end=minute + self.masks.kind.duration_minutes,
            points=points,
            parts=self.scores.parts(provider, room, start, is_overbooked=is_overbooked),
            is_overbooked=is_overbooked,
            session_ids=self._session_ids(provider, room, minute),
            team=self._team(provider, start),
        )

    def _team(self, provider: int, start: int) -> Team:
        able, request = self.masks.able, self.masks.request
        if able is None:
            return ()
        return able.team(self.masks.day.providers[provider].id, start, request.kept_team) or ()

    def _session_ids(self, provider: int, room: int, start: int) -> tuple[str, ...]:
        day, kind = self.masks.day, self.masks.kind
        if day.sessions is None:
            return ()
        owners = owners_at(day.providers[provider].id, day.rooms[room].id)
        span = start, start + kind.duration_minutes
        return SessionsOfDay.on(day.clinic, day.date).admitting(owners, span, kind.id)


def certified(parts: Sequence[Query], limit: int, rooms: Rooms) -> list[Slot]:
    """Return the first `limit` placements of a query, in order, that the model certifies."""
    slots: list[Slot] = []
    done = 0
    for ranked, part in _merged(parts, limit, rooms):
        fresh, of_part = ranked[done:], part[done:]
        feasible = np.zeros(len(fresh), np.bool_)
        for number in np.unique(of_part).tolist():
            here = np.flatnonzero(of_part == number)
            feasible[here] = certify(parts[number].model(fresh[here], independent=True))
        slots += [
            parts[number].slot(row)
            for row, number in zip(fresh[feasible], of_part[feasible].tolist(), strict=True)
        ]
        if len(slots) >= limit:
            break
        done = len(ranked)
    return slots[:limit]


def _merged(parts: Sequence[Query], limit: int, rooms: Rooms) -> Iterator[tuple[Ints, Ints]]:
    """Yield longer and longer heads of all parts' rankings in one order, and each row's part."""
    rankings = [part.growing(limit, rooms) for part in parts]
    if len(rankings) == 1:
        for head in rankings[0]:
            yield head, np.zeros(len(head), np.int64)
        return
    providers = _ranks([part.masks.day.providers for part in parts])
    in_rooms = _ranks([part.masks.day.rooms for part in parts])
    heads = [next(ranking) for ranking in rankings]
    want = limit
    while True:
        rows = np.concatenate(heads)
        part = np.repeat(np.arange(len(parts)), [len(head) for head in heads])
        provider = np.concatenate([of[h[:, 2]] for of, h in zip(providers, heads, strict=True)])
        room = np.concatenate([of[h[:, 3]] for of, h in zip(in_rooms, heads, strict=True)])
        order = np.lexsort((room, provider, rows[:, 1], -rows[:, 0]))
        if rooms == "best":  # a provider has rooms at more than one place
            pair = np.stack([provider, rows[:, 1]], axis=1)[order]
            order = order[np.sort(np.unique(pair, axis=0, return_index=True)[1])]
        yield rows[order[:want]], part[order[:want]]
        longer = [next(ranking, None) for ranking in rankings]
        if all(head is None for head in longer) and len(order) <= want:
            return
        heads = [old if new is None else new for old, new in zip(heads, longer, strict=True)]
        want *= 2


def _ranks(parts: Sequence[Sequence[Provider | Room]]) -> list[Ints]:
    """Return for each part the ranks of its rows among those of all parts, by their ids."""
    ids = sorted({row.id for rows in parts for row in rows})
    rank = {key: position for position, key in enumerate(ids)}
    return [np.array([rank[row.id] for row in rows], np.int64) for rows in parts]


def provider_of(request: SlotRequest) -> str:
    """Return the one provider that a request to be judged names."""
    assert request.provider_ids is not None
    (provider_id,) = request.provider_ids
    return provider_id
