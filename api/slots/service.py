"""``GET /slots``."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Any

import anyio.to_thread

from api.access.context import Context
from api.service import metrics
from api.service.fair_semaphore import FairSemaphore
from api.slots.schemas import SlotQuery, slots_body
from data.bookings import reading
from data.errors import NotFoundError
from solver.clinic.clinic import Clinic
from solver.clinic.clock import check_date
from solver.clinic.request import SlotRequest
from solver.slots.ranking import Rooms
from solver.slots.search import LOOK_AHEAD_DAYS, SlotPage, find_slots, has_slot

READING = FairSemaphore(2)
"""Reading a large book takes a connection for long; two at a time leave most of them to others,
and nobody's hundred queries are ahead of another caller's."""


SOLVING = FairSemaphore()
"""Solving is computing, and one process computes one thing at a time: two at once answer no more
queries and take more of the cores that other processes have a use for."""


LOOKING_AHEAD = FairSemaphore()
"""Looking through many dates takes long; those who ask about one do not wait for it."""


async def read(context: Context, date: dt.date, who: str) -> Clinic:
    """Read the clinic with the bookings that matter on a date; those who ask take turns."""
    async with READING.take(who):
        return await context.snapshots.load(date, date)


async def answer(
    context: Context,
    clinic: Clinic,
    request: SlotRequest,
    who: str,
    *,
    limit: int,
    rooms: Rooms,
    without: str | None = None,
) -> dict[str, Any]:
    """Return the body of the answer in `clinic`, as if the booking `without` were not there.

    Those who ask take turns; `who` tells them apart.

    Raises
    ------
    DateOutOfRangeError
        When the date is past or beyond the horizon.
    """
    horizon, weights = context.settings.horizon_days, context.settings.weights
    check_date(clinic.settings, request.date, request.now, horizon)

    def solve() -> SlotPage:
        with metrics.SOLVES.time():
            standing = _without(clinic, without)
            return find_slots(standing, request, limit=limit, rooms=rooms, weights=weights)

    async with SOLVING.take(who):
        page = await anyio.to_thread.run_sync(solve)
    metrics.slots_found(page)
    following = None
    if not page.slots:
        last = request.now.astimezone(clinic.settings.zone).date() + dt.timedelta(days=horizon)
        until = min(request.date + dt.timedelta(days=LOOK_AHEAD_DAYS), last)
        following = await _next_available_date(context, request, who, until, without)
    return slots_body(page, clinic.settings.zone, following)


async def _next_available_date(
    context: Context, request: SlotRequest, who: str, until: dt.date, without: str | None
) -> dt.date | None:
    """Return the first date after the asked one, up to `until`, that has a slot."""
    async with LOOKING_AHEAD.take(who):
        days = context.snapshots.ahead(request.date + dt.timedelta(days=1), until)
        async for day, clinic in days:
            asked = replace(request, date=day)
            standing = _without(clinic, without)
            if await asyncio.to_thread(has_slot, standing, asked):
                return day
    return None


def _without(clinic: Clinic, booking_id: str | None) -> Clinic:
    if booking_id is None:
        return clinic
    return clinic.with_bookings(b for b in clinic.bookings if b.id != booking_id)


async def _check_known(context: Context, clinic: Clinic, query: SlotQuery) -> None:
    if query.appointment_type_id not in clinic.type_by_id:
        raise NotFoundError(f"There is no appointment type {query.appointment_type_id}.")
    for provider_id in query.provider_id:
        if provider_id not in clinic.provider_by_id:
            raise NotFoundError(f"There is no provider {provider_id}.")
    for location_id in query.location_id:
        if location_id not in clinic.location_by_id:
            raise NotFoundError(f"There is no location {location_id}.")
    key = query.without
    if key is not None and all(b.id != key for b in clinic.bookings):
        await reading.get(context.engine, key)  # of another date, or cancelled
