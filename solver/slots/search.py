"""One request answered: masks narrow, the CP-SAT model certifies, best first.

The masks give every placement its score. Placements go to the model in the order in which they
would be shown, until as many are certified as were asked for, so the solver's work grows with the
length of the list and not with the clinic.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from solver.clinic.clinic import Clinic
from solver.clinic.entities import AppointmentType
from solver.clinic.request import SlotRequest
from solver.rules.codes import IN_ORDER
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from solver.slots.opening import Opening, opens_later
from solver.slots.query import Query, Slot, certified
from solver.slots.ranking import Rooms

LOOK_AHEAD_DAYS = 14
"""How far the next date with a slot is looked for."""


@dataclass(frozen=True)
class SlotPage:
    """The answer to one slot query.

    `total` counts every feasible placement of all the `candidates` over all rooms, however many
    are listed; `blocked_by` tells, when there is none, how many candidates each rule was the first
    to exclude; `opens_later` when more can be booked that sessions alone keep from it.
    """

    date: dt.date
    kind: AppointmentType
    candidates: int
    total: int
    slots: tuple[Slot, ...]
    blocked_by: dict[str, int]
    opens_later: tuple[Opening, ...] = ()


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
    parts = Query.whole(clinic, request, weights)
    total = sum(part.masks.total() for part in parts)
    slots = tuple(certified(parts, limit, rooms)) if total else ()
    return SlotPage(
        date=request.date,
        kind=clinic.type_by_id[request.appointment_type_id],
        candidates=sum(part.masks.candidates() for part in parts),
        total=total,
        slots=slots,
        blocked_by={} if slots else _blocked_by(parts),
        opens_later=opens_later(parts),
    )


def _blocked_by(parts: Sequence[Query]) -> dict[str, int]:
    """Count, per rule, the candidates that it is the first to exclude, in the rules' order."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.masks.blocked_by())
    return {code: counts[code] for code in IN_ORDER if code in counts}


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
