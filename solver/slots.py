"""One request answered: masks narrow, the CP-SAT model certifies, best first.

The masks give every placement its score. Placements go to the model in the order in which they
would be shown, until as many are certified as were asked for, so the solver's work grows with the
length of the list and not with the clinic.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from fractions import Fraction

from solver import masks as masks_module
from solver.clinic import AppointmentType, Clinic, Provider, Room, SlotRequest
from solver.masks import Masks
from solver.objective import DEFAULT_WEIGHTS, POINTS, ScoreParts, Scores, Weights
from solver.ranking import Ranking, Rooms
from solver.rules import Candidates, PlacementModel
from solver.timeline import Day, Ints, first_bookable_minute

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
    query = _Query.of(clinic, request, weights)
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
    """Judge one start of one provider, in the room that `request` names or in any.

    The function behind every booking: the same masks and the same model as :func:`find_slots`.
    Without `certify` the masks alone judge: a start they refuse is refused for good, since they
    never pass too little, while one they pass is still to be certified.
    """
    assert request.provider_ids is not None
    assert len(request.provider_ids) == 1
    assert request.start is not None
    query = _Query.of(clinic, request, weights)
    if query.masks.total():
        slots = tuple(query.certified(limit, "all") if certify else query.passed(limit, "all"))
        return Verdict(slots, () if slots else (masks_module.PROVIDER_BUSY,))
    if not query.masks.starts.size:  # the appointment would not end within the date
        return Verdict((), (masks_module.OUTSIDE_PROVIDER_HOURS,))
    reasons = query.masks.broken(0, None if request.room_id is None else 0, 0)
    return Verdict((), tuple(reasons))


@dataclass(frozen=True)
class _Query:
    """One request with its masks and scores."""

    masks: Masks
    scores: Scores
    earliest: int

    @classmethod
    def of(cls, clinic: Clinic, request: SlotRequest, weights: Weights) -> _Query:
        day = Day.of(
            clinic,
            request.date,
            provider_ids=request.provider_ids,
            room_ids=None if request.room_id is None else frozenset({request.room_id}),
        )
        masks = masks_module.build(day, request)
        settings = clinic.settings
        earliest = first_bookable_minute(
            settings.zone, request.date, request.now, settings.min_notice_minutes
        )
        return cls(masks, Scores.of(masks, request, weights), earliest)

    def passed(self, limit: int, rooms: Rooms) -> list[Slot]:
        """Return the first `limit` placements, in order, that the masks pass."""
        head = next(Ranking(self.masks, self.scores).growing(limit, rooms))
        return [self.slot(row) for row in head]

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
            earliest=self.earliest,
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
    query = _Query.of(clinic, request, weights)
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
    query = _Query.of(clinic, request, DEFAULT_WEIGHTS)
    day = query.masks.day
    every = Candidates.every(day, query.masks.starts)
    found = set()
    for provider in range(len(day.providers)):
        candidates = every[every.provider == provider]
        if not len(candidates):
            continue
        model = PlacementModel(day, query.masks.kind, candidates, earliest=query.earliest)
        feasible = candidates[model.enumerate()]
        for room, start, is_overbooked in zip(
            feasible.room.tolist(),
            feasible.start.tolist(),
            feasible.is_overbooked.tolist(),
            strict=True,
        ):
            found.add((day.providers[provider].id, day.rooms[room].id, start, is_overbooked))
    return found
