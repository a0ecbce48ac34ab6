"""What a slot is, by the CP-SAT model alone: the oracle of tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from operator import itemgetter

from solver.clinic.clinic import Clinic
from solver.clinic.request import SlotRequest
from solver.rules.placement_model import PlacementModel
from solver.rules.presences import Candidates
from solver.rules.solving import best, enumerate_feasible
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from solver.slots.query import Query, Slot
from solver.slots.ranking import Ranking


def best_slot(
    clinic: Clinic, request: SlotRequest, *, weights: Weights = DEFAULT_WEIGHTS
) -> tuple[Slot, Fraction] | None:
    """Return one slot of the highest exact score, proved by the solver, and that score.

    All placements that the masks pass are rivals in one model whose objective is the score: the
    preference, gap and overbooking parts are the value of the provider's presence, the room part
    that of the room's.
    """
    found = [_best_of(part, weights) for part in Query.whole(clinic, request, weights)]
    return max((each for each in found if each is not None), key=itemgetter(1), default=None)


def _best_of(query: Query, weights: Weights) -> tuple[Slot, Fraction] | None:
    """Return the best slot at providers whom the appointment takes as long."""
    total = query.masks.total()
    if not total:
        return None
    ranked = next(Ranking(query.masks, query.scores).growing(total, "all"))
    slots = [query.slot(row) for row in ranked]
    parts = [slot.parts for slot in slots]
    found = best(
        query.model(ranked, independent=False),
        at_provider=[
            weights.preference * part.preference
            + weights.gap * part.gap
            + weights.overbook * part.overbook
            for part in parts
        ],
        in_room=[weights.room * part.room for part in parts],
    )
    return None if found is None else (slots[found[0]], found[1])


def enumerate_placements(clinic: Clinic, request: SlotRequest) -> set[tuple[str, str, int, bool]]:
    """Return every feasible (provider id, room id, start, is_overbooked) without any mask.

    The model alone decides on every provider, room and start. Slow: this is the
    definition that the fast way is held against.
    """
    parts = Query.whole(clinic, request, DEFAULT_WEIGHTS)
    return {place for part in parts for place in _enumerated(part)}


def _enumerated(query: Query) -> Iterator[tuple[str, str, int, bool]]:
    day = query.masks.day
    every = Candidates.every(day, query.masks.starts)
    for provider in range(len(day.providers)):
        candidates = every[every.provider == provider]
        if not len(candidates):
            continue
        model = PlacementModel(
            day,
            query.masks.kind,
            candidates,
            earliest=query.masks.earliest,
            any_start=query.masks.request.is_given,
            moment=query.masks.request.moment,
            lifted=query.waived,
            named=query.masks.request.team,
        )
        feasible = candidates[enumerate_feasible(model)]
        for room, start, is_overbooked in zip(
            feasible.room.tolist(),
            feasible.start.tolist(),
            feasible.is_overbooked.tolist(),
            strict=True,
        ):
            yield day.providers[provider].id, day.rooms[room].id, start, is_overbooked
