"""Whether one placement is feasible, and every code that refuses it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from solver.clinic.entities import Clinic
from solver.clinic.request import SlotRequest
from solver.rules import codes
from solver.rules import masks as masks_module
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from solver.slots.query import Query, Slot, provider_of


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
    kind, start = request.kind_at(clinic, provider_of(request)), request.start
    assert start is not None
    is_on_axis = start in masks_module.grid_starts(clinic, kind.duration_minutes)
    return (
        kind,
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
    (query,) = Query.of(
        clinic,
        replace(requests[0], start=requests[0].start if len(starts) == 1 else None),
        weights,
        provider_ids=frozenset(provider_of(request) for request in requests),
        room_ids=None if None in rooms else frozenset(room for room in rooms if room is not None),
    )
    masks = query.masks
    if not masks.starts.size:  # the appointment would not end within the date
        return [Verdict((), (codes.OUTSIDE_DATE,)) for _ in requests]
    cells = [query.cell(request) for request in requests]
    ranked = [query.ranked(*cell) for cell in cells]
    chosen = query.certified_each(ranked, limit) if certify else [rows[:limit] for rows in ranked]
    verdicts = []
    for cell, passed, rows in zip(cells, ranked, chosen, strict=True):
        if len(rows):
            verdicts.append(Verdict(tuple(query.slot(row) for row in rows), ()))
        elif len(passed):
            verdicts.append(Verdict((), (codes.PROVIDER_BUSY,)))
        else:
            verdicts.append(Verdict((), tuple(masks.broken(*cell))))
    return verdicts
