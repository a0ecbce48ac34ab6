"""Where a booking may go instead: the slots of a day as if its own place were given up already."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import anyio.to_thread

from api.context import Context
from api.schemas import MAX_LIMIT, slots_body
from api.slots import SOLVES_AT_ONCE
from solver.clinic import Clinic, SlotRequest
from solver.slots import LOOK_AHEAD_DAYS, find_slots, next_available_date
from solver.timeline import DateOutOfRangeError, check_date


async def new_places(
    context: Context, booking_id: str, request: SlotRequest, rooms: Literal["best", "all"]
) -> dict[str, Any]:
    """Return what ``GET /slots`` would answer were the booking not there.

    A day out of range has no place, and none after it is looked for.
    """

    async def without(last: dt.date) -> Clinic:
        clinic = await context.snapshots.load(request.date, last)
        return clinic.with_bookings(b for b in clinic.bookings if b.id != booking_id)

    clinic = await without(request.date)
    horizon = context.settings.horizon_days
    try:
        check_date(clinic.settings, request.date, request.now, horizon)
    except DateOutOfRangeError:
        return {"slots": [], "next_available_date": None}
    page = await anyio.to_thread.run_sync(
        lambda: find_slots(
            clinic, request, limit=MAX_LIMIT, rooms=rooms, weights=context.settings.weights
        ),
        limiter=SOLVES_AT_ONCE,
    )
    following = None
    if not page.slots:
        last = request.now.astimezone(clinic.settings.zone).date() + dt.timedelta(days=horizon)
        ahead = await without(min(request.date + dt.timedelta(days=LOOK_AHEAD_DAYS), last))
        following = await anyio.to_thread.run_sync(
            lambda: next_available_date(ahead, request, last=last), limiter=SOLVES_AT_ONCE
        )
    return slots_body(page, clinic.settings.zone, following)
